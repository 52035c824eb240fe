//! `busel up`: a reader's or helper's node, until it is told to end.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use busel_node::config::Exposure;
use busel_node::control::server::ControlServer;
use busel_node::{Config, Node};
use busel_store::Unlock;

use super::{config, data_dir, told_to_end, unlock};
use crate::args::{Setup, Up};
use crate::screen::line;

/// Where the proxy listens unless said otherwise.
const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8118);

pub(crate) async fn run(setup: &Setup, up: Up) -> anyhow::Result<ExitCode> {
    let end = told_to_end();
    let mut config = config(setup, &up.node)?;
    config.http = up.listen.or(config.http).or(Some(LISTEN));
    config.http_tells |= up.tell;
    let unlock = unlock(setup)?;
    let protected = matches!(unlock, Unlock::Passphrase(_));
    let (node, control) = start(setup, config, unlock).await?;
    greet(&node, protected);
    serve(node, control, end).await;
    Ok(ExitCode::SUCCESS)
}

/// Starts a node and its control socket.
pub(crate) async fn start(
    setup: &Setup,
    config: Config,
    unlock: Unlock,
) -> anyhow::Result<(Node, ControlServer)> {
    let dir = data_dir(setup)?;
    std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    let node = Node::start_with(config, unlock).await?;
    let control = ControlServer::open(&dir, Arc::new(node.clone()));
    match control {
        Ok(control) => Ok((node, control)),
        Err(error) => {
            node.stop().await;
            Err(error).context("the control socket can't be opened")
        }
    }
}

/// Serves until the node is told to end, by `end` or over its socket, and ends it.
pub(crate) async fn serve(node: Node, control: ControlServer, end: impl Future<Output = ()>) {
    tokio::select! {
        () = end => {}
        () = node.stop_wanted() => {}
    }
    control.close().await;
    node.stop().await;
}

fn greet(node: &Node, protected: bool) {
    if let Some(addr) = node.http_addr() {
        line(&format!("Busel is up. HTTP proxy for the programs of this user: http://{addr}"));
        line(&format!("  curl --proxy http://{addr} https://…"));
    }
    match node.config().exposure {
        Exposure::Quiet => line("This node is quiet: it shows others nothing of what you read."),
        Exposure::Open => line("This node is open: it serves to others what you read through it."),
    }
    let view = node.joined().view();
    if view.trust.roots().next().is_none() {
        line("It trusts nobody yet, so it can only ask sites directly. Join an invite:");
        line("  busel join busel1…");
    }
    if !protected {
        line("Without a passphrase the disk protects nothing: see --passphrase-file.");
    }
}
