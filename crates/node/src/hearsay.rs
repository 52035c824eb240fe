//! Whom the guards of a quiet node can ask for it: open nodes that they tell of, by their cards.
//!
//! A quiet node never speaks to them. It has a guard pass on a question that is sealed to one, so all
//! that counts of a card is the id that signed it. Ids cost nothing: a guard could tell of one of its
//! own, and read what it passes on. So whom one guard alone tells of is asked through the others, which
//! pass such questions on only to whom they have met themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use busel_proto::card::Card;
use busel_proto::exchange::MAX_TOLD;
use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask};
use tokio::time::timeout;
use tracing::debug;

use crate::clock;
use crate::node::Node;
use crate::route::voice::Way;
use crate::say::say;

/// One answer is waited for this long.
const LIMIT: Duration = Duration::from_secs(10);

/// What each guard told last.
#[derive(Debug, Default)]
pub(crate) struct Hearsay(Mutex<BTreeMap<PeerId, BTreeSet<PeerId>>>);

impl Hearsay {
    /// How to ask them, through `guards`.
    pub(crate) fn ways(&self, guards: &[PeerId]) -> Vec<Way> {
        let told = self.told();
        let mut tellers: BTreeMap<PeerId, Vec<PeerId>> = BTreeMap::new();
        for guard in guards {
            for peer in told.get(guard).into_iter().flatten().filter(|p| !guards.contains(p)) {
                tellers.entry(*peer).or_default().push(*guard);
            }
        }
        let ways = tellers.into_iter().map(|(peer, tellers)| {
            let others = guards.iter().filter(|guard| tellers != [**guard]);
            Way { by: others.copied().collect(), may_meet: false, ..Way::to(peer) }
        });
        ways.filter(|way| !way.by.is_empty()).collect()
    }

    /// What a guard tells now; what it told before is over.
    fn heard(&self, guard: PeerId, peers: Vec<PeerId>) {
        self.told().insert(guard, peers.into_iter().collect());
    }

    /// Only these may have told.
    fn keep(&self, guards: &[PeerId]) {
        self.told().retain(|guard, _| guards.contains(guard));
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<PeerId, BTreeSet<PeerId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the guards.
pub(crate) async fn round(node: &Node) {
    let Some(hearsay) = &node.hearsay else { return };
    let guards = node.guards();
    hearsay.keep(&guards);
    for guard in guards {
        match timeout(LIMIT, ask(node, guard)).await.unwrap_or(Err(Failure::Silent)) {
            Ok(peers) => hearsay.heard(guard, peers),
            Err(failure) => debug!(%failure, "a guard tells of nobody"),
        }
    }
}

async fn ask(node: &Node, guard: PeerId) -> Result<Vec<PeerId>, Failure> {
    let (answer, _) = say(node, guard, &Ask::Nodes { card: None }).await?;
    let Answer::Nodes { cards } = answer else { return Ok(Vec::new()) };
    let reach = &node.own.reach;
    let cards = cards.iter().take(MAX_TOLD);
    let sound = cards.filter_map(|card| Card::check(card, reach, clock::now()).ok());
    Ok(sound.map(|card| card.peer).filter(|peer| *peer != node.id()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);
    const C: PeerId = PeerId([3; 32]);

    fn through(by: &[PeerId]) -> Way {
        Way { by: by.to_vec(), may_meet: false, ..Way::to(C) }
    }

    #[test]
    fn who_is_told_of_is_asked_through_others_than_the_one_who_told_and_never_met() {
        let hearsay = Hearsay::default();
        hearsay.heard(A, vec![B, C]);
        assert!(hearsay.ways(&[A]).is_empty(), "it may be A's own");
        let ways = hearsay.ways(&[A, B]);
        assert_eq!(ways, [through(&[B])]);
        hearsay.heard(B, vec![C]);
        let ways = hearsay.ways(&[A, B]);
        assert_eq!(ways, [through(&[A, B])]);
        assert!(hearsay.ways(&[B]).is_empty(), "who told is no guard any more");
        hearsay.heard(A, vec![]);
        let ways = hearsay.ways(&[A, B]);
        assert_eq!(ways, [through(&[A])]);
        hearsay.heard(B, vec![]);
        assert!(hearsay.ways(&[A, B]).is_empty());
    }
}
