//! What a stateful box remembers of a flow: who opened it, how much went each way, and the first
//! bytes of both ends, put together from segments in any order. Each point has a table of its own,
//! so that a box sees only what passes it.
//!
//! It keeps the beginning of a flow only ([`MAX_START`]), and it judges nothing.

mod assembly;
mod fingerprint;
mod hello;
mod initials;
mod protocol;

pub use hello::ClientHello;
pub use initials::{Initials, is_initial};
pub use protocol::{Guess, Protocol};

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use self::assembly::Assembly;
use crate::packet::{Packet, Tcp, Transport};

/// How many bytes of each end's beginning are kept.
pub const MAX_START: usize = 16 << 10;
/// How many flows a point remembers; then it forgets the one that was silent for longest.
const MAX_FLOWS: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");

/// One TCP connection, or the datagrams between two ends.
#[derive(Debug)]
pub struct Flow {
    id: u64,
    client: SocketAddr,
    server: SocketAddr,
    opened: Duration,
    from_client: bool,
    up: Half,
    down: Half,
    hello: Hello,
}

/// One direction of a flow.
#[derive(Debug, Default)]
pub struct Half {
    /// Packets so far, with the one at hand.
    pub packets: u64,
    /// Bytes of payload so far, sent again or not, with those at hand.
    pub bytes: u64,
    start: Assembly,
}

/// How far the search for a ClientHello has come.
#[derive(Debug)]
enum Hello {
    Unknown,
    None,
    Found(Box<ClientHello>),
}

impl Flow {
    /// A number that no other flow of this point has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The end that opened it. Where the opening was not seen, the end with the higher port.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// The other end.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// When its first packet passed.
    pub fn opened(&self) -> Duration {
        self.opened
    }

    /// Whether the packet at hand is from the client.
    pub fn from_client(&self) -> bool {
        self.from_client
    }

    /// What went from the client to the server.
    pub fn up(&self) -> &Half {
        &self.up
    }

    /// What went from the server to the client.
    pub fn down(&self) -> &Half {
        &self.down
    }

    /// The client's first bytes without gaps, at most [`MAX_START`]; of UDP, its first datagram.
    pub fn client_start(&self) -> &[u8] {
        self.up.start.bytes()
    }

    /// The server's first bytes without gaps, at most [`MAX_START`]; of UDP, its first datagram.
    pub fn server_start(&self) -> &[u8] {
        self.down.start.bytes()
    }

    /// The client's TLS ClientHello, once it is there whole: over any number of segments and records.
    pub fn hello(&self) -> Option<&ClientHello> {
        match &self.hello {
            Hello::Found(hello) => Some(hello),
            Hello::Unknown | Hello::None => None,
        }
    }

    fn new(id: u64, packet: &Packet, now: Duration) -> Self {
        let (from, to) = (packet.from(), packet.to());
        let opens = match packet.tcp() {
            Some(Tcp { syn: true, has_ack, .. }) => !has_ack,
            Some(_) => from.port() >= to.port(),
            None => true,
        };
        let (client, server) = if opens { (from, to) } else { (to, from) };
        Self {
            id,
            client,
            server,
            opened: now,
            from_client: opens,
            up: Half::default(),
            down: Half::default(),
            hello: Hello::Unknown,
        }
    }

    fn take(&mut self, packet: &Packet) {
        self.from_client = packet.from() == self.client;
        let half = if self.from_client { &mut self.up } else { &mut self.down };
        half.packets += 1;
        half.bytes += packet.payload().len() as u64;
        match packet.transport() {
            Transport::Tcp(tcp) => half.start.segment(tcp, packet.payload()),
            Transport::Udp { .. } if half.packets == 1 => half.start.whole(packet.payload()),
            Transport::Udp { .. } | Transport::Icmp { .. } | Transport::Other(_) => return,
        }
        if self.from_client && packet.tcp().is_some() && matches!(self.hello, Hello::Unknown) {
            self.hello = match ClientHello::find(self.up.start.bytes()) {
                Ok(Some(hello)) => Hello::Found(Box::new(hello)),
                Ok(None) => Hello::Unknown,
                Err(hello::NotOne) => Hello::None,
            };
        }
    }
}

/// The flows of one point.
#[derive(Debug)]
pub struct Flows {
    known: LruCache<Key, Flow>,
    next: u64,
}

/// The same for both directions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    protocol: u8,
    low: SocketAddr,
    high: SocketAddr,
}

impl Default for Flows {
    fn default() -> Self {
        Self { known: LruCache::new(MAX_FLOWS), next: 0 }
    }
}

impl Flows {
    /// Notes a packet, and gives the flow that it belongs to.
    pub fn see(&mut self, packet: &Packet, now: Duration) -> &Flow {
        let key = Key::of(packet);
        let again = matches!(packet.tcp(), Some(Tcp { syn: true, has_ack: false, seq, .. })
            if self.known.peek(&key).is_some_and(|old| !old.up.start.opened_at(seq)));
        if again {
            self.known.pop(&key);
        }
        let next = &mut self.next;
        let flow = self.known.get_or_insert_mut(key, || {
            *next += 1;
            Flow::new(*next, packet, now)
        });
        flow.take(packet);
        flow
    }
}

impl Key {
    fn of(packet: &Packet) -> Self {
        let (from, to) = (packet.from(), packet.to());
        let protocol = match packet.transport() {
            Transport::Tcp(_) => 6,
            Transport::Udp { .. } => 17,
            Transport::Icmp { .. } => 1,
            Transport::Other(protocol) => protocol,
        };
        Self { protocol, low: from.min(to), high: from.max(to) }
    }
}

#[cfg(test)]
mod tests;
