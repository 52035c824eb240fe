//! A quiet node is somebody else each day, also while it runs: its id, and all that is tied to it.

use std::time::Duration;

use busel_net::endpoint::BindError;
use busel_proto::daily::id_lasts;
use busel_proto::question::QuestionKey;
use tracing::debug;

use crate::clock;
use crate::config::Exposure;
use crate::node::Node;

/// A device may sleep, so the clock is looked at so often.
const LOOK: Duration = Duration::from_secs(1800);

/// Renews the node's id again and again, until it is dropped.
pub(crate) async fn run(node: &Node) {
    loop {
        let (since, lasts) = (clock::now(), id_lasts(rand::random()));
        loop {
            let left = lasts.saturating_sub(clock::now().since(since));
            // A clock that was set back holds nothing up for long.
            if left.is_zero() || clock::now() < since {
                break;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
        while let Err(error) = once(node).await {
            debug!(%error, "the node keeps its id for now");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Renews it now. What is under way is not cut. An open node keeps its id: others keep it.
pub(crate) async fn once(node: &Node) -> Result<(), BindError> {
    if node.config.exposure == Exposure::Open {
        return Ok(());
    }
    let identity: [u8; 32] = rand::random();
    node.endpoint.renew(identity).await?;
    node.ask_under(QuestionKey::new(&identity));
    if let Some(assigned) = node.assigned.clone() {
        let _ = node.spawn_blocking(move || assigned.clear()).await;
    }
    Ok(())
}
