//! The route Swarm: another reader's copy, over the plain wire and over our relay. Each sample has a
//! reader that is new, connected, and has nothing of what it will be asked for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use busel_node::config::Exposure;

use super::{Entry, Sample, Subject, World, busel, entry};
use crate::child::Proc;
use crate::invites::PUBLIC;
use crate::load::Load;
use crate::measure::Meter;
use crate::role::{Ask, Reply, Role};
use crate::work::{KIB, LONG, Work, most};

/// A reader has a connection to the helper by then.
const CONNECT: Duration = Duration::from_secs(30);

/// By two wires.
pub(crate) fn entries() -> [Entry; 2] {
    let http = |work: Work| matches!(work, Work::New { .. } | Work::Long);
    let all = |work: Work| {
        let inside = matches!(work, Work::Inside { .. } | Work::LongInside | Work::LongKept);
        inside || matches!(work, Work::New { .. } | Work::Long)
    };
    [
        entry("busel", "Swarm, plain wire", all, |world| Peer::start(world, false)),
        entry("busel", "Swarm, by relay", http, |world| Peer::start(world, true)),
    ]
}

/// A helper that has everything, and the relay that it keeps to, if by relay.
struct Peer {
    helper: Proc,
    relay: Option<Proc>,
    readers: usize,
}

impl Peer {
    fn start(world: &World, relayed: bool) -> Result<Box<dyn Subject>> {
        let relay = if relayed { Some(Proc::start(&Role::Relay { stock: false })?) } else { None };
        let invites: Vec<_> = relay.iter().map(|relay| &*relay.ready.invite).collect();
        let name = if relayed { "helper-relayed" } else { "helper" };
        let mut helper = busel::reader(world, name, &invites, |config| {
            config.exposure = Exposure::Open;
            config.http = None;
            if !relayed {
                busel::plain(config);
            }
        })?;
        for len in [KIB, 100 * KIB, LONG] {
            helper.ask(&Ask::Seed { paths: warm_up(len), len, tls: false })?;
            helper.ask(&Ask::Seed { paths: seeded(len, most(len)), len, tls: false })?;
        }
        Ok(Box::new(Self { helper, relay, readers: 0 }))
    }
}

fn seeded(len: u64, count: usize) -> Vec<String> {
    (0..count).map(|n| Work::path(len, &format!("seed-{n}"))).collect()
}

/// Asked for before anything is measured.
fn warm_up(len: u64) -> Vec<String> {
    if len == LONG { vec![] } else { (0..50).map(|n| Work::path(len, &format!("w{n}"))).collect() }
}

impl Subject for Peer {
    fn sample(&mut self, world: &World, work: Work) -> Result<Sample> {
        self.readers += 1;
        let name = format!("reader-{}-{}", u8::from(self.relay.is_some()), self.readers);
        let mut invites = vec![&*self.helper.ready.invite];
        invites.extend(self.relay.iter().map(|relay| &*relay.ready.invite));
        let mut reader = match &self.relay {
            Some(_) => busel::reader(world, &name, &invites, |_| {})?,
            None => busel::reader(world, &name, &invites, busel::plain)?,
        };
        connect(&mut reader)?;
        let mut pids = vec![reader.pid(), self.helper.pid()];
        pids.extend(self.relay.as_ref().map(Proc::pid));
        let paths = seeded(work.len(), work.count(world.quick));
        let sample = match work {
            Work::New { .. } | Work::Long => {
                let server = busel::door(&reader, PUBLIC, "swarm")?;
                world.each(&server, paths, work, &pids)
            }
            _ => inside(&mut reader, paths, work, &pids),
        };
        drop(reader);
        std::fs::remove_dir_all(world.dir.join(name))?;
        sample
    }
}

/// Fetches the warm-up pages until the first comes: the helper may still be on its way to the relay.
fn connect(reader: &mut Proc) -> Result<()> {
    let (begin, route) = (Instant::now(), "swarm".to_owned());
    let (conns, kept) = (1, false);
    let mut paths = warm_up(KIB);
    paths.extend(warm_up(100 * KIB));
    while let Err(error) =
        reader.ask(&Ask::Fetch { paths: paths.clone(), conns, route: route.clone(), kept })
    {
        ensure!(begin.elapsed() < CONNECT, "no connection to the helper: {error:#}");
        // What did come is stored now, and comes by another route when asked for again.
        paths.remove(0);
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn inside(reader: &mut Proc, paths: Vec<String>, work: Work, pids: &[u32]) -> Result<Sample> {
    let bytes = paths.len() as u64 * work.len();
    let kept = work == Work::LongKept;
    let meter = Meter::start(pids)?;
    let (conns, route) = (work.conns(), "swarm".into());
    let reply = reader.ask(&Ask::Fetch { paths, conns, route, kept })?;
    let usage = meter.stop()?;
    timed(reply, bytes).map(|load| Sample::of(load, usage))
}

/// What a child measured itself.
pub(crate) fn timed(reply: Reply, bytes: u64) -> Result<Load> {
    match reply {
        Reply::Timed { ms, secs } => Load::of(ms, bytes, secs).context("a child's times"),
        other => bail!("{other:?} instead of times"),
    }
}
