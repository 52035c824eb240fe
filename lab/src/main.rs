//! `busel-lab`: measures the matrix of techniques, a world for each, and writes it down. It
//! is run by `cargo xtask lab`, which builds it together with the `busel` that it runs.
//!
//! Each technique is measured by this same program in a sandbox of its own, so that one that goes
//! wrong leaves nothing behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use busel_lab::healing::{self, Healed, Plan, plans};
use busel_lab::loads::{self, Measured};
use busel_lab::matrix::{Case, Extent, Row, json, markdown, run, techniques};
use busel_lab::swarm::{self, Shared};
use busel_lab::{pictures, sandbox};
use serde::Serialize;
use serde::de::DeserializeOwned;

const USAGE: &str = "\
busel-lab [--full] [--healing] [--loads] [--swarm] [--pictures] [--case NAME] [--pcap DIR]
  --full       open readers too, beside quiet ones
  --healing    put each technique in force while somebody reads, and lift it; docs/lab-healing.md
  --loads      how long a page and a look into a film take, by each way; docs/lab-loads.md
  --swarm      how long a file takes that twenty nodes fetch at once, and one from far away; docs/lab-swarm.md, docs/lab-swarm.json
  --pictures   a page that its line resets, as a browser shows it in each way; docs/images
  --case NAME  only this technique; docs/lab-matrix.md or docs/lab-healing.md stays as it is
  --pcap DIR   keep what passed each point, in a directory for each technique";
/// Within a sandbox: which technique, and how much of it.
const WITHIN: &str = "--within";
/// The same, for self-healing.
const HEALING: &str = "--healing";
/// How long a page takes in a browser.
const LOADS: &str = "--loads";
/// How long a file takes to twenty nodes.
const SWARM: &str = "--swarm";
/// Pictures of a page in a browser.
const PICTURES: &str = "--pictures";
/// Worlds at once.
const AT_ONCE: usize = 2;
/// Where captures go, for the worlds.
const PCAP: &str = "BUSEL_LAB_PCAP";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [WITHIN, LOADS] => print_within(loads::measure).map(|()| true),
        [LOADS] => load().map(|()| true),
        [WITHIN, SWARM] => print_within(swarm::measure).map(|()| true),
        [SWARM] => spread().map(|()| true),
        [WITHIN, PICTURES, dir] => {
            sandbox::inside_wholly(|| pictures::make(Path::new(dir))).map(|()| true)
        }
        [PICTURES] => picture().map(|()| true),
        [WITHIN, name, HEALING] => heal_within(name).map(|()| true),
        [WITHIN, name, full] => within(name, full == "full").map(|()| true),
        _ => Order::read(&args).and_then(|order| order.carry_out()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// What was asked for.
#[derive(Default)]
struct Order {
    full: bool,
    healing: bool,
    case: Option<String>,
    pcap: Option<PathBuf>,
}

impl Order {
    fn read(args: &[String]) -> anyhow::Result<Self> {
        let mut order = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().context(USAGE);
            match arg.as_str() {
                "--full" => order.full = true,
                HEALING => order.healing = true,
                "--case" => order.case = Some(value()?),
                "--pcap" => order.pcap = Some(value()?.into()),
                _ => bail!(USAGE),
            }
        }
        Ok(order)
    }

    /// Measures and writes; says whether all was as expected.
    fn carry_out(&self) -> anyhow::Result<bool> {
        if self.healing {
            return self.heal();
        }
        let began = Instant::now();
        let wanted = |case: &&Case| self.case.as_deref().is_none_or(|name| name == case.name());
        let all = techniques();
        let chosen: Vec<&Case> = all.iter().filter(wanted).collect();
        ensure!(!chosen.is_empty(), "there is no such technique; there are:\n{}", names(&all));
        let names: Vec<&str> = chosen.into_iter().map(Case::name).collect();
        let (mut rows, mut wrong) = (Vec::new(), Vec::new());
        let measured = measure_all(&names, |name| self.measure(name));
        for (name, measured) in names.iter().zip(measured) {
            match measured {
                Ok(measured) => rows.extend(measured),
                Err(error) => wrong.push(format!("{name}: {error:#}")),
            }
        }
        wrong.extend(rows.iter().filter_map(Row::surprise));
        write(Path::new("target/lab-matrix.json"), &json(&rows)?)?;
        if self.case.is_none() {
            write(Path::new("docs/lab-matrix.md"), &markdown(&rows))?;
        }
        say(&format!("{} rows in {:.0} s", rows.len(), began.elapsed().as_secs_f64()));
        for surprise in &wrong {
            say(&format!("!! {surprise}"));
        }
        Ok(wrong.is_empty())
    }

    /// The same for self-healing.
    fn heal(&self) -> anyhow::Result<bool> {
        let wanted = |name: &String| self.case.as_ref().is_none_or(|case| case == name);
        let names: Vec<String> = plans().iter().map(Plan::name).filter(wanted).collect();
        ensure!(!names.is_empty(), "there is no such technique");
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut all: Vec<Healed> = Vec::new();
        let mut wrong = Vec::new();
        for (name, healed) in
            names.iter().zip(measure_all(&names, |name| measured(&[name, HEALING])))
        {
            match healed {
                Ok(healed) => all.push(healed),
                Err(error) => wrong.push(format!("{name}: {error:#}")),
            }
        }
        let unhealed = |one: &Healed| Some(format!("{}: {}", one.technique, one.wrong.as_ref()?));
        wrong.extend(all.iter().filter_map(unhealed));
        if self.case.is_none() {
            write(Path::new("docs/lab-healing.md"), &healing::markdown(&all))?;
        }
        for surprise in &wrong {
            say(&format!("!! {surprise}"));
        }
        Ok(wrong.is_empty())
    }

    fn measure(&self, name: &str) -> anyhow::Result<Vec<Row>> {
        let mut command = Command::new(std::env::current_exe().context("our own program")?);
        command.args([WITHIN, name, if self.full { "full" } else { "ways" }]);
        if let Some(dir) = &self.pcap {
            command.env(PCAP, std::path::absolute(dir)?);
        }
        let out = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        ensure!(out.status.success(), "it could not be measured ({})", out.status);
        Ok(serde_json::from_slice(&out.stdout)?)
    }
}

/// Measures some at once, since most of it is waiting; the order of the rows does not tell.
fn measure_all<T: Send>(
    names: &[&str],
    measure: impl Fn(&str) -> anyhow::Result<T> + Sync,
) -> Vec<anyhow::Result<T>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(name) = names.get(at) else { return };
            let measured = measure(name);
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(at, measured);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Has a browser load a page by each way.
fn load() -> anyhow::Result<()> {
    let all: Measured = measured(&[LOADS])?;
    write(Path::new("docs/lab-loads.md"), &loads::markdown(&all))
}

/// Has twenty nodes share a file.
fn spread() -> anyhow::Result<()> {
    let shared: Shared = measured(&[SWARM])?;
    write(Path::new("docs/lab-swarm.json"), &swarm::json(&shared))?;
    write(Path::new("docs/lab-swarm.md"), &swarm::markdown(&shared))
}

/// What a process of its own measures.
fn measured<T: DeserializeOwned>(what: &[&str]) -> anyhow::Result<T> {
    let mut command = Command::new(std::env::current_exe().context("our own program")?);
    let command = command.arg(WITHIN).args(what).stdin(Stdio::null()).stderr(Stdio::inherit());
    let out = command.output()?;
    ensure!(out.status.success(), "it could not be measured ({})", out.status);
    Ok(serde_json::from_slice(&out.stdout)?)
}

/// Has a browser make pictures, in a process of its own.
fn picture() -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe().context("our own program")?);
    let dir = std::path::absolute("docs/images")?;
    let status = command.args([WITHIN, PICTURES]).arg(dir).stdin(Stdio::null()).status()?;
    ensure!(status.success(), "they could not be made ({status})");
    Ok(())
}

/// Runs in a process of its own, which becomes the first one of its sandbox.
fn print_within<T: Serialize>(measure: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<()> {
    sandbox::inside_wholly(|| Ok(serde_json::to_writer(std::io::stdout().lock(), &measure()?)?))
}

/// Runs in a process of its own, which becomes the first one of its sandbox.
fn heal_within(name: &str) -> anyhow::Result<()> {
    sandbox::inside_wholly(|| {
        let all = plans();
        let plan = all.iter().find(|plan| plan.name() == name).context("no such technique")?;
        let healed = plan.run()?;
        say(&format!("{name}: {healed:?}"));
        serde_json::to_writer(std::io::stdout().lock(), &healed)?;
        Ok(())
    })
}

/// Runs in a process of its own, which becomes the first one of its sandbox.
fn within(name: &str, full: bool) -> anyhow::Result<()> {
    sandbox::inside_wholly(|| {
        let extent = if full { Extent::All } else { Extent::Ways };
        let all = techniques();
        let case = all.iter().find(|case| case.name() == name).context("no such technique")?;
        let rows = run(case, extent, tell)?;
        serde_json::to_writer(std::io::stdout().lock(), &rows)?;
        Ok(())
    })
}

fn tell(row: &Row) {
    let how = match (row.passed(), row.ttfb_ms) {
        (true, Some(ms)) => format!("by {} in {ms} ms", row.route.as_deref().unwrap_or_default()),
        _ => "not".to_owned(),
    };
    let mark = if row.surprise().is_some() { "!!" } else { "  " };
    say(&format!("{mark} {:<24} {:<22} {how}", row.technique, row.who()));
}

fn names(all: &[Case]) -> String {
    all.iter().map(Case::name).collect::<Vec<_>>().join("\n")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

#[allow(clippy::print_stderr, reason = "this is what people read")]
fn say(text: &str) {
    eprintln!("{text}");
}
