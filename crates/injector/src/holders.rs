//! What many ask for is held by open nodes, which are named to who asks, instead of sending it to each.
//!
//! How many, and who is named, is [`busel_proto::holders`]' to say.

use std::sync::Arc;
use std::time::Duration;

use busel_proto::card::Card;
use busel_proto::failure::Failure;
use busel_proto::holders::{Holders, LEAST_LEN};
use busel_proto::id::PeerId;
use busel_proto::signed::Signed;
use busel_proto::snapshot::Snapshot;
use rand::seq::SliceRandom;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::debug;

use crate::{Inner, lock};

/// Nodes that are being asked at once, and how long one of them is waited for.
pub(crate) const MAX_ASKING: usize = 64;
const LIMIT: Duration = Duration::from_secs(110);

/// Who holds what, by their ids.
pub(crate) type Held = Holders<PeerId>;

/// Somebody asks for this: has more nodes hold it if there are too few, and names some.
pub(crate) fn named(inner: &Arc<Inner>, snapshot: &Snapshot) -> Vec<Signed<Card>> {
    if snapshot.head().len < LEAST_LEN {
        return Vec::new();
    }
    let (key, root) = (snapshot.key(), snapshot.head().root);
    let now = inner.tick();
    let (lacks, named) = {
        let mut held = lock(&inner.held);
        held.asked(key, root, now);
        (held.lacks(&key, now), held.named(&key, root))
    };
    if lacks > 0 {
        ask_more(inner, snapshot, lacks);
    }
    cards_of(inner, &named)
}

fn cards_of(inner: &Inner, peers: &[PeerId]) -> Vec<Signed<Card>> {
    peers.iter().filter_map(|peer| inner.node.card_of(peer)).collect()
}

/// Asks so many more nodes, drawn by lot, to hold it.
fn ask_more(inner: &Arc<Inner>, snapshot: &Snapshot, lacks: usize) {
    let key = snapshot.key();
    let mut peers = inner.node.open_nodes();
    peers.retain(|peer| !lock(&inner.held).has(&key, *peer));
    peers.shuffle(&mut rand::rng());
    for peer in peers.into_iter().take(lacks) {
        let Ok(place) = inner.asking.clone().try_acquire_owned() else { return };
        ask(inner, snapshot, peer, place);
    }
}

/// Asks one. It loads it from those who have it, or are loading it themselves.
fn ask(inner: &Arc<Inner>, snapshot: &Snapshot, peer: PeerId, place: OwnedSemaphorePermit) {
    let (key, root) = (snapshot.key(), snapshot.head().root);
    let holders = {
        let mut held = lock(&inner.held);
        let holders = held.named(&key, root);
        held.asks(&key, peer, inner.tick());
        holders
    };
    let (cards, signed) = (cards_of(inner, &holders), snapshot.to_signed());
    let own = inner.clone();
    inner.node.spawn(async move {
        let _place = place;
        let asked = timeout(LIMIT, own.node.ask_to_hold(peer, signed, cards)).await;
        let holds = asked.unwrap_or(Err(Failure::Silent));
        if let Err(failure) = &holds {
            debug!(%failure, "a node does not hold what many ask for");
        }
        lock(&own.held).said(&key, root, peer, holds.is_ok(), own.tick());
    });
}
