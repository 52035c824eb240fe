//! Hole punching between open nodes behind NATs: who reaches another one by a relay only tells it, by that
//! relay, from where others see it come; that node has its own NAT let it in, and says the same of
//! itself. A quiet node does none of that: nobody learns its address.

use std::net::SocketAddr;
use std::time::Duration;

use busel_net::endpoint::Stream;
use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::invite::VeilTicket;
use busel_proto::message::{Answer, Ask};
use busel_proto::punch::seen_from;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rand::seq::SliceRandom as _;
use tokio::time::timeout;
use tracing::debug;

use crate::node::Node;
use crate::say::say;

/// How often it is looked whom only a relay leads to.
const LOOK: Duration = Duration::from_secs(5);
/// Nodes that are asked from where they see this one come, and how many have to say so, if there are as
/// many.
const ASKED: usize = 4;
const WITNESSES: usize = 2;
/// … within this long.
const WITNESS_LIMIT: Duration = Duration::from_secs(2);
/// One answer is waited for this long.
const LIMIT: Duration = Duration::from_secs(8);

/// Tries to meet whom only a relay leads to, until it is dropped.
pub(crate) async fn run(node: &Node) {
    loop {
        tokio::time::sleep(LOOK).await;
        let mut relayed = node.endpoint.by_relay();
        relayed.retain(|peer| node.veil.punches().is_due(peer, node.clock.tick()));
        if relayed.is_empty() {
            continue;
        }
        // Who is seen by nobody yet has not tried.
        let Some(from) = own_address(node).await else { continue };
        for peer in relayed {
            node.veil.punches().tries(&peer, node.clock.tick());
            match timeout(LIMIT, meet(node, peer, from)).await {
                Ok(Ok(true)) => node.veil.punches().met(&peer, node.clock.tick()),
                Ok(Ok(false)) => debug!("the NATs let nothing through"),
                Ok(Err(failure)) => debug!(%failure, "no hole was punched"),
                Err(_) => debug!("a node was silent when asked to punch a hole"),
            }
        }
    }
}

async fn meet(node: &Node, peer: PeerId, from: SocketAddr) -> Result<bool, Failure> {
    let (answer, _) = say(node, peer, &Ask::Punch { from: from.to_string() }).await?;
    let Answer::Met { veil } = answer else { return Ok(false) };
    if !may_go_to(node, &veil) {
        return Err(Failure::NotAllowed("it names an address that nobody can reach".into()));
    }
    Ok(node.endpoint.meet(&peer, &veil).await)
}

fn may_go_to(node: &Node, veil: &VeilTicket) -> bool {
    let addrs: Vec<_> = veil.addrs().collect();
    let sound = |addr: &SocketAddr| addr.port() != 0 && node.lent.reach.allows(addr.ip());
    addrs.len() == 1 && veil.addrs.len() == 1 && addrs.iter().all(sound)
}

/// From where others see this node come, if some do.
async fn own_address(node: &Node) -> Option<SocketAddr> {
    let mut witnesses = node.endpoint.by_veil();
    witnesses.shuffle(&mut rand::rng());
    witnesses.truncate(ASKED);
    let mut asking: FuturesUnordered<_> = witnesses
        .into_iter()
        .map(|witness| timeout(WITNESS_LIMIT, async move { say(node, witness, &Ask::Seen).await }))
        .collect();
    let mut seen = Vec::new();
    while seen.len() < WITNESSES
        && let Some(said) = asking.next().await
    {
        if let Ok(Ok((Answer::Seen { at }, _))) = said
            && let Ok(at) = at.parse::<SocketAddr>()
            && node.lent.reach.allows(at.ip())
        {
            seen.push(at);
        }
    }
    seen_from(&seen)
}

/// Says from where it sees the asker come.
pub(crate) fn seen(node: &Node, stream: &Stream) -> Answer {
    let at = stream.veil_addr().filter(|_| node.veil.wire().is_some());
    at.map_or(Answer::Nothing, |at| Answer::Seen { at: at.to_string() })
}

/// Has the NAT let in who comes from there, and says where to come.
pub(crate) async fn open(node: &Node, peer: PeerId, from: &str) -> Answer {
    let Some(wire) = node.veil.wire().cloned() else { return Answer::Nothing };
    let from = from.parse::<SocketAddr>().ok().filter(|from| node.lent.reach.allows(from.ip()));
    let may = |from: &SocketAddr| {
        from.port() != 0 && node.veil.punches().may_open(&peer, node.clock.tick())
    };
    let Some(from) = from.filter(may) else { return Answer::Nothing };
    let own = match node.veil.ticket().filter(|ticket| may_go_to(node, ticket)) {
        Some(ticket) => Some(ticket),
        None => own_address(node).await.and_then(|own| node.veil.at(&[own])),
    };
    let Some(veil) = own else { return Answer::Nothing };
    node.spawn(async move { wire.punch(from).await });
    Answer::Met { veil }
}
