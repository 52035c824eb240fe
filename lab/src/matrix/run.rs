//! Measures one technique in a world of its own: everybody meets, the technique is put in force, and
//! then readers come one after the other, each with nothing kept from before.

use std::path::PathBuf;
use std::time::Duration;

use super::{Case, Expected, Row};
use crate::program::{Busel, Exposure, LISTED, Load, Network, Reader, Stage, Visit, Way};
use crate::world::PCAP;

/// What is read: 60 KiB.
pub(super) const PAGE: &str = "/article";
/// Where readers are.
const HOME: &str = "home-a";
/// How long a load may take that is expected to succeed.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long one is given that is not: a plain client, and Busel, which has more ways to try.
const DOUBT: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(12));

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A plain client, a reader who may use all, and one behind the veil.
    Once,
    /// Each way, by quiet readers.
    Ways,
    /// Each way, by quiet and by open readers.
    All,
}

impl Extent {
    fn ways(self) -> &'static [Way] {
        match self {
            Self::Once => &Way::ALL[..2],
            Self::Ways | Self::All => &Way::ALL,
        }
    }

    fn exposures(self, case: &Case) -> &'static [Exposure] {
        match self {
            Self::Once | Self::Ways if !case.tells_open() => &[Exposure::Quiet],
            _ => &[Exposure::Quiet, Exposure::Open],
        }
    }
}

/// Runs in a sandbox: the rows of one technique, each told as it comes.
pub fn run(case: &Case, extent: Extent, tell: impl Fn(&Row)) -> anyhow::Result<Vec<Row>> {
    let mut drawing = Network::drawing();
    if let Some(dir) = std::env::var_os(PCAP) {
        drawing = drawing.capture(PathBuf::from(dir).join(case.name()));
    }
    let mut stage = Stage::of(drawing)?;
    stage.network.warm(PAGE)?;
    let _in_force = case.force(&stage)?;
    let mut rows = vec![by_curl(case, &stage)?];
    rows.iter().for_each(&tell);
    for way in extent.ways() {
        if *way == Way::Swarm {
            stage.network.injector.kill();
        }
        for exposure in extent.exposures(case) {
            let row = by_busel(case, &stage, *way, *exposure)?;
            tell(&row);
            rows.push(row);
        }
    }
    Ok(rows)
}

fn by_curl(case: &Case, stage: &Stage) -> anyhow::Result<Row> {
    let expected = case.of_curl();
    let patience = if expected.passes() { PATIENCE } else { DOUBT.0 };
    let url = format!("{}://{LISTED}{PAGE}", case.scheme());
    let load = stage.scene.curl(HOME).within(patience).get(&url)?;
    let route = load.loaded().then(|| "direct".to_owned());
    let identical = load.is(LISTED, PAGE);
    let told = load.error.trim().to_owned();
    let row = row(case, "curl", expected, &load);
    Ok(Row { route, identical, told: (!load.loaded()).then_some(told), ..row })
}

fn by_busel(case: &Case, stage: &Stage, way: Way, exposure: Exposure) -> anyhow::Result<Row> {
    let expected = case.of(way, exposure);
    let patience = if expected.passes() { PATIENCE } else { DOUBT.1 };
    let reader = Reader::start(stage, HOME, way, exposure)?;
    if case.tells_open() {
        reader.busel.until("it hears its neighbour", Busel::hears)?;
    }
    let visit = reader.visit(stage, PAGE, patience)?;
    let told = (!visit.passed()).then(|| visit.told());
    let Visit { load, identical, route, wire } = visit;
    let row = row(case, "busel", expected, &load);
    let (way, exposure) = (Some(way.name().to_owned()), Some(exposure.name().to_owned()));
    Ok(Row { way, exposure, route, wire, identical, told, ..row })
}

/// What both kinds of rows have.
fn row(case: &Case, program: &str, expected: Expected, load: &Load) -> Row {
    Row {
        technique: case.name().to_owned(),
        program: program.to_owned(),
        way: None,
        exposure: None,
        route: None,
        wire: None,
        loaded: load.loaded(),
        identical: false,
        ttfb_ms: load.ttfb.and_then(|ttfb| u64::try_from(ttfb.as_millis()).ok()),
        bytes: if load.loaded() { load.body.len() } else { 0 },
        expected: expected.passes(),
        gap: if let Expected::Gap(why) = expected { Some(why.to_owned()) } else { None },
        told: None,
    }
}
