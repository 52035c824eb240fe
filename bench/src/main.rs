//! Whole-system figures by route, beside the programs that people use today.
//!
//! One run starts everything it compares on loopback, each in a process of its own, lets them take
//! turns, and writes the medians to `target/bench.json` and `docs/benchmarks.md`. Nothing in those
//! files is typed by hand. It measures this machine's CPU and memory; what a censor's network does
//! to each route is the lab's to show.
//!
//! Read top-down: [`run`] takes the samples, `subjects` are what is compared, [`load`] asks,
//! [`measure`] reads `/proc`, [`targets`] and [`report`] write it up, [`role`] is the other side of
//! the child processes that [`child`] starts.

mod child;
mod invites;
mod load;
mod measure;
mod report;
mod role;
mod run;
mod subjects;
mod targets;
mod work;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Measures Busel by route, beside nginx, squid, tinyproxy, iroh and iroh-blobs.
#[derive(Debug, Parser)]
struct Args {
    /// One short round: figures to see that it runs, not to publish.
    #[arg(long)]
    quick: bool,
    /// Only what has this in its work, subject or route; the files are then not the whole table.
    #[arg(long, value_name = "SUBSTR")]
    only: Option<String>,
    /// Rounds, of which the median is taken.
    #[arg(long)]
    rounds: Option<usize>,
    /// The rows as JSON [default: target/bench.json, or target/bench-part.json with --quick or
    /// --only].
    #[arg(long)]
    out: Option<PathBuf>,
    /// The page whose part between the markers is rewritten [default: docs/benchmarks.md, or
    /// target/bench-part.md with --quick or --only].
    #[arg(long)]
    docs: Option<PathBuf>,
    /// What this process is for another one of this program.
    #[arg(long, hide = true)]
    role: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.role {
        return role::main();
    }
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 5 }).max(1);
    // What is published is only replaced by a whole run.
    let (out, docs) = match args.quick || args.only.is_some() {
        true => ("target/bench-part.json", "target/bench-part.md"),
        false => ("target/bench.json", "docs/benchmarks.md"),
    };
    let plan = run::Plan { quick: args.quick, rounds, only: args.only };
    let rows = run::run(&plan)?;
    report::write_json(&args.out.unwrap_or_else(|| out.into()), &rows)?;
    report::write_page(&args.docs.unwrap_or_else(|| docs.into()), &plan, &rows)
}
