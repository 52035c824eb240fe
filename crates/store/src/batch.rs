//! One transaction's work on the index: what each operation changes, and what goes when the quota
//! is reached. Files are touched by nobody here: the names of those that are no longer needed are
//! gathered, to be removed once the transaction is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use busel_proto::evict::{self, Candidate};
use busel_proto::id::{Hash, SnapshotKey};
use busel_proto::time::UnixTime;
use redb::{ReadableTable, Table, WriteTransaction};

use crate::blob::FinishedBlob;
use crate::error::Fault;
use crate::reader::Body;
use crate::rows::{self, BlobRow, FileName, Meta, Tags};
use crate::writer::lock;

type KeyedTable<'t> = Table<'t, &'static [u8; 32], &'static [u8]>;
type NumberedTable<'t> = Table<'t, u64, &'static [u8]>;

/// What the store holds, by number.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) snapshots: u64,
    pub(crate) blobs: u64,
    /// What counts against the quota.
    pub(crate) bytes: u64,
    /// Of blob files alone.
    pub(crate) file_bytes: u64,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes, as the quota counts them.
    pub bytes: u64,
}

/// A snapshot to store, verified.
pub(crate) struct NewSnapshot {
    pub(crate) key: SnapshotKey,
    pub(crate) signed: Vec<u8>,
    pub(crate) fetched_at: UnixTime,
    pub(crate) body: FinishedBlob,
    pub(crate) now: UnixTime,
    /// Whether it may be given to others.
    pub(crate) shared: bool,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Stored,
    /// A newer head is there, and stays.
    Newer,
    OverQuota {
        need: u64,
        quota: u64,
    },
}

/// A transaction on its way.
pub(crate) struct Batch<'t> {
    metas: KeyedTable<'t>,
    heads: NumberedTable<'t>,
    blobs: KeyedTable<'t>,
    bodies: NumberedTable<'t>,
    outboards: KeyedTable<'t>,
    settings: Table<'t, &'static str, &'static [u8]>,
    tags: &'t Tags,
    quota: u64,
    /// Nodes known to hold a snapshot.
    holders: &'t Mutex<BTreeMap<SnapshotKey, u32>>,
    /// Stored in this transaction, so not evicted by it: somebody will be told that it is there.
    fresh: BTreeSet<SnapshotKey>,
    pub(crate) totals: Totals,
    /// Files that no row names any more.
    pub(crate) unneeded: BTreeSet<FileName>,
}

impl<'t> Batch<'t> {
    pub(crate) fn new(
        transaction: &'t WriteTransaction,
        tags: &'t Tags,
        totals: Totals,
        quota: u64,
        holders: &'t Mutex<BTreeMap<SnapshotKey, u32>>,
    ) -> Result<Self, Fault> {
        Ok(Self {
            metas: transaction.open_table(rows::METAS)?,
            heads: transaction.open_table(rows::HEADS)?,
            blobs: transaction.open_table(rows::BLOBS)?,
            bodies: transaction.open_table(rows::BODIES)?,
            outboards: transaction.open_table(rows::OUTBOARDS)?,
            settings: transaction.open_table(rows::SETTINGS)?,
            tags,
            quota,
            holders,
            fresh: BTreeSet::new(),
            totals,
            unneeded: BTreeSet::new(),
        })
    }

    /// Stores a snapshot and its body, in place of an older one under its key. A body that is there
    /// already is replaced by the same bytes, so that a damaged file heals.
    pub(crate) fn put(&mut self, new: &NewSnapshot) -> Result<Put, Fault> {
        let old = self.meta(&new.key)?;
        if old.as_ref().is_some_and(|old| old.fetched_at > new.fetched_at) {
            return Ok(Put::Newer);
        }
        // The same snapshot stays what it was: that it came once more tells others nothing.
        let was_shared = old.as_ref().is_some_and(|old| {
            old.shared && old.fetched_at == new.fetched_at && old.root == new.body.root()
        });
        let mut meta = Meta {
            root: new.body.root(),
            len: new.body.len(),
            fetched_at: new.fetched_at,
            received: new.now,
            used: old.as_ref().map_or(new.now, |old| old.used.max(new.now)),
            pinned: old.as_ref().is_some_and(|old| old.pinned),
            head_len: new.signed.len() as u64,
            shared: new.shared || was_shared,
            place: 0,
        };
        if !self.make_room(new, &meta)? {
            let need = meta.cost() + new.body.row().cost();
            return Ok(Put::OverQuota { need, quota: self.quota });
        }
        self.release(&new.key)?;
        self.hold(&new.body, meta.shared)?;
        let head = self.tags.seal("heads", new.key.as_bytes(), new.signed.clone());
        meta.place = rows::append(&mut self.heads, &head)?;
        self.save_meta(&new.key, &meta)?;
        self.totals.snapshots += 1;
        self.totals.bytes += meta.cost();
        self.fresh.insert(new.key);
        Ok(Put::Stored)
    }

    /// Removes a snapshot, and its body if it was the last that held it.
    pub(crate) fn remove(&mut self, key: &SnapshotKey) -> Result<bool, Fault> {
        let known = self.metas.get(key.as_bytes())?.is_some();
        self.release(key)?;
        self.fresh.remove(key);
        Ok(known)
    }

    pub(crate) fn pin(&mut self, key: &SnapshotKey, pinned: bool) -> Result<bool, Fault> {
        let Some(mut meta) = self.meta(key)? else { return Ok(false) };
        meta.pinned = pinned;
        self.save_meta(key, &meta)?;
        Ok(true)
    }

    /// Notes when snapshots were last asked for; those that are gone are passed over.
    pub(crate) fn touch(&mut self, used: &BTreeMap<SnapshotKey, UnixTime>) -> Result<(), Fault> {
        for (key, at) in used {
            if let Some(mut meta) = self.meta(key)?
                && meta.used < *at
            {
                meta.used = *at;
                self.save_meta(key, &meta)?;
            }
        }
        Ok(())
    }

    pub(crate) fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Fault> {
        let row = self.tags.seal("settings", name.as_bytes(), value.to_vec());
        self.settings.insert(name, &row[..])?;
        Ok(())
    }

    pub(crate) fn unset(&mut self, name: &str) -> Result<bool, Fault> {
        Ok(self.settings.remove(name)?.is_some())
    }

    /// Removes the least valuable until the quota holds, pinned ones last.
    pub(crate) fn sweep(&mut self, now: UnixTime) -> Result<Swept, Fault> {
        let before = self.totals;
        while self.totals.bytes > self.quota {
            let candidates = self.candidates(|_, _| true)?;
            let excess = self.totals.bytes - self.quota;
            if !self.evict(&candidates, excess, now)? {
                break;
            }
        }
        Ok(Swept {
            snapshots: before.snapshots - self.totals.snapshots,
            bytes: before.bytes - self.totals.bytes,
        })
    }

    /// Removes of the others, but nothing pinned, until `new` fits; `false`, and nothing removed,
    /// if it can't.
    fn make_room(&mut self, new: &NewSnapshot, meta: &Meta) -> Result<bool, Fault> {
        loop {
            let after = self.totals.bytes + self.growth(new, meta)? - self.shrinkage(new)?;
            let Some(excess) = after.checked_sub(self.quota).filter(|excess| *excess > 0) else {
                return Ok(true);
            };
            let fresh = std::mem::take(&mut self.fresh);
            let candidates = self
                .candidates(|key, meta| *key != new.key && !meta.pinned && !fresh.contains(key));
            self.fresh = fresh;
            let candidates = candidates?;
            if candidates.iter().map(|c| c.bytes).sum::<u64>() < excess {
                return Ok(false);
            }
            // A little more goes than must, so that not every put at the limit sweeps.
            if !self.evict(&candidates, excess + self.quota / 32, new.now)? {
                return Ok(false);
            }
        }
    }

    /// Bytes that come with `new`.
    fn growth(&self, new: &NewSnapshot, meta: &Meta) -> Result<u64, Fault> {
        let held = self.blob(&meta.root)?.is_some();
        Ok(meta.cost() + if held { 0 } else { new.body.row().cost() })
    }

    /// Bytes that go with the older snapshot under its key.
    fn shrinkage(&self, new: &NewSnapshot) -> Result<u64, Fault> {
        let Some(old) = self.meta(&new.key)? else { return Ok(0) };
        let freed = match self.blob(&old.root)? {
            Some(row) if row.holders == 1 && old.root != new.body.root() => row.cost(),
            _ => 0,
        };
        Ok(old.cost() + freed)
    }

    /// The snapshots that may go. One that shares its blob counts its share of it.
    fn candidates(
        &self,
        may_go: impl Fn(&SnapshotKey, &Meta) -> bool,
    ) -> Result<Vec<Candidate<SnapshotKey>>, Fault> {
        let holders = lock(self.holders);
        let mut candidates = Vec::new();
        for entry in self.metas.iter()? {
            let (key, row) = entry?;
            let key = SnapshotKey(*key.value());
            let Ok(meta) = self.tags.meta(&key, row.value()) else { continue };
            if may_go(&key, &meta) {
                let blob = self.blob(&meta.root)?;
                let share = blob.map_or(0, |row| row.cost() / row.holders.max(1));
                candidates.push(Candidate {
                    id: key,
                    bytes: meta.cost() + share,
                    used: meta.used,
                    holders: holders.get(&key).copied().unwrap_or(0),
                    pinned: meta.pinned,
                });
            }
        }
        Ok(candidates)
    }

    /// Removes what `proto` chooses; whether anything went.
    fn evict(
        &mut self,
        candidates: &[Candidate<SnapshotKey>],
        excess: u64,
        now: UnixTime,
    ) -> Result<bool, Fault> {
        let chosen = evict::choose(candidates, excess, now);
        for key in &chosen {
            self.remove(key)?;
        }
        tracing::debug!(snapshots = chosen.len(), "evicted");
        Ok(!chosen.is_empty())
    }

    /// Takes a blob, or one more holder of it.
    fn hold(&mut self, blob: &FinishedBlob, shared: bool) -> Result<(), Fault> {
        let root = blob.root();
        let shared = shared || self.blob(&root)?.is_some_and(|row| row.shared);
        let holders = self.drop_blob(&root)?;
        let mut row = BlobRow { holders: holders + 1, shared, ..blob.row() };
        match blob.body() {
            Body::Inline(bytes) => row.place = rows::append(&mut self.bodies, bytes)?,
            Body::File { outboard, .. } => {
                self.outboards.insert(root.as_bytes(), &outboard[..])?;
            }
        }
        if let Some(file) = &row.file {
            // After a commit of unknown outcome, the row that was dropped may be this one.
            self.unneeded.remove(&file.name);
        }
        self.save_blob(&root, &row)?;
        self.totals.blobs += 1;
        self.totals.bytes += row.cost();
        self.totals.file_bytes += row.file_bytes();
        Ok(())
    }

    /// Removes the rows of a snapshot, if there are any, and of its blob with its last holder.
    fn release(&mut self, key: &SnapshotKey) -> Result<(), Fault> {
        let meta = self.meta(key)?;
        self.metas.remove(key.as_bytes())?;
        let Some(meta) = meta else { return Ok(()) };
        self.heads.remove(meta.place)?;
        self.totals.snapshots = self.totals.snapshots.saturating_sub(1);
        self.totals.bytes = self.totals.bytes.saturating_sub(meta.cost());
        match self.blob(&meta.root)? {
            Some(mut row) if row.holders > 1 => {
                row.holders -= 1;
                self.save_blob(&meta.root, &row)
            }
            _ => self.drop_blob(&meta.root).map(drop),
        }
    }

    /// Removes the rows of a blob; returns how many held it.
    fn drop_blob(&mut self, root: &Hash) -> Result<u64, Fault> {
        let row = self.blob(root)?;
        self.blobs.remove(root.as_bytes())?;
        self.outboards.remove(root.as_bytes())?;
        let Some(row) = row else { return Ok(0) };
        if row.file.is_none() {
            self.bodies.remove(row.place)?;
        }
        self.totals.blobs = self.totals.blobs.saturating_sub(1);
        self.totals.bytes = self.totals.bytes.saturating_sub(row.cost());
        self.totals.file_bytes = self.totals.file_bytes.saturating_sub(row.file_bytes());
        self.unneeded.extend(row.file.as_ref().map(|file| file.name));
        Ok(row.holders)
    }

    /// A row that can't be read is as good as none: the next put replaces it.
    fn meta(&self, key: &SnapshotKey) -> Result<Option<Meta>, Fault> {
        let row = self.metas.get(key.as_bytes())?;
        Ok(row.and_then(|row| self.tags.meta(key, row.value()).ok()))
    }

    fn blob(&self, root: &Hash) -> Result<Option<BlobRow>, Fault> {
        let row = self.blobs.get(root.as_bytes())?;
        Ok(row.and_then(|row| self.tags.blob(root, row.value()).ok()))
    }

    fn save_meta(&mut self, key: &SnapshotKey, meta: &Meta) -> Result<(), Fault> {
        let row = self.tags.seal_record("snapshots", key.as_bytes(), meta);
        self.metas.insert(key.as_bytes(), &row[..])?;
        Ok(())
    }

    fn save_blob(&mut self, root: &Hash, row: &BlobRow) -> Result<(), Fault> {
        let row = self.tags.seal_record("blobs", root.as_bytes(), row);
        self.blobs.insert(root.as_bytes(), &row[..])?;
        Ok(())
    }
}
