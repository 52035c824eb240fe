//! The line itself: one thread that reads what the hosts send from their TUN devices, carries each
//! packet over the links and past the censors of its way, and writes it to its receiver. All that a
//! host of a world hears from another, other than on a common LAN, has come through here.
//!
//! It answers nothing by itself: a packet to nowhere is dropped and counted, as are packets of a
//! host without power.

mod capture;
mod link;
mod route;

pub use capture::Captures;
pub use link::LinkSpec;
pub(crate) use route::{Attached, Routes};

use std::cmp::Ordering as Order;
use std::collections::BinaryHeap;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use tun_rs::SyncDevice;

use self::link::Link;
use self::route::{Hop, Spot};
use crate::censor::Censor;
use crate::map::{Place, Point};
use crate::packet::Packet;

/// The longest packet.
const MTU: usize = 1500;
/// Packets that are taken from one host before the others' turn.
const BATCH: usize = 64;
/// How often the thread looks whether it is to end, where nothing happens.
const IDLE: Duration = Duration::from_millis(20);
/// Packets that may be on the way at once.
const MAX_ON_THE_WAY: usize = 100_000;

/// What the thread shares with the world.
pub(crate) struct Shared {
    pub(crate) censors: [Censor; Point::ALL.len()],
    /// By number of host: whether it has no power.
    pub(crate) dark: Vec<AtomicBool>,
    pub(crate) counters: Counters,
    stop: AtomicBool,
}

/// What the line did so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Packets that reached their receiver.
    pub delivered: AtomicU64,
    /// Packets that a link lost, or that found its queue full.
    pub lost: AtomicU64,
    /// Packets to addresses that nobody has.
    pub unrouted: AtomicU64,
}

impl Shared {
    pub(crate) fn new(hosts: usize) -> Self {
        Self {
            censors: Point::ALL.map(Censor::new),
            dark: (0..hosts).map(|_| AtomicBool::new(false)).collect(),
            counters: Counters::default(),
            stop: AtomicBool::new(false),
        }
    }

    pub(crate) fn censor(&self, point: Point) -> &Censor {
        &self.censors[point as usize]
    }
}

/// The running thread; it ends when this is dropped.
pub(crate) struct Middlebox {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the line is made of.
pub(crate) struct Parts {
    pub(crate) routes: Routes,
    /// By number of host: its device, if it has one.
    pub(crate) devices: Vec<Option<SyncDevice>>,
    /// By number of host: its link, both ways.
    pub(crate) links: Vec<LinkSpec>,
    /// Between each place and the core.
    pub(crate) trunks: [LinkSpec; Place::ALL.len()],
    pub(crate) captures: Captures,
    pub(crate) seed: u64,
    pub(crate) began: Instant,
}

impl Middlebox {
    pub(crate) fn start(parts: Parts, shared: &Arc<Shared>) -> anyhow::Result<Self> {
        for device in parts.devices.iter().flatten() {
            device.set_nonblocking(true).context("a TUN device")?;
        }
        let ours = Arc::clone(shared);
        let thread = std::thread::Builder::new()
            .name("middlebox".to_owned())
            .spawn(move || Line::new(parts, ours).run())?;
        Ok(Self { shared: Arc::clone(shared), thread: Some(thread) })
    }
}

impl Drop for Middlebox {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            // A dead line blocks everything, which a test might take for a censor's work.
            assert!(ended.is_ok() || std::thread::panicking(), "the line died of a policy");
        }
    }
}

/// The thread's own state.
struct Line {
    parts: Parts,
    shared: Arc<Shared>,
    /// Each host's link up and down, then each place's trunk up and down.
    links: Vec<Link>,
    on_the_way: BinaryHeap<Journey>,
    journeys: u64,
    buffer: Vec<u8>,
}

/// A packet on its way.
struct Journey {
    due: Duration,
    /// Of two that are due at once the elder goes first.
    number: u64,
    packet: Packet,
    /// Whether it comes from a customer of the provider whose point it passes, or from the country.
    source: Spot,
    path: Arc<[Hop]>,
    next: usize,
}

impl Line {
    fn new(parts: Parts, shared: Arc<Shared>) -> Self {
        let specs = parts.links.iter().chain(&parts.trunks);
        let both = specs.flat_map(|spec| [spec.up(), *spec]).enumerate();
        let links = both.map(|(number, spec)| Link::new(spec, parts.seed, number as u64)).collect();
        let buffer = vec![0; MTU];
        Self { parts, shared, links, on_the_way: BinaryHeap::new(), journeys: 0, buffer }
    }

    fn run(mut self) {
        let hosts: Vec<usize> = (0..self.parts.devices.len())
            .filter(|host| self.parts.devices[*host].is_some())
            .collect();
        while !self.shared.stop.load(Ordering::Relaxed) {
            for host in self.wait(&hosts) {
                self.read(host);
            }
            self.carry();
        }
    }

    /// Waits until a host has sent something or a packet is due; says which hosts have sent.
    fn wait(&self, hosts: &[usize]) -> Vec<usize> {
        let due = self.on_the_way.peek().map(|next| next.due.saturating_sub(self.now()));
        let timeout = TimeSpec::from_duration(due.unwrap_or(IDLE).min(IDLE));
        let devices = hosts.iter().filter_map(|host| self.parts.devices[*host].as_ref());
        let mut polled: Vec<PollFd<'_>> =
            devices.map(|device| PollFd::new(device.as_fd(), PollFlags::POLLIN)).collect();
        // Interrupted is as good as nothing to read.
        if ppoll(&mut polled, Some(timeout), None).unwrap_or(0) == 0 {
            return Vec::new();
        }
        let ready = polled.iter().zip(hosts).filter(|(fd, _)| fd.any().unwrap_or(false));
        ready.map(|(_, host)| *host).collect()
    }

    /// Takes what a host has sent.
    fn read(&mut self, host: usize) {
        for _ in 0..BATCH {
            let Some(device) = &self.parts.devices[host] else { return };
            let Ok(len) = device.recv(&mut self.buffer) else { return };
            let packet = Packet::parse(self.buffer[..len].to_vec());
            let dark = self.shared.dark[host].load(Ordering::Relaxed);
            if let Some(packet) = packet.filter(|_| !dark) {
                let from = self.parts.routes.spot(host);
                self.send(packet, from, Some(host), self.now());
            }
        }
    }

    /// Puts a packet on the way to its address.
    fn send(&mut self, packet: Packet, from: Spot, host: Option<usize>, due: Duration) {
        if packet.dest().is_multicast() || is_local(&packet) {
            return;
        }
        let Some(path) = self.parts.routes.path(from, host, packet.dest()) else {
            self.shared.counters.unrouted.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.queue(Journey { due, number: 0, packet, source: from, path, next: 0 });
    }

    fn queue(&mut self, mut journey: Journey) {
        if self.on_the_way.len() >= MAX_ON_THE_WAY {
            self.shared.counters.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.journeys += 1;
        journey.number = self.journeys;
        self.on_the_way.push(journey);
    }

    /// Moves all that is due.
    fn carry(&mut self) {
        let now = self.now();
        while self.on_the_way.peek().is_some_and(|next| next.due <= now) {
            if let Some(journey) = self.on_the_way.pop() {
                self.step(journey);
            }
        }
    }

    /// Takes one packet over one hop.
    fn step(&mut self, mut journey: Journey) {
        let hop = journey.path[journey.next];
        journey.next += 1;
        match hop {
            Hop::Link(number) => {
                let len = journey.packet.bytes().len();
                match self.links[number].carry(journey.due, len) {
                    Some(due) => self.queue(Journey { due, ..journey }),
                    None => {
                        self.shared.counters.lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            Hop::Point(point) => self.judge(point, journey),
            Hop::Host(host) => self.deliver(host, &journey.packet),
        }
    }

    fn judge(&mut self, point: Point, mut journey: Journey) {
        let now = journey.due;
        self.parts.captures.passing(point, now, journey.packet.bytes());
        let from_within = journey.source.is_within(point);
        let to = journey.packet.dest();
        let ruling = self.shared.censor(point).judge(journey.packet, now, from_within);
        for (delay, packet) in ruling.injected {
            self.parts.captures.injected(point, now + delay, packet.bytes());
            self.send(packet, Spot::at(point), None, now + delay);
        }
        let Some((delay, packet)) = ruling.onward else { return };
        if packet.dest() == to {
            journey.packet = packet;
            self.queue(Journey { due: now + delay, ..journey });
        } else {
            self.send(packet, Spot::at(point), None, now + delay);
        }
    }

    fn deliver(&mut self, host: usize, packet: &Packet) {
        let Some(device) = &self.parts.devices[host] else { return };
        if self.shared.dark[host].load(Ordering::Relaxed) {
            return;
        }
        let counters = &self.shared.counters;
        let counter = match device.send(packet.bytes()) {
            Ok(_) => &counters.delivered,
            Err(_) => &counters.lost,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> Duration {
        self.parts.began.elapsed()
    }
}

/// Addresses that mean the own link, and go nowhere from it.
fn is_local(packet: &Packet) -> bool {
    match packet.dest() {
        std::net::IpAddr::V4(addr) => addr.is_link_local() || addr.is_broadcast(),
        std::net::IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

impl PartialEq for Journey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}

impl Eq for Journey {}

impl PartialOrd for Journey {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Journey {
    /// The greatest is the one that is due first.
    fn cmp(&self, other: &Self) -> Order {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}
