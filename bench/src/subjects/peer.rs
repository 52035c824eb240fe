//! The route Swarm: another reader's copy, over the plain wire and over our relay. Each sample has a
//! reader that is new, connected, and has nothing of what it will be asked for.

use std::cell::RefCell;
use std::rc::Rc;
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

/// A helper that has everything, by two wires.
pub fn entries(world: &World) -> Vec<Entry> {
    let http = |work: Work| matches!(work, Work::New { .. } | Work::Long);
    let all = |work: Work| {
        let inside = matches!(work, Work::Inside { .. } | Work::LongInside | Work::LongKept);
        inside || matches!(work, Work::New { .. } | Work::Long)
    };
    let helper = Helper::start(world).map(|helper| Rc::new(RefCell::new(helper)));
    let by = |relayed: bool| -> Result<Box<dyn Subject>> {
        let helper = match &helper {
            Ok(helper) => helper.clone(),
            Err(error) => bail!("{error:#}"),
        };
        Ok(Box::new(Peer { helper, relayed, readers: 0 }))
    };
    vec![
        entry("busel", "Swarm, plain wire", all, by(false)),
        entry("busel", "Swarm, by relay", http, by(true)),
    ]
}

/// The node that is asked, and the relay it keeps to.
struct Helper {
    node: Proc,
    relay: Proc,
}

impl Helper {
    fn start(world: &World) -> Result<Self> {
        let relay = Proc::start(&Role::Relay)?;
        let mut node = busel::reader(world, "helper", &[&relay.ready.invite], |config| {
            config.exposure = Exposure::Open;
            config.http = None;
            busel::plain(config);
        })?;
        for len in [KIB, 100 * KIB, LONG] {
            node.ask(&Ask::Seed { paths: warm_up(len), len })?;
            node.ask(&Ask::Seed { paths: seeded(len, most(len)), len })?;
        }
        Ok(Self { node, relay })
    }
}

fn seeded(len: u64, count: usize) -> Vec<String> {
    (0..count).map(|n| Work::path(len, &format!("seed-{n}"))).collect()
}

/// Asked for before anything is measured.
fn warm_up(len: u64) -> Vec<String> {
    if len == LONG { vec![] } else { (0..50).map(|n| Work::path(len, &format!("w{n}"))).collect() }
}

struct Peer {
    helper: Rc<RefCell<Helper>>,
    relayed: bool,
    readers: usize,
}

impl Subject for Peer {
    fn sample(&mut self, world: &World, work: Work) -> Result<Sample> {
        let helper = self.helper.borrow();
        self.readers += 1;
        let name = format!("reader-{}-{}", u8::from(self.relayed), self.readers);
        let mut reader = match self.relayed {
            false => busel::reader(world, &name, &[&helper.node.ready.invite], busel::plain)?,
            true => {
                let invites = [&*helper.relay.ready.invite, &*helper.node.ready.invite];
                busel::reader(world, &name, &invites, |_| {})?
            }
        };
        connect(&mut reader)?;
        let mut pids = vec![reader.pid(), helper.node.pid()];
        pids.extend(self.relayed.then(|| helper.relay.pid()));
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
    timed(reply, bytes).map(|load| Sample { load: Some(load), usage, wakes_per_s: None })
}

/// What a child measured itself.
pub fn timed(reply: Reply, bytes: u64) -> Result<Load> {
    match reply {
        Reply::Timed { ms, secs } => Load::of(ms, bytes, secs).context("a child's times"),
        other => bail!("{other:?} instead of times"),
    }
}
