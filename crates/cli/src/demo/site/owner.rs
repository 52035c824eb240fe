//! The owner of a server's tasks. Dropping the last handle's guard, or [`Owner::stop`], ends every
//! task, those included that HTTP/2 spawns for its streams.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
