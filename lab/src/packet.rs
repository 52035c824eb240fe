//! One IP packet as a box on the line sees it: its addresses, what it carries, its payload. Parsed
//! once when it enters; what can't be parsed is carried as [`Transport::Other`].
//!
//! It reassembles nothing (see [`crate::flow`]) and joins no IP fragments: a fragment that is not
//! the first has no transport here, as for most real boxes.

mod forge;
mod marks;
mod question;

pub use question::Question;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    bytes: Vec<u8>,
    source: IpAddr,
    dest: IpAddr,
    ttl: u8,
    transport: Transport,
    payload: Range<usize>,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp {
        /// From this port.
        source: u16,
        /// To this port.
        dest: u16,
    },
    /// An ICMP or ICMPv6 message.
    Icmp {
        /// Its type, as a number of its protocol.
        kind: u8,
    },
    /// Anything else, and what can't be parsed: the number of the IP protocol.
    Other(u8),
}

/// The header of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// From this port.
    pub source: u16,
    /// To this port.
    pub dest: u16,
    /// The number of its first byte.
    pub seq: u32,
    /// The next byte that its sender expects.
    pub ack: u32,
    /// The receive window, unscaled.
    pub window: u16,
    /// Opens a connection.
    pub syn: bool,
    /// `ack` counts.
    pub has_ack: bool,
    /// Cuts a connection.
    pub rst: bool,
    /// The sender has no more to say.
    pub fin: bool,
}

impl Packet {
    /// Parses what a host has sent. Nothing if it is no IP packet.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let sliced = SlicedPacket::from_ip(&bytes).ok()?;
        let (source, dest, ttl, protocol) = match sliced.net.as_ref()? {
            NetSlice::Ipv4(ip) => {
                let head = ip.header();
                let (source, dest) = (head.source_addr(), head.destination_addr());
                (source.into(), dest.into(), head.ttl(), head.protocol().0)
            }
            NetSlice::Ipv6(ip) => {
                let head = ip.header();
                let (source, dest) = (head.source_addr(), head.destination_addr());
                (source.into(), dest.into(), head.hop_limit(), ip.payload().ip_number.0)
            }
            NetSlice::Arp(_) => return None,
        };
        let (transport, payload) = match &sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => (Transport::Tcp(Tcp::from(tcp)), tcp.payload()),
            Some(TransportSlice::Udp(udp)) => {
                let (source, dest) = (udp.source_port(), udp.destination_port());
                (Transport::Udp { source, dest }, udp.payload())
            }
            Some(TransportSlice::Icmpv4(icmp)) => {
                (Transport::Icmp { kind: icmp.type_u8() }, icmp.payload())
            }
            Some(TransportSlice::Icmpv6(icmp)) => {
                (Transport::Icmp { kind: icmp.type_u8() }, icmp.payload())
            }
            Some(TransportSlice::Igmp(_)) | None => (Transport::Other(protocol), &[][..]),
        };
        // Padding may follow the payload, so its place is told by where it begins.
        let end = match payload.len() {
            0 => bytes.len(),
            len => payload.as_ptr() as usize - bytes.as_ptr() as usize + len,
        };
        let payload = end - payload.len()..end;
        drop(sliced);
        Some(Self { source, dest, ttl, transport, payload, bytes })
    }

    /// All its bytes, from the IP header on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where it says that it comes from.
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// Where it goes.
    pub fn dest(&self) -> IpAddr {
        self.dest
    }

    /// How many routers it may still pass.
    pub fn ttl(&self) -> u8 {
        self.ttl
    }

    /// What it carries.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Its TCP header, if it has one.
    pub fn tcp(&self) -> Option<Tcp> {
        match self.transport {
            Transport::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    /// Whether it is a UDP datagram.
    pub fn is_udp(&self) -> bool {
        matches!(self.transport, Transport::Udp { .. })
    }

    /// What TCP or UDP carries in it.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload.clone()]
    }

    /// Its source with the port; port 0 where there are none.
    pub fn from(&self) -> SocketAddr {
        SocketAddr::new(self.source, self.ports().0)
    }

    /// Its destination with the port; port 0 where there are none.
    pub fn to(&self) -> SocketAddr {
        SocketAddr::new(self.dest, self.ports().1)
    }

    /// Whether either end is this port.
    pub fn has_port(&self, port: u16) -> bool {
        let (source, dest) = self.ports();
        source == port || dest == port
    }

    fn ports(&self) -> (u16, u16) {
        match self.transport {
            Transport::Tcp(Tcp { source, dest, .. }) | Transport::Udp { source, dest } => {
                (source, dest)
            }
            Transport::Icmp { .. } | Transport::Other(_) => (0, 0),
        }
    }
}

impl From<&etherparse::TcpSlice<'_>> for Tcp {
    fn from(tcp: &etherparse::TcpSlice<'_>) -> Self {
        Self {
            source: tcp.source_port(),
            dest: tcp.destination_port(),
            seq: tcp.sequence_number(),
            ack: tcp.acknowledgment_number(),
            window: tcp.window_size(),
            syn: tcp.syn(),
            has_ack: tcp.ack(),
            rst: tcp.rst(),
            fin: tcp.fin(),
        }
    }
}
