//! One file that one node has and nineteen others want at the same moment: how long it takes until all have it, and how
//! often the first one sends it. It is written down, and asserted on by nobody.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::map::Place;
use crate::middlebox::LinkSpec;
use crate::program::{Busel, Exposure, LISTED, Network, Stage, reaching};
use crate::world::Host;

/// The file's length.
const LEN: u64 = 100 << 20;
/// Where it is.
const FILE: &str = "/file";
/// Nodes that want it.
const OTHERS: usize = 19;
/// Bits a second that a node's line carries away from it, and to it, and how long a packet is on it. Twenty nodes with
/// lines ten times as quick are more than two cores can do.
const UP: u64 = 2_000_000;
const DOWN: u64 = 10_000_000;
const LATENCY: Duration = Duration::from_millis(10);
/// The UDP port on which nodes listen.
const VEIL: u16 = 7000;
/// Each has the invites of the first one and of so many others, and so gets to know those who have its own.
const FRIENDS: usize = 6;
/// Of the others each knows so many before it begins.
const KNOWN: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(1800);

/// What it came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// Seconds until each had it, ascending.
    pub secs: Vec<f64>,
    /// How often the first one has sent it.
    pub copies: f64,
}

/// Measures, in a sandbox.
pub fn measure() -> anyhow::Result<Spread> {
    let mut stage = Stage::of(drawing())?;
    let content = content();
    let dir = stage.scene.origin("origin").context("no origin")?.root(LISTED);
    std::fs::write(dir.join(&FILE[1..]), &content)?;
    let url = format!("https://{LISTED}{FILE}");

    let flags = reaching(&stage.scene);
    let injector = &stage.network.injector_invite;
    let first = open(stage.host(&name(0)), injector, &[], &flags)?;
    get(&first, &url)?;
    let (mut others, mut invites) = (Vec::new(), vec![first.invite()?]);
    for number in 1..=OTHERS {
        let late = invites.len().saturating_sub(FRIENDS).max(1);
        let friends = [&invites[..1], &invites[late.min(invites.len())..]].concat();
        let other = open(stage.host(&name(number)), injector, &friends, &flags)?;
        invites.push(other.invite()?);
        others.push(other);
    }
    stage.network.injector.kill();
    stage.network.helper.kill();
    for other in &others {
        let knows = |status: &Value| status["known_nodes"].as_u64() >= Some(KNOWN);
        other.until("it knows some others", knows)?;
    }

    let (before, began) = (sent(&first)?, Instant::now());
    let took = std::thread::scope(|scope| {
        let gets: Vec<_> = others
            .iter()
            .map(|other| scope.spawn(|| get(other, &url).map(|()| began.elapsed())))
            .collect();
        let took = gets.into_iter().map(|get| get.join().expect("it does not panic"));
        took.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let copies = sent(&first)?.saturating_sub(before) as f64 / LEN as f64;
    for number in 1..=OTHERS {
        let got = std::fs::read(stage.host(&name(number)).dir().join("read"))?;
        ensure!(got == content, "{} has something else", name(number));
    }
    let mut secs: Vec<_> = took.iter().map(Duration::as_secs_f64).collect();
    secs.sort_by(f64::total_cmp);
    Ok(Spread { secs, copies })
}

fn drawing() -> crate::world::Drawing {
    let link = LinkSpec::latency(LATENCY).with_bandwidth(DOWN).with_uplink(UP);
    (0..=OTHERS).fold(Network::drawing(), |drawing, number| {
        let place = [Place::IspA, Place::IspB][number % 2];
        // Of one network a node gets to know only a few.
        let addr = format!("198.18.{}.10", 150 + number);
        drawing.server(place, &name(number), &addr).link(&name(number), link)
    })
}

fn name(number: usize) -> String {
    format!("node-{number}")
}

/// Nothing in it repeats.
fn content() -> Vec<u8> {
    let mut content = vec![0; usize::try_from(LEN).unwrap_or_default()];
    ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut content);
    content
}

/// An open node that trusts the injector, and has this way to others.
fn open(
    host: &Host,
    injector: &str,
    ways: &[String],
    reaching: &[String],
) -> anyhow::Result<Busel> {
    let mut busel = Busel::new(host, "busel")?;
    busel.join(injector)?;
    for way in ways {
        busel.join_ways(way)?;
    }
    let open = ["up", "--no-direct", "--lan", "off", "--exposure", Exposure::Open.name()];
    let veil = format!("{}:{VEIL}", host.v4());
    let rest = ["--veil-addr", &veil, "--allow-net-for-others", "198.18.0.0/15"];
    let flags = open.iter().chain(&rest).map(|flag| (*flag).to_owned());
    busel.start(&flags.chain(reaching.iter().cloned()).collect::<Vec<_>>())?;
    busel.line("Busel is up")?;
    Ok(busel)
}

fn get(busel: &Busel, url: &str) -> anyhow::Result<()> {
    let ran = busel.run_within(&["get", "-o", "read", url], PATIENCE)?;
    ensure!(ran.status.success(), "{}", ran.stderr);
    Ok(())
}

/// Bytes of copies that it gave others.
fn sent(busel: &Busel) -> anyhow::Result<u64> {
    busel.status()?["gives"]["copied"].as_u64().context("no count of what it gave")
}

/// The page.
pub fn markdown(spread: &Spread) -> String {
    let ideal = LEN as f64 * 8.0 / UP as f64;
    let last = spread.secs.last().copied().unwrap_or_default();
    let median = spread.secs.get(spread.secs.len() / 2).copied().unwrap_or_default();
    format!(
        "\
# One file for twenty nodes

Written by `cargo xtask lab --swarm`; do not edit. One open node has a file of 100 MiB, and {OTHERS} others fetch it at the same
moment (`busel get`): the real program, each in a network of its own with a line of {} Mbit/s up and {} Mbit/s down, some 40 ms
there and back, by the veil, all of it on a machine with two cores, in the build of the tests. *Ideal* is the time that the first one's line
needs for one copy, {ideal:.0} s. Wanted are 1.3× and less than 1.5 copies. The simulator's figures for the same are in
[scaling.md](scaling.md).

| | seconds | beside the ideal |
| --- | --: | --: |
| until the first had it | {:.0} | {:.2}× |
| until half of them had it | {median:.0} | {:.2}× |
| until all had it | {last:.0} | {:.2}× |

The first one sent {:.2} copies.
",
        UP / 1_000_000,
        DOWN / 1_000_000,
        spread.secs.first().copied().unwrap_or_default(),
        spread.secs.first().copied().unwrap_or_default() / ideal,
        median / ideal,
        last / ideal,
        spread.copies,
    )
}
