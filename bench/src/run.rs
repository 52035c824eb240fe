//! Takes the samples: round by round, and in each round all subjects of a work one after the other,
//! so that a busy moment of the machine falls on all of them.

#![allow(clippy::print_stderr, reason = "progress")]

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::subjects::{self, Entry, Sample, Subject, World};
use crate::work::Work;

/// What to run.
pub(crate) struct Plan {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) only: Option<String>,
}

/// One row of the tables.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) subject: &'static str,
    pub(crate) route: &'static str,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) mib_per_s: Option<f64>,
    pub(crate) req_per_cpu_s: Option<f64>,
    pub(crate) cpu_s: Option<f64>,
    pub(crate) peak_rss_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wakes_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kib_per_hour: Option<f64>,
    /// Why there are no figures, or fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// Runs the plan.
pub(crate) fn run(plan: &Plan) -> Result<Vec<Row>> {
    let dir = tempfile::Builder::new().prefix("busel-bench-").tempdir()?;
    open_to_squid(dir.path())?;
    let world = World::start(dir.path(), plan.quick)?;
    let entries = subjects::all();
    let mut cells = cells(&entries, plan);
    let mut started = start(&entries, &cells, &world);
    let begin = Instant::now();
    for round in 1..=plan.rounds {
        for cell in &mut cells {
            // Idling is the same each time, and long.
            if cell.work == Work::Idle && round < plan.rounds {
                continue;
            }
            let entry = &entries[cell.entry];
            let secs = begin.elapsed().as_secs();
            let (work, rounds) = (cell.work.name(), plan.rounds);
            eprintln!("{secs:4} s  {round}/{rounds}  {work}: {} {}", entry.subject, entry.route);
            cell.take(&world, &mut started[cell.entry]);
        }
    }
    Ok(cells.into_iter().map(|cell| cell.row(&entries)).collect())
}

/// A subject that runs, or why it doesn't.
type Started = Result<Box<dyn Subject>, String>;

/// Starts the subjects that have something to do.
fn start(entries: &[Entry], cells: &[Cell], world: &World) -> Vec<Started> {
    let begin = |(at, entry): (usize, &Entry)| {
        if !cells.iter().any(|cell| cell.entry == at) {
            return Err("not asked for".into());
        }
        eprintln!("starting {} {} …", entry.subject, entry.route);
        (entry.start)(world).map_err(|error| format!("{error:#}"))
    };
    entries.iter().enumerate().map(begin).collect()
}

/// One subject doing one work.
struct Cell {
    work: Work,
    entry: usize,
    samples: Vec<Sample>,
    failures: Vec<String>,
}

fn cells(entries: &[Entry], plan: &Plan) -> Vec<Cell> {
    let mut cells = Vec::new();
    for work in Work::all() {
        for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| (entry.does)(work)) {
            let name = format!("{}: {} {}", work.name(), entry.subject, entry.route);
            if plan.only.as_ref().is_none_or(|only| name.contains(only)) {
                cells.push(Cell { work, entry: at, samples: vec![], failures: vec![] });
            }
        }
    }
    cells
}

impl Cell {
    fn take(&mut self, world: &World, started: &mut Started) {
        let taken = match started {
            Ok(subject) => subject.sample(world, self.work).map_err(|error| format!("{error:#}")),
            Err(why) => Err(why.clone()),
        };
        match taken {
            Ok(sample) => self.samples.push(sample),
            Err(why) => {
                eprintln!("        not run: {why}");
                self.failures.push(why);
            }
        }
    }

    fn row(self, entries: &[Entry]) -> Row {
        let Self { work, entry, samples, failures } = self;
        let of = |figure: fn(&Sample) -> Option<f64>| median(samples.iter().filter_map(figure));
        let peaks = samples.iter().map(|sample| sample.usage.peak_rss_mib);
        let note = failures.last().map(|why| match samples.is_empty() {
            true => format!("not run: {why}"),
            false => format!("{} rounds failed: {why}", failures.len()),
        });
        Row {
            work: work.name(),
            subject: entries[entry].subject,
            route: entries[entry].route,
            p50_ms: of(|sample| Some(sample.load?.p50_ms)),
            p99_ms: of(|sample| Some(sample.load?.p99_ms)),
            mib_per_s: of(|sample| {
                let load = sample.load?;
                Some(load.bytes as f64 / load.secs / f64::from(1 << 20))
            }),
            req_per_cpu_s: of(|sample| {
                let cpu = sample.usage.cpu_s;
                Some(sample.load?.requests as f64 / cpu).filter(|_| cpu > 0.0)
            }),
            cpu_s: of(|sample| Some(sample.usage.cpu_s)),
            peak_rss_mib: peaks.reduce(f64::max),
            wakes_per_s: of(|sample| sample.wakes_per_s),
            kib_per_hour: of(|sample| sample.kib_per_hour),
            note,
        }
    }
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.get(figures.len().checked_sub(1)? / 2)?, figures[figures.len() / 2]);
    Some((low + high) / 2.0)
}

/// squid, started by root, serves as another user, who must be able to enter here.
fn open_to_squid(dir: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?)
}
