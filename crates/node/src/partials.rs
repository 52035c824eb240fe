//! Long bodies on their way to an open node. As far as they were verified others have them from it already,
//! and a load that was broken off, or the next one, goes on with them. Nothing of it outlives the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use busel_proto::blob::Window;
use busel_proto::id::{Hash, PeerId, SnapshotKey};
use busel_proto::plan::{PIECE, Pieces};
use busel_proto::snapshot::Snapshot;
use busel_store::{MAX_PARTIAL, PartialBlob, Store, WriteError};
use tokio::sync::watch;
use tracing::debug;

/// Bodies at most.
const MAX: usize = 32;
/// They may take this part of the quota.
const SHARE: u64 = 4;
/// Who asked for one of them is remembered up to so many.
const MAX_ASKERS: usize = 64;

/// All of them, the one that was begun last at the end.
#[derive(Debug, Default)]
pub(crate) struct Partials(Mutex<Vec<Arc<Partial>>>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) snapshot: Snapshot,
    blob: PartialBlob,
    pieces: watch::Sender<Pieces>,
    askers: watch::Sender<Vec<PeerId>>,
}

impl Partials {
    /// That of a snapshot, which may be begun by this; `None` if there is no place for it.
    pub(crate) fn begin(&self, store: &Store, snapshot: &Snapshot) -> Option<Arc<Partial>> {
        let (root, len) = (snapshot.head().root, snapshot.head().len);
        let most = (store.usage().quota / SHARE).min(MAX_PARTIAL);
        if len > most {
            return None;
        }
        let mut all = self.lock();
        let known = all.iter().find(|one| one.blob.root() == root && one.blob.len() == len);
        if let Some(known) = known {
            return Some(Arc::clone(known));
        }
        while all.len() >= MAX || all.iter().map(|one| one.blob.len()).sum::<u64>() + len > most {
            // What somebody is loading stays.
            let unused = all.iter().position(|one| Arc::strong_count(one) == 1)?;
            all.remove(unused);
        }
        let blob = store.partial(root, len);
        let blob = blob.inspect_err(|error| debug!(%error, "parts of a body are not kept")).ok()?;
        let begun = Arc::new(Partial {
            snapshot: snapshot.clone(),
            blob,
            pieces: watch::Sender::default(),
            askers: watch::Sender::default(),
        });
        all.push(Arc::clone(&begun));
        Some(begun)
    }

    /// That of a body.
    pub(crate) fn find(&self, root: &Hash) -> Option<Arc<Partial>> {
        self.lock().iter().find(|one| one.blob.root() == *root).cloned()
    }

    /// The newest of a page, or the one with this body.
    pub(crate) fn find_page(&self, key: &SnapshotKey, root: Option<Hash>) -> Option<Arc<Partial>> {
        let all = self.lock();
        let fits = |one: &&Arc<Partial>| {
            one.snapshot.key() == *key && root.is_none_or(|root| root == one.blob.root())
        };
        all.iter().filter(fits).max_by_key(|one| one.snapshot.head().fetched_at).cloned()
    }

    /// It is stored whole, or can't be read.
    pub(crate) fn forget(&self, root: &Hash) {
        self.lock().retain(|one| one.blob.root() != *root);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Partial>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Partial {
    /// The parts of it that are there.
    pub(crate) fn blob(&self) -> &PartialBlob {
        &self.blob
    }

    /// The pieces that are there whole, and more of them as they come.
    pub(crate) fn pieces(&self) -> watch::Receiver<Pieces> {
        self.pieces.subscribe()
    }

    /// A peer asks which pieces are there: it is loading it, too.
    pub(crate) fn asked_by(&self, peer: PeerId) {
        self.askers.send_if_modified(|askers| {
            let new = askers.len() < MAX_ASKERS && !askers.contains(&peer);
            askers.extend(new.then_some(peer));
            new
        });
    }

    /// Who has asked, and more of them as they do.
    pub(crate) fn askers(&self) -> watch::Receiver<Vec<PeerId>> {
        self.askers.subscribe()
    }

    /// Takes a part that was verified. It blocks.
    pub(crate) fn put(&self, window: &Window) -> Result<(), WriteError> {
        self.blob.put(window)?;
        let (first, last) = (window.range.start / PIECE, (window.range.end - 1) / PIECE);
        let whole = |piece: &u64| {
            self.blob.has(&(piece * PIECE..((piece + 1) * PIECE).min(self.blob.len())))
        };
        let whole: Vec<_> = (first..=last).filter(whole).collect();
        if !whole.is_empty() {
            self.pieces.send_modify(|pieces| whole.into_iter().for_each(|piece| pieces.add(piece)));
        }
        Ok(())
    }
}
