//! A node that may fetch from the open web and sign what it saw.
//!
//! An [`Injector`] is registered with a [`Node`] and uses only its public API: it opens sealed
//! requests, fetches through the node's own origin client, which refuses addresses that are not on
//! the public internet, signs with its subkey, and keeps what may be shared in the node's store.
//!
//! * [`keys`]: root, subkey and certificate.
//! * [`limits`]: how much one client, and all together, may ask.
//! * [`inflight`]: one origin fetch for all who ask at once, streamed while it comes in.
//! * [`answer`]: what one asker is told.
//! * `editions`: what feeds name, fetched ahead.
//! * `holders`: what many ask for is held by open nodes.
//! * `listing`: what is to be had.
//! * [`renewal`]: the certificate is renewed while it runs.

mod along;
pub mod answer;
mod cut;
mod editions;
mod holders;
pub mod inflight;
pub mod keys;
pub mod limits;
mod listing;
pub mod renewal;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use busel_net::endpoint::Stream;
use busel_node::Node;
use busel_node::serve::Inject;
use busel_proto::catalogue::Popular;
use busel_proto::cert::TrustedRoot;
use busel_proto::id::{PeerId, SnapshotKey};
use busel_proto::invite::InjectorTicket;
use busel_proto::page::{HostPattern, PageUrl};
use busel_proto::replay::ReplayGuard;
use busel_proto::time::{Tick, UnixTime};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use holders::{Held, MAX_ASKING};
use inflight::InFlight;
use keys::Keys;
use limits::Limits;
use renewal::{Certify, RenewError};

/// How an injector works.
#[derive(Debug, Clone)]
pub struct Config {
    /// What its root is called in invites.
    pub label: String,
    /// The hosts whose pages it fetches.
    pub hosts: Vec<HostPattern>,
    /// The longest body that it fetches, in bytes.
    pub max_body: u64,
    /// Requests that one client may make a second, on average.
    pub requests_per_second: u32,
    /// Fetches from origins at once.
    pub fetches: usize,
    /// How many of them one client may have begun.
    pub fetches_per_client: usize,
    /// The ports that it fetches from. Which queries it fetches is said by its node's site list.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Feeds and sitemaps, of whose pages it makes an edition for each host that they are on …
    pub feeds: Vec<PageUrl>,
    /// … and how often it looks at them.
    pub feeds_every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            label: "injector".into(),
            hosts: Vec::new(),
            max_body: 1 << 30,
            requests_per_second: 50,
            fetches: 256,
            fetches_per_client: 32,
            ports: vec![80..=80, 443..=443],
            feeds: Vec::new(),
            feeds_every: Duration::from_secs(15 * 60),
        }
    }
}

/// An injector at work. Clones are one.
#[derive(Clone)]
pub struct Injector(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) node: Node,
    pub(crate) keys: Keys,
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    pub(crate) replays: Mutex<ReplayGuard>,
    pub(crate) inflight: Mutex<HashMap<SnapshotKey, InFlight>>,
    started: Instant,
    pub(crate) bodies: AtomicU64,
    pub(crate) held: Mutex<Held>,
    pub(crate) asking: Semaphore,
    pub(crate) popular: Mutex<Popular>,
}

impl Inner {
    pub(crate) fn tick(&self) -> Tick {
        Tick(0) + self.started.elapsed()
    }
}

impl std::fmt::Debug for Injector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Injector({})", self.0.config.label)
    }
}

impl Injector {
    /// Starts to answer sealed requests on `node`. The node trusts its own root from here on.
    pub fn start(node: &Node, keys: Keys, config: Config) -> Self {
        node.joined().trust_own(TrustedRoot {
            key: keys.cert().root,
            label: config.label.clone(),
            hosts: config.hosts.clone(),
        });
        let injector = Self(Arc::new(Inner {
            node: node.clone(),
            keys,
            limits: Limits::new(&config),
            config,
            replays: Mutex::new(ReplayGuard::new(rand::random())),
            inflight: Mutex::default(),
            started: Instant::now(),
            bodies: AtomicU64::new(0),
            held: Mutex::new(Held::new(rand::random())),
            asking: Semaphore::new(MAX_ASKING),
            popular: Mutex::default(),
        }));
        node.register_injector(Arc::new(injector.clone()));
        let (inner, config) = (injector.0.clone(), &injector.0.config);
        if !config.feeds.is_empty() {
            let (feeds, every) = (config.feeds.clone(), config.feeds_every);
            node.spawn(async move { editions::follow(inner, feeds, every).await });
        }
        injector
    }

    /// What an invite asks the reader to trust.
    pub fn trusted_root(&self) -> TrustedRoot {
        TrustedRoot {
            key: self.0.keys.cert().root,
            label: self.0.config.label.clone(),
            hosts: self.0.config.hosts.clone(),
        }
    }

    /// What an invite says of this injector.
    pub fn ticket(&self) -> InjectorTicket {
        InjectorTicket { peer: self.0.node.id(), cert: self.0.keys.cert().signed().clone() }
    }

    /// Has the certificate renewed by `certify` in time, for as long as the node runs.
    pub fn keep_certified(&self, certify: Arc<dyn Certify>) {
        let injector = self.clone();
        self.0.node.spawn(async move { renewal::keep(&injector, certify).await });
    }

    /// Has the certificate renewed by `certify` if it is time at `now`. Returns whether it was.
    pub async fn renew_if_due(
        &self,
        certify: Arc<dyn Certify>,
        now: UnixTime,
    ) -> Result<bool, RenewError> {
        if !self.0.keys.cert().is_due(now) {
            return Ok(false);
        }
        let inner = self.0.clone();
        let asked = self.0.node.spawn_blocking(move || certify.certify(&inner.keys.request()));
        let cert = asked.await.unwrap_or_else(|_| Err("it was broken off".into()));
        self.0.keys.renew(cert.map_err(RenewError::NotHad)?)?;
        Ok(true)
    }

    /// Bodies, or parts of such, that it began to send to readers so far.
    pub fn bodies(&self) -> u64 {
        self.0.bodies.load(Ordering::Relaxed)
    }

    /// Fetches from origins so far.
    pub fn fetches(&self) -> u64 {
        self.0.limits.fetches()
    }
}

impl Inject for Injector {
    fn inject(&self, envelope: Vec<u8>, from: PeerId, stream: Stream) -> BoxFuture<'static, ()> {
        let inner = self.0.clone();
        Box::pin(async move { answer::answer(inner, envelope, from, stream).await })
    }

    fn ticket(&self) -> InjectorTicket {
        self.ticket()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
