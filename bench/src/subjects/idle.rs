//! A quiet node that does nothing, with one relay connection: what it costs a battery.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use busel_proto::invite::Invite;

use super::{Entry, Sample, Subject, World, busel, entry as subject};
use crate::child::Proc;
use crate::measure::{Clock, Usage, carried, is_connected_to, memory_mib, sleeps};
use crate::role::Role;
use crate::work::Work;

/// Until the start is over: probes, and threads that end when they have nothing to do.
const SETTLE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(12));
/// How long it is watched.
const WATCH: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(10));

/// As a subject.
pub(crate) fn entry() -> Entry {
    subject("busel", "quiet node, one relay", |work| work == Work::Idle, |_| Ok(Box::new(Idle)))
}

struct Idle;

impl Subject for Idle {
    fn sample(&mut self, world: &World, _: Work) -> Result<Sample> {
        let pick = |(full, quick)| if world.quick { quick } else { full };
        let relay = Proc::start(&Role::Relay { stock: false })?;
        let node = busel::reader(world, "idle", &[&relay.ready.invite], |_| {})?;
        std::thread::sleep(pick(SETTLE));
        let invite = Invite::from_line(&relay.ready.invite)?;
        let addr = invite.relays.first().context("no relay")?.addr.parse::<SocketAddr>()?;
        ensure!(is_connected_to(addr.port())?, "no connection to the relay");
        let (begin, clock) = (Instant::now(), Clock::start(node.pid())?);
        let slept = sleeps(node.pid())?;
        let sent = carried(addr.port())?;
        std::thread::sleep(pick(WATCH));
        let secs = begin.elapsed().as_secs_f64();
        ensure!(is_connected_to(addr.port())?, "it lost its relay");
        let usage =
            Usage { cpu_s: clock.cpu_s()?, peak_rss_mib: memory_mib(node.pid(), "VmRSS:")? };
        let wakes_per_s = Some((sleeps(node.pid())? - slept) / secs);
        let kib_per_hour = Some((carried(addr.port())? - sent) / 1024.0 * 3600.0 / secs);
        Ok(Sample { load: None, usage, wakes_per_s, kib_per_hour })
    }
}
