//! Asking a node for something, and its first word.

use busel_net::endpoint::Stream;
use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask, MAX_FRAME};

use crate::node::Node;

/// Asks `peer`, and returns its answer and the stream for what follows.
pub(crate) async fn say(node: &Node, peer: PeerId, ask: &Ask) -> Result<(Answer, Stream), Failure> {
    on(node.endpoint.open(&peer).await?, ask).await
}

/// As [`say`], on a stream that is open.
pub(crate) async fn on(mut stream: Stream, ask: &Ask) -> Result<(Answer, Stream), Failure> {
    let is_all = !matches!(ask, Ask::Tunnel { .. });
    let body = stream.ask(&ask.to_frame(), is_all, MAX_FRAME).await?;
    let answer = Answer::from_frame(&body).map_err(|e| Failure::Protocol(e.to_string()))?;
    Ok((answer, stream))
}
