//! Keeping a body while it streams by: written to the store as it comes, acknowledged by nobody
//! until its snapshot is known and its root fits.

use std::time::Duration;

use busel_proto::failure::Failure;
use busel_proto::snapshot::Snapshot;
use busel_store::Store;
use bytes::Bytes;
use futures_util::stream::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::clock;
use crate::node::Node;
use crate::route::{Item, Items};

/// Pieces waiting to be written.
const QUEUE: usize = 16;
/// The next bytes of what nobody reads are waited for this long.
const PIECE_LIMIT: Duration = Duration::from_secs(20);

/// A body being kept. Dropping it keeps nothing.
#[derive(Debug)]
pub(crate) struct Saver {
    queue: mpsc::Sender<Piece>,
}

enum Piece {
    Data(Bytes),
    End(Box<Snapshot>),
}

impl Saver {
    /// Starts to keep a body; `kept` is called once it is durably there.
    pub(crate) fn start(
        store: Store,
        tasks: &TaskTracker,
        stop: CancellationToken,
        kept: impl FnOnce(&Snapshot) + Send + 'static,
    ) -> Self {
        let (queue, mut pieces) = mpsc::channel(QUEUE);
        // Ends when the queue is dropped, or the node stops though somebody still holds it; the store's
        // writer removes what was not finished.
        let runtime = Handle::current();
        tasks.spawn_blocking(move || {
            let next = || runtime.block_on(next(&mut pieces, &stop));
            if let Err(error) = write(&store, next, kept) {
                debug!(error, "a body was not kept");
            }
        });
        Self { queue }
    }

    /// Keeps the next bytes. If writing has failed, the bytes still go to the reader.
    pub(crate) async fn data(&self, bytes: Bytes) {
        let _ = self.queue.send(Piece::Data(bytes)).await;
    }

    /// The body is whole, and this is its snapshot.
    pub(crate) async fn finish(self, snapshot: Snapshot) {
        let _ = self.queue.send(Piece::End(Box::new(snapshot))).await;
    }
}

/// Keeps a body that nobody reads, and returns once it is durably there; `kept` is called then, too.
pub(crate) async fn all(
    node: &Node,
    store: Store,
    snapshot: Snapshot,
    mut items: Items,
    kept: impl FnOnce(&Snapshot) + Send + 'static,
) -> Result<(), Failure> {
    let (there, is_there) = oneshot::channel();
    let saver = Saver::start(store, &node.tasks, node.stop.clone(), move |snapshot| {
        kept(snapshot);
        // Nobody may wait for it any more.
        let _ = there.send(());
    });
    while let Some(item) = timeout(PIECE_LIMIT, items.next()).await.map_err(|_| Failure::Stalled)? {
        if let Item::Data(bytes) = item?
            && !bytes.is_empty()
        {
            saver.data(bytes).await;
        }
    }
    saver.finish(snapshot).await;
    is_there.await.map_err(|_| Failure::Protocol("it was not kept: the disk refused it".into()))
}

async fn next(pieces: &mut mpsc::Receiver<Piece>, stop: &CancellationToken) -> Option<Piece> {
    tokio::select! {
        biased;
        piece = pieces.recv() => piece,
        () = stop.cancelled() => None,
    }
}

fn write(
    store: &Store,
    mut next: impl FnMut() -> Option<Piece>,
    kept: impl FnOnce(&Snapshot),
) -> Result<(), String> {
    let mut writer = store.writer().map_err(|e| e.to_string())?;
    while let Some(piece) = next() {
        match piece {
            Piece::Data(bytes) => writer.write(&bytes).map_err(|e| e.to_string())?,
            Piece::End(snapshot) => {
                let body = writer.finish().map_err(|e| e.to_string())?;
                store.put(&snapshot, body, clock::now()).map_err(|e| e.to_string())?;
                kept(&snapshot);
                return Ok(());
            }
        }
    }
    Ok(())
}
