//! The fields of a forged packet by which people in the field know the box that made it. Nothing in
//! the lab depends on them; they are there so that a capture looks as one from the field.

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

use super::Packet;
use super::forge::rebuilt;

impl Packet {
    /// The same with this TCP window and, in IPv4, this id; other packets keep what they have.
    pub fn marked(self, window: u16, ip_id: u16) -> Option<Self> {
        let PacketHeaders { mut net, mut transport, payload, .. } =
            PacketHeaders::from_ip_slice(&self.bytes).ok()?;
        if let Some(NetHeaders::Ipv4(head, _)) = &mut net {
            head.identification = ip_id;
            head.header_checksum = head.calc_header_checksum();
        }
        if let Some(TransportHeader::Tcp(tcp)) = &mut transport {
            tcp.window_size = window;
        }
        rebuilt(&net?, transport, payload.slice())
    }

    /// The IPv4 id; nothing in IPv6.
    pub fn ip_id(&self) -> Option<u16> {
        match PacketHeaders::from_ip_slice(&self.bytes).ok()?.net? {
            NetHeaders::Ipv4(head, _) => Some(head.identification),
            NetHeaders::Ipv6(..) | NetHeaders::Arp(_) => None,
        }
    }
}
