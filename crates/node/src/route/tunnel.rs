//! The route `Tunnel`: end-to-end bytes through another node's exit. The exit learns the host, and
//! nothing of what is said.

use std::time::Duration;

use busel_net::frame;
use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask, MAX_FRAME};
use busel_proto::page::HostName;
use futures_util::future::BoxFuture;

use crate::node::Node;
use crate::origin::{Io, StreamIo, Way};

/// An exit's answer is waited for this long; it has to connect first.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Exits asked for one connection, one after the other.
const MAX_ASKED: usize = 4;

/// Connects to `host` through the first exit that will.
pub(crate) async fn open(node: &Node, host: &HostName, port: u16) -> Result<StreamIo, Failure> {
    if is_local(host) {
        return Err(Failure::NotAllowed("hosts of the own network are not told to others".into()));
    }
    let mut why = Failure::NobodyKnown;
    for exit in node.exits().into_iter().take(MAX_ASKED) {
        let asked = tokio::time::timeout(ANSWER_LIMIT, ask(node, exit, host, port)).await;
        match asked.unwrap_or(Err(Failure::Silent)) {
            Ok(stream) => return Ok(stream),
            Err(failure) => why = failure,
        }
    }
    Err(why)
}

/// A host that only means something here: an address that is not public, a bare name, or a name
/// under a domain kept for local use (RFC 6761, RFC 6762, RFC 7686, RFC 8375).
fn is_local(host: &HostName) -> bool {
    const LOCAL: [&str; 5] = [".local", ".localhost", ".internal", ".home.arpa", ".onion"];
    match host.ip() {
        Some(ip) => !busel_proto::network::is_public(ip),
        None => {
            let name = host.as_str();
            !name.contains('.') || LOCAL.iter().any(|domain| name.ends_with(domain))
        }
    }
}

async fn ask(node: &Node, exit: PeerId, host: &HostName, port: u16) -> Result<StreamIo, Failure> {
    let opened = node.endpoint.open(&exit).await;
    let mut stream = opened.map_err(|_| Failure::Unreachable)?;
    let ask = Ask::Tunnel { host: host.clone(), port };
    stream.send.write_all(&ask.to_frame()).await.map_err(|_| Failure::CutOff)?;
    let body = frame::read(&mut stream.recv, MAX_FRAME).await.map_err(|_| Failure::CutOff)?;
    match Answer::from_frame(&body).map_err(|e| Failure::Protocol(e.to_string()))? {
        Answer::Open => Ok(StreamIo(stream)),
        Answer::Declined { failure } => Err(Failure::declined(&failure)),
        Answer::Found { .. } | Answer::Nothing => {
            Err(Failure::Protocol("an unexpected answer".into()))
        }
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
