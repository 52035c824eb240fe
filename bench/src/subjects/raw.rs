//! iroh alone: what a peer's answer costs at the least, and what our wires and relay add to that.
//! Through a relay, the relay alone is measured.

use anyhow::{Context, Result};

use super::peer::timed;
use super::{Entry, Sample, Subject, World, entry as subject};
use crate::child::Proc;
use crate::measure::Meter;
use crate::role::{Ask, By, Role};
use crate::work::{KIB, Work};

/// Exchanges before anything is measured.
const WARM_UP: usize = 100;

/// As subjects.
pub(crate) fn entries() -> [Entry; 4] {
    let near = |work: Work| matches!(work, Work::Inside { .. } | Work::LongInside);
    let relayed = |work: Work| work == Work::Relayed;
    [
        subject("iroh", "raw stream", near, |_| start(None, By::Plain)),
        subject("busel", "raw stream, veil wire", near, |_| start(None, By::Veil)),
        subject("busel", "relay", relayed, |_| {
            let relay = Proc::start(&Role::Relay { stock: false })?;
            let by = By::Relay(relay.ready.invite.clone());
            start(Some(relay), by)
        }),
        subject("iroh-relay", "relay", relayed, |_| {
            let relay = Proc::start(&Role::Relay { stock: true })?;
            let by = By::Stock(relay.ready.stock.context("no address")?);
            start(Some(relay), by)
        }),
    ]
}

struct Raw {
    relay: Option<Proc>,
    server: Proc,
    client: Proc,
}

fn start(relay: Option<Proc>, by: By) -> Result<Box<dyn Subject>> {
    let server = Proc::start(&Role::RawServer { by })?;
    let at = server.ready.raw.clone().context("no address")?;
    let mut client = Proc::start(&Role::RawClient { server: at })?;
    client.ask(&Ask::Request { count: WARM_UP, conns: 1, len: KIB })?;
    Ok(Box::new(Raw { relay, server, client }))
}

impl Subject for Raw {
    fn sample(&mut self, world: &World, work: Work) -> Result<Sample> {
        let (count, conns, len) = (work.count(world.quick), work.conns(), work.len());
        let ends = vec![self.server.pid(), self.client.pid()];
        let pids = self.relay.as_ref().map_or(ends, |relay| vec![relay.pid()]);
        let meter = Meter::start(&pids)?;
        let reply = self.client.ask(&Ask::Request { count, conns, len })?;
        let usage = meter.stop()?;
        let load = timed(reply, count as u64 * len)?;
        Ok(Sample::of(load, usage))
    }
}
