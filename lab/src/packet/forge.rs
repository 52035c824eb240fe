//! Packets that a box makes up or rewrites, with right checksums, lengths and sequence numbers, so
//! that the ends believe them.
//!
//! It forges answers to a packet in hand only; it keeps no connection of its own, and knows nothing
//! of when a forgery is due. That is a policy's part.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};

use super::{Packet, Tcp};

/// What a host's system sets on packets of its own.
const TTL: u8 = 64;
/// For how long a forged answer wants to be believed, in seconds.
const DNS_TTL: u32 = 60;

impl Packet {
    /// A TCP reset for this packet's receiver, as if from its sender: it fits right behind it.
    pub fn reset_forward(&self) -> Option<Self> {
        let tcp = self.tcp()?;
        let seq = tcp.seq.wrapping_add(self.spans());
        let ack = tcp.has_ack.then_some(tcp.ack);
        Some(Self::reset(self.from(), self.to(), seq, ack))
    }

    /// A TCP reset for this packet's sender, as if from its receiver.
    pub fn reset_back(&self) -> Option<Self> {
        let tcp = self.tcp()?;
        let ack = tcp.seq.wrapping_add(self.spans());
        // An opening packet acknowledges nothing, and is refused as a closed port does it.
        let seq = if tcp.has_ack { tcp.ack } else { 0 };
        Some(Self::reset(self.to(), self.from(), seq, Some(ack)))
    }

    /// A TCP reset with these numbers.
    pub fn reset(from: SocketAddr, to: SocketAddr, seq: u32, ack: Option<u32>) -> Self {
        let mut tcp = etherparse::TcpHeader::new(from.port(), to.port(), seq, 0);
        tcp.rst = true;
        tcp.ack = ack.is_some();
        tcp.acknowledgment_number = ack.unwrap_or_default();
        Self::tcp_segment(from.ip(), to.ip(), tcp, &[])
    }

    /// A segment with data and FIN for this packet's sender, as if it were the whole answer to the
    /// request that this packet ends: an injected redirect or block page. The data must fit into
    /// one packet.
    pub fn answer_and_close(&self, data: &[u8]) -> Option<Self> {
        let Tcp { source, dest, seq, ack, .. } = self.tcp()?;
        let mut tcp = etherparse::TcpHeader::new(dest, source, ack, 64_240);
        tcp.ack = true;
        tcp.acknowledgment_number = seq.wrapping_add(self.spans());
        tcp.psh = true;
        tcp.fin = true;
        Some(Self::tcp_segment(self.dest(), self.source(), tcp, data))
    }

    /// A datagram.
    pub fn udp(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Self {
        let builder = PacketBuilder::ip(ip_header(from.ip(), to.ip()));
        let mut bytes = Vec::new();
        builder
            .udp(from.port(), to.port())
            .write(&mut bytes, data)
            .expect("data of at most one packet");
        Self::parse(bytes).expect("what we build is a packet")
    }

    /// A segment of any kind.
    pub fn tcp_segment(
        from: IpAddr,
        to: IpAddr,
        header: etherparse::TcpHeader,
        data: &[u8],
    ) -> Self {
        let builder = PacketBuilder::ip(ip_header(from, to)).tcp_header(header);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, data).expect("data of at most one packet");
        Self::parse(bytes).expect("what we build is a packet")
    }

    /// A false answer to the DNS question in this packet: those of `addrs` that are of the asked
    /// type, or NXDOMAIN if there are no addresses at all.
    pub fn dns_answer(&self, addrs: &[IpAddr]) -> Option<Self> {
        let asked = Message::from_vec(self.payload()).ok().filter(|_| self.is_udp())?;
        let query = asked.queries.first()?;
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        answer.metadata.recursion_desired = asked.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        if addrs.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        for addr in addrs {
            let data = match (query.query_type(), addr) {
                (RecordType::A, IpAddr::V4(addr)) => RData::A(A(*addr)),
                (RecordType::AAAA, IpAddr::V6(addr)) => RData::AAAA(AAAA(*addr)),
                _ => continue,
            };
            answer.add_answer(Record::from_rdata(query.name().clone(), DNS_TTL, data));
        }
        Some(Self::udp(self.to(), self.from(), &answer.to_vec().ok()?))
    }

    /// The same packet between other ends, which a transparent proxy needs. Ports change only
    /// where there are ports. Nothing if the kinds of addresses differ.
    pub fn readdressed(&self, from: SocketAddr, to: SocketAddr) -> Option<Self> {
        let PacketHeaders { mut net, mut transport, payload, .. } =
            PacketHeaders::from_ip_slice(&self.bytes).ok()?;
        match (net.as_mut()?, from.ip(), to.ip()) {
            (NetHeaders::Ipv4(head, _), IpAddr::V4(from), IpAddr::V4(to)) => {
                (head.source, head.destination) = (from.octets(), to.octets());
                head.header_checksum = head.calc_header_checksum();
            }
            (NetHeaders::Ipv6(head, _), IpAddr::V6(from), IpAddr::V6(to)) => {
                (head.source, head.destination) = (from.octets(), to.octets());
            }
            _ => return None,
        }
        match &mut transport {
            Some(TransportHeader::Tcp(tcp)) => {
                (tcp.source_port, tcp.destination_port) = (from.port(), to.port());
            }
            Some(TransportHeader::Udp(udp)) => {
                (udp.source_port, udp.destination_port) = (from.port(), to.port());
            }
            _ => {}
        }
        rebuilt(&net?, transport, payload.slice())
    }

    /// How many sequence numbers it uses up.
    pub fn spans(&self) -> u32 {
        let Some(tcp) = self.tcp() else { return 0 };
        let data = u32::try_from(self.payload().len()).expect("a packet is small");
        data + u32::from(tcp.syn) + u32::from(tcp.fin)
    }
}

fn ip_header(from: IpAddr, to: IpAddr) -> IpHeaders {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let head = etherparse::Ipv4Header::new(
                0,
                TTL,
                etherparse::IpNumber::TCP,
                from.octets(),
                to.octets(),
            );
            IpHeaders::Ipv4(head.expect("an empty payload fits"), Default::default())
        }
        (from, to) => {
            let wide = |addr| match addr {
                IpAddr::V4(addr) => std::net::Ipv4Addr::to_ipv6_mapped(&addr),
                IpAddr::V6(addr) => addr,
            };
            let head = etherparse::Ipv6Header {
                hop_limit: TTL,
                source: wide(from).octets(),
                destination: wide(to).octets(),
                ..Default::default()
            };
            IpHeaders::Ipv6(head, Default::default())
        }
    }
}

/// Puts headers and payload together again.
pub(super) fn rebuilt(
    net: &NetHeaders,
    mut transport: Option<TransportHeader>,
    payload: &[u8],
) -> Option<Packet> {
    let mut bytes = Vec::with_capacity(net.header_len() + 60 + payload.len());
    match net {
        NetHeaders::Ipv4(head, _) => {
            if let Some(transport) = &mut transport {
                transport.update_checksum_ipv4(head, payload).ok()?;
            }
            head.write_raw(&mut bytes).ok()?;
        }
        NetHeaders::Ipv6(head, _) => {
            if let Some(transport) = &mut transport {
                transport.update_checksum_ipv6(head, payload).ok()?;
            }
            head.write(&mut bytes).ok()?;
        }
        NetHeaders::Arp(_) => return None,
    }
    if let Some(transport) = transport {
        transport.write(&mut bytes).ok()?;
    }
    bytes.extend_from_slice(payload);
    Packet::parse(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(v6: bool, data: &[u8]) -> Packet {
        let mut tcp = etherparse::TcpHeader::new(40_000, 443, 1000, 500);
        tcp.ack = true;
        tcp.acknowledgment_number = 77;
        let (from, to) = if v6 { ("2001:2::1", "2001:2::2") } else { ("198.18.1.1", "198.19.1.1") };
        Packet::tcp_segment(from.parse().unwrap(), to.parse().unwrap(), tcp, data)
    }

    /// Whether the checksum in a packet is what it should be.
    fn sound(packet: &Packet) -> bool {
        let heads = PacketHeaders::from_ip_slice(packet.bytes()).unwrap();
        let (net, tcp) = (heads.net.unwrap(), heads.transport.unwrap().tcp().unwrap());
        let right = match net {
            NetHeaders::Ipv4(head, _) => tcp.calc_checksum_ipv4(&head, packet.payload()),
            NetHeaders::Ipv6(head, _) => tcp.calc_checksum_ipv6(&head, packet.payload()),
            NetHeaders::Arp(_) => unreachable!("an IP packet"),
        };
        right.unwrap() == tcp.checksum
    }

    #[test]
    fn resets_fit_both_ends() {
        for v6 in [false, true] {
            let packet = segment(v6, b"hello");
            let forward = packet.reset_forward().unwrap();
            let tcp = forward.tcp().unwrap();
            assert_eq!((tcp.seq, tcp.ack, tcp.rst), (1005, 77, true));
            assert_eq!((forward.from(), forward.to()), (packet.from(), packet.to()));
            let back = packet.reset_back().unwrap();
            let tcp = back.tcp().unwrap();
            assert_eq!((tcp.seq, tcp.ack, tcp.rst), (77, 1005, true));
            assert_eq!((back.from(), back.to()), (packet.to(), packet.from()));
            assert!(sound(&forward) && sound(&back));
        }
    }

    #[test]
    fn a_page_is_put_into_the_servers_mouth() {
        let packet = segment(false, b"GET / HTTP/1.1\r\n\r\n");
        let page = packet.answer_and_close(b"HTTP/1.1 302 Found\r\n\r\n").unwrap();
        assert_eq!(page.payload(), b"HTTP/1.1 302 Found\r\n\r\n");
        let tcp = page.tcp().unwrap();
        assert_eq!((tcp.seq, tcp.ack, tcp.fin), (77, 1018, true));
        assert!(sound(&page));
    }

    #[test]
    fn a_packet_gets_other_ends_and_keeps_the_rest() {
        let packet = segment(false, b"hello");
        let (from, to) = (packet.from(), "198.18.1.80:8443".parse().unwrap());
        let moved = packet.readdressed(from, to).unwrap();
        assert_eq!((moved.from(), moved.to(), moved.payload()), (from, to, &b"hello"[..]));
        assert!(sound(&moved));
        assert_eq!(moved.readdressed(from, packet.to()), Some(packet.clone()));
        assert_eq!(packet.readdressed(from, "[2001:2::9]:1".parse().unwrap()), None);
    }

    #[test]
    fn a_question_gets_a_false_answer() {
        use hickory_proto::op::Query;
        use hickory_proto::rr::Name;
        let mut asked = Message::query();
        asked.metadata.id = 4711;
        asked.add_query(Query::query(Name::from_ascii("News.Example.").unwrap(), RecordType::A));
        let (from, to) = ("198.18.1.1:5000", "198.18.1.53:53");
        let packet =
            Packet::udp(from.parse().unwrap(), to.parse().unwrap(), &asked.to_vec().unwrap());
        assert_eq!(packet.question().unwrap().name, "news.example");
        let forged = packet.dns_answer(&["198.18.66.6".parse().unwrap()]).unwrap();
        let answer = Message::from_vec(forged.payload()).unwrap();
        assert_eq!((answer.metadata.id, answer.answers.len()), (4711, 1));
        assert_eq!((forged.from(), forged.to()), (packet.to(), packet.from()));
    }
}
