//! One file that one node has and nineteen others want at the same moment: how long it takes until all have it, and how
//! often the first one sends it. And one that comes from far away to a node alone. It is written down, and asserted on by
//! nobody.

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
/// Where it is, and where it is put.
const FILE: &str = "/file";
const GOT: &str = "read";
/// Nodes that want it.
const OTHERS: usize = 19;
/// Bits a second that a node's line carries away from it, and to it, and how long a packet is on it. Twenty nodes with
/// lines ten times as quick are more than two cores can do.
const UP: u64 = 2_000_000;
const DOWN: u64 = 10_000_000;
const LATENCY: Duration = Duration::from_millis(10);
/// The same of two nodes that are far from each other.
const QUICK: u64 = 100_000_000;
const FAR: Duration = Duration::from_millis(25);
/// What of the file comes after this is no beginning any more.
const BEGINNING: Duration = Duration::from_secs(2);
/// The UDP port on which nodes listen.
const VEIL: u16 = 7000;
/// Each has the invites of the first one and of so many others, and so gets to know those who have its own.
const FRIENDS: usize = 6;
/// Of the others each knows so many before it begins.
const KNOWN: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(1800);

/// What came of both.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shared {
    twenty: Spread,
    two: LongLine,
}

/// Of twenty nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Spread {
    /// Seconds until each had it, ascending.
    secs: Vec<f64>,
    /// How often the first one has sent it.
    copies: f64,
}

/// Of two nodes that are far from each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LongLine {
    secs: f64,
    /// Bits a second after the beginning.
    later: f64,
}

/// Measures, in a sandbox.
pub fn measure() -> anyhow::Result<Shared> {
    let two = long_line()?;
    Ok(Shared { twenty: spread()?, two })
}

fn spread() -> anyhow::Result<Spread> {
    let content = content();
    let link = LinkSpec::latency(LATENCY).with_bandwidth(DOWN).with_uplink(UP);
    let Nodes { first, others, url, stage } = Nodes::start(OTHERS, link, &content)?;
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
        let got = std::fs::read(stage.scene.world.host(&name(number)).dir().join(GOT))?;
        ensure!(got == content, "{} has something else", name(number));
    }
    let mut secs: Vec<_> = took.iter().map(Duration::as_secs_f64).collect();
    secs.sort_by(f64::total_cmp);
    Ok(Spread { secs, copies })
}

fn long_line() -> anyhow::Result<LongLine> {
    let content = content();
    let link = LinkSpec::latency(FAR).with_bandwidth(QUICK);
    let link = LinkSpec { queue: 1 << 20, ..link };
    let Nodes { first, others, url, stage } = Nodes::start(1, link, &content)?;
    let (before, began) = (sent(&first)?, Instant::now());
    let (ended, begun) = std::thread::scope(|scope| {
        let beginning = scope.spawn(|| {
            std::thread::sleep(BEGINNING);
            Ok::<_, anyhow::Error>((sent(&first)?, began.elapsed()))
        });
        let got = get(&others[0], &url).map(|()| began.elapsed());
        (got, beginning.join().expect("it does not panic"))
    });
    let (ended, (there, at)) = (ended?, begun?);
    ensure!(
        std::fs::read(stage.scene.world.host(&name(1)).dir().join(GOT))? == content,
        "it is something else"
    );
    let left = LEN.saturating_sub(there.saturating_sub(before));
    let later = left as f64 * 8.0 / ended.saturating_sub(at).as_secs_f64().max(1e-3);
    Ok(LongLine { secs: ended.as_secs_f64(), later })
}

/// One that has the file, and some that don't; nobody else runs any more.
struct Nodes {
    first: Busel,
    others: Vec<Busel>,
    url: String,
    stage: Stage,
}

impl Nodes {
    fn start(count: usize, link: LinkSpec, content: &[u8]) -> anyhow::Result<Self> {
        let drawing = (0..=count).fold(Network::drawing(), |drawing, number| {
            let place = [Place::IspA, Place::IspB][number % 2];
            // Of one network a node gets to know only a few.
            let addr = format!("198.18.{}.10", 150 + number);
            drawing.server(place, &name(number), &addr).link(&name(number), link)
        });
        let mut stage = Stage::of(drawing)?;
        let dir = stage.scene.origin("origin").context("no origin")?.root(LISTED);
        std::fs::write(dir.join(&FILE[1..]), content)?;
        let url = format!("https://{LISTED}{FILE}");
        let (flags, injector) = (reaching(&stage.scene), stage.network.injector_invite.clone());
        let first = open(stage.host(&name(0)), &injector, &[], &flags)?;
        get(&first, &url)?;
        let (mut others, mut invites) = (Vec::new(), vec![first.invite()?]);
        for number in 1..=count {
            let late = invites.len().saturating_sub(FRIENDS).max(1);
            let friends = [&invites[..1], &invites[late.min(invites.len())..]].concat();
            let other = open(stage.host(&name(number)), &injector, &friends, &flags)?;
            invites.push(other.invite()?);
            others.push(other);
        }
        stage.network.injector.kill();
        stage.network.helper.kill();
        Ok(Self { first, others, url, stage })
    }
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

/// What the simulator is compared with.
pub fn json(shared: &Shared) -> String {
    let Spread { secs, copies } = &shared.twenty;
    let secs = secs.last().copied().unwrap_or_default();
    format!("{{ \"up\": {}, \"secs\": {secs:.1}, \"copies\": {copies:.3} }}\n", UP / 1_000_000)
}

/// The page.
pub fn markdown(shared: &Shared) -> String {
    let Shared { twenty: spread, two } = shared;
    let ideal = LEN as f64 * 8.0 / UP as f64;
    let at = |at: usize| spread.secs.get(at).copied().unwrap_or_default();
    let rows = [
        ("the first", 0),
        ("half of them", OTHERS / 2),
        ("all but one", OTHERS - 2),
        ("all", OTHERS - 1),
    ];
    let rows: String = rows
        .map(|(who, nth)| {
            let secs = at(nth);
            format!("| until {who} had it | {secs:.0} | {:.2}× |\n", secs / ideal)
        })
        .concat();
    let (whole, quick) = (LEN as f64 * 8.0 / two.secs, QUICK as f64);
    format!(
        "\
# A file from other nodes

Written by `cargo xtask lab --swarm`; do not edit. The real program, each node in a network of its own, by the veil, all of it
on a machine with two cores. The file has {} MiB, and is fetched by `busel get -o`.

## Twenty nodes

One open node has it, and {OTHERS} others, of whom each knows some, fetch it at the same moment. Their lines carry {} Mbit/s up and
{} Mbit/s down, some {} ms there and back. *Ideal* is the time that the first one's line needs for one copy, {ideal:.0} s. Wanted
are 1.3× and less than 1.5 copies. The simulator's figures for the same are in [scaling.md](scaling.md).

| | seconds | beside the ideal |
| --- | --: | --: |
{rows}
The first one sent {:.2} copies.

## A long line

Two nodes, with lines of {} Mbit/s, some {} ms there and back. Wanted are 85 % of that over the whole file, and 93 % after the
first two seconds; headers take some 7 % of it.

| | Mbit/s of the file | of the line |
| --- | --: | --: |
| the whole file, {:.1} s | {:.1} | {:.0} % |
| after {} s | {:.1} | {:.0} % |
",
        LEN >> 20,
        UP / 1_000_000,
        DOWN / 1_000_000,
        LATENCY.as_millis() * 4,
        spread.copies,
        QUICK / 1_000_000,
        FAR.as_millis() * 4,
        two.secs,
        whole / 1e6,
        100.0 * whole / quick,
        BEGINNING.as_secs(),
        two.later / 1e6,
        100.0 * two.later / quick,
    )
}
