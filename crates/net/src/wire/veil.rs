//! The veil wire: QUIC over UDP, in datagrams that look like nothing.
//!
//! What a datagram looks like, and who gets an answer, is `busel_proto::veil`. Here are the sockets:
//! an iroh custom transport, which is outside iroh's semver and stays behind [`Wire`]. Many datagrams
//! go in one system call, as iroh's own IP transport sends them.
//!
//! A node that listens has a veil secret, which its invite names. One that does not has a port by
//! chance and only dials; whoever sends to that port without having been dialled gets no answer.
//!
//! Where UDP does not come through, the same datagrams go in a stream over TCP ([`streams`]), to the
//! same address and port ([`door`]); which of the two is `busel_proto::veil::lines`' to say.

mod door;
mod sender;
mod socket;
mod streams;

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use busel_proto::punch;
use busel_proto::time::{Tick, UnixTime};
use busel_proto::veil::VeilSecret;
use busel_proto::veil::hello::Hello;
use busel_proto::veil::lines::{By, Line, Step};
use busel_proto::veil::nonces::Nonces;
use busel_proto::veil::sessions::{Now, Sessions};
use futures_util::future::BoxFuture;
use iroh::TransportAddr;
use iroh::endpoint::transports::{CustomEndpoint, CustomTransport};
use iroh_base::CustomAddr;
use netwatch::UdpSocket;
use rand::RngExt as _;

use super::{Contact, Wire, WireError};
use socket::Socket;
use streams::Streams;

/// Marks addresses of this wire inside the endpoint; never on a line. The second one's are those from
/// which streams were made to us.
const ID: u64 = 0x6275_7365_6c76;
const GUEST: u64 = ID + 1;
/// Its names in reports.
const NAME: &str = "veil";
const BY_TCP: &str = "veil-tcp";
/// Addresses of others that are known, as many as there are sessions.
const MOST: usize = 4096;

/// Obfuscated UDP, and TCP where that is blocked.
#[derive(Debug)]
pub struct Veil {
    /// That of the endpoint that is used, and before it that of the last one: sessions are an address's,
    /// and each endpoint has its own.
    shared: Mutex<Vec<Arc<Shared>>>,
    /// That of the endpoint that is being set up.
    next: Mutex<Option<Arc<Shared>>>,
}

/// Where a node listens, and the secret by which others open sessions to it.
#[derive(Debug, Clone, Copy)]
pub struct Listen {
    /// The address; port 0 takes any free one.
    pub addr: SocketAddr,
    /// The veil secret.
    pub secret: VeilSecret,
}

#[derive(Debug)]
pub(super) struct Shared {
    listen: Option<Listen>,
    bound: OnceLock<SocketAddr>,
    sessions: Mutex<Sessions>,
    /// To whom we dial, and by what.
    lines: Mutex<BTreeMap<SocketAddr, (VeilSecret, Line)>>,
    streams: Streams,
    /// Hellos that were taken.
    hellos: Mutex<Nonces>,
    started: Instant,
    /// Those of the endpoint that is there now, by IPv4 and IPv6.
    sockets: Mutex<[Weak<UdpSocket>; 2]>,
    /// Whether an endpoint was set up with it.
    in_use: AtomicBool,
}

impl Veil {
    /// A wire that only dials, or one that listens, too.
    pub fn new(listen: Option<Listen>) -> Self {
        let shared = Mutex::new(vec![Arc::new(Shared::new(listen))]);
        Self { shared, next: Mutex::default() }
    }

    /// Where it listens, once the endpoint is bound; `None` if it only dials.
    pub fn listens(&self) -> Option<SocketAddr> {
        self.shared().bound.get().copied()
    }

    /// Has the NAT before this node let in what comes from `to`, by sending some datagrams there from where
    /// it is reached. They look like others of this wire, and say nothing.
    pub async fn punch(&self, to: SocketAddr) {
        for _ in 0..punch::DATAGRAMS {
            let socket = lock(&self.shared().sockets)[usize::from(to.is_ipv6())].upgrade();
            let Some(socket) = socket else { return };
            let mut datagram = [0; punch::LENGTHS.1];
            let len = rand::rng().random_range(punch::LENGTHS.0..=punch::LENGTHS.1);
            rand::rng().fill(&mut datagram[..len]);
            // One that is lost is followed by others.
            let _ = socket.send_to(&datagram[..len], to).await;
            tokio::time::sleep(punch::BETWEEN).await;
        }
    }

    fn shared(&self) -> Arc<Shared> {
        let shared = lock(&self.shared);
        shared.last().expect("there is one from the start").clone()
    }
}

impl Wire for Veil {
    fn name(&self) -> &'static str {
        NAME
    }

    fn set_up(
        &self,
        builder: iroh::endpoint::Builder,
    ) -> Result<iroh::endpoint::Builder, WireError> {
        let mut shared = self.shared();
        // One that listens is there once.
        if shared.listen.is_none() && shared.in_use.swap(true, Ordering::Relaxed) {
            shared = Arc::new(Shared::new(None));
            shared.in_use.store(true, Ordering::Relaxed);
            *lock(&self.next) = Some(shared.clone());
        }
        Ok(builder.add_custom_transport(Arc::new(Transport(shared))))
    }

    fn addresses(&self, contact: &Contact) -> Vec<TransportAddr> {
        let Some(ticket) = &contact.veil else { return Vec::new() };
        let shared = self.shared();
        ticket
            .addrs()
            .map(|addr| {
                let addr = canonical(addr);
                shared.learn(addr, &ticket.secret);
                TransportAddr::Custom(inner_addr(addr))
            })
            .collect()
    }

    fn is_used(&self) {
        let Some(next) = lock(&self.next).take() else { return };
        let mut all = lock(&self.shared);
        all.push(next);
        while all.len() > 2 {
            all.remove(0).streams.stop.cancel();
        }
    }

    fn moved(&self) {
        for shared in lock(&self.shared).iter() {
            shared.streams.moved();
            lock(&shared.lines).values_mut().for_each(|(_, line)| line.moved());
        }
    }

    fn carries(&self, addr: &TransportAddr) -> Option<&'static str> {
        let TransportAddr::Custom(addr) = addr else { return None };
        let by = match Place::of(addr)? {
            Place::Guest => By::Tcp,
            Place::Node(addr) => {
                let shared = self.shared();
                let lines = lock(&shared.lines);
                lines.get(&addr).map_or(By::Udp, |(_, line)| line.by())
            }
        };
        Some(if by == By::Tcp { BY_TCP } else { NAME })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let all = lock(&self.shared).clone();
        Box::pin(async move {
            for shared in all {
                shared.streams.stop.cancel();
                shared.streams.tasks.close();
                shared.streams.tasks.wait().await;
            }
        })
    }
}

impl Drop for Veil {
    fn drop(&mut self) {
        lock(&self.shared).iter().for_each(|shared| shared.streams.stop.cancel());
    }
}

impl Shared {
    fn new(listen: Option<Listen>) -> Self {
        let secret = listen.as_ref().map(|listen| &listen.secret);
        let sessions = Sessions::new(secret, rand::random(), wall());
        Self {
            listen,
            bound: OnceLock::new(),
            sessions: Mutex::new(sessions),
            lines: Mutex::default(),
            streams: Streams::new(),
            hellos: Mutex::new(Nonces::new(wall())),
            started: Instant::now(),
            sockets: Mutex::default(),
            in_use: AtomicBool::new(false),
        }
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        lock(&self.sessions)
    }

    fn learn(&self, addr: SocketAddr, secret: &VeilSecret) {
        self.sessions().learn(addr, secret);
        let mut lines = lock(&self.lines);
        if lines.len() < MOST || lines.contains_key(&addr) {
            lines.entry(addr).or_insert((*secret, Line::default())).0 = *secret;
        }
    }

    /// How something goes to `addr` now; a stream is dialled if that is due.
    fn step(self: &Arc<Self>, addr: SocketAddr, heard: Option<Tick>, now: Now) -> Step {
        let mut lines = lock(&self.lines);
        let Some((secret, line)) = lines.get_mut(&addr) else { return Step::PLAIN };
        let step = line.send(heard, now.tick, rand::random());
        if step.dial {
            streams::dial(self, addr, *secret);
        }
        step
    }

    /// Tells the line to `addr` of something.
    fn line(&self, addr: &SocketAddr, told: impl FnOnce(&mut Line, Option<Tick>, Tick)) {
        let (heard, now) = (self.sessions().heard(addr), self.now());
        if let Some((_, line)) = lock(&self.lines).get_mut(addr) {
            told(line, heard, now.tick);
        }
    }

    /// Whether a hello is of now and was not seen before.
    fn is_new(&self, hello: &Hello) -> bool {
        lock(&self.hellos).take(hello.nonce, hello.at, wall())
    }

    pub(super) fn now(&self) -> Now {
        let micros = self.started.elapsed().as_micros();
        Now { time: wall(), tick: Tick(u64::try_from(micros).unwrap_or(u64::MAX)) }
    }
}

/// What the endpoint binds.
#[derive(Debug)]
struct Transport(Arc<Shared>);

impl CustomTransport for Transport {
    fn bind(&self) -> std::io::Result<Box<dyn CustomEndpoint>> {
        Ok(Box::new(Socket::bind(self.0.clone())?))
    }
}

fn wall() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixTime(since.map_or(0, |since| since.as_secs()))
}

/// An IPv4 address that was written as IPv6 is the IPv4 one.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an address of the endpoint's means to this wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A node's veil address, or the address of one that opened a session with us.
    Node(SocketAddr),
    /// The other end of a stream that was made to us.
    Guest,
}

impl Place {
    fn of(addr: &CustomAddr) -> Option<Self> {
        match addr.id() {
            GUEST => Some(Self::Guest),
            _ => outer_addr(addr).map(Self::Node),
        }
    }
}

/// What stands for an address inside the endpoint.
pub(super) fn inner_addr(addr: SocketAddr) -> CustomAddr {
    made_addr(ID, addr)
}

/// What stands for the other end of a stream that was made to us.
fn guest_addr(addr: SocketAddr) -> CustomAddr {
    made_addr(GUEST, addr)
}

fn made_addr(id: u64, addr: SocketAddr) -> CustomAddr {
    let ip = match addr.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        std::net::IpAddr::V6(ip) => ip,
    };
    let mut data = [0; 18];
    data[..16].copy_from_slice(&ip.octets());
    data[16..].copy_from_slice(&addr.port().to_be_bytes());
    CustomAddr::from_parts(id, &data)
}

/// The address that stands behind one of the endpoint.
pub(crate) fn outer_addr(addr: &CustomAddr) -> Option<SocketAddr> {
    let (ip, port) = addr.data().split_first_chunk::<16>().filter(|_| addr.id() == ID)?;
    let port = u16::from_be_bytes(port.try_into().ok()?);
    Some(canonical(SocketAddr::new(Ipv6Addr::from(*ip).into(), port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_endpoint() {
        for text in ["192.0.2.1:443", "[2001:db8::1]:9"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(outer_addr(&inner_addr(addr)), Some(addr));
        }
        assert_eq!(outer_addr(&CustomAddr::from_parts(ID + 2, &[0; 18])), None);
        let guest = guest_addr(SocketAddr::from(([192, 0, 2, 1], 9)));
        assert_eq!((outer_addr(&guest), Place::of(&guest)), (None, Some(Place::Guest)));
        assert_eq!(outer_addr(&CustomAddr::from_parts(ID, &[0; 17])), None);
    }
}
