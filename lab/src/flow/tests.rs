//! Flows from packets in every order that a network or a clever client makes.

use super::*;

const CLIENT: &str = "198.18.1.1:40000";
const SERVER: &str = "198.19.10.10:443";

fn at(addr: &str) -> SocketAddr {
    addr.parse().unwrap()
}

fn segment(from: &str, to: &str, seq: u32, syn: bool, data: &[u8]) -> Packet {
    let (from, to) = (at(from), at(to));
    let mut tcp = etherparse::TcpHeader::new(from.port(), to.port(), seq, 1000);
    tcp.syn = syn;
    tcp.ack = !syn;
    Packet::tcp_segment(from.ip(), to.ip(), tcp, data)
}

/// A real hello, as rustls makes it.
pub(super) fn hello(name: &str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Feeds pieces of a hello as (offset, end), and says after how many the name was read.
fn read_after(hello: &[u8], pieces: &[(usize, usize)]) -> Option<usize> {
    let mut flows = Flows::default();
    // The numbers go round within the hello.
    let first = u32::MAX - 100;
    flows.see(&segment(CLIENT, SERVER, first, true, &[]), Duration::ZERO);
    pieces.iter().position(|(from, to)| {
        let offset = u32::try_from(*from).unwrap();
        let seq = first.wrapping_add(1).wrapping_add(offset);
        let packet = segment(CLIENT, SERVER, seq, false, &hello[*from..*to]);
        let flow = flows.see(&packet, Duration::ZERO);
        flow.hello().is_some_and(|hello| hello.sni.as_deref() == Some("news.example"))
    })
}

#[test]
fn a_hello_is_read_over_segments_in_any_order() {
    let hello = hello("news.example");
    let end = hello.len();
    assert_eq!(read_after(&hello, &[(0, end)]), Some(0));
    assert_eq!(read_after(&hello, &[(0, 1), (1, 60), (60, end)]), Some(2));
    assert_eq!(read_after(&hello, &[(60, end), (1, 60), (0, 1)]), Some(2));
    assert_eq!(read_after(&hello, &[(0, 90), (40, 150), (0, 90), (100, end)]), Some(3));
    assert_eq!(read_after(&hello, &[(0, 90), (91, end)]), None);
}

#[test]
fn a_hello_is_read_over_records() {
    let whole = hello("news.example");
    let body = &whole[5..];
    let mut split = Vec::new();
    for piece in [&body[..30], &body[30..]] {
        split.extend([0x16, 3, 1]);
        split.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
        split.extend_from_slice(piece);
    }
    let found = ClientHello::find(&split).unwrap().unwrap();
    assert_eq!(found.sni.as_deref(), Some("news.example"));
    assert!(!found.ciphers.is_empty() && !found.extensions.is_empty());
    assert!(!found.groups.is_empty() && found.versions.contains(&0x0304));
    assert_eq!(ClientHello::find(&split[..40]), Ok(None));
    assert_eq!(ClientHello::find(b"GET / HTTP/1.1"), Err(hello::NotOne));
}

#[test]
fn a_flow_knows_who_opened_it() {
    let mut flows = Flows::default();
    let now = Duration::from_secs(1);
    let flow = flows.see(&segment(CLIENT, SERVER, 1, true, &[]), now);
    assert!(flow.from_client() && flow.client() == at(CLIENT) && flow.opened() == now);
    let id = flow.id();
    let flow = flows.see(&segment(SERVER, CLIENT, 9, false, b"answer"), now * 2);
    assert!(!flow.from_client() && flow.id() == id && flow.server_start() == b"answer");
    // Opened again: another flow. Sent again: the same.
    assert_eq!(flows.see(&segment(CLIENT, SERVER, 1, true, &[]), now * 3).id(), id);
    assert_ne!(flows.see(&segment(CLIENT, SERVER, 700, true, &[]), now * 3).id(), id);
    // In the middle: the higher port is the client.
    let mut flows = Flows::default();
    let flow = flows.see(&segment(SERVER, CLIENT, 9, false, b"x"), now);
    assert_eq!((flow.client(), flow.from_client()), (at(CLIENT), false));
}
