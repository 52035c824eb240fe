//! The store: its public operations. Each is short: reads go to the index at once, changes are
//! queued for the writing thread.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use busel_proto::assigned::Offer;
use busel_proto::cbor;
use busel_proto::id::{Hash, SnapshotKey};
use busel_proto::snapshot::{SignedSnapshot, Snapshot};
use busel_proto::time::UnixTime;
use redb::ReadableTable;
use zeroize::Zeroizing;

use crate::batch::{NewSnapshot, Put, Swept, Totals};
use crate::blob::{BlobDir, BlobWriter, FinishedBlob};
use crate::disk::{self, Disk, Lock, RealDisk};
use crate::error::{Fault, OpenError, PutError, ReadError, WriteError};
use crate::index::{self, Index};
use crate::key::{self, DataKey, Protection, Unlock};
use crate::partial::PartialBlob;
use crate::reader::BlobReader;
use crate::rows::{self, Meta};
use crate::shared::Shared;
use crate::writer::{self, Done, Job, Op, QUEUE, lock};
use crate::{format, wipe};

/// The longest value of a setting, in bytes.
pub const MAX_SETTING: usize = 4 * 1024 * 1024;
/// The most snapshots of which it is remembered, until the next commit, that they were asked for,
/// or how many others hold them. Beyond that, such notes are dropped.
const MAX_NOTES: usize = 65_536;

/// How to open a store.
#[derive(Debug)]
pub struct Options {
    /// Its directory; created if missing.
    pub dir: PathBuf,
    /// What opens it. A new store is protected by this; for an old one see [`Store::protection`].
    pub unlock: Unlock,
    /// Bytes that it may take, about: heads, bodies and proofs, with what the index adds to each.
    pub quota: u64,
}

/// A stored snapshot. Its signatures were valid when it was stored; verify it again before showing
/// it, for roots may have been dropped and keys revoked since.
#[derive(Debug, Clone)]
pub struct Stored {
    /// As it travels.
    pub signed: SignedSnapshot,
    /// When it was stored.
    pub received: UnixTime,
    /// The body's root.
    pub root: Hash,
    /// The body's length in bytes.
    pub len: u64,
    /// Whether the reader pinned it.
    pub pinned: bool,
    /// Whether it may be given to others: see [`Store::share`].
    pub shared: bool,
}

/// How much is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Snapshots.
    pub snapshots: u64,
    /// Blobs: fewer than snapshots where some share a body.
    pub blobs: u64,
    /// Bytes, as the quota counts them.
    pub bytes: u64,
    /// Bytes of all files. More than `bytes`, for the index keeps free pages to use again.
    pub disk: u64,
    /// Bytes allowed.
    pub quota: u64,
}

/// Snapshots, blobs and settings on disk. Clones are one store; dropping the last closes it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// What ends with the last clone. Fields drop in order: the lock goes last.
struct Inner {
    queue: SyncSender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
    _lock: Lock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("usage", &self.usage()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a directory, or creates one there. Files that a cut left behind are
    /// removed.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(RealDisk), options)
    }

    /// As [`Store::open`], on another disk.
    #[doc(hidden)]
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        let Options { dir, unlock, quota } = options;
        create_dirs(&*disk, &dir)?;
        let held = disk.lock(&dir.join(wipe::LOCK))?.ok_or(OpenError::InUse)?;
        format::check(&*disk, &dir)?;
        let (key, protection) = data_key(&*disk, &dir, &unlock)?;
        let index = Index::open(Arc::clone(&disk), &dir, &key)?;
        format::migrate(&index)?;
        if disk.create_dir(&dir.join(wipe::BLOBS))? {
            disk.sync_dir(&dir)?;
        }
        let (blobs, files) = BlobDir::open(Arc::clone(&disk), dir.join(wipe::BLOBS))?;
        let shared = Shared {
            index,
            blobs: Arc::new(blobs),
            totals: Mutex::default(),
            touched: Mutex::default(),
            holders: Mutex::default(),
            quota: AtomicU64::new(quota),
            sharing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            disk,
            dir,
            key,
            protection: Mutex::new(protection),
        };
        shared.start(files)?;
        let shared = Arc::new(shared);
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let thread = Mutex::new(Some(writer::spawn(Arc::clone(&shared), jobs)?));
        Ok(Self(Arc::new(Inner { queue, thread, shared, _lock: held })))
    }

    /// What protects the data, so that the program can say when the disk protects nothing. A store
    /// that was created open stays so, whatever [`Options::unlock`] says: see [`Store::protect`].
    pub fn protection(&self) -> Protection {
        *lock(&self.0.shared.protection)
    }

    /// Protects the data key by a new passphrase, or by none. Copies of the disk made before still
    /// open as before.
    pub fn protect(&self, unlock: &Unlock) -> Result<(), WriteError> {
        let shared = &self.0.shared;
        let mut protection = lock(&shared.protection);
        if shared.is_closed() {
            return Err(WriteError::Closed);
        }
        *protection = key::write(&*shared.disk, &shared.dir, &shared.key, unlock)?;
        Ok(())
    }

    /// Says whether what is stored from now on may be given to others; until this is said, it may not.
    /// Each snapshot keeps what held when it was stored, whatever is said later.
    pub fn share(&self, yes: bool) {
        self.0.shared.sharing.store(yes, Ordering::Relaxed);
    }

    /// Starts to take a body of unknown length.
    pub fn writer(&self) -> Result<BlobWriter, WriteError> {
        if self.0.shared.is_closed() {
            return Err(WriteError::Closed);
        }
        Ok(BlobWriter::new(Arc::clone(&self.0.shared.blobs)))
    }

    /// Starts to take a body in parts. They are not counted in the quota, nor kept over a restart.
    pub fn partial(&self, root: Hash, len: u64) -> Result<PartialBlob, WriteError> {
        if self.0.shared.is_closed() {
            return Err(WriteError::Closed);
        }
        PartialBlob::new(Arc::clone(&self.0.shared.blobs), root, len)
    }

    /// Stores a snapshot and its body; durable when it returns. A newer head (by `fetched_at`)
    /// under the same key stays: then this is `Ok` and changes nothing. Makes room if the quota is
    /// reached, but removes nothing pinned for it.
    pub fn put(
        &self,
        snapshot: &Snapshot,
        body: FinishedBlob,
        now: UnixTime,
    ) -> Result<(), PutError> {
        let head = snapshot.head();
        if head.root != body.root() || head.len != body.len() {
            return Err(PutError::BodyMismatch);
        }
        let new = NewSnapshot {
            key: snapshot.key(),
            signed: cbor::to_vec(&snapshot.to_signed()),
            fetched_at: head.fetched_at,
            body,
            now,
            shared: self.0.shared.sharing.load(Ordering::Relaxed),
        };
        // Here, not in the writing thread: many callers can sync their files at once.
        new.body.sync()?;
        match self.0.run(Op::Put(Box::new(new)))? {
            Done::Put(Put::OverQuota { need, quota }) => Err(PutError::OverQuota { need, quota }),
            _ => Ok(()),
        }
    }

    /// The newest snapshot under a key.
    pub fn find(&self, key: &SnapshotKey) -> Result<Option<Stored>, ReadError> {
        let shared = &self.0.shared;
        let tags = &shared.index.tags;
        Ok(shared.read(|transaction| {
            let metas = transaction.open_table(rows::METAS)?;
            let Some(row) = metas.get(key.as_bytes())? else { return Ok(None) };
            let meta = tags.meta(key, row.value())?;
            let heads = transaction.open_table(rows::HEADS)?;
            let head = heads.get(meta.place)?.ok_or_else(|| rows::unreadable("heads"))?;
            let signed = tags.open("heads", key.as_bytes(), head.value())?;
            let signed = cbor::from_slice(signed, SignedSnapshot::MAX)
                .map_err(|_| rows::unreadable("heads"))?;
            let Meta { root, len, received, pinned, shared, .. } = meta;
            Ok(Some(Stored { signed, received, root, len, pinned, shared }))
        })?)
    }

    /// The keys of all snapshots, ascending.
    pub fn keys(&self) -> Result<Vec<SnapshotKey>, ReadError> {
        Ok(self.0.shared.read(|transaction| {
            let metas = transaction.open_table(rows::METAS)?;
            let keys = metas.iter()?.map(|entry| Ok(SnapshotKey(*entry?.0.value())));
            keys.collect()
        })?)
    }

    /// The snapshots that may be given to others.
    pub fn offers(&self) -> Result<Vec<Offer>, ReadError> {
        let tags = &self.0.shared.index.tags;
        Ok(self.0.shared.read(|transaction| {
            let metas = transaction.open_table(rows::METAS)?;
            let mut offers = Vec::new();
            for entry in metas.iter()? {
                let (key, row) = entry?;
                let key = SnapshotKey(*key.value());
                let Meta { shared, fetched_at, len, .. } = tags.meta(&key, row.value())?;
                if shared {
                    offers.push(Offer { key, fetched_at, len });
                }
            }
            Ok(offers)
        })?)
    }

    /// Whether a blob is stored that may be given to others.
    pub fn has_shared_blob(&self, root: &Hash) -> Result<bool, ReadError> {
        Ok(self.0.shared.blob_row(root)?.is_some_and(|row| row.shared))
    }

    /// Whether a blob is stored.
    pub fn has_blob(&self, root: &Hash) -> Result<bool, ReadError> {
        Ok(self.0.shared.blob_row(root)?.is_some())
    }

    /// Reads a blob.
    pub fn reader(&self, root: &Hash) -> Result<Option<BlobReader>, ReadError> {
        // A file may be replaced or removed between finding and opening it: look again then.
        for _ in 0..3 {
            match self.0.shared.reader(root) {
                Err(Fault::Io(io::ErrorKind::NotFound, _)) => {}
                found => return Ok(found?),
            }
        }
        Err(ReadError::Damaged("the file of a blob is missing".into()))
    }

    /// Notes that a snapshot was asked for, by the reader or a peer. Cheap; kept in memory until
    /// the next commit, and lost by a cut before it.
    pub fn touch(&self, key: &SnapshotKey, now: UnixTime) {
        note(&self.0.shared.touched, *key, now);
    }

    /// Notes how many other nodes are known to hold a snapshot: what others hold is evicted sooner.
    /// Kept in memory only.
    pub fn note_holders(&self, key: &SnapshotKey, holders: u32) {
        note(&self.0.shared.holders, *key, holders);
    }

    /// Pins a snapshot, or no longer; whether it is there.
    pub fn pin(&self, key: &SnapshotKey, pinned: bool) -> Result<bool, WriteError> {
        self.0.flag(Op::Pin(*key, pinned))
    }

    /// Removes a snapshot, and its body if no other snapshot has it; whether it was there.
    pub fn remove(&self, key: &SnapshotKey) -> Result<bool, WriteError> {
        self.0.flag(Op::Remove(*key))
    }

    /// A small value kept under a name: identity, trust, saved peers.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let shared = &self.0.shared;
        Ok(shared.read(|transaction| {
            let settings = transaction.open_table(rows::SETTINGS)?;
            let Some(row) = settings.get(name)? else { return Ok(None) };
            let value = shared.index.tags.open("settings", name.as_bytes(), row.value())?;
            Ok(Some(value.to_vec()))
        })?)
    }

    /// Keeps a value under a name, in place of what was there; durable when it returns. At most
    /// [`MAX_SETTING`] bytes.
    pub fn set(&self, name: &str, value: &[u8]) -> Result<(), WriteError> {
        if name.len() + value.len() > MAX_SETTING {
            return Err(WriteError::TooLong { max: MAX_SETTING as u64 });
        }
        let op = Op::Set(name.to_owned(), Zeroizing::new(value.to_vec()));
        self.0.flag(op).map(|_| ())
    }

    /// All settings whose names begin with `prefix`, by name.
    pub fn settings_with(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, ReadError> {
        let shared = &self.0.shared;
        Ok(shared.read(|transaction| {
            let settings = transaction.open_table(rows::SETTINGS)?;
            let mut found = Vec::new();
            for entry in settings.range(prefix..)? {
                let (name, row) = entry?;
                let name = name.value();
                if !name.starts_with(prefix) {
                    break;
                }
                let value = shared.index.tags.open("settings", name.as_bytes(), row.value())?;
                found.push((name.to_owned(), value.to_vec()));
            }
            Ok(found)
        })?)
    }

    /// Forgets a setting; whether it was there.
    pub fn unset(&self, name: &str) -> Result<bool, WriteError> {
        self.0.flag(Op::Unset(name.to_owned()))
    }

    /// How much is stored.
    pub fn usage(&self) -> Usage {
        let shared = &self.0.shared;
        let Totals { snapshots, blobs, bytes, file_bytes } = *lock(&shared.totals);
        let disk = file_bytes + shared.index.file_len();
        Usage { snapshots, blobs, bytes, disk, quota: shared.quota() }
    }

    /// Changes the quota, until the store is closed. Removes nothing by itself.
    pub fn set_quota(&self, quota: u64) {
        self.0.shared.quota.store(quota, Ordering::Relaxed);
    }

    /// Removes what is least valuable until the quota holds; pinned snapshots only when nothing
    /// else is left.
    pub fn sweep(&self, now: UnixTime) -> Result<Swept, WriteError> {
        match self.0.run(Op::Sweep(now))? {
            Done::Swept(swept) => Ok(swept),
            _ => Ok(Swept::default()),
        }
    }

    /// The panic wipe: destroys the key first, then the rest. Other clones get `Closed` from then
    /// on. A flash disk may keep what was overwritten: only a passphrase helps against that.
    pub fn wipe(self) -> io::Result<()> {
        let shared = &self.0.shared;
        shared.closed.store(true, Ordering::Relaxed);
        let protection = lock(&shared.protection);
        let key = wipe::key(&*shared.disk, &shared.dir);
        drop(protection);
        self.0.stop();
        shared.index.close();
        key.and(wipe::rest(&*shared.disk, &shared.dir))
    }

    /// Wipes a store that is not open here, without its passphrase.
    pub fn wipe_dir(dir: &Path) -> io::Result<()> {
        match wipe::key(&RealDisk, dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !dir.exists() => Ok(()),
            key => key.and(wipe::rest(&RealDisk, dir)),
        }
    }
}

impl Inner {
    /// Queues an operation, waiting if the queue is full, and waits until it is durable.
    fn run(&self, op: Op) -> Result<Done, Fault> {
        if self.shared.is_closed() {
            return Err(Fault::Closed);
        }
        let (reply, answer) = mpsc::sync_channel(1);
        self.queue.send(Job { op, reply }).map_err(|_| Fault::Closed)?;
        answer.recv().map_err(|_| Fault::Closed)?
    }

    fn flag(&self, op: Op) -> Result<bool, WriteError> {
        Ok(matches!(self.run(op)?, Done::Flag(true)))
    }

    /// Ends the writing thread, once what is queued is done.
    fn stop(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        let (reply, _) = mpsc::sync_channel(1);
        // If it is gone already, there is nothing to stop.
        let _ = self.queue.send(Job { op: Op::Stop, reply });
        if thread.join().is_err() {
            tracing::warn!("the store's writing thread panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Creates a directory and those above it, durably.
fn create_dirs(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let parent = match dir.parent() {
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    let created = match disk.create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            create_dirs(disk, parent)?;
            disk.create_dir(dir)?
        }
        created => created?,
    };
    if created { disk.sync_dir(parent) } else { Ok(()) }
}

/// Reads the data key; makes one if the directory has no index that another key encrypts.
fn data_key(
    disk: &dyn Disk,
    dir: &Path,
    unlock: &Unlock,
) -> Result<(DataKey, Protection), OpenError> {
    if let Some(found) = key::read(disk, dir, unlock)? {
        return Ok(found);
    }
    match disk.open(&dir.join(index::FILE), disk::Mode::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Ok(_) => {
            return Err(OpenError::Damaged("its key is gone: nothing in it can be read".into()));
        }
        Err(e) => return Err(e.into()),
    }
    let key = DataKey::random();
    let protection = key::write(disk, dir, &key, unlock)?;
    Ok((key, protection))
}

fn note<T>(notes: &Mutex<BTreeMap<SnapshotKey, T>>, key: SnapshotKey, value: T) {
    let mut notes = lock(notes);
    if notes.len() < MAX_NOTES || notes.contains_key(&key) {
        notes.insert(key, value);
    }
}
