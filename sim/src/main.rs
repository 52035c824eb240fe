//! `busel-sim`: worlds of many nodes in virtual time, over the program's own rules, and what they come to.
//! It is run by `cargo xtask sim`, which writes `docs/scaling.md`, its pictures, and `target/sim.json`.
//!
//! The same seed gives the same world and the same figures. Read top-down: [`scene`] sets the worlds up,
//! [`swarm`] is what happens in them, [`people`] who is there, [`lines`] what their lines carry.

mod chance;
mod chart;
mod guarded;
mod lines;
mod people;
mod queue;
mod report;
mod scene;
mod swarm;
mod telling;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;

use crate::report::All;
use crate::scene::{Broadcast, Crowd};
use crate::swarm::Finding;
use crate::telling::tell;

/// Runs worlds of nodes in virtual time.
#[derive(Debug, Parser)]
struct Args {
    /// The most people that read the page.
    #[arg(long, default_value_t = 80_000)]
    nodes: usize,
    /// What the worlds are made of.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs this crowd alone and prints what it came to: how many people, how many of a thousand are open, and how
    /// many of a thousand of these hostile.
    #[arg(long, num_args = 3, value_names = ["PEOPLE", "OPEN", "HOSTILE"])]
    crowd: Option<Vec<u32>>,
    /// Where the figures go, as JSON.
    #[arg(long, default_value = "target/sim.json")]
    json: PathBuf,
    /// What `cargo xtask lab --swarm` measured.
    #[arg(long, default_value = "docs/lab-swarm.json")]
    lab: PathBuf,
    /// Where the page and its pictures go.
    #[arg(long, default_value = "docs")]
    docs: PathBuf,
}

/// Of a thousand people so many help others, in most worlds, and in some.
const OPEN: u32 = 50;
const OPENS: [u32; 3] = [10, 50, 200];
/// Of a thousand helpers so many lie or stall, in one world, which is no larger than this.
const HOSTILE: u32 = 300;
const HOSTILE_NODES: usize = 8000;
/// So many open nodes are told of a page.
const TOLD: [usize; 3] = [40, 400, 4000];
/// The page.
const PAGE: u64 = 2 << 20;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some([people, open, hostile]) = args.crowd.as_deref() {
        let (people, finding, seed) = (*people as usize, Finding::Held, args.seed);
        let crowd = Crowd { people, open: *open, hostile: *hostile, len: PAGE, finding, seed };
        return Ok(serde_json::to_writer_pretty(std::io::stdout().lock(), &crowd.run())?);
    }
    let all = run(args.nodes, args.seed);
    write(&args.json, &(serde_json::to_string_pretty(&all)? + "\n"))?;
    let lab = std::fs::read(&args.lab).ok().map(|lab| serde_json::from_slice(&lab)).transpose()?;
    write(&args.docs.join("scaling.md"), &report::page(&all, lab.as_ref()))?;
    for (name, svg) in report::pictures(&all) {
        write(&args.docs.join("images").join(name), &svg)?;
    }
    Ok(())
}

/// All worlds.
fn run(nodes: usize, seed: u64) -> All {
    let crowd = |people, open, hostile, finding| {
        Crowd { people, open, hostile, len: PAGE, finding, seed }.run()
    };
    let listed = [Finding::Held, Finding::Listed].map(|finding| crowd(nodes, OPEN, 0, finding));
    let told = TOLD.map(|open| tell(open, seed));
    let sizes: Vec<usize> = std::iter::successors(Some(100), |size| Some(size * 3))
        .take_while(|size| *size < nodes)
        .collect();
    let sizes = [&sizes[..], &[nodes]].concat();
    let grown = [Finding::Asking, Finding::Named, Finding::Held]
        .map(|finding| sizes.iter().map(|people| crowd(*people, OPEN, 0, finding)).collect());
    let open = OPENS.map(|open| crowd(nodes, open, 0, Finding::Held));
    let few = nodes.min(HOSTILE_NODES);
    let hostile = [0, HOSTILE].map(|hostile| crowd(few, OPEN, hostile, Finding::Held));
    let spread =
        |up, file| Broadcast { others: 19, len: 100 << 20, up, down: up * 5, seed, file }.run();
    // The last one is what the lab has, too: `cargo xtask lab --swarm`.
    let spread = [spread(20, false), spread(20, true), spread(2, true)];
    All { seed, grown, open, hostile, listed, told, spread }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
