//! The catalogues of the roots that are trusted here: kept, compared with those of others, and asked what is to be had.
//!
//! An open node compares its own with another open one's, takes what is missing here and tells what is missing there. A
//! quiet one only asks, through its guards as it asks for copies, and answers nobody: what it has would say whom it
//! trusts. For the same reason nothing is compared in the LAN. What a catalogue is, is [`busel_proto::catalogue`]'s to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use busel_proto::catalogue::{
    Catalogue, Compare, Differ, FIRST, Listed, ListedError, MAX_WANTED, NEWS, Next, Put,
    QUIET_ROUND, ROUND, SignedListed,
};
use busel_proto::cbor;
use busel_proto::failure::Failure;
use busel_proto::freshness;
use busel_proto::id::{Hash, PublicKey, SnapshotKey};
use busel_proto::message::{Answer, Ask};
use busel_proto::snapshot::{SignedSnapshot, Snapshot, Wanted};
use busel_proto::time::UnixTime;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::clock;
use crate::config::Exposure;
use crate::node::Node;
use crate::route::voice::{Way, hear};
use crate::say::say;

/// What is kept of one has this name in the store, and then the root's.
const KEPT: &str = "catalogue ";
/// The longest that is kept.
const MAX_KEPT: usize = 16 << 20;
/// Roots that have one, at most.
const MAX_ROOTS: usize = 16;
/// One comparison may take so long.
const LIMIT: Duration = Duration::from_secs(60);
/// Nodes of which one is chosen by lot.
const AMONG: usize = 16;
/// What others tell is verified for so many of them at once.
const MAX_VERIFYING: usize = 2;
/// It is kept once it has changed, but not more often than this.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// Pages that are found at most.
const MAX_FOUND: usize = 200;

/// All of them.
pub(crate) struct Catalogues {
    of: Mutex<BTreeMap<PublicKey, Catalogue>>,
    /// Those that have changed since they were kept.
    changed: Mutex<BTreeSet<PublicKey>>,
    news: Notify,
    verifying: Semaphore,
}

impl Default for Catalogues {
    fn default() -> Self {
        Self {
            of: Mutex::default(),
            changed: Mutex::default(),
            news: Notify::new(),
            verifying: Semaphore::new(MAX_VERIFYING),
        }
    }
}

/// A page that is to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its address.
    pub url: String,
    /// When it was fetched, in Unix seconds.
    pub fetched_at: u64,
    /// Bytes of its body.
    pub len: u64,
    /// Whether just that body is on this device.
    pub here: bool,
}

impl Catalogues {
    /// Puts in a page. Returns whether it is new here.
    fn put(&self, listed: &Listed) -> bool {
        let root = listed.root();
        let mut of = lock(&self.of);
        if !of.contains_key(&root) && of.len() >= MAX_ROOTS {
            return false;
        }
        let new = of.entry(root).or_default().put(listed, clock::now()) == Put::New;
        if new {
            lock(&self.changed).insert(root);
        }
        new
    }

    /// Does it to the catalogue of a root, if there is one.
    fn with<T>(&self, root: &PublicKey, look: impl FnOnce(&Catalogue) -> T) -> Option<T> {
        lock(&self.of).get(root).map(look)
    }

    /// The newest heads of a page, of each root, that were fetched after this.
    fn newer(&self, key: &SnapshotKey, than: UnixTime) -> Vec<SignedSnapshot> {
        let of = lock(&self.of);
        of.values().filter_map(|catalogue| catalogue.newer(key, than)).cloned().collect()
    }

    /// There are others now whom it may ask, or another root.
    pub(crate) fn joined(&self) {
        self.news.notify_one();
    }

    /// Pages at all.
    pub(crate) fn len(&self) -> usize {
        lock(&self.of).values().map(Catalogue::len).sum()
    }
}

impl Node {
    /// Lists a page that this node's injector has signed.
    pub fn list(&self, listed: &Listed) {
        if self.catalogues.put(listed) {
            self.catalogues.news.notify_one();
        }
    }

    /// Whether this version of a page is listed, or a newer one.
    pub fn is_listed(&self, snapshot: &Snapshot) -> bool {
        let before = UnixTime(snapshot.head().fetched_at.0.saturating_sub(1));
        let listed = self.catalogues.with(&snapshot.cert().root, |catalogue| {
            catalogue.newer(&snapshot.key(), before).is_some()
        });
        listed.unwrap_or(false)
    }

    /// The newest version of a page that is listed, if it was fetched after this.
    pub(crate) fn newer(&self, wanted: &Wanted, than: UnixTime) -> Option<Snapshot> {
        let heads = self.catalogues.newer(&wanted.key(), than);
        let view = self.joined.view();
        let good = heads.into_iter().filter_map(|head| head.verify(wanted, &view.trust).ok());
        good.max_by_key(|snapshot| snapshot.head().fetched_at)
    }

    /// Whether the page is known to be listed in a version that is fresh for who asks so.
    pub(crate) fn knows_fresh(&self, wanted: &Wanted, headers: &http::HeaderMap) -> bool {
        let newest = self.newer(wanted, UnixTime(0));
        newest.is_some_and(|newest| freshness::judge(&newest, headers, clock::now()).fresh)
    }

    /// A copy with the newest head that is listed, if that has the same body; and whether it is the newest then.
    pub(crate) fn renewed(&self, wanted: &Wanted, copy: Snapshot) -> (Snapshot, bool) {
        let Some(newer) = self.newer(wanted, copy.head().fetched_at) else { return (copy, true) };
        let same = newer.head().root == copy.head().root;
        (if same { newer } else { copy }, same)
    }

    /// What is to be had whose address has this text in it, the newest first; all, if it is empty.
    pub async fn find_listed(&self, text: &str) -> Vec<Found> {
        let text = text.to_lowercase();
        let mut heads: Vec<_> = {
            let of = lock(&self.catalogues.of);
            let pages = of.values().flat_map(Catalogue::all);
            pages.filter_map(|page| page.snapshot.head.peek().ok()).collect()
        };
        heads.retain(|head| head.url.to_lowercase().contains(&text));
        heads.sort_by_key(|head| std::cmp::Reverse(head.fetched_at));
        heads.truncate(MAX_FOUND);
        let store = self.store.clone();
        let found = self.spawn_blocking(move || {
            let found = heads.into_iter().map(|head| Found {
                here: store.has_blob(&head.root).unwrap_or(false),
                url: head.url.clone(),
                fetched_at: head.fetched_at.0,
                len: head.len,
            });
            found.collect()
        });
        found.await.unwrap_or_default()
    }

    /// Compares its catalogues with another node's, now: of each root that is trusted here.
    pub async fn compare(&self) {
        let Some(way) = self.to_compare_with() else { return };
        let roots: Vec<_> = self.joined.view().trust.roots().map(|root| root.key).collect();
        for root in roots.into_iter().take(MAX_ROOTS) {
            match timeout(LIMIT, compare(self, &way, root)).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => debug!(%failure, "a node compares no catalogue"),
                Err(_) => debug!("a node was too slow to compare a catalogue"),
            }
        }
    }

    /// A node by lot.
    fn to_compare_with(&self) -> Option<Way> {
        let mut ways = self.ways_to_ask(AMONG);
        let near = self.endpoint.neighbours();
        ways.retain(|way| !near.contains(&way.peer));
        ways.choose(&mut rand::rng()).cloned()
    }

    /// Keeps what has changed.
    pub(crate) async fn keep_catalogues(&self) {
        let changed = std::mem::take(&mut *lock(&self.catalogues.changed));
        for root in changed {
            let kept = self.catalogues.with(&root, |catalogue| {
                cbor::to_vec(&catalogue.all().cloned().collect::<Vec<_>>())
            });
            let (store, name) = (self.store.clone(), format!("{KEPT}{root}"));
            let Some(kept) = kept else { continue };
            let set = tokio::task::spawn_blocking(move || store.set(&name, &kept)).await;
            if let Ok(Err(error)) = set {
                debug!(%error, "a catalogue was not kept");
            }
        }
    }
}

/// Keeps them, and compares, until it is dropped.
pub(crate) async fn run(node: &Node) {
    load(node).await;
    let mut kept = tokio::time::Instant::now();
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = sleep(pause.mul_f64(1.0 + rand::random::<f64>())) => {}
            () = node.catalogues.news.notified() => {
                sleep(NEWS.mul_f64(1.0 + rand::random::<f64>())).await;
            }
        }
        let now = clock::now();
        lock(&node.catalogues.of).values_mut().for_each(|catalogue| catalogue.expire(now));
        node.compare().await;
        if kept.elapsed() > KEEP_EVERY {
            node.keep_catalogues().await;
            kept = tokio::time::Instant::now();
        }
        pause = if node.config.exposure == Exposure::Open { ROUND } else { QUIET_ROUND };
    }
}

/// Reads what was kept. What can't be read, or is trusted no longer, is left out.
async fn load(node: &Node) {
    let own = node.clone();
    let read = node.spawn_blocking(move || {
        let view = own.joined.view();
        for root in view.trust.roots().take(MAX_ROOTS) {
            let kept = own.store.setting(&format!("{KEPT}{}", root.key)).ok().flatten();
            let kept = kept.and_then(|kept| cbor::from_slice(&kept, MAX_KEPT).ok());
            let kept: Vec<SignedListed> = kept.unwrap_or_default();
            kept.into_iter().filter_map(|page| page.verify(&view.trust).ok()).for_each(|page| {
                own.catalogues.put(&page);
            });
        }
    });
    if read.await.is_err() {
        debug!("the catalogues were not read");
    }
}

/// Compares the catalogue of a root with a node's, and has both take what they lack, if both are open.
async fn compare(node: &Node, way: &Way, root: PublicKey) -> Result<(), Failure> {
    let own = node.catalogues.with(&root, Catalogue::sketch);
    let own = own.unwrap_or_else(|| Catalogue::default().sketch());
    let protocol = |error: busel_proto::catalogue::CompareError| {
        node.lied(&way.peer);
        Failure::Protocol(error.to_string())
    };
    let (mut compare, mut message) = Compare::begin(own).map_err(protocol)?;
    let differ = loop {
        let ask = Ask::Compare { root, message };
        let (answer, _) = hear(node, way, &ask).await?;
        let answer = match answer {
            Answer::Compared { message } => message,
            other => return not_given(other),
        };
        match compare.hear(&answer).map_err(protocol)? {
            Next::Send(next) => message = next,
            Next::Found(differ) => break differ,
        }
    };
    let Differ { here, there } = differ;
    for heads in here.chunks(MAX_WANTED) {
        let (answer, _) = hear(node, way, &Ask::Listed { root, heads: heads.to_vec() }).await?;
        let pages = match answer {
            Answer::Listed { pages } if !pages.is_empty() => pages,
            Answer::Listed { .. } => break,
            other => return not_given(other),
        };
        if take(node, root, pages).await.is_err() {
            node.lied(&way.peer);
            return Err(Failure::NotAuthentic("a page of a catalogue".into()));
        }
    }
    if node.config.exposure == Exposure::Open && !there.is_empty() {
        let pages = node.catalogues.with(&root, |catalogue| catalogue.some(&there));
        let tell = Ask::Tell { root, pages: pages.unwrap_or_default() };
        say(node, way.peer, &tell).await?;
    }
    Ok(())
}

/// That a node does not compare is no fault.
fn not_given(answer: Answer) -> Result<(), Failure> {
    match answer {
        Answer::Nothing => Ok(()),
        Answer::Declined { failure } => Err(Failure::declined(&failure)),
        _ => Err(Failure::Protocol("an unexpected answer".into())),
    }
}

/// Takes pages that were not verified yet; an error is a lie.
async fn take(node: &Node, root: PublicKey, pages: Vec<SignedListed>) -> Result<(), ListedError> {
    let known = |catalogue: &Catalogue| catalogue.unknown(pages.clone());
    let unknown = node.catalogues.with(&root, known).unwrap_or_else(|| pages.clone());
    if unknown.is_empty() {
        return Ok(());
    }
    let Ok(_place) = node.catalogues.verifying.acquire().await else { return Ok(()) };
    let view = node.joined.view();
    let verified = node.spawn_blocking(move || {
        let mut good = Vec::new();
        for page in unknown {
            match page.verify(&view.trust) {
                Ok(page) if page.root() == root => good.push(page),
                Ok(_) => return Err(ListedError::Other),
                Err(error) if error.is_a_lie() => return Err(error),
                Err(error) => debug!(%error, "a page of a catalogue is not trusted here"),
            }
        }
        Ok(good)
    });
    let good = verified.await.unwrap_or_else(|_| Ok(Vec::new()))?;
    let mut news = false;
    for page in &good {
        news |= node.catalogues.put(page);
    }
    if news && node.config.exposure == Exposure::Open {
        node.catalogues.news.notify_one();
    }
    Ok(())
}

/// Whether a root has a catalogue that may be seen: an open node's, of one that it trusts.
fn may_show(node: &Node, root: &PublicKey, near: bool) -> bool {
    let trusted = || node.joined.view().trust.root(root).is_some();
    node.config.exposure == Exposure::Open && !near && trusted()
}

/// Answers who compares.
pub(crate) async fn compared(node: &Node, root: PublicKey, message: Vec<u8>, near: bool) -> Answer {
    if !may_show(node, &root, near) {
        return Answer::Nothing;
    }
    let sketch = node.catalogues.with(&root, Catalogue::sketch);
    let sketch = sketch.unwrap_or_else(|| Catalogue::default().sketch());
    let answer = node.spawn_blocking(move || sketch.answer(&message)).await;
    match answer {
        Ok(Ok(message)) => Answer::Compared { message },
        Ok(Err(error)) => Answer::Declined { failure: Failure::Protocol(error.to_string()) },
        Err(_) => Answer::Nothing,
    }
}

/// Answers who asks for pages of it.
pub(crate) fn listed(node: &Node, root: &PublicKey, heads: &[Hash], near: bool) -> Answer {
    if !may_show(node, root, near) {
        return Answer::Nothing;
    }
    let pages = node.catalogues.with(root, |catalogue| catalogue.some(heads));
    Answer::Listed { pages: pages.unwrap_or_default() }
}

/// Answers who tells of pages.
pub(crate) async fn told(
    node: &Node,
    root: PublicKey,
    pages: Vec<SignedListed>,
    near: bool,
) -> Answer {
    if !may_show(node, &root, near) {
        return Answer::Nothing;
    }
    match take(node, root, pages).await {
        Ok(()) => Answer::Open,
        Err(error) => Answer::Declined { failure: Failure::NotAuthentic(error.to_string()) },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
