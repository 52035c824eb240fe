//! One running Busel: its store, its place in the network, its doors.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use busel_net::Endpoint;
use busel_net::endpoint::BindError;
use busel_net::finder::Finder;
use busel_net::finder::invite::{Invited, contacts};
use busel_net::finder::lan::Lan;
use busel_net::finder::saved::Saved;
use busel_net::relay::RelayError;
use busel_net::shake::Shaker;
use busel_net::wire::Contact;
use busel_net::wire::relay::Relay;
use busel_proto::cert::{Revocation, SubkeyCert};
use busel_proto::edition;
use busel_proto::failure::{Failure, Route};
use busel_proto::favour::{Favour, Standing};
use busel_proto::id::{Hash, PeerId};
use busel_proto::invite::{InjectorTicket, Invite, RelayTicket, VeilTicket};
use busel_proto::memory::Step;
use busel_proto::message::Ask;
use busel_proto::page::{HostName, PageUrl};
use busel_proto::question::QuestionKey;
use busel_proto::sealed::ResponseKey;
use busel_proto::signed::{Signed, Verified};
use busel_proto::sites::SiteList;
use busel_proto::snapshot::Snapshot;
use busel_proto::superseed::SuperSeed;
use busel_store::{OpenError, ReadError, Store, Unlock, WriteError};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use rustls::ServerConfig;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::assigned::{self, Assigned, Offers};
use crate::authority::{self, Authority, AuthorityError};
use crate::catalogue::{self, Catalogues};
use crate::clock::{self, Clock};
use crate::config::{Config, ConfigError, Exposure};
use crate::dht;
use crate::door::http::{Behind, DoorConfig, DoorError, HttpDoor};
use crate::exchange::{self, Exchange};
use crate::fetch;
use crate::giving::OwnGiving;
use crate::guarded::{Asking, Guarded};
use crate::hearsay::{self, Hearsay};
use crate::hold;
use crate::hot::Hot;
use crate::joined::{Heard, HeedError, JoinError, JoinReport, Joined, Word};
use crate::networks::OwnNetworks;
use crate::origin::{self, Io, Origin, Own};
use crate::own_relay::OwnRelay;
use crate::partials::Partials;
use crate::places::Places;
use crate::prove::Prover;
use crate::punch;
use crate::renew;
use crate::request::{Request, Response, Unanswered};
use crate::resolve::Names;
use crate::route::tunnel::ByTunnel;
use crate::route::voice::Way;
use crate::save::Saver;
use crate::serve::{self, Inject};
use crate::tunnel;
use crate::upgrade;
use crate::upstreams::Search;
use crate::wires::{self, OwnVeil, Wires};

/// Names of settings in the store.
const IDENTITY: &str = "identity";
const OFFERS: &str = "offers-seed";
const SAVED: &str = "saved-nodes";
/// A public page is tunnelled to only when every other way failed, or was silent for this long.
const TUNNEL_AFTER: Duration = Duration::from_secs(10);
/// When a quiet node asks its guards for the first time, and then again: so long, and up to twice as
/// long.
const TEND_FIRST: Duration = Duration::from_secs(60);
const TEND: Duration = Duration::from_secs(3600);
/// Nodes looked at for one that passes sealed requests on.
const MAX_HOPS: usize = 4;

/// A running node. Clones are one node; [`Node::stop`] ends it.
#[derive(Debug, Clone)]
pub struct Node(pub(crate) Arc<Inner>);

/// What a node is made of.
pub struct Inner {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) endpoint: Endpoint,
    pub(crate) joined: Joined,
    pub(crate) own: Own,
    /// TLS with sites that are asked for another protocol.
    pub(crate) upgrades: Shaker,
    /// What vouches for listed sites at this device's door, if the reader had it made.
    pub(crate) authority: Mutex<Option<Arc<Authority>>>,
    /// As `own` and `direct`, where somebody else says where to.
    pub(crate) lent: Own,
    lent_origin: Origin,
    pub(crate) direct: Origin,
    pub(crate) prover: Prover,
    pub(crate) tunnelled: Origin,
    pub(crate) hot: Hot,
    pub(crate) clock: Clock,
    pub(crate) giving: Arc<OwnGiving>,
    pub(crate) own_relay: Option<OwnRelay>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) networks: OwnNetworks,
    /// How other nodes did lately.
    favour: Mutex<Favour<PeerId>>,
    /// How they did lately as hops: not each knows the injector.
    hops: Mutex<Favour<PeerId>>,
    injector: OnceLock<Arc<dyn Inject>>,
    wants_stop: CancellationToken,
    door: Mutex<Option<HttpDoor>>,
    wires: Vec<&'static str>,
    pub(crate) relay_wire: Arc<Relay>,
    /// How it is there behind the veil.
    pub(crate) veil: Arc<OwnVeil>,
    /// What an open node knows of others.
    pub(crate) exchange: Option<Arc<Exchange>>,
    /// The search for proxies on this device.
    pub(crate) upstreams: Option<Arc<Search>>,
    /// Whom a quiet node keeps to, whom these can ask for it, and what it holds for others.
    guarded: Option<Guarded>,
    pub(crate) hearsay: Option<Hearsay>,
    pub(crate) assigned: Option<Arc<Assigned>>,
    /// What an open node is loading.
    pub(crate) partials: Option<Partials>,
    /// Which parts of bodies others have got from here.
    superseed: Mutex<SuperSeed>,
    /// What an open node offers quiet ones to hold.
    pub(crate) offers: Offers,
    /// What it loads to hold for those who ask an injector.
    pub(crate) loads: Places,
    /// What is to be had.
    pub(crate) catalogues: Catalogues,
    /// What opens questions to this node.
    question_key: Mutex<QuestionKey>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Node")
    }
}

impl Deref for Node {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can't be used.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The store can't be opened.
    #[error("the store can't be opened: {0}")]
    Store(#[from] OpenError),
    /// The store can't be read.
    #[error("the store can't be read: {0}")]
    Read(#[from] ReadError),
    /// The store can't be written.
    #[error("the store can't be written: {0}")]
    Write(#[from] WriteError),
    /// The network endpoint can't start.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A certificate file can't be read, or a local socket can't be opened.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The node's own relay can't start.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The proxy can't listen.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// What vouches for listed sites can't be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl Node {
    /// Starts a node whose store needs no passphrase.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Unlock::Open).await
    }

    /// Starts a node and opens its doors.
    pub async fn start_with(config: Config, unlock: Unlock) -> Result<Self, StartError> {
        config.check()?;
        let options = busel_store::Options { dir: config.dir.clone(), unlock, quota: config.quota };
        let store = blocking(move || Store::open(options)).await?;
        let (clock, networks) = networks(&config, &store).await?;
        // What is read while it is quiet is marked so, and not served when it is open one day.
        store.share(config.exposure == Exposure::Open);
        let joined = Joined::load(store.clone(), config.site_list()?)?;
        let upstreams = config.upstream_find.then(Search::new);
        let dialer = upstreams.as_ref().map_or_else(|| config.dialer(), |search| search.dialer());
        let wires = Wires::start(&config, &dialer, &joined.invites(), &store).await?;
        let tasks = TaskTracker::new();
        let finders = finders(&store, &joined, &tasks)?;
        let giving = Arc::new(OwnGiving::new(&config, OwnGiving::kept(&store)?, clock));
        let own_relay = OwnRelay::start(&config, &store, &giving).await?;
        let identity = identity(&store, config.exposure)?;
        let offers_seed = kept_random(&store, OFFERS)?;
        let authority = Authority::kept(&store, clock::now())?.map(Arc::new);
        let roots = origin::roots(&config.extra_ca)?;
        let (reach, lent_reach) = (config.reach()?, config.reach_for_others()?);
        let endpoint = Endpoint::bind(identity, wires.all.clone(), finders).await?;
        if let Some(manners) = config.lan_manners() {
            endpoint.go_near(Arc::new(Lan::new(manners)));
        }
        let door = config.http.map(|listen| door_config(&config, listen));
        let veil = Arc::new(wires.own_veil(&config, &store)?);
        let open = config.exposure == Exposure::Open;
        let exchange = open.then(|| Arc::new(Exchange::new(&identity, veil.clone())));
        let guarded = match open {
            true => None,
            false => Some(Guarded::load(store.clone(), tasks.clone(), &joined)?),
        };
        let assigned = (!open).then(|| Arc::new(Assigned::new(&config)));
        let inner = Arc::new_cyclic(|weak: &Weak<Inner>| {
            let hidden = weak.clone();
            let hidden = Arc::new(move |host: &HostName| is_guarded(&hidden, host));
            let names = Names::new(&config, hidden, &roots, &dialer);
            let (names, reach) = (Arc::new(names), Arc::new(reach));
            let own = Own { names, dialer, reach, for_others: false };
            let lent = Own { reach: Arc::new(lent_reach), for_others: true, ..own.clone() };
            Inner {
                direct: Origin::new(Arc::new(own.clone()), roots.clone()),
                prover: Prover::new(own.clone(), roots.clone()),
                upgrades: Shaker::for_upgrades(roots.clone()),
                authority: Mutex::new(authority),
                lent_origin: Origin::new(Arc::new(lent.clone()), roots.clone()),
                tunnelled: Origin::new(Arc::new(ByTunnel(weak.clone())), roots),
                wires: wires.all.iter().map(|wire| wire.name()).collect(),
                relay_wire: wires.relay,
                veil,
                exchange,
                upstreams,
                guarded,
                hearsay: (!open).then(Hearsay::default),
                assigned,
                partials: open.then(Partials::default),
                superseed: Mutex::new(SuperSeed::new(rand::random())),
                offers: Offers::new(offers_seed),
                loads: hold::places(),
                catalogues: Catalogues::default(),
                question_key: Mutex::new(QuestionKey::new(&identity)),
                config,
                store,
                endpoint,
                joined,
                own,
                lent,
                hot: Hot::default(),
                hops: Mutex::default(),
                clock,
                giving,
                own_relay,
                stop: CancellationToken::new(),
                tasks,
                networks,
                favour: Mutex::default(),
                injector: OnceLock::new(),
                wants_stop: CancellationToken::new(),
                door: Mutex::default(),
            }
        });
        let node = Self(inner);
        node.hide_from_injectors();
        node.begin().await;
        if let Err(error) = node.find_others().await {
            node.stop().await;
            return Err(error);
        }
        if let Some(door) = door {
            let opened = HttpDoor::open(door, Arc::new(node.clone())).await;
            match opened {
                Ok(door) => *lock(&node.door) = Some(door),
                Err(error) => {
                    node.stop().await;
                    return Err(error.into());
                }
            }
        }
        Ok(node)
    }

    /// Starts what it does by itself.
    async fn begin(&self) {
        self.tasks.spawn(serve::serve(self.clone()));
        let own = self.clone();
        self.spawn(async move { own.keep_giving().await });
        let own = self.clone();
        self.spawn(async move { own.keep_networks().await });
        let own = self.clone();
        self.spawn(async move { catalogue::run(&own).await });
        if let Some(relay) = &self.own_relay {
            self.endpoint.add_relay(relay.near()).await;
        }
        if let Some(search) = self.upstreams.clone() {
            self.spawn(search.run(self.clone()));
        }
        let hosts = self.config.editions.iter().filter_map(|host| HostName::parse(host).ok());
        let hosts: Vec<_> = hosts.collect();
        if !hosts.is_empty() {
            let own = self.clone();
            self.spawn(async move { own.keep_editions(hosts).await });
        }
        self.be_quiet();
    }

    /// Starts what a quiet node does by itself.
    fn be_quiet(&self) {
        if self.config.exposure == Exposure::Quiet {
            let own = self.clone();
            self.spawn(async move { own.keep_tending().await });
            let own = self.clone();
            self.spawn(async move { renew::run(&own).await });
        }
    }

    async fn keep_tending(&self) {
        let mut pause = TEND_FIRST;
        loop {
            tokio::time::sleep(pause.mul_f64(1.0 + rand::random::<f64>())).await;
            self.tend().await;
            pause = TEND;
        }
    }

    /// Asks the guards of a quiet node what it needs of them: whom they know, and what to hold for
    /// others. It is done about each hour by itself.
    pub async fn tend(&self) {
        self.keep_homes().await;
        hearsay::round(self).await;
        assigned::round(self).await;
    }

    async fn keep_homes(&self) {
        let (relay, store) = (self.relay_wire.clone(), self.store.clone());
        blocking(move || wires::keep_homes(&relay, &store)).await;
    }

    /// Takes a new id, as a quiet node does each day by itself; an open one keeps its own. What is under
    /// way is not cut.
    pub async fn renew_id(&self) -> Result<(), BindError> {
        renew::once(self).await
    }

    /// Has an open node look for others, beyond those that it was told of.
    async fn find_others(&self) -> Result<(), StartError> {
        let Some(exchange) = self.exchange.clone() else { return Ok(()) };
        self.endpoint.add_finder(exchange.clone());
        dht::start(self, &exchange).await?;
        let own = self.clone();
        self.spawn(async move { exchange::run(&own, &exchange).await });
        let own = self.clone();
        self.spawn(async move { punch::run(&own).await });
        Ok(())
    }

    /// Ends the node: closes its doors and connections and waits for all it does.
    pub async fn stop(&self) {
        let door = lock(&self.door).take();
        if let Some(door) = door {
            door.close().await;
        }
        self.stop.cancel();
        self.endpoint.close().await;
        self.relay_wire.stop().await;
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(relay) = &self.own_relay {
            relay.stop().await;
        }
        self.keep_given().await;
        self.keep_network().await;
        self.keep_catalogues().await;
        self.keep_homes().await;
        if let Some(assigned) = self.assigned.clone() {
            blocking(move || assigned.clear()).await;
        }
    }

    /// The device is on another network: what failed on the last one may work here, and connections that
    /// were made there are dead, or lead by the wrong way.
    pub(crate) async fn moved(&self) {
        self.own.names.renew();
        for origin in [&self.direct, &self.tunnelled, &self.lent_origin] {
            origin.renew();
        }
        *self.favour() = Favour::default();
        self.prover.proven().clear();
        if let Some(search) = &self.upstreams {
            search.moved();
        }
        self.veil.moved();
        self.endpoint.moved().await;
    }

    /// Runs `task` as one of this node's: [`Node::stop`] cancels it and waits for its end.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs `work`, which may wait for the disk, on a thread for such; [`Node::stop`] waits for its
    /// end.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn_blocking(work)
    }

    /// Answers a request by whatever way works.
    pub async fn fetch(&self, request: Request) -> Result<Response, Unanswered> {
        fetch::fetch(self, request).await
    }

    /// Joins an invite. `trusted`: the reader confirmed its roots and sites.
    pub async fn join(&self, invite: &Invite, trusted: bool) -> Result<JoinReport, JoinError> {
        let (node, own) = (self.clone(), invite.clone());
        let report = blocking(move || node.joined.join(&own, trusted)).await?;
        self.hot.clear();
        self.hide_from_injectors();
        if let Some(guarded) = &self.guarded {
            guarded.invited(&self.joined);
        }
        for relay in &invite.relays {
            self.endpoint.add_relay(relay).await;
        }
        for contact in contacts(invite) {
            match trusted {
                true => self.endpoint.learn(contact).await,
                false => self.endpoint.hear_of(contact).await,
            }
        }
        if let Some(exchange) = &self.exchange {
            exchange.joined();
        }
        self.catalogues.joined();
        Ok(report)
    }

    /// An injector learns what is read: not by whom, if that is anybody's secret.
    fn hide_from_injectors(&self) {
        if self.config.exposure == Exposure::Quiet {
            let view = self.joined.view();
            let injectors = view.injectors.iter().map(|injector| injector.peer);
            self.endpoint.stay_behind_relays(injectors);
        }
    }

    /// Learns where another node may be reached, from a person: a quiet node may take it as a guard.
    pub async fn learn(&self, contact: Contact) {
        if let Some(guarded) = &self.guarded {
            guarded.named(&contact);
        }
        self.endpoint.learn(contact).await;
    }

    /// This node's id; a quiet node's is new each start and each day.
    pub fn id(&self) -> PeerId {
        self.endpoint.id()
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its presence in the network.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What it joined.
    pub fn joined(&self) -> &Joined {
        &self.joined
    }

    /// The client by which it asks origins for others. Beyond what its owner may do, each address is
    /// judged before it is connected to, by whatever way: see
    /// `allow_net_for_others`.
    pub fn origin(&self) -> &Origin {
        &self.lent_origin
    }

    /// Where its HTTP proxy listens.
    pub fn http_addr(&self) -> Option<std::net::SocketAddr> {
        lock(&self.door).as_ref().map(HttpDoor::addr)
    }

    /// The names of its wires.
    pub fn wires(&self) -> &[&'static str] {
        &self.wires
    }

    /// Makes this node answer `inject/1`, and its invites name it so. The first to register stays.
    pub fn register_injector(&self, injector: Arc<dyn Inject>) {
        let _ = self.injector.set(injector);
    }

    /// Whether it answers `inject/1`.
    pub fn is_injector(&self) -> bool {
        self.injector.get().is_some()
    }

    pub(crate) fn own_ticket(&self) -> Option<InjectorTicket> {
        self.injector.get().map(|injector| injector.ticket())
    }

    /// The addresses of the plain wire; none if it is off.
    pub fn plain_addrs(&self) -> Vec<std::net::SocketAddr> {
        match self.config.plain_wire {
            Some(_) => self.endpoint.local_addrs(),
            None => Vec::new(),
        }
    }

    /// The relay that it relays for others by, if it does.
    pub fn own_relay(&self) -> Option<&RelayTicket> {
        self.own_relay.as_ref().map(OwnRelay::ticket)
    }

    /// The relay that it keeps to now, as others reach it.
    pub fn home_relay(&self) -> Option<RelayTicket> {
        let home = self.endpoint.home_relay()?;
        let own = self.own_relay.as_ref().filter(|own| *own.near() == home);
        Some(own.map_or(home, |own| own.ticket().clone()))
    }

    /// Where it listens for the veil wire, and what opens a session to it.
    pub fn veil_ticket(&self) -> Option<VeilTicket> {
        self.veil.ticket()
    }

    /// Asks whoever runs this node to end it; see [`Node::stop_wanted`].
    pub fn ask_to_stop(&self) {
        self.wants_stop.cancel();
    }

    /// Returns once somebody asked this node to end, over its control socket say.
    pub async fn stop_wanted(&self) {
        self.wants_stop.cancelled().await;
    }

    /// Takes a revocation that came with content.
    pub async fn revoked(&self, revocation: Signed<Revocation>) {
        let Ok(revocation) = revocation.verify() else { return };
        if let Err(error) = self.heed(Word::Revocation(Box::new(revocation))).await {
            debug!(%error, "a revocation that came with a copy was not heeded");
        }
    }

    /// Heeds the word of a root: a revocation or a checkpoint.
    pub async fn heed(&self, word: Word) -> Result<Heard, HeedError> {
        let node = self.clone();
        let heard = blocking(move || node.joined.heed(word, clock::now())).await?;
        self.hot.clear();
        Ok(heard)
    }

    /// Takes a certificate that came with content, if it is newer than the one that is known of
    /// that injector.
    pub(crate) fn certified(&self, cert: &Verified<SubkeyCert>) {
        if self.joined.is_news(cert) {
            let (node, cert) = (self.clone(), cert.clone());
            self.tasks.spawn_blocking(move || {
                if let Err(error) = node.joined.renew(&cert) {
                    debug!(%error, "a certificate was not kept");
                }
            });
        }
    }

    pub(crate) fn upgrade(weak: &Weak<Inner>) -> Option<Self> {
        weak.upgrade().map(Self)
    }
}

impl Inner {
    /// The routes that a public request for `host` may take, in the order of a first try.
    fn public_routes(&self, sites: &SiteList, host: &HostName) -> Vec<Route> {
        let guarded = sites.find(host).is_some_and(|site| site.guarded);
        let hidden = guarded && self.config.exposure == Exposure::Quiet;
        let mut routes = Vec::with_capacity(3);
        if self.config.direct && !hidden {
            routes.push(Route::Direct);
        }
        routes.extend([Route::Swarm, Route::Injector]);
        routes
    }

    /// The plan of a public request: the routes that bring signed copies, and the site itself; then,
    /// if none of them works (a page that sets a cookie may not be signed, say), a tunnel to it.
    pub(crate) fn public_plan(&self, sites: &SiteList, url: &PageUrl) -> Vec<Step> {
        let host = &url.host();
        if edition::is_address(url) {
            return self.networks.plan(host, &[Route::Swarm, Route::Injector]);
        }
        let mut plan = self.networks.plan(host, &self.public_routes(sites, host));
        if let Some(last) = plan.last_mut() {
            last.patience = TUNNEL_AFTER;
        }
        plan.push(Step { route: Route::Tunnel, patience: TUNNEL_AFTER });
        plan
    }

    /// The routes that a private request to `host`, or a tunnel, may take.
    pub(crate) fn private_routes(&self, host: &HostName) -> Vec<Route> {
        let guarded = self.joined.view().sites.find(host).is_some_and(|site| site.guarded);
        let hidden = guarded && self.config.exposure == Exposure::Quiet;
        let direct = (self.config.direct && !hidden).then_some(Route::Direct);
        direct.into_iter().chain([Route::Tunnel]).collect()
    }

    /// How to ask at most `most` nodes for copies. A quiet node has its guards ask others, and each other,
    /// and asks one itself only where no other passes its question on.
    pub(crate) fn ways_to_ask(&self, most: usize) -> Vec<Way> {
        let Some(hearsay) = &self.hearsay else {
            return self.peers_to_ask(most).into_iter().map(Way::to).collect();
        };
        let guards = self.guards();
        let by = |peer: &PeerId| guards.iter().filter(|guard| *guard != peer).copied().collect();
        let mut ways: Vec<_> =
            guards.iter().map(|peer| Way { by: by(peer), ..Way::to(*peer) }).collect();
        ways.extend(self.endpoint.neighbours().into_iter().map(Way::to));
        ways.truncate(most);
        let told = hearsay.ways(&guards);
        let peers = told.iter().map(|way| way.peer).collect();
        let room = most - ways.len();
        let chosen = self.favour().choose(peers, room, rand::random(), self.clock.tick());
        ways.extend(told.into_iter().filter(|way| chosen.contains(&way.peer)));
        ways
    }

    /// The guards of a quiet node, in the order in which they are to be asked.
    pub(crate) fn guards(&self) -> Vec<PeerId> {
        self.guarded.as_ref().map(|guarded| guarded.order(&self.joined)).unwrap_or_default()
    }

    /// How many guards there are, and how many of them answer.
    pub(crate) fn count_guards(&self) -> Option<(usize, usize)> {
        self.guarded.as_ref().map(Guarded::count)
    }

    /// Notes that a node is being asked.
    pub(crate) fn asking(&self, peer: PeerId) -> Asking<'_> {
        self.guarded.as_ref().map_or_else(Asking::nobody, |guarded| guarded.asking(peer))
    }

    /// A node answered after `took`.
    pub(crate) fn worked(&self, peer: &PeerId, took: Duration) {
        self.favour().worked(peer, took, self.clock.tick());
        self.guarded.iter().for_each(|guarded| guarded.worked(peer, took));
    }

    /// A node did not answer, or stopped.
    pub(crate) fn failed(&self, peer: &PeerId) {
        self.favour().failed(peer, self.clock.tick());
        self.guarded.iter().for_each(|guarded| guarded.failed(peer));
    }

    /// A node said what is not true.
    pub(crate) fn lied(&self, peer: &PeerId) {
        self.favour().failed(peer, self.clock.tick());
        self.guarded.iter().for_each(|guarded| guarded.lied(peer));
    }

    /// Opens a question that is sealed to this node, asked under the id that it was asked as.
    pub(crate) fn open_question(&self, own: PeerId, envelope: &[u8]) -> Option<(Ask, ResponseKey)> {
        let key = lock(&self.question_key);
        key.open(envelope).ok().filter(|_| *key.id() == own)
    }

    pub(crate) fn ask_under(&self, key: QuestionKey) {
        *lock(&self.question_key) = key;
    }

    /// At most `most` peers to ask for copies: those we are connected to first, and of all those first
    /// that lately had what was wanted.
    pub(crate) fn peers_to_ask(&self, most: usize) -> Vec<PeerId> {
        let injectors: Vec<_> =
            self.joined.view().injectors.iter().map(|injector| injector.peer).collect();
        let mut near = self.endpoint.connected();
        near.retain(|peer| !injectors.contains(peer));
        let known = self.endpoint.contacts().into_iter().map(|contact| contact.peer);
        let known = known.chain(self.endpoint.neighbours());
        let far = known.filter(|peer| !near.contains(peer) && !injectors.contains(peer)).collect();
        self.favour().choose_near(near, far, most, rand::random(), self.clock.tick())
    }

    /// Nodes to tunnel through: injectors, whose operators expect it. Other nodes are not told which
    /// hosts their neighbours want.
    pub(crate) fn exits(&self) -> Vec<PeerId> {
        let mut exits = Vec::new();
        for injector in &self.joined.view().injectors {
            if !exits.contains(&injector.peer) {
                exits.push(injector.peer);
            }
        }
        self.favour().share(exits, rand::random(), self.clock.tick())
    }

    /// The nodes by which sealed requests go now, of those that may pass them on: those that do so well
    /// first, else any by lot.
    pub(crate) fn hops_to_ask(&self) -> Vec<PeerId> {
        let now = self.clock.tick();
        let known = match &self.guarded {
            Some(_) => self.guards(),
            None => self.peers_to_ask(MAX_HOPS),
        };
        let willing = |peer: &PeerId| self.hops().standing(peer, now) == Standing::Good;
        known.into_iter().filter(willing).collect()
    }

    pub(crate) fn hops(&self) -> MutexGuard<'_, Favour<PeerId>> {
        lock(&self.hops)
    }

    pub(crate) fn favour(&self) -> MutexGuard<'_, Favour<PeerId>> {
        lock(&self.favour)
    }

    pub(crate) fn injector(&self) -> Option<Arc<dyn Inject>> {
        self.injector.get().cloned()
    }
}

impl Node {
    pub(crate) fn saver(&self) -> Saver {
        let node = self.clone();
        let store = self.store.clone();
        Saver::start(store, &self.tasks, self.stop.clone(), move |snapshot| {
            node.is_stored(snapshot)
        })
    }

    /// A page is stored whole: what there was of it before is past.
    pub(crate) fn is_stored(&self, snapshot: &Snapshot) {
        self.hot.forget(&snapshot.key());
        self.forget_partial(&snapshot.head().root);
    }

    /// Which parts of bodies others have got from here.
    pub(crate) fn superseed(&self) -> MutexGuard<'_, SuperSeed> {
        lock(&self.superseed)
    }

    /// What has come of a body is stored whole, or can't be read.
    pub(crate) fn forget_partial(&self, root: &Hash) {
        if let Some(partials) = &self.partials {
            partials.forget(root);
        }
    }
}

impl Behind for Node {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, Unanswered>> {
        Box::pin(fetch::fetch(self, request))
    }

    fn tunnel(&self, client: Box<dyn Io>, host: HostName, port: u16) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tunnel::carry(self, client, host, port) => {}
            }
        })
    }

    fn vouch(&self, host: &HostName, port: u16) -> Option<Arc<ServerConfig>> {
        authority::vouch(self, host, port)
    }

    fn doubted(&self, host: &HostName) {
        authority::doubt(self, host.clone());
    }

    fn upgrade<'a>(
        &'a self,
        request: http::Request<()>,
        host: &'a HostName,
        port: u16,
    ) -> BoxFuture<'a, Result<http::Response<Incoming>, Failure>> {
        Box::pin(upgrade::upgrade(self, request, host, port))
    }
}

fn finders(
    store: &Store,
    joined: &Joined,
    tasks: &TaskTracker,
) -> Result<Vec<Arc<dyn Finder>>, ReadError> {
    let kept = store.setting(SAVED)?.unwrap_or_default();
    let (keeper, tasks) = (store.clone(), tasks.clone());
    let keep = Arc::new(move |bytes: Vec<u8>| {
        let store = keeper.clone();
        // Saved nodes are hints; if one is lost, the next good one is saved again.
        tasks.spawn_blocking(move || store.set(SAVED, &bytes));
    });
    let confirmed = Invited::confirmed(&joined.invites_that_are(true));
    let others = Invited::new(&joined.invites_that_are(false));
    Ok(vec![Arc::new(confirmed), Arc::new(others), Arc::new(Saved::new(&kept, keep))])
}

/// The node's clock, and by it what is remembered of the networks that the device was on.
async fn networks(config: &Config, store: &Store) -> Result<(Clock, OwnNetworks), StartError> {
    let (clock, store, remember) = (Clock::start(), store.clone(), config.remember);
    let networks = blocking(move || OwnNetworks::load(&store, remember, clock)).await?;
    Ok((clock, networks))
}

fn door_config(config: &Config, listen: std::net::SocketAddr) -> DoorConfig {
    let credentials = config.http_credentials.as_ref().map(|given| given.0.clone());
    DoorConfig { credentials, tells: config.http_tells, ..DoorConfig::new(listen) }
}

/// An open node keeps its identity; a quiet one has a new one each start.
fn identity(store: &Store, exposure: Exposure) -> Result<[u8; 32], StartError> {
    if exposure == Exposure::Quiet {
        return Ok(rand::random());
    }
    kept_random(store, IDENTITY)
}

/// Random bytes that are made once.
fn kept_random(store: &Store, name: &str) -> Result<[u8; 32], StartError> {
    let kept = store.setting(name)?.and_then(|bytes| bytes.try_into().ok());
    match kept {
        Some(kept) => Ok(kept),
        None => {
            let new: [u8; 32] = rand::random();
            store.set(name, &new)?;
            Ok(new)
        }
    }
}

fn is_guarded(node: &Weak<Inner>, host: &HostName) -> bool {
    let node = node.upgrade();
    node.is_some_and(|node| node.joined.view().sites.find(host).is_some_and(|site| site.guarded))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Credentials;

    #[test]
    fn the_door_asks_for_the_credentials_of_the_configuration() {
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 8118));
        let mut config = Config::default();
        assert_eq!(door_config(&config, listen).credentials, None);
        config.http_credentials = Some(Credentials("reader:secret".into()));
        assert!(!format!("{config:?}").contains("secret"), "they are not shown in logs");
        let door = door_config(&config, listen);
        assert_eq!(door.credentials.as_deref(), Some("reader:secret"));
        assert!(door.same_user_only && !door.allow_remote);
    }
}
