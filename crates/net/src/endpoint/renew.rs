//! Being somebody new: a node takes another identity while it runs.
//!
//! A new presence is set up beside the old one, and what begins from then on goes by it. What is under
//! way stays with the old one, which goes once that has ended; what others began with it is then cut.

use std::time::Duration;

use iroh::Watcher;
use tracing::debug;

use super::{BindError, Connection, Endpoint, Slot, lock, present};

/// The new presence has this long to come to its relay, so that nothing waits for that afterwards.
const ARRIVE_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked whether the old one may go, and when it goes in any case.
const LOOK: Duration = Duration::from_secs(1);
const STAY_LIMIT: Duration = Duration::from_secs(3600);

impl Endpoint {
    /// Is somebody else from now on, whom nothing ties to who it was but its wires' addresses. Returns
    /// once it is.
    pub async fn renew(&self, identity: [u8; 32]) -> Result<(), BindError> {
        let new = present(identity, &self.0.wires).await?;
        if self.home_relay().is_some() {
            let arrived = tokio::time::timeout(ARRIVE_LIMIT, at_its_relay(&new));
            tokio::select! {
                () = self.0.stop.cancelled() => {}
                _ = arrived => {}
            }
        }
        if self.0.stop.is_cancelled() {
            new.close().await;
            return Ok(());
        }
        let old = std::mem::replace(&mut *lock(&self.0.present), new.clone());
        self.0.wires.iter().for_each(|wire| wire.is_used());
        let slots = std::mem::take(&mut *lock(&self.0.peers));
        lock(&self.0.failures).clear();
        self.0.tasks.spawn(self.0.clone().accept_all(new, false));
        let stop = self.0.stop.clone();
        self.0.tasks.spawn(async move {
            let ended = tokio::time::timeout(STAY_LIMIT, all_ended(slots.into_values().collect()));
            tokio::select! {
                () = stop.cancelled() => {}
                ended = ended => {
                    if ended.is_err() {
                        debug!("what was under way under an old id is cut");
                    }
                }
            }
            old.close().await;
        });
        Ok(())
    }
}

/// Waits until no stream is under way on any of them.
async fn all_ended(slots: Vec<Slot>) {
    let mut busy = slots;
    while !busy.is_empty() {
        tokio::time::sleep(LOOK).await;
        busy.retain(|slot| {
            // One whose lock is held is being connected to, for somebody.
            slot.try_lock().map_or(true, |held| held.as_ref().is_some_and(Connection::is_busy))
        });
    }
}

async fn at_its_relay(endpoint: &iroh::Endpoint) {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut statuses = endpoint.home_relay_status();
    while !statuses.get().iter().any(|status| status.is_connected()) {
        tokio::time::sleep(PAUSE).await;
    }
}
