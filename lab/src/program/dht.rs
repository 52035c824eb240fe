//! A node of BitTorrent's DHT in a host, by a program's own library (`mainline`): it serves others,
//! or only asks. IPv4 only, as that library.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use mainline::async_dht::AsyncDht;
use mainline::{Dht, Id};
use tokio::time::timeout;

use crate::world::{Host, World};

/// The port of nodes that serve.
const PORT: u16 = 6881;
/// How long a node waits for another.
const REQUEST: Duration = Duration::from_secs(1);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running node; it ends when this is dropped.
pub struct DhtNode {
    dht: AsyncDht,
}

impl DhtNode {
    /// A node that serves others on port 6881. With no nodes to begin with it is the first.
    pub fn serving(host: &Host, bootstrap: &[&str]) -> anyhow::Result<Self> {
        let mut builder = Dht::builder();
        builder.server_mode().port(PORT);
        Self::start(host, builder, bootstrap)
    }

    /// A node that only asks, from any port.
    pub fn asking(host: &Host, bootstrap: &[&str]) -> anyhow::Result<Self> {
        let mut builder = Dht::builder();
        builder.port(0);
        Self::start(host, builder, bootstrap)
    }

    /// Whether it finds any other node.
    pub fn finds_others(&self, world: &World) -> bool {
        let found = async { timeout(PATIENCE, self.dht.bootstrapped()).await };
        world.tasks().block_on(found).unwrap_or(false)
    }

    /// Says in the DHT that this host, at a port, has to do with a topic.
    pub fn announce(&self, world: &World, topic: [u8; 20], port: u16) -> anyhow::Result<()> {
        let announced =
            async { timeout(PATIENCE, self.dht.announce_peer(Id::from(topic), Some(port))).await };
        world.tasks().block_on(announced)?.context("an announcement")?;
        Ok(())
    }

    /// Who has to do with a topic, as the DHT says now.
    pub fn peers(&self, world: &World, topic: [u8; 20]) -> BTreeSet<SocketAddrV4> {
        let mut found = BTreeSet::new();
        let asked = async {
            let mut answers = self.dht.get_peers(Id::from(topic));
            while let Some(some) = answers.next().await {
                found.extend(some);
            }
        };
        // What has come until then counts.
        world.tasks().block_on(async { timeout(PATIENCE, asked).await }).ok();
        found
    }

    /// Names are looked up as the host does it.
    fn start(
        host: &Host,
        mut builder: mainline::DhtBuilder,
        bootstrap: &[&str],
    ) -> anyhow::Result<Self> {
        let bootstrap: Vec<String> = bootstrap.iter().map(|at| (*at).to_owned()).collect();
        let dht = host.enter(move || {
            builder.request_timeout(REQUEST).bootstrap(&bootstrap);
            builder.build()
        });
        Ok(Self { dht: dht.context("a DHT node")?.as_async() })
    }
}
