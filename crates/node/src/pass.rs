//! Passing on what is sealed: an open node stands between a reader and an injector, or another open
//! node, so that those learn what is read and not by whom, and this node by whom and not what.
//!
//! It passes requests on only to injectors that it knows itself, and questions only to nodes that it knows, or
//! whose card the asker shows, of those few in a while; within the bytes a day that its owner gives to others. It
//! reads nothing of what it passes.

use std::time::Duration;

use busel_net::endpoint::Stream;
use busel_proto::card::Card;
use busel_proto::failure::Failure;
use busel_proto::giving::{Kind, Rest};
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask};
use busel_proto::signed::Signed;
use bytes::Bytes;
use tokio::time::timeout;
use tracing::debug;

use crate::config::Exposure;
use crate::exchange;
use crate::node::Node;
use crate::places::Place;
use crate::serve;

/// An injector that says nothing for this long is not waited for any more; it may have to ask the
/// origin first.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes passed on at once.
const PIECE: usize = 64 * 1024;

/// Passes what `peer` asks on, and the answer back.
pub(crate) async fn serve(
    node: &Node,
    peer: PeerId,
    mut stream: Stream,
    to: PeerId,
    card: Option<Signed<Card>>,
    ask: Ask,
) -> Result<(), Failure> {
    let (mut onward, _place) = match open(node, peer, to, card, &ask).await {
        Ok(opened) => opened,
        Err(failure) => return serve::decline(stream, failure).await,
    };
    let passed = match ask {
        // What comes after this is the other node's word, and not ours.
        Ask::Question { .. } => match serve::write(&mut stream, &Answer::Open.to_frame()).await {
            Ok(()) => answer(node, &mut onward, &mut stream).await,
            Err(failure) => Err(failure),
        },
        _ => answer(node, &mut onward, &mut stream).await,
    };
    match passed {
        Ok(()) => {
            let _ = stream.send.finish();
        }
        Err(_) => {
            // What is cut must not look whole.
            stream.cut();
            onward.cut();
        }
    }
    passed
}

async fn open(
    node: &Node,
    peer: PeerId,
    to: PeerId,
    card: Option<Signed<Card>>,
    ask: &Ask,
) -> Result<(Stream, Place), Failure> {
    if node.config.exposure == Exposure::Quiet {
        return Err(Failure::NotAllowed("it passes nothing on".into()));
    }
    let injects = node.joined.view().injectors.iter().any(|injector| injector.peer == to);
    match ask {
        Ask::Inject { .. } if !injects => {
            return Err(Failure::NotAllowed("it does not know that injector".into()));
        }
        Ask::Question { .. } if to == peer => return Err(not_known()),
        _ => {}
    }
    // That has nothing to do with where it should go, and the asker is to know.
    if let Some(rest @ (Rest::Battery | Rest::Metered)) = node.giving.account().rest {
        debug!(?rest, "nothing is passed on now");
        return Err(Failure::NotAllowed("it passes nothing on now".into()));
    }
    let place = node.giving.place(peer)?;
    let stranger = matches!(ask, Ask::Question { .. }) && !knows(node, &to);
    if stranger && !is_shown(node, peer, to, card).await {
        return Err(not_known());
    }
    let opened = node.endpoint.open(&to).await;
    if let Some(exchange) = node.exchange.as_ref().filter(|_| stranger) {
        exchange.tried(node, &to, opened.is_ok());
    }
    let mut onward = opened?;
    let frame = ask.to_frame();
    node.giving.pay(Kind::Passed, frame.len()).await?;
    serve::write(&mut onward, &frame).await?;
    let _ = onward.send.finish();
    Ok((onward, place))
}

fn not_known() -> Failure {
    Failure::NotAllowed("it does not know that node".into())
}

/// Whether this card says where that node is. Anybody can have it connect to where a card of theirs points, as
/// anybody can by telling it cards, but only so often.
async fn is_shown(node: &Node, peer: PeerId, to: PeerId, card: Option<Signed<Card>>) -> bool {
    match card.filter(|card| card.peek().is_ok_and(|card| card.peer == to)) {
        Some(card) => exchange::told_of(node, peer, Some(peer), card).await.is_some(),
        None => false,
    }
}

/// Whether it knows a node from more than somebody's word: an invite, or a connection not long ago.
fn knows(node: &Node, peer: &PeerId) -> bool {
    let works = node.exchange.as_ref().is_some_and(|exchange| exchange.works(peer));
    works || node.endpoint.is_confirmed(peer) || node.endpoint.is_connected(peer)
}

async fn answer(node: &Node, from: &mut Stream, to: &mut Stream) -> Result<(), Failure> {
    let other_end = from.other_end();
    let mut piece = other_end.answers(next(from)).await?;
    while let Some(bytes) = piece {
        node.giving.pay(Kind::Passed, bytes.len()).await?;
        serve::write(to, &bytes).await?;
        piece = next(from).await?;
    }
    Ok(())
}

async fn next(from: &mut Stream) -> Result<Option<Bytes>, Failure> {
    let read = timeout(PATIENCE, from.recv.read_chunk(PIECE)).await;
    read.map_err(|_| Failure::Stalled)?.map_err(|_| Failure::CutOff)
}
