//! Techniques that learn first: the censor watches a reader by Busel, and then knows what to block.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::run::PAGE;
use crate::censor::{Context, Injected, IpBlock, Policy, TlsFingerprint, Verdict};
use crate::map::Point;
use crate::packet::Packet;
use crate::program::{DhtEnumeration, DhtNode, Exposure, Prober, Reader, Report, Stage, VEIL, Way};

/// How long the watched reader and the prober are waited for.
const PATIENCE: Duration = Duration::from_secs(40);
/// What the watched reader reads, and where.
const READS: (&str, &str) = ("/", "home-a2");

/// A topic of the DHT, and who is there by their own will.
const TOPIC: ([u8; 20], &str) = ([0xb5; 20], "domestic");

/// Notes the fingerprints of all clients that pass.
#[derive(Clone, Default)]
struct Spy(Arc<Mutex<HashSet<String>>>);

impl Policy for Spy {
    fn name(&self) -> &'static str {
        "spy"
    }

    fn judge(&mut self, _: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        if let Some(hello) = at.flow.hello() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hello.ja4(false));
        }
        Verdict::Pass
    }
}

/// Blocks TLS clients of each kind that Busel was seen to be, at the border.
pub(super) fn fingerprints(stage: &Stage) -> anyhow::Result<()> {
    let spy = Spy::default();
    let border = stage.at(Point::Border);
    border.only(spy.clone());
    for way in [Way::Direct, Way::Injector] {
        read(stage, way)?;
    }
    let seen = spy.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    border.only(TlsFingerprint::new(seen));
    Ok(())
}

/// Probes all servers that readers speak with, and blocks those that are no web servers, or over UDP
/// answer at all. The relay and the injector's veil are known to the prober before the first row is
/// measured.
pub(super) fn probed(stage: &Stage) -> anyhow::Result<Prober> {
    let rule = |report: &Report| !report.is_clean();
    let prober = Prober::start(&stage.scene.world, stage.host("prober"), rule);
    stage.at(Point::Border).only(prober.policy());
    for way in [Way::Injector, Way::Veil] {
        read(stage, way)?;
    }
    let relay = SocketAddr::new(stage.host("relay").v4(), 443);
    let veil = SocketAddr::new(stage.host("injector").v4(), VEIL);
    for server in [relay, veil] {
        prober.report_of(server, PATIENCE).context("the prober never looked at a server")?;
    }
    Ok(prober)
}

/// A neighbour whose node is open, and who has read the page while nothing was cut.
pub(super) fn neighbour(stage: &Stage) -> anyhow::Result<Reader> {
    let neighbour = read_as(stage, Way::Injector, Exposure::Open, PAGE)?;
    neighbour.busel.until("the page is kept", |status| status["store"]["snapshots"] != 0)?;
    Ok(neighbour)
}

/// Blocks at the border whoever the DHT names for a topic, after somebody has read. Readers have no part
/// in the DHT, so that none of them is on the list.
pub(super) fn enumerated(stage: &Stage) -> anyhow::Result<Vec<DhtNode>> {
    let world = &stage.scene.world;
    let first = format!("{}:6881", stage.host("origin").v4());
    let mut nodes = vec![DhtNode::serving(stage.host("origin"), &[])?];
    for host in ["injector", TOPIC.1] {
        nodes.push(DhtNode::serving(stage.host(host), &[&first])?);
    }
    anyhow::ensure!(nodes.iter().all(|node| node.finds_others(world)), "the DHT is not whole");
    nodes[2].announce(world, TOPIC.0, 443)?;
    read(stage, Way::Injector)?;
    let crawler = stage.host("prober");
    let list = DhtEnumeration::collect(world, crawler, &[&first], TOPIC.0)?;
    anyhow::ensure!(list.has(stage.host(TOPIC.1).v4()), "the crawler found nobody");
    for router in ["isp-a", "isp-b"] {
        anyhow::ensure!(!list.has(stage.host(router).v4()), "a reader is on the list: {list:?}");
    }
    let listed = list.listed.iter().map(|peer| IpAddr::V4(*peer.ip()));
    stage.at(Point::Border).only(IpBlock::new(listed));
    Ok(nodes)
}

/// Somebody else reads, and is watched.
fn read(stage: &Stage, way: Way) -> anyhow::Result<()> {
    read_as(stage, way, Exposure::Quiet, READS.0).map(drop)
}

fn read_as(stage: &Stage, way: Way, exposure: Exposure, path: &str) -> anyhow::Result<Reader> {
    let reader = Reader::start(stage, READS.1, way, exposure)?;
    let visit = reader.visit(stage, path, PATIENCE)?;
    anyhow::ensure!(visit.passed(), "nothing is blocked yet: {}", visit.told());
    Ok(reader)
}
