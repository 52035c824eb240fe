//! What many ask for is held by open nodes, which are named to who asks, instead of sending it to each.
//!
//! How many, and who is named, is [`busel_proto::holders`]' to say.

use std::sync::Arc;
use std::time::Duration;

use busel_proto::card::Card;
use busel_proto::failure::Failure;
use busel_proto::holders::{Holders, LENGTHS};
use busel_proto::id::PeerId;
use busel_proto::signed::Signed;
use busel_proto::snapshot::Snapshot;
use rand::seq::SliceRandom;
use tokio::time::timeout;
use tracing::debug;

use crate::{Inner, lock};

/// Nodes that are being asked at once, and how long one of them is waited for.
pub(crate) const MAX_ASKING: usize = 256;
const LIMIT: Duration = Duration::from_secs(110);

/// Who holds what, by their ids.
pub(crate) type Held = Holders<PeerId>;

/// `asker` asks for this, from its beginning or another byte; its reader has asked an injector so often before. Has
/// more nodes hold it if there are too few, and names some.
pub(crate) fn named(
    inner: &Arc<Inner>,
    snapshot: &Snapshot,
    asker: PeerId,
    from: u64,
    before: u8,
) -> Vec<Signed<Card>> {
    // What is left of it is sent as quickly as found, or it is longer than anybody is asked to hold.
    let len = snapshot.head().len;
    if !LENGTHS.contains(&len) || !LENGTHS.contains(&len.saturating_sub(from)) {
        return Vec::new();
    }
    let (key, root, now) = (snapshot.key(), snapshot.head().root, inner.tick());
    let (chosen, named) = {
        let mut held = lock(&inner.held);
        // Who looks into the middle of a film is no crowd.
        if from == 0 {
            held.asked(key, root, asker, now);
        }
        let mut nodes = Vec::new();
        if held.lacks(&key, now) > 0 {
            nodes = inner.node.open_nodes();
            nodes.shuffle(&mut rand::rng());
        }
        (held.choose(&key, nodes, now), held.named(&key, root, before))
    };
    for peer in chosen {
        let (own, snapshot) = (inner.clone(), snapshot.clone());
        inner.node.spawn(async move { ask(&own, &snapshot, peer).await });
    }
    cards_of(inner, &named)
}

fn cards_of(inner: &Inner, peers: &[PeerId]) -> Vec<Signed<Card>> {
    peers.iter().filter_map(|peer| inner.node.card_of(peer)).collect()
}

/// Asks one to hold it.
async fn ask(inner: &Inner, snapshot: &Snapshot, peer: PeerId) {
    let asked = match inner.asking.try_acquire() {
        Ok(_place) => timeout(LIMIT, try_ask(inner, snapshot, peer)).await,
        Err(_) => Ok(Err(Failure::Busy("too many are being asked".into()))),
    };
    let holds = asked.unwrap_or(Err(Failure::Silent));
    if let Err(failure) = &holds {
        debug!(%failure, "a node does not hold what many ask for");
    }
    let (key, root) = (snapshot.key(), snapshot.head().root);
    lock(&inner.held).said(&key, root, peer, holds.is_ok(), inner.tick());
}

/// It is sent it, or loads it from those who have it or are loading it themselves.
async fn try_ask(inner: &Inner, snapshot: &Snapshot, peer: PeerId) -> Result<(), Failure> {
    inner.node.endpoint().open(&peer).await?;
    let (key, root) = (snapshot.key(), snapshot.head().root);
    let holders = lock(&inner.held).loads(&key, root, peer);
    let cards = cards_of(inner, &holders);
    inner.node.ask_to_hold(peer, snapshot.to_signed(), cards).await
}
