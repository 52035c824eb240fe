//! iroh-blobs, from store to store on disk. What it got counts as stored, though it is not synced.

use anyhow::{Context, Result};

use super::peer::timed;
use super::{Entry, Sample, Subject, World, entry as subject, own_dir};
use crate::child::Proc;
use crate::measure::Meter;
use crate::role::{Ask, Role};
use crate::work::{LONG, Work};

/// As a subject.
pub(crate) fn entry() -> Entry {
    let does = |work: Work| matches!(work, Work::LongInside | Work::LongKept);
    subject("iroh-blobs", "file to file", does, start)
}

struct Blobs {
    server: Proc,
    client: Proc,
}

fn start(world: &World) -> Result<Box<dyn Subject>> {
    let dir = own_dir(world, "blobs-server")?;
    let server = Proc::start(&Role::BlobsServer { dir, len: LONG })?;
    let at = server.ready.raw.clone().context("no address")?;
    let dir = own_dir(world, "blobs-client")?;
    let client = Proc::start(&Role::BlobsClient { server: at, dir })?;
    Ok(Box::new(Blobs { server, client }))
}

impl Subject for Blobs {
    fn sample(&mut self, _: &World, work: Work) -> Result<Sample> {
        let meter = Meter::start(&[self.server.pid(), self.client.pid()])?;
        let reply = self.client.ask(&Ask::Get)?;
        let usage = meter.stop()?;
        let load = timed(reply, work.len())?;
        Ok(Sample::of(load, usage))
    }
}
