//! Techniques that learn first: the censor watches a reader by Busel, and then knows what to block.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::run::PAGE;
use crate::censor::{Context, Injected, Policy, TlsFingerprint, Verdict};
use crate::map::Point;
use crate::packet::Packet;
use crate::program::{Exposure, Prober, Reader, Report, Stage, Way};

/// How long the watched reader and the prober are waited for.
const PATIENCE: Duration = Duration::from_secs(40);
/// What the watched reader reads, and where.
const READS: (&str, &str) = ("/", "home-a2");

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

/// Probes all servers that readers speak with, and blocks those that are no web servers. The relay is
/// known to the prober before the first row is measured.
pub(super) fn probed(stage: &Stage) -> anyhow::Result<Prober> {
    let rule = |report: &Report| !report.is_web_server();
    let prober = Prober::start(&stage.scene.world, stage.host("prober"), rule);
    stage.at(Point::Border).only(prober.policy());
    read(stage, Way::Injector)?;
    let relay = SocketAddr::new(stage.host("relay").v4(), 443);
    prober.report_of(relay, PATIENCE).context("the prober never looked at the relay")?;
    Ok(prober)
}

/// A neighbour whose node is open, and who has read the page while nothing was cut.
pub(super) fn neighbour(stage: &Stage) -> anyhow::Result<Reader> {
    let neighbour = read_as(stage, Way::Injector, Exposure::Open, PAGE)?;
    neighbour.busel.until("the page is kept", |status| status["store"]["snapshots"] != 0)?;
    Ok(neighbour)
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
