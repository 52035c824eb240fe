//! Passing sealed requests on: an open node stands between a reader and an injector, so that the
//! injector learns what is read and not by whom, and this node by whom and not what.
//!
//! It passes on only to injectors that it knows itself, within the bytes a day that its owner gives to
//! others, and reads nothing of what it passes.

use std::time::Duration;

use busel_net::endpoint::Stream;
use busel_proto::failure::Failure;
use busel_proto::giving::Kind;
use busel_proto::id::PeerId;
use busel_proto::message::Ask;
use tokio::time::timeout;

use crate::config::Exposure;
use crate::node::Node;
use crate::places::Place;
use crate::serve;

/// An injector that says nothing for this long is not waited for any more; it may have to ask the
/// origin first.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes passed on at once.
const PIECE: usize = 64 * 1024;

/// Passes a request of `peer` on, and the answer back.
pub(crate) async fn serve(
    node: &Node,
    peer: PeerId,
    mut stream: Stream,
    to: PeerId,
    envelope: Vec<u8>,
) -> Result<(), Failure> {
    let (mut onward, _place) = match open(node, peer, to, envelope).await {
        Ok(opened) => opened,
        Err(failure) => return serve::decline(stream, failure).await,
    };
    let passed = answer(node, &mut onward, &mut stream).await;
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
    envelope: Vec<u8>,
) -> Result<(Stream, Place), Failure> {
    if node.config.exposure == Exposure::Quiet {
        return Err(Failure::NotAllowed("it passes nothing on".into()));
    }
    if !node.joined.view().injectors.iter().any(|injector| injector.peer == to) {
        return Err(Failure::NotAllowed("it does not know that injector".into()));
    }
    let place = node.giving.place(peer)?;
    let mut onward = node.endpoint.open(&to).await?;
    node.giving.pay(Kind::Passed, envelope.len()).await?;
    serve::write(&mut onward, &Ask::Inject { envelope }.to_frame()).await?;
    let _ = onward.send.finish();
    Ok((onward, place))
}

async fn answer(node: &Node, from: &mut Stream, to: &mut Stream) -> Result<(), Failure> {
    loop {
        let read = timeout(PATIENCE, from.recv.read_chunk(PIECE)).await;
        let Some(piece) = read.map_err(|_| Failure::Stalled)?.map_err(|_| Failure::CutOff)? else {
            return Ok(());
        };
        node.giving.pay(Kind::Passed, piece.len()).await?;
        serve::write(to, &piece).await?;
    }
}
