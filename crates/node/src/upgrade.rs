//! Another protocol asked of a site, a WebSocket say. Its bytes go as those of any tunnel, but the TLS in it is
//! ours, since a browser's ended at the door.

use std::time::Duration;

use busel_net::shake::Duplex;
use busel_proto::failure::Failure;
use busel_proto::page::HostName;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tracing::debug;

use crate::node::Node;
use crate::tunnel;

/// Bytes on their way between the tunnel and the TLS in it.
const BUFFER: usize = 64 * 1024;
/// The site agrees within this, with all the ways to it that are tried before.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks `host` for another protocol, and returns its answer; a 101 can be upgraded.
pub(crate) async fn upgrade(
    node: &Node,
    request: Request<()>,
    host: &HostName,
    port: u16,
) -> Result<Response<Incoming>, Failure> {
    let (near, far) = tokio::io::duplex(BUFFER);
    let (own, to) = (node.clone(), host.clone());
    node.spawn(async move { tunnel::carry(&own, far, to, port).await });
    let asking = async {
        let shaken = node.upgrades.shake(host, near).await?;
        ask(node, request, shaken.io).await.map_err(|error| {
            debug!(%error, "a site was asked for another protocol");
            Failure::CutOff
        })
    };
    tokio::time::timeout(LIMIT, asking).await.unwrap_or(Err(Failure::Silent))
}

async fn ask(
    node: &Node,
    request: Request<()>,
    io: Box<dyn Duplex>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    node.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "a site's connection broke");
        }
    });
    sender.send_request(request.map(|()| Empty::<Bytes>::new())).await
}
