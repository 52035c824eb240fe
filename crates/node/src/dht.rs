//! Sets up the finder `Dht` of an open node that takes part: its first nodes by our own resolvers, what
//! it keeps in the store, and the socket at which others ask for its card.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use busel_net::finder::dht::{Dht, Setup, meet};
use busel_proto::page::HostName;
use busel_store::ReadError;
use futures_util::future::FutureExt;
use tokio::net::UdpSocket;
use tracing::debug;

use crate::config::first_node;
use crate::exchange::Exchange;
use crate::node::{Node, StartError};

/// Where nodes of the DHT are kept in the store.
const NODES: &str = "dht-nodes";

/// Starts what the configuration asks for.
pub(crate) async fn start(node: &Node, exchange: &Arc<Exchange>) -> Result<(), StartError> {
    if !node.config.dht {
        return Ok(());
    }
    let announce = match node.config.dht_addr.filter(|_| exchange.card().is_some()) {
        Some(addr) => {
            let socket = UdpSocket::bind(addr).await?;
            let port = socket.local_addr()?.port();
            let asked = exchange.clone();
            node.spawn(async move { meet::answer(socket, move || asked.card()).await });
            Some(port)
        }
        None => None,
    };
    let dht = Dht::new(setup(node, exchange, announce)?);
    node.endpoint.add_finder(Arc::new(dht));
    Ok(())
}

fn setup(node: &Node, exchange: &Arc<Exchange>, announce: Option<u16>) -> Result<Setup, ReadError> {
    let (store, tasks) = (node.store.clone(), node.tasks.clone());
    let keep = Arc::new(move |nodes: Vec<u8>| {
        let store = store.clone();
        // If they are lost, names lead there again.
        tasks.spawn_blocking(move || store.set(NODES, &nodes));
    });
    let weak = Arc::downgrade(&node.0);
    let first = Arc::new(move || {
        let node = Node::upgrade(&weak);
        async move {
            match node {
                Some(node) => first_nodes(&node).await,
                None => Vec::new(),
            }
        }
        .boxed()
    });
    let kept = node.store.setting(NODES)?.unwrap_or_default();
    let (reach, cards) = ((*node.own.reach).clone(), exchange.come.clone());
    Ok(Setup { first, kept, keep, announce, reach, cards })
}

/// The addresses of the configured first nodes. A false answer leads to nobody, and is not needed any
/// more once nodes are kept.
async fn first_nodes(node: &Node) -> Vec<SocketAddrV4> {
    let mut found = Vec::new();
    for text in &node.config.dht_bootstrap {
        let Some((host, port)) = first_node(text) else { continue };
        match resolve(node, &host, port).await {
            Ok(addrs) => found.extend(addrs),
            Err(failure) => debug!(%failure, "a first node of the DHT has no address"),
        }
    }
    found
}

async fn resolve(
    node: &Node,
    host: &HostName,
    port: u16,
) -> Result<Vec<SocketAddrV4>, busel_proto::failure::Failure> {
    let found = node.own.names.resolve(host, port, &node.own.reach).await?;
    let v4 = |addr: SocketAddr| if let SocketAddr::V4(addr) = addr { Some(addr) } else { None };
    Ok(found.into_iter().filter_map(v4).collect())
}
