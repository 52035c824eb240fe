//! The route `Tunnel`: end-to-end bytes through another node's exit. The exit learns the host, and
//! nothing of what is said.

use std::time::Duration;

use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask};
use busel_proto::page::HostName;
use futures_util::future::BoxFuture;

use super::beside::first_good;
use crate::node::Node;
use crate::origin::{Io, StreamIo, Way};
use crate::say::say;

/// An exit's answer is waited for this long; it has to connect first.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Exits asked for one connection, one beside the other.
const MAX_ASKED: usize = 4;

/// Connects to `host` through the first exit that does.
pub(crate) async fn open(node: &Node, host: &HostName, port: u16) -> Result<StreamIo, Failure> {
    if host.is_local() {
        return Err(Failure::NotAllowed("hosts of the own network are not told to others".into()));
    }
    let mut exits = node.exits();
    exits.truncate(MAX_ASKED);
    // Nothing is sent through an exit before it is chosen, so that several may be asked.
    first_good(node, &exits, |at| {
        let asked = tokio::time::timeout(ANSWER_LIMIT, ask(node, exits[at], host, port));
        async move { Ok(asked.await.unwrap_or(Err(Failure::Silent))?) }
    })
    .await
}

async fn ask(node: &Node, exit: PeerId, host: &HostName, port: u16) -> Result<StreamIo, Failure> {
    let (answer, stream) = say(node, exit, &Ask::Tunnel { host: host.clone(), port }).await?;
    match answer {
        Answer::Open => Ok(StreamIo(stream)),
        Answer::Declined { failure } => Err(Failure::declined(&failure)),
        _ => Err(Failure::Protocol("an unexpected answer".into())),
    }
}

/// Tunnels as a [`Way`] to origins, for requests whose URL we see.
#[derive(Debug)]
pub(crate) struct ByTunnel(pub(crate) std::sync::Weak<crate::node::Inner>);

impl Way for ByTunnel {
    fn connect(
        &self,
        host: HostName,
        port: u16,
    ) -> BoxFuture<'static, Result<Box<dyn Io>, Failure>> {
        let node = Node::upgrade(&self.0);
        Box::pin(async move {
            let node = node.ok_or(Failure::NobodyKnown)?;
            Ok(Box::new(open(&node, &host, port).await?) as Box<dyn Io>)
        })
    }
}
