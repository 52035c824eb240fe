//! iroh alone: what a peer's answer costs at the least, and what the veil adds to that.

use anyhow::{Context, Result};

use super::peer::timed;
use super::{Entry, Sample, Subject, World, entry as subject};
use crate::child::Proc;
use crate::measure::Meter;
use crate::role::{Ask, Role};
use crate::work::{KIB, Work};

/// Exchanges before anything is measured.
const WARM_UP: usize = 100;

/// As subjects.
pub(crate) fn entries() -> [Entry; 2] {
    let does = |work: Work| matches!(work, Work::Inside { .. } | Work::LongInside);
    [
        subject("iroh", "raw stream", does, |_| start(false)),
        subject("busel", "raw stream, veil wire", does, |_| start(true)),
    ]
}

struct Raw {
    server: Proc,
    client: Proc,
}

fn start(veiled: bool) -> Result<Box<dyn Subject>> {
    let server = Proc::start(&Role::RawServer { veiled })?;
    let at = server.ready.raw.clone().context("no address")?;
    let mut client = Proc::start(&Role::RawClient { server: at })?;
    client.ask(&Ask::Request { count: WARM_UP, conns: 1, len: KIB })?;
    Ok(Box::new(Raw { server, client }))
}

impl Subject for Raw {
    fn sample(&mut self, world: &World, work: Work) -> Result<Sample> {
        let (count, conns, len) = (work.count(world.quick), work.conns(), work.len());
        let meter = Meter::start(&[self.server.pid(), self.client.pid()])?;
        let reply = self.client.ask(&Ask::Request { count, conns, len })?;
        let usage = meter.stop()?;
        let load = timed(reply, count as u64 * len)?;
        Ok(Sample { load: Some(load), usage, wakes_per_s: None })
    }
}
