//! Initial packets as RFC 9001 has them, and as a careful client may make them.

use data_encoding::HEXLOWER;

use super::*;

/// RFC 9001, appendix A.2: the CRYPTO frame of the client's first packet.
const FRAME: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06\
    a2b69484c00000413011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a0008000600\
    1d0017001800100007000504616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fe\
    dba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e040305030603020308040805080600\
    2d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff080110010480007530090\
    1100f088394c8f03e51570806048000ffff";
/// How the protected packet begins and ends there.
const BEGINS: &str = "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11";
const ENDS: &str = "e221af44860018ab0856972e194cd934";

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

/// A client's packet of 1200 bytes with these frames, under the keys for this first receiver's id.
fn sealed(version: Version, keys_of: &[u8], to: &[u8], number: u32, frames: &[u8]) -> Vec<u8> {
    let keys = initial_keys(version, keys_of, Side::Client).unwrap().local;
    let mut head = match version {
        Version::V2 => bytes("d36b3343cf"),
        _ => bytes("c300000001"),
    };
    head.push(u8::try_from(to.len()).unwrap());
    head.extend_from_slice(to);
    head.extend([0, 0]);
    let len = 1200 - head.len() - 2;
    head.extend((0x4000 | u16::try_from(len).unwrap()).to_be_bytes());
    let number_at = head.len();
    head.extend(number.to_be_bytes());
    let mut body = frames.to_vec();
    body.resize(len - 4 - 16, 0);
    let tag = keys.packet.encrypt_in_place(number.into(), &head, &mut body).unwrap();
    body.extend_from_slice(tag.as_ref());
    let (open, hidden) = head.split_at_mut(number_at);
    keys.header.encrypt_in_place(&body[..16], &mut open[0], hidden).unwrap();
    [head, body].concat()
}

/// A piece of the RFC's hello, as a frame.
fn piece(from: usize, to: usize) -> Vec<u8> {
    let hello = &bytes(FRAME)[4..];
    let number = |value: usize| (0x4000 | u16::try_from(value).unwrap()).to_be_bytes();
    [&[6][..], &number(from), &number(to - from), &hello[from..to]].concat()
}

fn name(initials: &mut Initials, datagram: &[u8]) -> Option<String> {
    initials.take(datagram).and_then(|hello| hello.sni.clone())
}

#[test]
fn the_packet_of_the_rfc_is_read() {
    let id = bytes("8394c8f03e515708");
    let packet = sealed(Version::V1, &id, &id, 2, &bytes(FRAME));
    assert!(packet.starts_with(&bytes(BEGINS)) && packet.ends_with(&bytes(ENDS)));
    assert!(is_initial(&packet));
    let mut initials = Initials::default();
    assert_eq!(name(&mut initials, &packet).as_deref(), Some("example.com"));
    assert_eq!(
        initials.take(b"whatever").map(|hello| hello.alpn.clone()),
        Some(vec!["alpn".into()])
    );

    let packet = sealed(Version::V2, &id, &id, 0, &bytes(FRAME));
    assert!(is_initial(&packet));
    assert_eq!(name(&mut Initials::default(), &packet).as_deref(), Some("example.com"));
}

#[test]
fn frames_are_put_together_over_packets() {
    let (id, of_server) = (bytes("8394c8f03e515708"), [7; 20]);
    let frames = [&[1, 2, 0, 0, 0, 0][..], &piece(100, 241), &piece(0, 40)].concat();
    let first = sealed(Version::V1, &id, &id, 0, &frames);
    // The second one goes to the server's own id, but under the keys of the first.
    let second = sealed(Version::V1, &id, &of_server, 1, &piece(30, 120));
    let mut initials = Initials::default();
    assert_eq!(name(&mut initials, &first), None);
    assert_eq!(name(&mut initials, &second).as_deref(), Some("example.com"));
    // Both in one datagram, and after a Retry.
    let mut initials = Initials::default();
    let lost = sealed(Version::V1, b"earlier id", b"earlier id", 0, &piece(0, 20));
    assert_eq!(name(&mut initials, &lost), None);
    assert_eq!(name(&mut initials, &[first, second].concat()).as_deref(), Some("example.com"));
}

#[test]
fn rubbish_is_nothing() {
    let id = bytes("8394c8f03e515708");
    let packet = sealed(Version::V1, &id, &id, 2, &bytes(FRAME));
    for len in 0..packet.len() {
        assert!(!is_initial(&packet[..len]));
    }
    let mut broken = packet;
    broken[600] ^= 1;
    assert_eq!(Initials::default().take(&broken), None);
    for first in 0..=255 {
        Initials::default().take(&[&[first, 0, 0, 0, 1, 0, 0, 0, 2][..], &[first; 40]].concat());
    }
}
