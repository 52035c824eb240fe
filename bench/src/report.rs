//! Writes the rows as JSON and as the tables of the page, between the markers. What stands outside
//! the markers is people's to write and stays.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{Plan, Row};
use crate::targets;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// The rows as JSON.
pub(crate) fn write_json(path: &Path, rows: &[Row]) -> Result<()> {
    make_room(path)?;
    let text = serde_json::to_string_pretty(rows)?;
    fs::write(path, text + "\n").with_context(|| format!("can't write {}", path.display()))
}

/// The tables and the targets, into the page.
pub(crate) fn write_page(path: &Path, plan: &Plan, rows: &[Row]) -> Result<()> {
    make_room(path)?;
    let old = match fs::read_to_string(path) {
        Ok(text) if text.contains(BEGIN) && text.contains(END) => text,
        _ => format!("{INTRO}\n{BEGIN}\n{END}\n"),
    };
    let (before, rest) = old.split_once(BEGIN).context("the page has a begin marker")?;
    let (_, after) = rest.split_once(END).context("the page has an end marker")?;
    let mut page = format!("{before}{BEGIN}\n");
    machine(&mut page, plan)?;
    tables(&mut page, rows)?;
    promises(&mut page, rows)?;
    page.push_str(END);
    page.push_str(after);
    fs::write(path, page).with_context(|| format!("can't write {}", path.display()))
}

const INTRO: &str = "\
# Benchmarks

What Busel costs and how fast it is by each route, in one run on one machine beside the programs
that people use today: nginx as the origin, squid and tinyproxy as proxies, and iroh and iroh-blobs
for what comes from a peer.

    cargo xtask bench

or `cargo run --release -p busel-bench -- [--quick] [--only SUBSTR]`. It needs Debian's
`nginx-light`, `squid`, `tinyproxy` and `wrk` (`apt-get install` them), no root and no internet, and
takes about a quarter of an hour. All runs on loopback, each subject in a process of its own. The
rows are in `target/bench.json` too.

## How to read it

- Compare only rows of one table: they have the same client and the same work.
- **Requests per CPU-second** is the figure to trust. It counts user and system time of the
  subject's own processes, so a busy machine hardly moves it; times and MiB/s are moved.
- Each figure is the median over the rounds, in which the subjects take turns; memory is the highest
  peak of any round.
- *One URL*: wrk asks for the same URL for two seconds. *New URLs*: a plain HTTP client asks for each
  URL once, over connections kept open. *In-process*: a program that links the library, no HTTP.
- CPU: of the proxy alone for squid, tinyproxy, Local and Direct; of both ends together for iroh,
  iroh-blobs and Swarm, with the relay's where there is one; of reader and injector together for
  Injector, and of the injector alone where its memory is what counts. Memory is that of the largest
  process.
- tinyproxy keeps no connection open, so each of its requests pays for two new ones.
- iroh-blobs does not sync what it stores, nor encrypt it; Busel does both.
- On loopback nothing is lost or delayed: this is what the programs cost, not what a reader behind
  a censor sees. That is the lab's to show.
";

fn machine(page: &mut String, plan: &Plan) -> Result<()> {
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let model = model.unwrap_or("unknown");
    writeln!(page, "\n## Figures\n\nMachine: {cores} cores, {model}, Linux {}.", kernel.trim())?;
    let versions = [("nginx", "-v"), ("squid", "-v"), ("tinyproxy", "-v"), ("wrk", "-v")];
    let versions: Vec<_> = versions.iter().filter_map(|(name, arg)| version(name, arg)).collect();
    writeln!(page, "Beside: {}; iroh 1.4, iroh-blobs 0.104.", versions.join("; "))?;
    let (rounds, quick) = (plan.rounds, plan.quick);
    let how = if quick { ", short ones: not to be quoted" } else { "" };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').nth(2).unwrap_or("?").to_owned();
    writeln!(page, "Rounds: {rounds}{how}. Load over the last 15 minutes: {load}.")?;
    if let Some(only) = &plan.only {
        writeln!(page, "\n**Only what has “{only}” in its name was run.**")?;
    }
    Ok(())
}

fn version(name: &str, arg: &str) -> Option<String> {
    let sbin = format!("/usr/sbin/{name}");
    let program = if Path::new(&sbin).is_file() { sbin.as_str() } else { name };
    let said = Command::new(program).arg(arg).output().ok()?;
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next()?.split(" Copyright").next()?.trim().to_owned();
    Some(line).filter(|line| !line.is_empty())
}

fn tables(page: &mut String, rows: &[Row]) -> Result<()> {
    let mut work = "";
    for row in rows {
        if row.work != work {
            work = &row.work;
            writeln!(page, "\n### {work}\n")?;
            writeln!(
                page,
                "| subject | route | p50 ms | p99 ms | MiB/s | requests per CPU-s | CPU s \
                 | peak RSS MiB |"
            )?;
            writeln!(page, "|---|---|--:|--:|--:|--:|--:|--:|")?;
        }
        let figures = [
            cell(row.p50_ms, 3),
            cell(row.p99_ms, 3),
            cell(row.mib_per_s, 1),
            cell(row.req_per_cpu_s, 0),
            cell(row.cpu_s, 2),
            cell(row.peak_rss_mib, 1),
        ];
        let note = row.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        let wakes = row
            .wakes_per_s
            .map(|wakes| format!(", {wakes:.2} wake-ups a second, {:.0} an hour", wakes * 3600.0));
        let sent = row.kib_per_hour.map(|kib| format!(", {kib:.0} KiB an hour"));
        let idle = [wakes, sent].map(Option::unwrap_or_default).concat();
        let route = format!("{}{idle}{note}", row.route);
        writeln!(page, "| {} | {route} | {} |", row.subject, figures.join(" | "))?;
    }
    Ok(())
}

fn cell(figure: Option<f64>, places: usize) -> String {
    figure.map_or_else(|| "–".into(), |figure| format!("{figure:.places$}"))
}

fn promises(page: &mut String, rows: &[Row]) -> Result<()> {
    writeln!(page, "\n## Targets\n")?;
    for target in targets::all(rows) {
        let word = match target.reached {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "not known",
        };
        writeln!(page, "- {word}: {} ({}).", target.what, target.figures)?;
    }
    writeln!(
        page,
        "\nFor orientation, what was measured of NewNode on such a machine: 3.4 ms for 1 KiB and \
         17 MiB/s by injector, 16 MiB/s from a peer, 381 MB in the injector."
    )?;
    Ok(())
}

fn make_room(path: &Path) -> Result<()> {
    match path.parent() {
        Some(dir) => Ok(fs::create_dir_all(dir)?),
        None => Ok(()),
    }
}
