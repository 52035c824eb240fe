//! Beacons: how nodes in one LAN find each other, with no server and no internet.
//!
//! A beacon is a box of the day ([`crate::daily`]) that names the id which its sender has in this LAN
//! on this day, and the port where it answers. The id is made anew each day and each start, so that
//! who hears a device in two cafés does not know it again by its beacons. Whoever runs Busel can read
//! one: that is what it is for. So beaconing is a choice.
//!
//! Both groups are those of *all hosts*: every device is in them without saying so, and a node that
//! only listens sends nothing at all. Sockets are bound to the group, not to an address of the
//! device, so that a scan of the port finds nothing either.
//!
//! Which interfaces there are, and what is done with a neighbour, is not decided here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::daily::{self, CHANCE, Day, MAX_BOX, Purpose};
use crate::id::PeerId;
use crate::time::Tick;

/// The group of all IPv4 hosts of a link.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// The group of all IPv6 nodes of a link.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The port of beacons.
pub const PORT: u16 = 27_493;

/// A beacon is padded to at least this, and by chance to 255 bytes more.
const LEAST: usize = 128;
/// Neighbours' addresses that are kept.
const MAX_HOSTS: usize = 128;
/// Ids that one address may have at once: more than one only where a node was started again.
const MAX_IDS: usize = 2;
/// Who has not been heard for so long has gone.
const GONE: Duration = Duration::from_secs(300);
/// Who has not been heard for so long makes room.
const QUIET: Duration = Duration::from_secs(120);
/// Beacons of one known neighbour: so many at once, and one more in each of these spans.
const HOST: Bucket = Bucket { burst: 8, span: Duration::from_secs(5) };
/// The same of all others together. What is beyond is dropped unread.
const STRANGERS: Bucket = Bucket { burst: 64, span: Duration::from_millis(50) };

/// What a beacon says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Beacon {
    /// Its sender's id in this LAN on this day.
    #[n(0)]
    pub id: PeerId,
    /// The port where it answers.
    #[n(1)]
    pub port: u16,
    /// The address that it is sent from, 4 or 16 bytes: one that comes from elsewhere was copied.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub addr: Vec<u8>,
    /// Whether those who beacon are asked to do so now.
    #[n(3)]
    pub asks: bool,
    /// The key under which it is spoken to by the veil, if it is.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub veil: Option<[u8; 32]>,
}

impl Beacon {
    /// What is sent. `None` can't be with what a beacon holds.
    pub fn seal(&self, today: Day, chance: &[u8; CHANCE]) -> Option<Vec<u8>> {
        daily::seal(Purpose::Beacon, today, &cbor::to_vec(self), LEAST, chance)
    }

    fn open(datagram: &[u8], today: Day) -> Option<Self> {
        let (record, _) = daily::open(Purpose::Beacon, today, datagram)?;
        let beacon: Self = cbor::from_slice(&record, MAX_BOX).ok()?;
        (beacon.port != 0).then_some(beacon)
    }
}

/// An address as a beacon has it.
pub fn addr_bytes(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

/// Whether a neighbour may have this address: one of a private network or of the link itself. Another
/// may be one, too, in a network that gives public addresses to its hosts; the caller knows these.
pub fn is_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_private() || addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

/// The id of a node in the LANs of a day, from a secret that it makes at its start and tells nobody.
pub fn daily_identity(secret: &[u8; 32], day: Day) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("busel 1 lan identity");
    hasher.update(secret);
    hasher.update(&day.0.to_be_bytes());
    *hasher.finalize().as_bytes()
}

/// A node in the same LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Its id today.
    pub id: PeerId,
    /// Where it answers.
    pub addr: SocketAddr,
    /// The key for the veil.
    pub veil: Option<[u8; 32]>,
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// Too many come; this one was not read.
    #[error("too many beacons")]
    TooMany,
    /// No beacon, or one of another day.
    #[error("no beacon of these days")]
    Unreadable,
    /// It is not from the address that it names.
    #[error("it was sent from another address")]
    Copied,
    /// No room for one more neighbour.
    #[error("too many neighbours")]
    Full,
}

/// What a beacon brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Who.
    pub neighbour: Neighbour,
    /// Whether it was not known yet.
    pub is_new: bool,
    /// Whether it asks for ours.
    pub asks: bool,
}

/// The neighbours that are heard. Bounded, whatever is sent: a flood is dropped unread, and who goes
/// on beaconing is not driven out by others.
#[derive(Debug, Default)]
pub struct Neighbours {
    hosts: BTreeMap<IpAddr, Host>,
    strangers: Level,
}

#[derive(Debug)]
struct Host {
    level: Level,
    /// Newest last.
    ids: Vec<(Neighbour, Tick)>,
}

impl Host {
    fn heard(&self) -> Tick {
        self.ids.iter().map(|(_, at)| *at).max().unwrap_or_default()
    }
}

impl Neighbours {
    /// Takes a datagram that came to the group.
    pub fn hear(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Tick,
        today: Day,
    ) -> Result<Heard, Unheard> {
        let ip = from.ip();
        let allowed = match self.hosts.get_mut(&ip) {
            Some(host) => host.level.take(HOST, now),
            None => self.strangers.take(STRANGERS, now),
        };
        if !allowed {
            return Err(Unheard::TooMany);
        }
        let beacon = Beacon::open(datagram, today).ok_or(Unheard::Unreadable)?;
        if beacon.addr != addr_bytes(ip) {
            return Err(Unheard::Copied);
        }
        let neighbour =
            Neighbour { id: beacon.id, addr: with_port(from, beacon.port), veil: beacon.veil };
        let is_new = self.keep(ip, neighbour, now)?;
        Ok(Heard { neighbour, is_new, asks: beacon.asks })
    }

    /// Those heard lately, each id once: one that has several addresses is heard at each.
    pub fn list(&self, now: Tick) -> Vec<Neighbour> {
        let all = self.hosts.values().flat_map(|host| &host.ids);
        let lately = all.filter(|(_, at)| now - *at < GONE).map(|(n, _)| (n.id, *n));
        lately.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// Where a neighbour is, if it was heard lately.
    pub fn find(&self, id: &PeerId, now: Tick) -> Option<Neighbour> {
        let all = self.hosts.values().flat_map(|host| &host.ids);
        all.filter(|(_, at)| now - *at < GONE).map(|(n, _)| *n).find(|n| n.id == *id)
    }

    /// Keeps it, in place of the oldest of its address. Returns whether it is new.
    fn keep(&mut self, ip: IpAddr, neighbour: Neighbour, now: Tick) -> Result<bool, Unheard> {
        if !self.hosts.contains_key(&ip) && self.hosts.len() >= MAX_HOSTS {
            let oldest = self.hosts.iter().map(|(ip, host)| (host.heard(), *ip)).min();
            let (_, gone) = oldest.filter(|(at, _)| now - *at > QUIET).ok_or(Unheard::Full)?;
            self.hosts.remove(&gone);
        }
        let host = self.hosts.entry(ip).or_insert_with(|| Host {
            level: Level { used: 1, at: now },
            ids: Vec::with_capacity(MAX_IDS),
        });
        let known = host.ids.iter().position(|(known, _)| known.id == neighbour.id);
        let changed = known.is_none_or(|at| host.ids[at].0 != neighbour);
        match known {
            Some(at) => drop(host.ids.remove(at)),
            None if host.ids.len() >= MAX_IDS => drop(host.ids.remove(0)),
            None => {}
        }
        host.ids.push((neighbour, now));
        Ok(changed)
    }
}

fn with_port(from: SocketAddr, port: u16) -> SocketAddr {
    match from {
        SocketAddr::V4(from) => SocketAddr::from((*from.ip(), port)),
        SocketAddr::V6(from) => SocketAddrV6::new(*from.ip(), port, 0, from.scope_id()).into(),
    }
}

/// How much there may be of something.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    burst: u32,
    span: Duration,
}

/// How much there was.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    used: u32,
    at: Tick,
}

impl Level {
    fn take(&mut self, bucket: Bucket, now: Tick) -> bool {
        let spans = (now - self.at).as_micros() / bucket.span.as_micros();
        if spans > 0 {
            self.used = self.used.saturating_sub(u32::try_from(spans).unwrap_or(u32::MAX));
            self.at = now;
        }
        let allowed = self.used < bucket.burst;
        self.used += u32::from(allowed);
        allowed
    }
}

/// When to beacon: some times at the start and when the network changed, then now and then; sooner
/// when asked. Each with jitter, so that many that start at once, as when the power comes back, don't
/// speak at once.
#[derive(Debug)]
pub struct Pace {
    next: Tick,
    last: Option<Tick>,
    /// How many come close together.
    eager: u8,
}

/// So many come close together at the start.
const EAGER: u8 = 3;
/// Two beacons are never closer than this, and among few neighbours never further apart than the sum
/// of the other two.
const LEAST_GAP: Duration = Duration::from_millis(800);
const SELDOM: Duration = Duration::from_secs(10);
const JITTER_SELDOM: Duration = Duration::from_secs(20);
/// For each so many neighbours, it beacons that much more seldom, so that a crowd is not the louder.
const FEW: usize = 8;
/// But not more seldom than this many times, so that nobody is taken to have gone.
const MOST_SELDOM: u32 = 4;
const JITTER: Duration = Duration::from_millis(700);
/// Who is asked answers at most this often.
const ANSWER_GAP: Duration = Duration::from_secs(5);

impl Pace {
    /// One that begins now. `chance` is any random number, here and below.
    pub fn new(now: Tick, chance: u32) -> Self {
        Self { next: now + part(JITTER, chance), last: None, eager: EAGER }
    }

    /// When the next beacon is due.
    pub fn due(&self) -> Tick {
        self.next
    }

    /// Whether the next one asks for those of others.
    pub fn asks(&self) -> bool {
        self.eager == EAGER
    }

    /// One was sent, while so many neighbours are heard.
    pub fn sent(&mut self, now: Tick, neighbours: usize, chance: u32) {
        self.eager = self.eager.saturating_sub(1);
        self.last = Some(now);
        let gap = match self.eager {
            0 => (SELDOM + part(JITTER_SELDOM, chance)) * crowd(neighbours),
            _ => LEAST_GAP + part(JITTER, chance),
        };
        self.next = now + gap;
    }

    /// A neighbour asked for one.
    pub fn asked(&mut self, now: Tick, chance: u32) {
        let soon = now + part(JITTER, chance);
        let earliest = self.last.map_or(soon, |last| last + ANSWER_GAP);
        self.next = self.next.min(soon.max(earliest));
    }

    /// The device is in another network now.
    pub fn moved(&mut self, now: Tick, chance: u32) {
        let soon = now + part(JITTER, chance);
        self.next = self.last.map_or(soon, |last| soon.max(last + LEAST_GAP));
        self.eager = EAGER;
    }
}

/// How much more seldom each of so many beacons.
fn crowd(neighbours: usize) -> u32 {
    u32::try_from(neighbours.div_ceil(FEW)).unwrap_or(u32::MAX).clamp(1, MOST_SELDOM)
}

fn part(of: Duration, chance: u32) -> Duration {
    of.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
#[path = "lan_tests.rs"]
mod tests;
