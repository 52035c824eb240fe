//! The other side: what this program is as a child process. It reads its role as one line of JSON,
//! says that it is ready, then does what each further line asks, one after the other.
//!
//! Every role has a process of its own, so that CPU time and memory are that role's alone.

pub(crate) mod blobs;
pub(crate) mod node;
pub(crate) mod raw;
pub(crate) mod relay;

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use busel_node::Config;
use serde::{Deserialize, Serialize};

/// What a child is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// A Busel node, an injector if so said.
    Node { config: Box<Config>, invite: String, injector: bool },
    /// A relay: ours, or iroh's own as its program runs it.
    Relay { stock: bool },
    /// An iroh endpoint that answers with as many bytes as are asked for.
    RawServer { by: By },
    /// An iroh endpoint that asks it.
    RawClient { server: RawAddr },
    /// An iroh-blobs store on disk with one blob of zeros.
    BlobsServer { dir: PathBuf, len: u64 },
    /// Another one, which gets it.
    BlobsClient { server: RawAddr, dir: PathBuf },
}

/// The way between two iroh endpoints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum By {
    /// iroh's own UDP.
    Plain,
    /// Our UDP wire in its place.
    Veil,
    /// Our relay, which is in this invite.
    Relay(String),
    /// iroh's own relay, with TLS at this address.
    Stock(SocketAddr),
}

/// Where an iroh endpoint is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RawAddr {
    /// Its id.
    pub(crate) id: String,
    /// Its address, if it has one of its own.
    pub(crate) addr: Option<SocketAddr>,
    /// The blob it has.
    pub(crate) hash: Option<String>,
    /// The way to it.
    pub(crate) by: By,
}

/// What to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Node: sign and store pages of this length under these paths, by HTTP or HTTPS.
    Seed { paths: Vec<String>, len: u64, tls: bool },
    /// Node: speak for the listed site at its door.
    Vouch,
    /// Node: fetch these paths as a program that links the library does.
    Fetch { paths: Vec<String>, conns: usize, route: String, kept: bool },
    /// RawClient: so many requests of so many bytes.
    Request { count: usize, conns: usize, len: u64 },
    /// BlobsClient: get the blob into a new store.
    Get,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Ready(Ready),
    Done,
    /// The certificate to believe, in PEM.
    Vouches(String),
    /// Milliseconds of each exchange, and seconds of all together.
    Timed {
        ms: Vec<f64>,
        secs: f64,
    },
    Failed(String),
}

/// How a child that is ready can be reached.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Its HTTP door.
    pub(crate) http: Option<SocketAddr>,
    /// What it would say to a friend.
    pub(crate) invite: String,
    /// Where it listens, if it is iroh's own relay.
    pub(crate) stock: Option<SocketAddr>,
    /// Its iroh endpoint.
    pub(crate) raw: Option<RawAddr>,
}

/// One role at work.
pub(crate) enum Doer {
    Node(node::Reader),
    RawClient(raw::Client),
    BlobsClient(blobs::Client),
    /// Serves, and is asked nothing.
    Server,
}

/// Runs until the input ends.
pub(crate) fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut lines = std::io::stdin().lock().lines();
    let role = lines.next().context("no role was given")??;
    let role: Role = serde_json::from_str(&role)?;
    let (ready, doer) = match runtime.block_on(start(role)) {
        Ok(started) => started,
        Err(error) => return say(&Reply::Failed(format!("{error:#}"))),
    };
    say(&Reply::Ready(ready))?;
    for line in lines {
        let ask: Ask = serde_json::from_str(&line?)?;
        let done = runtime.block_on(doer.act(ask));
        say(&done.unwrap_or_else(|error| Reply::Failed(format!("{error:#}"))))?;
    }
    Ok(())
}

async fn start(role: Role) -> Result<(Ready, Doer)> {
    match role {
        Role::Node { config, invite, injector } => node::start(*config, &invite, injector).await,
        Role::Relay { stock: false } => relay::start().await,
        Role::Relay { stock: true } => relay::stock().await,
        Role::RawServer { by } => raw::serve(by).await,
        Role::RawClient { server } => raw::connect(&server).await,
        Role::BlobsServer { dir, len } => blobs::serve(&dir, len).await,
        Role::BlobsClient { server, dir } => blobs::connect(server, dir).await,
    }
}

impl Doer {
    async fn act(&self, ask: Ask) -> Result<Reply> {
        match (self, ask) {
            (Self::Node(node), Ask::Seed { paths, len, tls }) => node.seed(paths, len, tls).await,
            (Self::Node(node), Ask::Vouch) => node.vouch().await,
            (Self::Node(node), Ask::Fetch { paths, conns, route, kept }) => {
                node.fetch(paths, conns, &route, kept).await
            }
            (Self::RawClient(client), Ask::Request { count, conns, len }) => {
                client.request(count, conns, len).await
            }
            (Self::BlobsClient(client), Ask::Get) => client.get().await,
            (_, ask) => bail!("this role can't {ask:?}"),
        }
    }
}

fn say(reply: &Reply) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(reply)?)?;
    Ok(out.flush()?)
}

/// Milliseconds since.
fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
