//! Holding for others what an injector says that many ask for: an open node's part in a crowd, and how an
//! injector's node asks for it.
//!
//! Only an injector that the owner trusts can have it hold something, of its own and within bounds. So what it
//! holds for that reason says nothing of what its owner reads.

use std::time::Duration;

use busel_net::endpoint::Stream;
use busel_proto::card::Card;
use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask};
use busel_proto::signed::Signed;
use busel_proto::snapshot::{SignedSnapshot, Snapshot};
use tokio::time::timeout;
use tracing::debug;

use crate::config::Exposure;
use crate::exchange;
use crate::node::Node;
use crate::places::Places;
use crate::route::many;
use crate::route::voice::Way;
use crate::save;
use crate::say::say;

/// Bodies that are loaded at once for this, for all injectors and for one.
const MAX_LOADS: usize = 16;
const MAX_INJECTOR_LOADS: usize = 8;
/// One of them may take this part of the quota.
const SHARE: u64 = 8;
/// It is to be there within this time.
const LOAD_LIMIT: Duration = Duration::from_secs(100);

/// Places for bodies that are loaded to be held.
pub(crate) fn places() -> Places {
    Places::new(MAX_LOADS, MAX_INJECTOR_LOADS)
}

impl Node {
    /// Open nodes with a card that were connected to not long ago; none, if it is quiet.
    pub fn open_nodes(&self) -> Vec<PeerId> {
        self.exchange.as_ref().map(|exchange| exchange.working()).unwrap_or_default()
    }

    /// The card of one of them.
    pub fn card_of(&self, peer: &PeerId) -> Option<Signed<Card>> {
        self.exchange.as_ref()?.card_of(peer)
    }

    /// Has an open node hold a page of which this node is the injector, out of what these hold, or this one.
    /// Returns once it does.
    pub async fn ask_to_hold(
        &self,
        peer: PeerId,
        snapshot: SignedSnapshot,
        holders: Vec<Signed<Card>>,
    ) -> Result<(), Failure> {
        match say(self, peer, &Ask::Hold { snapshot, holders }).await?.0 {
            Answer::Open => Ok(()),
            Answer::Declined { failure } => Err(Failure::declined(&failure)),
            _ => Err(Failure::Protocol("an unexpected answer".into())),
        }
    }
}

/// Answers a peer that wants something to be held, once it is.
pub(crate) async fn answer(
    node: &Node,
    stream: &Stream,
    peer: PeerId,
    snapshot: SignedSnapshot,
    holders: Vec<Signed<Card>>,
) -> Answer {
    if node.config.exposure == Exposure::Quiet || stream.is_near() {
        return Answer::Nothing;
    }
    let held = timeout(LOAD_LIMIT, hold(node, peer, snapshot, holders)).await;
    match held.unwrap_or(Err(Failure::Stalled)) {
        Ok(()) => Answer::Open,
        Err(failure) => {
            debug!(%failure, "what many ask for is not held");
            Answer::Declined { failure }
        }
    }
}

async fn hold(
    node: &Node,
    peer: PeerId,
    snapshot: SignedSnapshot,
    holders: Vec<Signed<Card>>,
) -> Result<(), Failure> {
    let view = node.joined.view();
    let snapshot = snapshot.verify_page(&view.trust);
    let snapshot = snapshot.map_err(|error| Failure::NotAuthentic(error.to_string()))?;
    let injects = |root| view.injectors.iter().any(|i| i.peer == peer && i.cert.root == root);
    if !injects(snapshot.cert().root) {
        return Err(Failure::NotAllowed("it is not from an injector that is trusted here".into()));
    }
    if snapshot.head().len > node.store.usage().quota / SHARE {
        return Err(Failure::NotAllowed("there is not so much room".into()));
    }
    node.giving.may()?;
    let _place = node.loads.take(peer)?;
    if is_held(node, &snapshot).await {
        return Ok(());
    }
    let mut ways = Vec::new();
    for card in holders {
        ways.extend(exchange::told_of(node, peer, card).await.map(Way::to));
    }
    if ways.is_empty() {
        ways.push(Way::to(peer));
    }
    let items = many::body(node, &snapshot, 0, None, ways);
    let own = node.clone();
    save::all(node, node.store.clone(), snapshot, items, move |snapshot| own.is_stored(snapshot))
        .await
}

async fn is_held(node: &Node, snapshot: &Snapshot) -> bool {
    let (store, key, root) = (node.store.clone(), snapshot.key(), snapshot.head().root);
    let found = node.spawn_blocking(move || store.find(&key).ok().flatten()).await;
    found.ok().flatten().is_some_and(|stored| stored.shared && stored.root == root)
}
