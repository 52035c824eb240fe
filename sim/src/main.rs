//! `busel-sim`: worlds of many nodes in virtual time, over the program's own rules, and what they come to.
//!
//! The same seed gives the same world and the same figures. Read top-down: [`scene`] sets the worlds up,
//! [`swarm`] is what happens in them, [`people`] who is there, [`lines`] what their lines carry.

mod chance;
mod lines;
mod people;
mod queue;
mod scene;
mod swarm;

use std::io::Write as _;

use clap::Parser;
use serde::Serialize;

use crate::scene::{Broadcast, Crowd, Outcome, Spread};
use crate::swarm::Finding;

/// Runs worlds of nodes in virtual time.
#[derive(Debug, Parser)]
struct Args {
    /// How many read the page.
    #[arg(long, default_value_t = 8000)]
    nodes: usize,
    /// Of a thousand so many help others.
    #[arg(long, default_value_t = 50)]
    open: u32,
    /// Of a thousand of these so many lie or stall.
    #[arg(long, default_value_t = 0)]
    hostile: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// All that was run.
#[derive(Debug, Serialize)]
struct All {
    crowds: Vec<Outcome>,
    spread: Spread,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let crowd = |finding| Crowd {
        people: args.nodes,
        open: args.open,
        hostile: args.hostile,
        len: 2 << 20,
        finding,
        seed: args.seed,
    };
    let crowds =
        [Finding::Asking, Finding::Named, Finding::Held].map(|finding| crowd(finding).run());
    let spread = Broadcast { others: 19, len: 100 << 20, up: 20, down: 100, seed: args.seed }.run();
    let all = All { crowds: crowds.into(), spread };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &all)?;
    Ok(writeln!(out)?)
}
