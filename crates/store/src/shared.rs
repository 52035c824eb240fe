//! What the callers of a store and its writing thread share: the index, the blob directory, counts
//! and notes. It changes no row: `writer` alone does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use busel_proto::id::{Hash, SnapshotKey};
use busel_proto::time::UnixTime;
use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable};
use zeroize::Zeroizing;

use crate::batch::Totals;
use crate::blob::BlobDir;
use crate::disk::Disk;
use crate::error::Fault;
use crate::index::Index;
use crate::key::{DataKey, Protection};
use crate::reader::{BlobReader, Body};
use crate::rows::{self, BlobRow, FileName};
use crate::writer::lock;

/// What callers and the writing thread share.
pub(crate) struct Shared {
    pub(crate) index: Index,
    pub(crate) blobs: Arc<BlobDir>,
    pub(crate) totals: Mutex<Totals>,
    /// Asked for since the last commit.
    pub(crate) touched: Mutex<BTreeMap<SnapshotKey, UnixTime>>,
    /// Others known to hold a snapshot.
    pub(crate) holders: Mutex<BTreeMap<SnapshotKey, u32>>,
    pub(crate) quota: AtomicU64,
    /// Whether what comes now may be given to others.
    pub(crate) sharing: AtomicBool,
    /// Wiped: nothing more is read or written.
    pub(crate) closed: AtomicBool,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) key: DataKey,
    pub(crate) protection: Mutex<Protection>,
}

impl Shared {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn quota(&self) -> u64 {
        self.quota.load(Ordering::Relaxed)
    }

    /// Reads the index, unless it was wiped.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.is_closed() {
            return Err(Fault::Closed);
        }
        self.index.read(work)
    }

    /// The row of a blob.
    pub(crate) fn blob_row(&self, root: &Hash) -> Result<Option<BlobRow>, Fault> {
        self.read(|transaction| {
            let row = transaction.open_table(rows::BLOBS)?.get(root.as_bytes())?;
            row.map(|row| self.index.tags.blob(root, row.value())).transpose()
        })
    }

    /// What is stored, counted, and the files that the index names. Rows that can't be read are
    /// passed over: what they name is as good as gone, and the next put replaces it.
    pub(crate) fn count(&self) -> Result<(Totals, BTreeSet<FileName>), Fault> {
        let tags = &self.index.tags;
        self.read(|transaction| {
            let (mut totals, mut files, mut unreadable) = (Totals::default(), BTreeSet::new(), 0);
            for entry in transaction.open_table(rows::METAS)?.iter()? {
                let (key, row) = entry?;
                match tags.meta(&SnapshotKey(*key.value()), row.value()) {
                    Ok(meta) => {
                        totals.snapshots += 1;
                        totals.bytes += meta.cost();
                    }
                    Err(_) => unreadable += 1,
                }
            }
            for entry in transaction.open_table(rows::BLOBS)?.iter()? {
                let (root, row) = entry?;
                match tags.blob(&Hash(*root.value()), row.value()) {
                    Ok(blob) => {
                        totals.blobs += 1;
                        totals.bytes += blob.cost();
                        totals.file_bytes += blob.file_bytes();
                        files.extend(blob.file.as_ref().map(|file| file.name));
                    }
                    Err(_) => unreadable += 1,
                }
            }
            if unreadable > 0 {
                tracing::warn!(unreadable, "rows of the store's index can't be read");
            }
            Ok((totals, files))
        })
    }

    /// Counts what is stored, and removes files that the index does not name.
    pub(crate) fn start(&self, files: Vec<FileName>) -> Result<(), Fault> {
        let (totals, named) = self.count()?;
        *lock(&self.totals) = totals;
        for name in files.into_iter().filter(|name| !named.contains(name)) {
            self.blobs.remove(name)?;
        }
        Ok(())
    }

    /// Opens a blob; `NotFound` if its file is missing.
    pub(crate) fn reader(&self, root: &Hash) -> Result<Option<BlobReader>, Fault> {
        self.read(|transaction| {
            let Some(row) = transaction.open_table(rows::BLOBS)?.get(root.as_bytes())? else {
                return Ok(None);
            };
            let row = self.index.tags.blob(root, row.value())?;
            let body = match &row.file {
                None => inline(transaction, root, &row)?,
                Some(file) => {
                    let outboards = transaction.open_table(rows::OUTBOARDS)?;
                    let outboard = outboards.get(root.as_bytes())?;
                    let outboard = outboard.ok_or_else(|| rows::unreadable("outboards"))?;
                    Body::File {
                        file: self.blobs.file(file.name)?,
                        key: Zeroizing::new(file.key),
                        outboard: outboard.value().into(),
                    }
                }
            };
            Ok(Some(BlobReader::new(*root, row.len, body)))
        })
    }
}

fn inline(transaction: &ReadTransaction, root: &Hash, row: &BlobRow) -> Result<Body, Fault> {
    let bytes = transaction.open_table(rows::BODIES)?.get(row.place)?;
    let bytes = bytes.ok_or_else(|| rows::unreadable("bodies"))?;
    let bytes = bytes.value();
    if bytes.len() as u64 != row.len || Hash::of(bytes) != *root {
        return Err(Fault::damaged("a blob does not match its root"));
    }
    Ok(Body::Inline(Bytes::copy_from_slice(bytes)))
}
