//! Which network the device is on, told by what it sees of it without asking anybody, and the memory
//! of each: what is blocked at home may be open on the line of a friend.
//!
//! A network's name is a hash under a random key, so that it tells nobody where the reader was. How
//! the device is looked at, and when, is the shell's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::memory::{Memory, SiteKey};
use crate::time::Tick;

/// Networks that are remembered; of more the one not used for longest is forgotten.
pub const MAX: usize = 16;
/// After so many looks at a gateway whose card stays unknown, it need not be looked at so soon again.
const DOUBTS: u8 = 10;
/// What may differ in an address on a line without a gateway, which often is another each time.
const WIDE: (u8, u8) = (16, 32);

/// What the device sees of the network by which it goes out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// The name of its own end: `wlan0`.
    pub line: String,
    /// Where packets to the world are handed to.
    pub gateways: Vec<IpAddr>,
    /// The link-layer address of that; a system knows it only once it has spoken to it.
    pub card: Option<[u8; 6]>,
    /// The addresses of its own end, and how many bits of each name the net.
    pub addrs: Vec<(IpAddr, u8)>,
}

/// The name of a network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct NetworkId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

/// The networks known, and the one that the device is on.
#[derive(Debug)]
pub struct Networks {
    key: [u8; 32],
    sites: SiteKey,
    /// Those used last come last; the last one is the one that the device is on.
    known: Vec<Network>,
    /// Looks since the move that did not show the gateway's card; 0 if the last did, or there is none.
    doubts: u8,
}

#[derive(Debug)]
struct Network {
    id: NetworkId,
    /// Its name but for the gateway's card, and its name until that is known.
    loose: NetworkId,
    memory: Memory,
}

/// What a look brought.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Seen {
    /// The device is on another network than before.
    pub moved: bool,
    /// A network that is known no longer, or by another name.
    pub forgotten: Option<NetworkId>,
}

/// A network as it is kept.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Kept {
    #[n(0)]
    id: NetworkId,
    #[n(1)]
    loose: NetworkId,
    /// In microseconds.
    #[n(2)]
    used: u64,
    #[cbor(n(3), with = "minicbor::bytes")]
    memory: Vec<u8>,
}

impl std::fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NetworkId")
    }
}

impl std::fmt::Display for NetworkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl Networks {
    /// The longest row that [`Networks::row`] makes.
    pub const MAX_ROW: usize = Memory::MAX_BYTES + 128;

    /// Networks that were kept as these rows, under this random key. The device is on none of them
    /// until it was looked at.
    pub fn new(key: [u8; 32], rows: &[Vec<u8>], now: Tick) -> Self {
        let sites = blake3::derive_key("busel 1 sites of a memory", &key);
        let mut kept: Vec<Kept> =
            rows.iter().filter_map(|row| cbor::from_slice(row, Self::MAX_ROW).ok()).collect();
        kept.sort_by_key(|kept| kept.used);
        kept.drain(..kept.len().saturating_sub(MAX));
        let restored = kept.into_iter().map(|Kept { id, loose, memory, .. }| Network {
            id,
            loose,
            memory: Memory::from_bytes(sites, &memory, now),
        });
        let mut known: Vec<_> = restored.collect();
        // Where nothing can be seen there is one network.
        let nowhere = name(&key, None, false);
        match known.iter().position(|network| network.loose == nowhere) {
            Some(at) => known[at..].rotate_left(1),
            None => known.push(Network::new(sites, nowhere, nowhere)),
        }
        let mut this = Self { key, sites, known, doubts: 0 };
        this.forget();
        this
    }

    /// Whether the device is where it was, if this is what is seen.
    pub fn stays(&self, sight: Option<&Sight>) -> bool {
        let here = self.known.last().expect("there is always one");
        let alike = here.loose == name(&self.key, sight, false);
        let unnamed = is_unsure(sight) || here.id == here.loose;
        alike && (unnamed || here.id == name(&self.key, sight, true))
    }

    /// Takes what was seen; nothing if no line leads out.
    pub fn see(&mut self, sight: Option<&Sight>) -> Seen {
        let (loose, id) = (name(&self.key, sight, false), name(&self.key, sight, true));
        let (unsure, stays) = (is_unsure(sight), self.stays(sight));
        let was = self.here_mut().id;
        let doubts = if stays { self.doubts } else { 0 };
        self.doubts = if unsure { doubts.saturating_add(1) } else { 0 };
        if stays && (was == id || unsure) {
            return Seen::default();
        }
        let found = self.known.iter().rposition(|network| match unsure {
            false => network.id == id,
            // Whether it is the one of that name last used shows once its card is known.
            true => network.loose == loose,
        });
        if stays {
            // It shows only now which network this is. What was learnt of it without a name is little.
            let unnamed = self.known.pop().map(|network| network.memory).unwrap_or_default();
            match found {
                Some(at) => self.known[at..].rotate_left(1),
                None => self.known.push(Network { id, loose, memory: unnamed }),
            }
            return Seen { moved: false, forgotten: Some(loose) };
        }
        match found {
            Some(at) => self.known[at..].rotate_left(1),
            None => self.known.push(Network::new(self.sites, id, loose)),
        }
        Seen { moved: true, forgotten: self.forget() }
    }

    /// What is remembered of the network that the device is on.
    pub fn here(&self) -> &Memory {
        &self.known.last().expect("there is always one").memory
    }

    /// The same, to be added to.
    pub fn memory(&mut self) -> &mut Memory {
        &mut self.here_mut().memory
    }

    /// Whether it shows only later which network this is.
    pub fn is_unsure(&self) -> bool {
        (1..=DOUBTS).contains(&self.doubts)
    }

    /// The network that the device is on, as it is to be kept.
    pub fn row(&self, now: Tick) -> (NetworkId, Vec<u8>) {
        let Network { id, loose, memory } = self.known.last().expect("there is always one");
        let kept = Kept { id: *id, loose: *loose, used: now.0, memory: memory.to_bytes(now) };
        (*id, cbor::to_vec(&kept))
    }

    /// The names of those that are known.
    pub fn names(&self) -> impl Iterator<Item = NetworkId> {
        self.known.iter().map(|network| network.id)
    }

    fn here_mut(&mut self) -> &mut Network {
        self.known.last_mut().expect("there is always one")
    }

    fn forget(&mut self) -> Option<NetworkId> {
        (self.known.len() > MAX).then(|| self.known.remove(0).id)
    }
}

impl Network {
    fn new(sites: SiteKey, id: NetworkId, loose: NetworkId) -> Self {
        Self { id, loose, memory: Memory::new(sites) }
    }
}

/// Whether it shows only later which network this is.
fn is_unsure(sight: Option<&Sight>) -> bool {
    sight.is_some_and(|sight| !sight.gateways.is_empty() && sight.card.is_none())
}

/// The name of what is seen. Behind a gateway the net and the gateway are told, by their IPv4
/// addresses if they have any, since others change; else the line, and roughly its address.
fn name(key: &[u8; 32], sight: Option<&Sight>, with_card: bool) -> NetworkId {
    let mut parts = Vec::new();
    match sight {
        None => parts.push("nowhere".to_owned()),
        Some(sight) if sight.gateways.is_empty() => {
            let wide = |(ip, _): &(IpAddr, u8)| match ip {
                IpAddr::V4(_) => net(*ip, WIDE.0),
                IpAddr::V6(_) => net(*ip, WIDE.1),
            };
            parts.push(format!("line {}", sight.line));
            let global = |(ip, _): &&(IpAddr, u8)| !is_link_local(*ip);
            parts.extend(sight.addrs.iter().filter(global).map(wide));
        }
        Some(sight) => {
            let v4 = sight.gateways.iter().any(IpAddr::is_ipv4);
            let told = |ip: &IpAddr| ip.is_ipv4() == v4;
            let gateways = sight.gateways.iter().filter(|ip| told(ip));
            parts.extend(gateways.map(|ip| format!("gateway {ip}")));
            let nets = sight.addrs.iter().filter(|(ip, _)| v4 && ip.is_ipv4());
            parts.extend(nets.map(|(ip, bits)| net(*ip, *bits)));
            parts.extend(sight.card.filter(|_| with_card).map(|card| format!("card {card:?}")));
        }
    }
    parts.sort();
    parts.dedup();
    let hash = blake3::keyed_hash(key, parts.join("\n").as_bytes());
    let mut id = NetworkId([0; 16]);
    id.0.copy_from_slice(&hash.as_bytes()[..16]);
    id
}

/// The net of an address.
fn net(ip: IpAddr, bits: u8) -> String {
    let base: IpAddr = match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            Ipv4Addr::from(u32::from(ip) & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            Ipv6Addr::from(u128::from(ip) & mask).into()
        }
    };
    format!("net {base}/{bits}")
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
#[path = "networks_tests.rs"]
mod tests;
