//! The one thread that changes the index: it takes what is queued, commits it in one transaction
//! and only then answers, so that many puts at once cost few syncs. The queue is bounded: who
//! finds it full waits.

use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, PoisonError};

use busel_proto::id::SnapshotKey;
use busel_proto::time::UnixTime;
use zeroize::Zeroizing;

use crate::batch::{Batch, NewSnapshot, Put, Swept, Totals};
use crate::error::Fault;
use crate::rows::FileName;
use crate::shared::Shared;

/// Jobs that may wait.
pub(crate) const QUEUE: usize = 256;
/// Jobs in one transaction.
const BATCH: usize = 128;

/// Something to change.
pub(crate) enum Op {
    Put(Box<NewSnapshot>),
    Set(String, Zeroizing<Vec<u8>>),
    Unset(String),
    Pin(SnapshotKey, bool),
    Remove(SnapshotKey),
    Sweep(UnixTime),
    /// Ends the thread, once all that was queued before is done.
    Stop,
}

/// What became of it, durably.
pub(crate) enum Done {
    Put(Put),
    Flag(bool),
    Swept(Swept),
}

/// An operation and who waits for it.
pub(crate) struct Job {
    pub(crate) op: Op,
    pub(crate) reply: SyncSender<Result<Done, Fault>>,
}

/// The thread's body: works until it is stopped.
pub(crate) fn run(shared: &Shared, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        batch.extend(jobs.try_iter().take(BATCH - 1));
        let stop = batch.iter().any(|job| matches!(job.op, Op::Stop));
        work(shared, batch);
        if stop {
            return;
        }
    }
}

/// Commits a batch and answers. If it fails as a whole, each job is tried alone, so that one that
/// can't be written fails no other.
fn work(shared: &Shared, mut batch: Vec<Job>) {
    match commit(shared, &mut batch) {
        Ok(done) => {
            for (job, done) in batch.into_iter().zip(done) {
                answer(job, Ok(done));
            }
        }
        Err(fault) if batch.len() > 1 && fault != Fault::Closed => {
            for job in batch {
                work(shared, vec![job]);
            }
        }
        Err(fault) => {
            for job in batch {
                answer(job, Err(fault.clone()));
            }
        }
    }
}

fn answer(Job { op, reply }: Job, done: Result<Done, Fault>) {
    // First, for a file that was not kept goes with it.
    drop(op);
    // Whoever no longer waits has dropped the other end.
    let _ = reply.send(done);
}

fn commit(shared: &Shared, batch: &mut [Job]) -> Result<Vec<Done>, Fault> {
    if shared.is_closed() {
        return Err(Fault::Closed);
    }
    let touched = std::mem::take(&mut *lock(&shared.touched));
    if touched.is_empty() && batch.iter().all(|job| matches!(job.op, Op::Stop)) {
        return Ok(batch.iter().map(|_| Done::Flag(true)).collect());
    }
    let totals = *lock(&shared.totals);
    let written = shared.index.write(|transaction| {
        let (tags, quota) = (&shared.index.tags, shared.quota());
        let mut work = Batch::new(transaction, tags, totals, quota, &shared.holders)?;
        work.touch(&touched)?;
        let done = batch.iter().map(|job| apply(&mut work, &job.op));
        let done = done.collect::<Result<Vec<_>, _>>()?;
        Ok((done, work.totals, work.unneeded))
    });
    match written {
        Ok((done, totals, unneeded)) => {
            settle(shared, batch, &done, totals, unneeded);
            Ok(done)
        }
        Err(fault) => {
            recover(shared, batch, &fault);
            Err(fault)
        }
    }
}

fn apply(batch: &mut Batch<'_>, op: &Op) -> Result<Done, Fault> {
    Ok(match op {
        Op::Put(new) => Done::Put(batch.put(new)?),
        Op::Set(name, value) => {
            batch.set(name, value)?;
            Done::Flag(true)
        }
        Op::Unset(name) => Done::Flag(batch.unset(name)?),
        Op::Pin(key, pinned) => Done::Flag(batch.pin(key, *pinned)?),
        Op::Remove(key) => Done::Flag(batch.remove(key)?),
        Op::Sweep(now) => Done::Swept(batch.sweep(*now)?),
        Op::Stop => Done::Flag(true),
    })
}

/// The transaction is durable: the files that it names stay, those that it does not go.
fn settle(
    shared: &Shared,
    batch: &mut [Job],
    done: &[Done],
    totals: Totals,
    unneeded: impl IntoIterator<Item = FileName>,
) {
    for (job, done) in batch.iter_mut().zip(done) {
        if let (Op::Put(new), Done::Put(Put::Stored)) = (&mut job.op, done) {
            new.body.keep(true);
        }
    }
    *lock(&shared.totals) = totals;
    for name in unneeded {
        if let Err(error) = shared.blobs.remove(name) {
            // The next open removes it.
            tracing::debug!(%error, "an unneeded blob file was left");
        }
    }
}

/// The transaction failed, perhaps after it had reached the disk. The index is opened again, and
/// the files of this batch that it does name stay.
fn recover(shared: &Shared, batch: &mut [Job], fault: &Fault) {
    tracing::warn!(?fault, "a write to the store failed");
    if let Err(fault) = shared.index.reopen() {
        // Unknown what is on the disk: the files stay, the next open tells.
        tracing::warn!(?fault, "the index could not be opened again");
        for job in batch.iter_mut() {
            if let Op::Put(new) = &mut job.op {
                new.body.keep(true);
            }
        }
        return;
    }
    for job in batch.iter_mut() {
        if let Op::Put(new) = &mut job.op {
            let ours = new.body.row().file.map(|file| file.name);
            let named = shared.blob_row(&new.body.root());
            let named = named.map(|row| row.and_then(|row| row.file).map(|file| file.name));
            new.body.keep(named.is_err() || named.is_ok_and(|named| named == ours));
        }
    }
    if let Ok((totals, _)) = shared.count() {
        *lock(&shared.totals) = totals;
    }
}

/// Locks, also after a panic elsewhere: what these mutexes hold is whole at every moment.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread.
pub(crate) fn spawn(
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("store-writer".into()).spawn(move || run(&shared, &jobs))
}
