//! A node's presence in the network: who it is, its wires, its connections.
//!
//! iroh carries us: QUIC between authenticated keys. It is built from its minimal preset, with no
//! relay but our own, no address lookup, no resolver, no port mapping and no captive-portal probe,
//! so that it contacts nobody whom it was not given. One connection per peer is kept and used both
//! ways, for all exchanges.

mod handshakes;
mod life;
mod lines;
mod punch;
mod renew;

pub use life::OtherEnd;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::invite::RelayTicket;
use busel_proto::message::ALPN;
use futures_util::future::BoxFuture;
use iroh::dns::{DnsError, DnsResolver, Resolver};
use iroh::endpoint::{
    ConnectError, ConnectOptions, ConnectionError, NetReportConfig, PortmapperConfig,
    QuicTransportConfig, QuicTransportConfigBuilder, RecvStream, SendStream, presets,
};
use iroh::{EndpointAddr, EndpointId, RelayConfig, SecretKey, TransportAddr, Watcher};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use self::handshakes::{Handshakes, shake_hands};
use self::lines::{AT_FIRST, Heard, Lines, close, close_silent};
use crate::finder::Finder;
use crate::finder::lan::Lan;
use crate::near::Near;
use crate::path::Chooser;
use crate::wire::lan::is_lan;
use crate::wire::{Contact, Wire, WireError};

/// Connecting to a peer takes at most this long.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A peer that could not be reached is not tried again at once: after one second, then twice as
/// long each time, up to this: it may be back, and a request may be waiting for just that.
const MOST_BACK_OFF: Duration = Duration::from_secs(4);
/// Peers whose connection state is kept.
const MAX_PEERS: usize = 4096;
/// Streams that one peer may have open towards us.
const MAX_STREAMS: u32 = 256;
/// Bytes of one stream that may be on the way. Less than 2,048 packets: of more, `noq` ends the connection where many overtake.
const STREAM_WINDOW: u32 = 2 << 20;
/// New connections waiting to be taken by the node.
const ACCEPT_QUEUE: usize = 64;
/// Contacts that a running finder found and that wait to be noted.
const FOUND_QUEUE: usize = 64;
/// A path on which nothing came for so long is given up. A block that comes in the middle is noticed after
/// this.
const PATH_SILENT: Duration = Duration::from_secs(7);
/// Where nothing was said for so long, a sign of life is asked for on all paths at once. iroh's own, which it
/// asks for on each path by itself, don't do: the answer comes on another path, and holds the next one back.
const ASK_FOR_LIFE: Duration = Duration::from_secs(3);
/// A connection that came up by a relay though the node is elsewhere, too, is lifted from it: after
/// so long a connection is tried beside it, then after four times as long, so many times.
const LIFT_AFTER: Duration = Duration::from_secs(2);
const LIFTS: u32 = 4;
/// One that stays with a relay all the same, or went back to it, looks for a better way when it is used:
/// after the first of these, then after twice as long, up to the second.
const REVIEW: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// How long the endpoint may take to forget what it knew of a node that it is not connected to.
const FORGET: Duration = Duration::from_millis(50);
/// How long the first connection may take to follow the one beside it.
const FOLLOW: Duration = Duration::from_secs(2);
/// Says why a connection was closed: no place for it.
const BUSY: u32 = 1;
/// Says that a stream was given up in the middle.
const CUT: u32 = 1;

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A wire can't be set up.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The endpoint can't be bound.
    #[error("the network endpoint can't start: {0}")]
    Endpoint(String),
}

/// Why no stream to a peer could be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No address of the peer is known that one of our wires can use.
    #[error("no way to this node is known")]
    NoWay,
    /// The peer did not answer.
    #[error("the node did not answer: {0}")]
    Unreachable(String),
    /// It has no place for this connection now.
    #[error("the node does no more at once for others")]
    Busy,
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Busy => Self::Busy(error.to_string()),
            OpenError::NoWay | OpenError::Unreachable(_) => Self::Unreachable,
        }
    }
}

/// A connection to a peer, either side's.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: iroh::endpoint::Connection,
    /// As whom we are at this end.
    own: PeerId,
    /// Whether we made it.
    ours: bool,
    /// Whether it is one with a neighbour in the LAN.
    near: bool,
    wires: Arc<[Arc<dyn Wire>]>,
    streams: Arc<Mutex<Streams>>,
    /// When to look for a better way next, and how often that was done.
    review: Arc<Mutex<(Instant, u32)>>,
    /// Once nothing comes on it any more.
    doubted: CancellationToken,
}

/// What is under way on a connection.
#[derive(Debug)]
struct Streams {
    /// Streams, either side's.
    open: usize,
    /// When the last one ended.
    since: Instant,
}

/// A stream of bytes both ways.
#[derive(Debug)]
pub struct Stream {
    /// What we send.
    pub send: SendStream,
    /// What comes.
    pub recv: RecvStream,
    line: UnderWay,
}

/// That a stream is under way on a connection, until it is dropped.
#[derive(Debug)]
struct UnderWay(Connection);

impl Stream {
    fn new(connection: &Connection, (send, recv): (SendStream, RecvStream)) -> Self {
        lock(&connection.streams).open += 1;
        Self { send, recv, line: UnderWay(connection.clone()) }
    }

    /// Gives up in the middle, so that the other side sees it: a stream that is only dropped looks
    /// finished.
    pub fn cut(&mut self) {
        // What has ended already needs no word.
        let _ = self.send.reset(CUT.into());
        let _ = self.recv.stop(CUT.into());
    }

    /// Whether it is one with a neighbour.
    pub fn is_near(&self) -> bool {
        self.line.0.is_near()
    }

    /// As whom this node is at this end.
    pub fn own(&self) -> PeerId {
        self.line.0.own
    }

    /// Why this stream broke: the other side had no place for the connection, or else `otherwise`.
    pub fn why(&self, otherwise: Failure) -> Failure {
        if self.line.0.was_refused() { OpenError::Busy.into() } else { otherwise }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut streams = lock(&self.0.streams);
        streams.open = streams.open.saturating_sub(1);
        streams.since = Instant::now();
        // Nobody uses it any more, and as long as it is there iroh keeps to its way.
        if streams.open == 0 && self.0.doubted.is_cancelled() {
            self.0.inner.close(0u8.into(), b"");
        }
    }
}

impl Connection {
    fn new(
        inner: iroh::endpoint::Connection,
        endpoint: &iroh::Endpoint,
        ours: bool,
        near: bool,
        wires: &Arc<[Arc<dyn Wire>]>,
    ) -> Self {
        let own = PeerId(*endpoint.id().as_bytes());
        let streams = Arc::new(Mutex::new(Streams { open: 0, since: Instant::now() }));
        let review = Arc::new(Mutex::new((Instant::now() + REVIEW.0, 1)));
        let (wires, doubted) = (wires.clone(), CancellationToken::new());
        Self { inner, own, ours, near, wires, streams, review, doubted }
    }

    /// Since when it has had no stream; `None` while one is under way, either side's.
    pub fn idle_since(&self) -> Option<Instant> {
        let streams = lock(&self.streams);
        (streams.open == 0).then_some(streams.since)
    }

    /// Whether it is one with a neighbour, who is not to learn what else this node is.
    pub fn is_near(&self) -> bool {
        self.near
    }

    /// Whether this side made it.
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// Closes it, and tells the other side that there is no place for it.
    pub fn refuse(&self) {
        self.inner.close(BUSY.into(), b"busy");
    }

    /// Whether the other side had no place for it.
    fn was_refused(&self) -> bool {
        let reason = self.inner.close_reason();
        matches!(reason, Some(ConnectionError::ApplicationClosed(c)) if c.error_code == BUSY.into())
    }

    /// Who is at the other end, proven by its key.
    pub fn peer(&self) -> PeerId {
        PeerId(*self.inner.remote_id().as_bytes())
    }

    /// Opens a stream.
    pub async fn open(&self) -> Result<Stream, OpenError> {
        let opened = self.inner.open_bi().await;
        match opened {
            Ok(opened) => Ok(Stream::new(self, opened)),
            Err(_) if self.was_refused() => Err(OpenError::Busy),
            Err(error) => Err(OpenError::Unreachable(error.to_string())),
        }
    }

    /// The next stream that the peer opens; `None` once the connection is closed.
    pub async fn accept(&self) -> Option<Stream> {
        Some(Stream::new(self, self.inner.accept_bi().await.ok()?))
    }

    fn is_open(&self) -> bool {
        self.inner.close_reason().is_none() && !self.doubted.is_cancelled()
    }

    fn is_busy(&self) -> bool {
        self.is_open() && self.idle_since().is_none()
    }

    async fn leaves_its_relay(&self) {
        const PAUSE: Duration = Duration::from_millis(20);
        while self.wire() == RELAY {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether a better way is to be looked for now: it has stayed with a relay for long.
    fn is_due_for_review(&self) -> bool {
        let mut review = lock(&self.review);
        let due = review.0 <= Instant::now() && self.wire() == RELAY;
        if due {
            let wait = REVIEW.0.saturating_mul(1 << review.1.min(16)).min(REVIEW.1);
            *review = (Instant::now() + wait, review.1 + 1);
        }
        due
    }

    /// Whether it was decided that a relay carries it, so that no new connection would look elsewhere.
    fn is_kept_to_its_relay(&self) -> bool {
        self.inner.paths().iter().any(|path| path.is_selected() && path.remote_addr().is_relay())
    }

    /// The wire that carries it now.
    pub fn wire(&self) -> &'static str {
        let paths = self.inner.paths();
        let used = paths.iter().find(|path| path.is_selected()).or_else(|| paths.iter().next());
        used.map_or("none", |path| self.wire_of(path.remote_addr()))
    }

    fn wire_of(&self, addr: &TransportAddr) -> &'static str {
        match addr {
            TransportAddr::Relay(_) => RELAY,
            TransportAddr::Custom(addr) if is_lan(addr) => "lan",
            _ => self.wires.iter().find_map(|wire| wire.carries(addr)).unwrap_or("plain"),
        }
    }
}

/// The name of the wire that is left if there is another.
const RELAY: &str = "relay";

/// A node's presence in the network. Cheap to clone; [`Endpoint::close`] ends it.
#[derive(Debug, Clone)]
pub struct Endpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// As whom it is present now.
    present: Mutex<iroh::Endpoint>,
    wires: Arc<[Arc<dyn Wire>]>,
    finders: Vec<Arc<dyn Finder>>,
    /// Those that came after the start.
    late: Mutex<Vec<Arc<dyn Finder>>>,
    near: OnceLock<Near>,
    /// … and whether the reader confirmed where they are.
    contacts: Mutex<BTreeMap<PeerId, (Contact, bool)>>,
    /// The lock of a peer is held while it is being connected to, so that it is once.
    peers: Mutex<HashMap<PeerId, Slot>>,
    lines: Mutex<Lines>,
    failures: Mutex<HashMap<PeerId, (u32, Instant)>>,
    /// Who must not learn this device's address.
    behind_relays: Mutex<BTreeSet<PeerId>>,
    queue: mpsc::Sender<Connection>,
    incoming: AsyncMutex<mpsc::Receiver<Connection>>,
    handshakes: Mutex<Handshakes>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

type Slot = Arc<AsyncMutex<Option<Connection>>>;

impl Endpoint {
    /// Starts an endpoint with this identity, these wires and finders.
    pub async fn bind(
        identity: [u8; 32],
        wires: Vec<Arc<dyn Wire>>,
        finders: Vec<Arc<dyn Finder>>,
    ) -> Result<Self, BindError> {
        let endpoint = present(identity, &wires).await?;
        let (queue, incoming) = mpsc::channel(ACCEPT_QUEUE);
        let inner = Arc::new(Inner {
            present: Mutex::new(endpoint.clone()),
            wires: wires.into(),
            finders,
            late: Mutex::default(),
            near: OnceLock::new(),
            contacts: Mutex::default(),
            peers: Mutex::default(),
            lines: Mutex::default(),
            failures: Mutex::default(),
            behind_relays: Mutex::default(),
            queue,
            incoming: AsyncMutex::new(incoming),
            handshakes: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        inner.tasks.spawn(inner.clone().accept_all(endpoint, false));
        let this = Self(inner);
        this.find().await;
        for finder in &this.0.finders {
            this.run(finder.clone());
        }
        Ok(this)
    }

    /// Is present in the LANs of this device, as far as `lan` says. Once only.
    pub fn go_near(&self, lan: Arc<Lan>) {
        if self.0.near.set(Near::new(lan.clone())).is_err() {
            return;
        }
        self.add_finder(Arc::new(lan));
        let inner = self.0.clone();
        self.0.tasks.spawn(async move {
            let Some(near) = inner.near.get().filter(|near| near.speaks()) else { return };
            let accept = |endpoint| inner.clone().accept_all(endpoint, true);
            tokio::select! {
                () = inner.stop.cancelled() => {}
                () = near.keep(accept) => {}
            }
            near.close().await;
        });
    }

    /// Runs one more finder.
    pub fn add_finder(&self, finder: Arc<dyn Finder>) {
        lock(&self.0.late).push(finder.clone());
        self.run(finder);
    }

    /// The neighbours that it may speak to.
    pub fn neighbours(&self) -> Vec<PeerId> {
        let near = self.0.near.get().filter(|near| near.lan.manners().speaks);
        near.map(|near| near.lan.neighbours()).unwrap_or_default()
    }

    /// The names of the finders, and how many nodes each knows of now.
    pub fn finders(&self) -> Vec<(&'static str, usize)> {
        let mut all: Vec<(&'static str, usize)> = Vec::new();
        let late = lock(&self.0.late);
        for finder in self.0.finders.iter().chain(late.iter()) {
            let (name, known) = (finder.name(), finder.known());
            match all.iter_mut().find(|(other, _)| *other == name) {
                Some((_, sum)) => *sum += known,
                None => all.push((name, known)),
            }
        }
        all
    }

    /// Runs a finder until the endpoint closes, and notes what it finds.
    fn run(&self, finder: Arc<dyn Finder>) {
        let (this, stop) = (self.clone(), self.0.stop.clone());
        let (found, mut finds) = mpsc::channel(FOUND_QUEUE);
        self.0.tasks.spawn(async move {
            let noting = async {
                while let Some(contact) = finds.recv().await {
                    this.note_contact(contact, finder.is_confirmed()).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                _ = async { tokio::join!(finder.run(found), noting) } => {}
            }
        });
    }

    /// This node's id.
    pub fn id(&self) -> PeerId {
        PeerId(*self.0.present().id().as_bytes())
    }

    /// The UDP addresses it listens on; none without the plain wire.
    pub fn local_addrs(&self) -> Vec<std::net::SocketAddr> {
        self.0.present().bound_sockets()
    }

    /// Asks all finders for nodes and learns of them.
    pub async fn find(&self) {
        for finder in &self.0.finders {
            for contact in finder.find().await {
                self.note_contact(contact, finder.is_confirmed()).await;
            }
        }
    }

    /// Learns where a node may be reached, from somebody whom the reader believes.
    pub async fn learn(&self, contact: Contact) {
        self.note_contact(contact, true).await;
    }

    /// Hears where a node may be reached; what was learnt is not replaced by that.
    pub async fn hear_of(&self, contact: Contact) {
        self.note_contact(contact, false).await;
    }

    /// Forgets where a node is that was merely heard of.
    pub fn forget(&self, peer: &PeerId) {
        let mut contacts = lock(&self.0.contacts);
        if contacts.get(peer).is_some_and(|(_, confirmed)| !confirmed) {
            contacts.remove(peer);
        }
    }

    async fn note_contact(&self, contact: Contact, confirmed: bool) {
        if contact.peer == self.id() {
            return;
        }
        if let Some(relay) = &contact.relay {
            self.add_relay(relay).await;
        }
        let mut contacts = lock(&self.0.contacts);
        let known = contacts.get(&contact.peer).map(|(_, confirmed)| *confirmed);
        if known.is_none() && confirmed && contacts.len() >= MAX_PEERS {
            // Whom somebody believes takes the place of one who was merely heard of.
            let heard = contacts.iter().find(|(_, (_, confirmed))| !confirmed);
            heard.map(|(peer, _)| *peer).map(|peer| contacts.remove(&peer));
        }
        let room = known.is_some() || contacts.len() < MAX_PEERS;
        if room && (confirmed || known != Some(true)) {
            contacts.insert(contact.peer, (contact, confirmed));
        }
    }

    /// Makes a relay usable. Only relays of invites come here: a relay that a peer merely names
    /// would learn this node's address.
    pub async fn add_relay(&self, relay: &RelayTicket) {
        for wire in self.0.wires.iter() {
            if let Some(url) = wire.learn(relay) {
                let config = Arc::new(RelayConfig::new(url.clone(), None));
                self.0.present().insert_relay(url, config).await;
            }
        }
    }

    /// The device is on another network: peers that did not answer on the last one may here, and
    /// connections look for their new way.
    pub async fn moved(&self) {
        lock(&self.0.failures).clear();
        for wire in self.0.wires.iter() {
            wire.moved();
        }
        self.0.present().network_change().await;
    }

    /// Has these nodes, and no others, be spoken to through their relays alone, where they have one, so
    /// that they do not learn this device's address.
    pub fn stay_behind_relays(&self, peers: impl IntoIterator<Item = PeerId>) {
        *lock(&self.0.behind_relays) = peers.into_iter().collect();
    }

    /// The relay that this node keeps to now, if it is connected to one.
    pub fn home_relay(&self) -> Option<RelayTicket> {
        let statuses = self.0.present().home_relay_status().get();
        let connected = statuses.iter().find(|status| status.is_connected())?;
        self.0.wires.iter().find_map(|wire| wire.relay(connected.url()))
    }

    /// The nodes it knows where to reach, by id.
    pub fn contacts(&self) -> Vec<Contact> {
        lock(&self.0.contacts).values().map(|(contact, _)| contact.clone()).collect()
    }

    /// Whether somebody whom the reader believes said where a node is.
    pub fn is_confirmed(&self, peer: &PeerId) -> bool {
        lock(&self.0.contacts).get(peer).is_some_and(|(_, confirmed)| *confirmed)
    }

    /// Whether it is connected to a node now.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.held().iter().any(|(held, _)| held == peer)
    }

    /// Where a node may be reached, if it is known.
    pub fn contact(&self, peer: &PeerId) -> Option<Contact> {
        lock(&self.0.contacts).get(peer).map(|(contact, _)| contact.clone())
    }

    /// The peers it is connected to now.
    pub fn connected(&self) -> Vec<PeerId> {
        self.held().into_iter().map(|(peer, _)| peer).collect()
    }

    /// The wires that carry connections now, and how many each does.
    pub fn wires_in_use(&self) -> BTreeMap<&'static str, usize> {
        let mut used = BTreeMap::new();
        self.held().iter().for_each(|(_, held)| *used.entry(held.wire()).or_default() += 1);
        used
    }

    /// The connections that are open and not being made just now.
    fn held(&self) -> Vec<(PeerId, Connection)> {
        let peers = lock(&self.0.peers);
        let held = peers.iter().filter_map(|(peer, slot)| {
            let held = slot.try_lock().ok()?.clone()?;
            held.is_open().then_some((*peer, held))
        });
        held.collect()
    }

    /// Opens a stream to `peer` on the connection there is, or on a new one.
    pub async fn open(&self, peer: &PeerId) -> Result<Stream, OpenError> {
        self.open_within(peer, CONNECT_LIMIT).await
    }

    /// The same, where a new connection has so long at most.
    pub async fn open_within(&self, peer: &PeerId, limit: Duration) -> Result<Stream, OpenError> {
        let slot = self.0.slot(*peer);
        let mut held = slot.lock().await;
        if let Some(connection) = held.as_ref().filter(|c| c.is_open()).cloned()
            && !self.0.leaves(peer, &connection).await
        {
            drop(held);
            if let Ok(stream) = connection.open().await {
                return Ok(stream);
            }
            held = slot.lock().await;
            // Somebody else may have connected meanwhile.
            if let Some(connection) = held.as_ref().filter(|c| c.is_open()) {
                return connection.clone().open().await;
            }
        }
        if let Some(silent) = held.take().filter(|c| c.idle_since().is_some()) {
            close(&silent.inner).await;
        }
        let connection = self.connect(peer, limit.min(CONNECT_LIMIT)).await?;
        *held = Some(connection.clone());
        drop(held);
        connection.open().await
    }

    /// The next connection on which a peer may open streams: one that it made, or one that we did.
    /// `None` once the endpoint is closed.
    pub async fn accept(&self) -> Option<Connection> {
        let mut incoming = self.0.incoming.lock().await;
        tokio::select! {
            () = self.0.stop.cancelled() => None,
            connection = incoming.recv() => connection,
        }
    }

    /// Closes all connections and waits until the peers were told.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.present().close().await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
        for wire in self.0.wires.iter() {
            wire.close().await;
        }
    }

    async fn connect(&self, peer: &PeerId, limit: Duration) -> Result<Connection, OpenError> {
        let contact = lock(&self.0.contacts).get(peer).map(|(contact, _)| contact.clone());
        if self.0.backs_off(peer) {
            return Err(OpenError::Unreachable("it did not answer a moment ago".into()));
        }
        let (endpoint, addr) = self.0.way(peer, contact.as_ref()).ok_or(OpenError::NoWay)?;
        let elsewhere = addr.addrs.iter().any(|addr| !addr.is_relay());
        let others = lock(&self.0.lines).with(peer);
        let reached = tokio::time::timeout(limit, reach(&endpoint, &addr, &others)).await;
        let result = match reached {
            Ok(Ok(inner)) => {
                let near = contact.is_none();
                Ok(Connection::new(inner, &endpoint, true, near, &self.0.wires))
            }
            Ok(Err(error)) => Err(OpenError::Unreachable(error.to_string())),
            Err(_) => {
                close_silent(&others).await;
                Err(OpenError::Unreachable("no answer in time".into()))
            }
        };
        if let Some(contact) = contact {
            self.0.finders.iter().for_each(|finder| finder.tried(&contact, result.is_ok()));
        }
        self.0.note(*peer, result.is_ok());
        if let Err(error) = &result {
            debug!(?peer, %error, "no connection");
        }
        if let Ok(connection) = &result {
            lock(&self.0.lines).add(connection);
            // Served like one that was made to us. A node that takes no connections serves nobody.
            let _ = self.0.queue.try_send(connection.clone());
            if elsewhere && connection.wire() == RELAY {
                let (inner, connection) = (self.0.clone(), connection.clone());
                self.0.tasks.spawn(async move { inner.lift(&connection, &endpoint, &addr).await });
            }
        }
        result
    }
}

impl Inner {
    /// By which endpoint, and at which addresses, a peer is reached: a contact by the wires, a
    /// neighbour in the LAN.
    fn way(
        &self,
        peer: &PeerId,
        contact: Option<&Contact>,
    ) -> Option<(iroh::Endpoint, EndpointAddr)> {
        let Some(contact) = contact else { return self.near.get()?.way(peer) };
        let mut addrs: Vec<_> = self.wires.iter().flat_map(|w| w.addresses(contact)).collect();
        if addrs.iter().any(TransportAddr::is_relay) && lock(&self.behind_relays).contains(peer) {
            addrs.retain(TransportAddr::is_relay);
        }
        let id = EndpointId::from_bytes(&peer.0).ok().filter(|_| !addrs.is_empty())?;
        Some((self.present(), EndpointAddr::from_parts(id, addrs)))
    }

    /// Looks for a better way for a connection that has stayed with a relay for long, now that it is used.
    /// Says whether it was closed, so that a new one finds that way.
    async fn leaves(self: &Arc<Self>, peer: &PeerId, connection: &Connection) -> bool {
        let contact = lock(&self.contacts).get(peer).map(|(contact, _)| contact.clone());
        let way = contact.and_then(|contact| self.way(peer, Some(&contact)));
        let way = way.filter(|(_, addr)| addr.addrs.iter().any(|addr| !addr.is_relay()));
        let Some((endpoint, addr)) = way.filter(|_| connection.is_due_for_review()) else {
            return false;
        };
        if !connection.is_kept_to_its_relay() {
            let (this, connection) = (self.clone(), connection.clone());
            self.tasks.spawn(async move { this.look_beside(&connection, &endpoint, &addr).await });
            return false;
        }
        if connection.idle_since().is_none() {
            return false;
        }
        close(&connection.inner).await;
        true
    }

    /// Has a connection leave its relay: what one connection to a node finds, iroh lets all others to
    /// it use. No stream is lost by that.
    async fn lift(&self, connection: &Connection, endpoint: &iroh::Endpoint, addr: &EndpointAddr) {
        let mut wait = LIFT_AFTER;
        for _ in 0..LIFTS {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = connection.inner.closed() => return,
                () = tokio::time::sleep(wait) => wait *= 4,
            }
            if self.look_beside(connection, endpoint, addr).await {
                return;
            }
        }
    }

    /// Connects once more beside a connection; whether that left its relay by it.
    async fn look_beside(
        &self,
        connection: &Connection,
        endpoint: &iroh::Endpoint,
        addr: &EndpointAddr,
    ) -> bool {
        let beside = tokio::time::timeout(CONNECT_LIMIT, call(endpoint, addr));
        let beside = tokio::select! {
            () = self.stop.cancelled() => return false,
            beside = beside => beside,
        };
        let Ok(Ok(beside)) = beside else { return false };
        let _ = tokio::time::timeout(FOLLOW, connection.leaves_its_relay()).await;
        beside.close(0u8.into(), b"");
        connection.wire() != RELAY
    }

    fn slot(&self, peer: PeerId) -> Slot {
        let mut peers = lock(&self.peers);
        if peers.len() >= MAX_PEERS && !peers.contains_key(&peer) {
            // Slots of closed connections are only there to be used again.
            peers.retain(|_, slot| {
                slot.try_lock().map_or(true, |held| held.as_ref().is_some_and(Connection::is_open))
            });
        }
        peers.entry(peer).or_default().clone()
    }

    fn backs_off(&self, peer: &PeerId) -> bool {
        lock(&self.failures).get(peer).is_some_and(|(times, at)| {
            let wait = Duration::from_secs(1 << (times - 1).min(8)).min(MOST_BACK_OFF);
            at.elapsed() < wait
        })
    }

    fn note(&self, peer: PeerId, worked: bool) {
        let mut failures = lock(&self.failures);
        if worked {
            failures.remove(&peer);
            return;
        }
        if failures.len() >= MAX_PEERS {
            failures.retain(|_, (_, at)| at.elapsed() < MOST_BACK_OFF);
        }
        let failed = failures.entry(peer).or_insert((0, Instant::now()));
        *failed = (failed.0 + 1, Instant::now());
    }

    async fn hand_over(&self, connection: Connection) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            // A node that is stopping takes none any more.
            _ = self.queue.send(connection) => {}
        }
    }

    fn present(&self) -> iroh::Endpoint {
        lock(&self.present).clone()
    }

    async fn accept_all(self: Arc<Self>, endpoint: iroh::Endpoint, near: bool) {
        loop {
            let incoming = tokio::select! {
                () = self.stop.cancelled() => return,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            let stop = self.stop.child_token();
            let number = lock(&self.handshakes).begin(stop.clone());
            let (this, endpoint) = (self.clone(), endpoint.clone());
            self.tasks.spawn(async move {
                let shaken = tokio::select! {
                    () = stop.cancelled() => None,
                    shaken = shake_hands(incoming) => shaken,
                };
                lock(&this.handshakes).end(number);
                if let Some(inner) = shaken {
                    let connection = Connection::new(inner, &endpoint, false, near, &this.wires);
                    lock(&this.lines).add(&connection);
                    this.hand_over(connection).await;
                }
            });
        }
    }
}

/// Connects beside `others`; if that takes long, without those on which nothing comes any more.
async fn reach(
    endpoint: &iroh::Endpoint,
    addr: &EndpointAddr,
    others: &[Heard],
) -> Result<iroh::endpoint::Connection, ConnectError> {
    let mut connecting = std::pin::pin!(call(endpoint, addr));
    tokio::select! {
        reached = &mut connecting => return reached,
        () = tokio::time::sleep(AT_FIRST) => {}
    }
    match close_silent(others).await {
        true => call(endpoint, addr).await,
        false => connecting.await,
    }
}

/// Connects. Who called asks for signs of life; the other side hears by that, and need not wake up to ask.
async fn call(
    endpoint: &iroh::Endpoint,
    addr: &EndpointAddr,
) -> Result<iroh::endpoint::Connection, ConnectError> {
    let transport = transport().keep_alive_interval(ASK_FOR_LIFE).build();
    let options = ConnectOptions::new().with_transport_config(transport);
    Ok(endpoint.connect_with_opts(addr.clone(), ALPN, options).await?.await?)
}

/// An endpoint with this identity and these wires.
async fn present(identity: [u8; 32], wires: &[Arc<dyn Wire>]) -> Result<iroh::Endpoint, BindError> {
    let mut builder = builder(identity);
    for wire in wires {
        builder = wire.set_up(builder)?;
    }
    builder.bind().await.map_err(|e| BindError::Endpoint(e.to_string()))
}

/// An endpoint with this identity that has no transport yet and contacts nobody by itself.
pub(crate) fn builder(identity: [u8; 32]) -> iroh::endpoint::Builder {
    let mut report = NetReportConfig::minimal();
    // The probes by which iroh chooses its home relay go to relays that we were given only.
    report.https_probes = true;
    iroh::Endpoint::builder(presets::Minimal)
        .clear_ip_transports()
        .clear_relay_transports()
        .clear_address_lookup()
        .secret_key(SecretKey::from_bytes(&identity))
        .alpns(vec![ALPN.to_vec()])
        .transport_config(transport().build())
        .path_selector(Arc::new(Chooser))
        .dns_resolver(DnsResolver::custom(NoResolver))
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(report)
}

fn transport() -> QuicTransportConfigBuilder {
    QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(MAX_STREAMS.into())
        .max_concurrent_uni_streams(0u8.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .default_path_max_idle_timeout(PATH_SILENT)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resolves nothing: relays are named by tickets, peers by keys.
#[derive(Debug)]
struct NoResolver;

type Lookup<T> = BoxFuture<'static, Result<iroh::dns::BoxIter<T>, DnsError>>;

impl Resolver for NoResolver {
    fn lookup_ipv4(&self, _: String) -> Lookup<std::net::Ipv4Addr> {
        refuse()
    }

    fn lookup_ipv6(&self, _: String) -> Lookup<std::net::Ipv6Addr> {
        refuse()
    }

    fn lookup_txt(&self, _: String) -> Lookup<iroh::dns::TxtRecordData> {
        refuse()
    }

    fn clear_cache(&self) {}

    fn reset(&self) -> Box<dyn Resolver> {
        Box::new(Self)
    }
}

fn refuse<T: Send + 'static>() -> Lookup<T> {
    Box::pin(async {
        let nothing: iroh::dns::BoxIter<T> = Box::new(std::iter::empty());
        Ok(nothing)
    })
}
