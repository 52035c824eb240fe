//! The network that the device is on: when the device is looked at, what is done when it has moved, and
//! where what is remembered of each network is kept.
//!
//! Which network it is, and what is remembered of it, is [`busel_proto::networks`]'s to say. Nothing is
//! asked of anybody, and nothing is done while no request is: only who loads something looks around.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use busel_proto::failure::{Failure, Route};
use busel_proto::memory::Step;
use busel_proto::networks::{NetworkId, Networks, Seen, Sight};
use busel_proto::page::HostName;
use busel_proto::time::Tick;
use busel_store::{Store, WriteError};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tracing::debug;

use crate::clock::Clock;
use crate::node::{Node, StartError};

/// Names of settings in the store.
const KEY: &str = "network-key";
const ROWS: &str = "network/";
/// Whoever asks for something has the device looked at if that was so long ago …
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// … or so long, if a way failed, or it is not sure which network this is.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// A look that takes longer is not waited for; it goes on.
const LOOK_LIMIT: Duration = Duration::from_millis(500);
/// So long after what is new was seen it is looked at again.
const LOOK_TWICE: Duration = Duration::from_millis(50);
/// What was learnt is kept so long after the first of it: a crash loses no more.
const KEEP_AFTER: Duration = Duration::from_secs(20);

/// What is remembered of the networks that the device was on.
pub(crate) struct OwnNetworks {
    networks: Mutex<Networks>,
    clock: Clock,
    /// The tick of the last look.
    looked: AtomicU64,
    /// Nothing is kept if the reader refused it.
    store: Option<Store>,
    is_news: AtomicBool,
    news: Notify,
}

impl OwnNetworks {
    /// Reads what was kept, and looks where the device is. Waits for the disk. Whoever does not want to
    /// be remembered has what was kept before removed.
    pub(crate) fn load(store: &Store, remember: bool, clock: Clock) -> Result<Self, StartError> {
        let rows = store.settings_with(ROWS)?;
        let key = store.setting(KEY)?.and_then(|key| key.try_into().ok());
        let now = clock.tick();
        let (key, kept) = match (remember, key) {
            (true, Some(key)) => (key, rows.iter().map(|(_, row)| row.clone()).collect()),
            (true, None) | (false, _) => (rand::random(), Vec::new()),
        };
        let mut networks = Networks::new(key, &kept, now);
        if remember {
            store.set(KEY, &key)?;
        } else {
            store.unset(KEY)?;
        }
        let known: Vec<_> = networks.names().map(row_name).collect();
        for (name, _) in rows.iter().filter(|(name, _)| !remember || !known.contains(name)) {
            store.unset(name)?;
        }
        networks.see(sight().as_ref());
        Ok(Self {
            networks: Mutex::new(networks),
            clock,
            looked: AtomicU64::new(now.0),
            store: remember.then(|| store.clone()),
            is_news: AtomicBool::new(false),
            news: Notify::new(),
        })
    }

    /// The order of `routes` for `host` on this network.
    pub(crate) fn plan(&self, host: &HostName, routes: &[Route]) -> Vec<Step> {
        self.lock().here().plan(host, routes, self.clock.tick())
    }

    /// A way worked on this network.
    pub(crate) fn worked(&self, host: &HostName, route: Route, took: Duration) {
        self.lock().memory().worked(host, route, took, self.clock.tick());
        self.note_news();
    }

    fn failed(&self, host: &HostName, route: Route, failure: &Failure) {
        self.lock().memory().failed(host, route, failure, self.clock.tick());
        self.note_news();
    }

    fn note_news(&self) {
        if !self.is_news.swap(true, Ordering::Relaxed) {
            self.news.notify_one();
        }
    }

    /// Returns some time after the first of what is to be kept.
    async fn time_to_keep(&self) {
        self.news.notified().await;
        tokio::time::sleep(KEEP_AFTER).await;
    }

    /// Keeps what was learnt of the network that the device is on, if that is news. Waits for the disk.
    fn keep(&self) -> Result<(), WriteError> {
        let Some(store) = &self.store else { return Ok(()) };
        // In this order: what is learnt meanwhile is news again.
        if !self.is_news.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let (id, row) = self.lock().row(self.clock.tick());
        store.set(&row_name(id), &row)
    }

    /// Takes what is seen, and says whether the device has moved. Waits for the disk. Tables that are
    /// being changed show what is nowhere: what is new must be seen twice.
    fn look(&self) -> bool {
        let sight = sight();
        if !self.lock().stays(sight.as_ref()) {
            std::thread::sleep(LOOK_TWICE);
            if self::sight() != sight {
                self.looked.store(0, Ordering::Relaxed);
                return false;
            }
        }
        if let Err(error) = self.keep() {
            debug!(%error, "what was learnt of a network was not kept");
        }
        let Seen { moved, forgotten } = self.lock().see(sight.as_ref());
        if moved || forgotten.is_some() {
            self.note_news();
        }
        if let (Some(store), Some(forgotten)) = (&self.store, forgotten)
            && let Err(error) = store.unset(&row_name(forgotten))
        {
            debug!(%error, "a network was not forgotten");
        }
        moved
    }

    /// Whether the last look was so long ago; then this is the next one.
    fn is_due(&self, after: Duration) -> bool {
        let now = self.clock.tick();
        let due = |last: u64| (now - Tick(last) >= after).then_some(now.0);
        self.looked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Networks> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Looks whether the device has moved, if that was not done lately.
    pub(crate) async fn look_around(&self) {
        let unsure = self.networks.lock().is_unsure();
        if self.networks.is_due(if unsure { LOOK_SOON } else { LOOK_EVERY }) {
            let (node, (done, looked)) = (self.clone(), oneshot::channel::<()>());
            self.spawn(async move {
                node.look().await;
                drop(done);
            });
            // It ends without a word.
            let _ = timeout(LOOK_LIMIT, looked).await;
        }
    }

    /// A way failed for `host`: the next will be another, and perhaps the device has moved.
    pub(crate) fn way_failed(&self, host: &HostName, route: Route, failure: &Failure) {
        if !failure.is_neutral() {
            self.networks.failed(host, route, failure);
            self.suspect_move();
        }
    }

    /// Something went wrong as it does when the device moves.
    pub(crate) fn suspect_move(&self) {
        if self.networks.is_due(LOOK_SOON) {
            let node = self.clone();
            self.spawn(async move { node.look().await });
        }
    }

    async fn look(&self) {
        let node = self.clone();
        if let Ok(true) = self.spawn_blocking(move || node.networks.look()).await {
            debug!("the device is on another network");
            self.moved().await;
        }
    }

    /// Keeps what is learnt, again and again. Nothing wakes it while nothing is.
    pub(crate) async fn keep_networks(&self) {
        loop {
            self.networks.time_to_keep().await;
            self.keep_network().await;
        }
    }

    pub(crate) async fn keep_network(&self) {
        let node = self.clone();
        match self.spawn_blocking(move || node.networks.keep()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "what was learnt of a network was not kept"),
            Err(error) => debug!(%error, "what was learnt of a network was not kept"),
        }
    }
}

fn row_name(id: NetworkId) -> String {
    format!("{ROWS}{id}")
}

/// What the system says of the line by which packets leave. It is asked for its tables, nobody else is
/// asked for anything. Where it does not tell, there is one network.
fn sight() -> Option<Sight> {
    let line = netdev::get_default_interface().ok()?;
    let v4 = line.ipv4.iter().map(|net| (net.addr().into(), net.prefix_len()));
    let v6 = line.ipv6.iter().map(|net| (net.addr().into(), net.prefix_len()));
    let addrs = v4.chain(v6).collect();
    let Some(gateway) = line.gateway else {
        return Some(Sight { line: line.name, addrs, ..Sight::default() });
    };
    let v4 = gateway.ipv4.into_iter().map(Into::into);
    let gateways = v4.chain(gateway.ipv6.into_iter().map(Into::into)).collect();
    let card = Some(gateway.mac_addr.octets()).filter(|card| *card != [0; 6]);
    Some(Sight { line: line.name, gateways, card, addrs })
}
