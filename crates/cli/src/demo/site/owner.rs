//! The owner of a server's tasks. Dropping the last handle's guard, or [`Owner::stop`], ends every
//! task, those included that HTTP/2 spawns for its streams.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After a failure to accept (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Spawns tasks, cancels and awaits them.
#[derive(Clone, Default)]
pub(crate) struct Owner {
    tasks: TaskTracker,
    token: CancellationToken,
}

impl Owner {
    /// Runs the work until it ends or the owner stops.
    pub(crate) fn spawn<F: Future<Output: Send> + Send + 'static>(&self, work: F) {
        let token = self.token.clone();
        self.tasks.spawn(async move { token.run_until_cancelled(work).await.map(drop) });
    }

    /// Serves each connection, at most so many at once.
    pub(crate) fn serve<S, F>(&self, listener: TcpListener, at_once: usize, serve: S)
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output: Send> + Send + 'static,
    {
        self.serve_within(listener, Arc::new(Semaphore::new(at_once)), serve);
    }

    /// The same, for several listeners together.
    pub(crate) fn serve_within<S, F>(&self, listener: TcpListener, places: Arc<Semaphore>, serve: S)
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output: Send> + Send + 'static,
    {
        let owner = self.clone();
        self.spawn(async move {
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                let serving = serve(stream);
                owner.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
        });
    }

    /// Cancels every task, and returns when all are gone.
    pub(crate) async fn stop(&self) {
        self.token.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What cancels every task when it is dropped.
    pub(crate) fn guard(&self) -> tokio_util::sync::DropGuard {
        self.token.clone().drop_guard()
    }
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Owner {
    fn execute(&self, work: F) {
        self.spawn(work);
    }
}
