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
use busel_proto::plan::Manner;
use busel_proto::signed::Signed;
use busel_proto::snapshot::{Head, SignedSnapshot, Snapshot};
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
const MAX_LOADS: usize = 4;
const MAX_INJECTOR_LOADS: usize = 3;
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
    let not_trusted = || Failure::NotAllowed("it is from no injector that is trusted here".into());
    let view = node.joined.view();
    let injector = view.injectors.iter().find(|injector| injector.peer == peer);
    let root = injector.ok_or_else(not_trusted)?.cert.root;
    let snapshot = snapshot.verify_page(&view.trust);
    let snapshot = snapshot.map_err(|error| Failure::NotAuthentic(error.to_string()))?;
    if snapshot.cert().root != root {
        return Err(not_trusted());
    }
    if snapshot.head().len > node.store.usage().quota / SHARE {
        return Err(Failure::NotAllowed("there is not so much room".into()));
    }
    node.giving.may()?;
    let _place = node.loads.take(peer)?;
    match held(node, &snapshot).await {
        Some(held) if held.root == snapshot.head().root => return Ok(()),
        Some(held) if held.fetched_at > snapshot.head().fetched_at => {
            return Err(Failure::OnlyStale);
        }
        _ => {}
    }
    let mut ways = Vec::new();
    for card in holders {
        ways.extend(exchange::told_of(node, peer, None, card).await.map(Way::to));
    }
    if ways.is_empty() {
        ways.push(Way::to(peer));
    }
    let items = many::body(node, &snapshot, (0, Manner::RarestFirst), None, ways);
    let (own, root) = (node.clone(), snapshot.head().root);
    let kept = move |snapshot: &Snapshot| own.is_stored(snapshot);
    save::all(node, node.store.clone(), snapshot.clone(), items, kept).await?;
    // Another one may have come meanwhile that is newer.
    let held = held(node, &snapshot).await;
    held.filter(|held| held.root == root).map(|_| ()).ok_or(Failure::OnlyStale)
}

/// What is held under the page's key, for others too.
async fn held(node: &Node, snapshot: &Snapshot) -> Option<Head> {
    let (store, key) = (node.store.clone(), snapshot.key());
    let found = node.spawn_blocking(move || store.find(&key).ok().flatten()).await;
    let stored = found.ok().flatten().filter(|stored| stored.shared)?;
    stored.signed.head.peek().ok()
}
