//! What is compared, and the world it stands in: one nginx as the origin of everything.

mod blobs;
mod busel;
mod http;
mod idle;
mod injector;
mod peer;
mod raw;
mod tls_proxy;

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use crate::child::{Owned, free_port};
use crate::load::{Load, Server};
use crate::measure::{Meter, Usage};
use crate::work::{KIB, LONG, MIB, Work, write_zeros};

/// Seconds that wrk asks for.
const WRK_SECS: (u64, u64) = (2, 1);

/// What one sample gave.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// What the client saw; nothing if nobody asked.
    pub(crate) load: Option<Load>,
    /// What the processes under test used.
    pub(crate) usage: Usage,
    /// How often they were woken a second, where that is what counts.
    pub(crate) wakes_per_s: Option<f64>,
    /// What it sent and received in an hour, likewise.
    pub(crate) kib_per_hour: Option<f64>,
}

impl Sample {
    /// Of a client and the processes that served it.
    pub(crate) fn of(load: Load, usage: Usage) -> Self {
        Self { load: Some(load), usage, ..Self::default() }
    }
}

/// One thing that is measured.
pub(crate) trait Subject {
    /// Does the work once.
    fn sample(&mut self, world: &World, work: Work) -> Result<Sample>;
}

/// A subject, the works that it can do, and how it is started.
pub(crate) struct Entry {
    pub(crate) subject: &'static str,
    pub(crate) route: &'static str,
    pub(crate) does: fn(Work) -> bool,
    pub(crate) start: fn(&World) -> Result<Box<dyn Subject>>,
}

/// What all subjects share.
pub(crate) struct World {
    pub(crate) quick: bool,
    /// For stores and sites; removed at the end.
    pub(crate) dir: PathBuf,
    /// The origin.
    pub(crate) origin: SocketAddr,
    /// The client runs on one thread, as wrk does.
    runtime: Runtime,
    nginx: Owned,
    serial: Cell<u64>,
}

impl World {
    /// Starts the origin.
    pub(crate) fn start(dir: &Path, quick: bool) -> Result<Self> {
        let site = dir.join("site");
        std::fs::create_dir_all(&site)?;
        for (name, len) in
            [("1k", KIB), ("100k", 100 * KIB), ("1m", MIB), ("100m", LONG), ("400m", 400 * MIB)]
        {
            write_zeros(&site.join(name), len)?;
        }
        let origin = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let nginx = http::origin(dir, &site, origin, "")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { quick, dir: dir.to_owned(), origin, runtime, nginx, serial: Cell::new(0) })
    }

    /// Paths that nobody asked for yet.
    fn new_paths(&self, len: u64, count: usize) -> Vec<String> {
        let serial = self.serial.get();
        self.serial.set(serial + 1);
        (0..count).map(|n| Work::path(len, &format!("{serial}-{n}"))).collect()
    }

    /// Asks `server` for each path once, while `pids` are measured.
    fn each(
        &self,
        server: &Server,
        paths: Vec<String>,
        work: Work,
        pids: &[u32],
    ) -> Result<Sample> {
        let meter = Meter::start(pids)?;
        let load = self.runtime.block_on(server.each(paths, work.conns(), work.len()))?;
        Ok(Sample::of(load, meter.stop()?))
    }

    /// Asks for one path until time is up.
    fn same(&self, server: &Server, work: Work, pids: &[u32]) -> Result<Sample> {
        let path = Work::path(work.len(), "hot");
        // Once before: whether it is right at all, and so that caches hold it.
        self.runtime.block_on(server.each(vec![path.clone()], 1, work.len()))?;
        let secs = if self.quick { WRK_SECS.1 } else { WRK_SECS.0 };
        let meter = Meter::start(pids)?;
        let load = server.wrk(&self.dir, &path, work.conns(), secs, work.len())?;
        Ok(Sample::of(load, meter.stop()?))
    }
}

/// All subjects, in the order of the tables.
pub(crate) fn all() -> Vec<Entry> {
    let mut all = http::entries();
    all.extend(peer::entries());
    all.push(injector::entry());
    all.extend(raw::entries());
    all.extend([tls_proxy::entry(), blobs::entry(), idle::entry()]);
    all
}

fn entry(
    subject: &'static str,
    route: &'static str,
    does: fn(Work) -> bool,
    start: fn(&World) -> Result<Box<dyn Subject>>,
) -> Entry {
    Entry { subject, route, does, start }
}

/// A directory of one subject's own.
fn own_dir(world: &World, name: &str) -> Result<PathBuf> {
    let dir = world.dir.join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
    Ok(dir)
}
