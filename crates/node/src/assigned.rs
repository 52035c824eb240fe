//! What a quiet node holds for others, and gives to whoever asks.
//!
//! It asks its guards what to hold, takes what `busel_proto::assigned` says, and fetches that from them,
//! whether its owner has read it or not. It lies in a store of its own, under a key that is gone with
//! this run, so nothing of what the owner read has a part in an answer: not the copies, not what made
//! room for them, not the time it takes to find one. A new id begins with nothing, so that it is not
//! known by what the last one held.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use busel_net::endpoint::Stream;
use busel_proto::assigned::{MAX_OFFERS, Offer, Shown, chosen, offered};
use busel_proto::cert::{Revocation, TrustSet};
use busel_proto::failure::Failure;
use busel_proto::id::{PeerId, SnapshotKey};
use busel_proto::message::{Answer, Ask};
use busel_proto::plan::Manner;
use busel_proto::signed::Signed;
use busel_proto::snapshot::Snapshot;
use busel_proto::time::UnixTime;
use busel_store::{Options, Store, Unlock};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::debug;
use zeroize::Zeroizing;

use crate::clock;
use crate::config::Exposure;
use crate::node::Node;
use crate::origin::StreamIo;
use crate::route::many;
use crate::route::voice::Way;
use crate::save;
use crate::say::say;

/// Where it lies, in the node's directory.
const DIR: &str = "assigned";
/// An answer is waited for this long.
const LIMIT: Duration = Duration::from_secs(20);
/// One copy takes at most this long, …
const COPY_LIMIT: Duration = Duration::from_secs(120);
/// … and all that are fetched in one round.
const ROUND_LIMIT: Duration = Duration::from_secs(900);
/// Clocks may differ by so much, in seconds.
const SKEW_SECS: u64 = 86_400;
/// An open node looks up what it can offer so often.
const REST: Duration = Duration::from_secs(30);
/// What a store may take more than the copies in it.
const SLACK: u64 = 1 << 20;

/// What is held for others, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Copies.
    pub copies: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// The most bytes; 0 if it holds nothing for others.
    pub quota: u64,
}

/// The copies that a quiet node was given to hold.
pub(crate) struct Assigned {
    dir: PathBuf,
    quota: u64,
    state: Mutex<State>,
    /// Held during a round: there is one at a time.
    round: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// As whom it holds them.
    own: Option<PeerId>,
    store: Option<Store>,
    copies: BTreeMap<SnapshotKey, Copy>,
}

struct Copy {
    offer: Offer,
    /// What came with it.
    revocation: Option<Signed<Revocation>>,
}

/// A copy that others are given.
pub(crate) struct Given {
    pub(crate) store: Store,
    pub(crate) revocation: Option<Signed<Revocation>>,
}

impl Assigned {
    /// Nothing yet. What an earlier run left is noise, and goes.
    pub(crate) fn new(config: &crate::Config) -> Self {
        let dir = config.dir.join(DIR);
        if let Err(error) = Store::wipe_dir(&dir) {
            debug!(%error, "what was held for others is still on the disk, unreadable");
        }
        let (state, round) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { dir, quota: config.assigned_quota, state, round }
    }

    /// What is held, for its owner to see.
    pub(crate) fn held(&self) -> Held {
        let state = self.state();
        let bytes = state.copies.values().map(|copy| copy.offer.len).sum();
        Held { copies: state.copies.len() as u64, bytes, quota: self.quota }
    }

    /// The copy under a key, for who asks this node as `own`.
    pub(crate) fn copy(&self, own: PeerId, key: &SnapshotKey) -> Option<Given> {
        let state = self.state();
        let copy = state.copies.get(key).filter(|_| state.own == Some(own))?;
        Some(Given { store: state.store.clone()?, revocation: copy.revocation.clone() })
    }

    /// The store in which a body may be, for who asks this node as `own`.
    pub(crate) fn store(&self, own: PeerId) -> Option<Store> {
        let state = self.state();
        state.store.clone().filter(|_| state.own == Some(own))
    }

    /// Holds nothing any more. Waits for the disk.
    pub(crate) fn clear(&self) {
        let old = std::mem::take(&mut *self.state());
        if let Some(store) = old.store
            && let Err(error) = store.wipe()
        {
            debug!(%error, "what was held for others is still on the disk, unreadable");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its store, made if there is none yet. Waits for the disk.
    fn open(&self, own: PeerId) -> Result<Store, String> {
        if let Some(store) = self.store(own) {
            return Ok(store);
        }
        self.clear();
        let secret = Zeroizing::new(HEXLOWER.encode(&rand::random::<[u8; 32]>()));
        let options = Options {
            dir: self.dir.clone(),
            unlock: Unlock::Passphrase(secret),
            quota: self.quota.saturating_add(SLACK),
        };
        let store = Store::open(options).map_err(|error| error.to_string())?;
        store.share(true);
        let mut state = self.state();
        (state.own, state.store) = (Some(own), Some(store.clone()));
        Ok(store)
    }

    /// What is held and is not among `kept` goes. Waits for the disk.
    fn drop_others(&self, kept: &[Offer]) {
        let (store, gone) = {
            let mut state = self.state();
            let others = |key: &SnapshotKey| !kept.iter().any(|offer| offer.key == *key);
            let gone: Vec<_> = state.copies.keys().filter(|key| others(key)).copied().collect();
            gone.iter().for_each(|key| drop(state.copies.remove(key)));
            (state.store.clone(), gone)
        };
        for key in gone {
            if let Some(Err(error)) = store.as_ref().map(|store| store.remove(&key)) {
                debug!(%error, "a copy for others was not removed");
            }
        }
    }
}

/// Asks the guards what to hold, and fetches what is not held yet.
pub(crate) async fn round(node: &Node) {
    let Some(assigned) = node.assigned.clone().filter(|assigned| assigned.quota > 0) else {
        return;
    };
    let _round = assigned.round.lock().await;
    let own = node.id();
    let mut offers: Vec<Offer> = match assigned.store(own) {
        Some(_) => assigned.state().copies.values().map(|copy| copy.offer).collect(),
        None => Vec::new(),
    };
    let mut from: BTreeMap<SnapshotKey, Vec<PeerId>> = BTreeMap::new();
    for guard in node.guards() {
        let asked =
            timeout(LIMIT, ask(node, guard, assigned.quota)).await.unwrap_or(Err(Failure::Silent));
        match asked {
            Ok(told) => {
                told.iter().for_each(|offer| from.entry(offer.key).or_default().push(guard));
                offers.extend(told);
            }
            Err(failure) => debug!(%failure, "a guard gives nothing to hold"),
        }
    }
    let mine = chosen(&own, &offers, assigned.quota);
    let (there, kept) = (assigned.clone(), mine.clone());
    let _ = node.spawn_blocking(move || there.drop_others(&kept)).await;
    let since = Instant::now();
    for offer in mine {
        if node.id() != own || since.elapsed() > ROUND_LIMIT {
            return;
        }
        let held = assigned.state().copies.get(&offer.key).map(|copy| copy.offer.fetched_at);
        if held >= Some(offer.fetched_at) {
            continue;
        }
        for guard in from.get(&offer.key).into_iter().flatten() {
            let taken = timeout(COPY_LIMIT, take(node, &assigned, own, *guard, offer)).await;
            match taken.unwrap_or(Err(Failure::Stalled)) {
                Ok(()) => break,
                Err(failure) => debug!(%failure, "a copy to hold for others did not come"),
            }
        }
    }
}

async fn ask(node: &Node, guard: PeerId, quota: u64) -> Result<Vec<Offer>, Failure> {
    let (answer, _) = say(node, guard, &Ask::Assign).await?;
    let Answer::Offers { mut offers } = answer else { return Ok(Vec::new()) };
    offers.truncate(MAX_OFFERS);
    // What can't be true would only displace what is.
    let (most, latest) = (quota, UnixTime(clock::now().0 + SKEW_SECS));
    offers.retain(|offer| offer.len <= most && offer.fetched_at <= latest);
    Ok(offers)
}

/// Fetches one copy, and holds it.
async fn take(
    node: &Node,
    assigned: &Arc<Assigned>,
    own: PeerId,
    guard: PeerId,
    offer: Offer,
) -> Result<(), Failure> {
    let ask = Ask::Fetch { key: offer.key, from: Some(0), root: None };
    let asked = timeout(LIMIT, say(node, guard, &ask)).await;
    let (answer, stream) = asked.unwrap_or(Err(Failure::Silent))?;
    let Answer::Found { snapshot, revocation } = answer else { return Err(Failure::NobodyHasIt) };
    // By the roots alone: what its owner heard of them while reading must not show.
    let mut trust = TrustSet::default();
    node.joined.view().trust.roots().for_each(|root| trust.add(root.clone()));
    let verified = snapshot.verify_page(&trust);
    let snapshot = verified.map_err(|error| Failure::NotAuthentic(error.to_string()))?;
    if snapshot.key() != offer.key || snapshot.head().len > offer.len {
        return Err(Failure::NotAuthentic("it is not what was offered".into()));
    }
    if let Some(revocation) = revocation.clone() {
        node.revoked(revocation).await;
    }
    let offer = Offer { fetched_at: snapshot.head().fetched_at, len: snapshot.head().len, ..offer };
    hold(node, assigned, own, guard, snapshot, stream).await?;
    // It may have become somebody else meanwhile, who holds nothing yet.
    let mut state = assigned.state();
    if state.own == Some(own) {
        state.copies.insert(offer.key, Copy { offer, revocation });
    }
    Ok(())
}

async fn hold(
    node: &Node,
    assigned: &Arc<Assigned>,
    own: PeerId,
    guard: PeerId,
    snapshot: Snapshot,
    stream: Stream,
) -> Result<(), Failure> {
    let not_kept = |error: String| Failure::Protocol(format!("it was not kept: {error}"));
    let there = assigned.clone();
    let opened = node.spawn_blocking(move || there.open(own)).await;
    let store = opened.map_err(|error| not_kept(error.to_string()))?.map_err(not_kept)?;
    let voice = Box::new(StreamIo(stream));
    let items =
        many::body(node, &snapshot, (0, Manner::RarestFirst), Some(voice), vec![Way::to(guard)]);
    save::all(node, store, snapshot, items, |_| {}).await
}

/// What an open node offers to hold: looked up once in a while, however many ask.
#[derive(Debug)]
pub(crate) struct Offers {
    now: tokio::sync::Mutex<Option<(Instant, Arc<Vec<Offer>>)>>,
    shown: Arc<Mutex<Shown>>,
}

impl Offers {
    /// None yet. `seed` draws what is offered in a day.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { now: tokio::sync::Mutex::default(), shown: Arc::new(Mutex::new(Shown::new(seed))) }
    }

    async fn now(&self, node: &Node) -> Option<Arc<Vec<Offer>>> {
        let mut held = self.now.lock().await;
        if let Some((_, offers)) = held.as_ref().filter(|(since, _)| since.elapsed() < REST) {
            return Some(offers.clone());
        }
        let (store, shown) = (node.store.clone(), self.shown.clone());
        let offers = node.spawn_blocking(move || {
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            store.offers().map(|all| shown.today(all, clock::now()))
        });
        let offers = Arc::new(offers.await.ok()?.ok()?);
        *held = Some((Instant::now(), offers.clone()));
        Some(offers)
    }
}

/// Answers a peer that asks what to hold.
pub(crate) async fn answer(node: &Node, peer: PeerId) -> Answer {
    if node.config.exposure == Exposure::Quiet {
        return Answer::Nothing;
    }
    match node.offers.now(node).await {
        Some(all) => Answer::Offers { offers: offered(&peer, &all) },
        None => Answer::Nothing,
    }
}
