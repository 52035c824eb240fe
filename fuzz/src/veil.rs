//! Veiled datagrams: what comes from strangers does not exist, and what is veiled comes back.

use std::net::SocketAddr;

use busel_proto::time::{Tick, UnixTime};
use busel_proto::veil::VeilSecret;
use busel_proto::veil::frame::{Key, MASK_RANDOM, MAX_INNER, MAX_SEALED, SEAL_RANDOM, Said, WHOLE};
use busel_proto::veil::sessions::{Now, Sessions};

const SECRET: VeilSecret = VeilSecret([1; 32]);
const BACK: VeilSecret = VeilSecret([2; 32]);
const TIME: UnixTime = UnixTime(1_800_000_000);

/// The input is a datagram of a stranger's, one on an open session, and a packet to be veiled.
pub fn veil(data: &[u8]) {
    let now = Now { time: TIME, tick: Tick(0) };
    let (known, stranger) = (SocketAddr::from(([192, 0, 2, 1], 1)), ([192, 0, 2, 2], 1).into());
    let mut sessions = Sessions::new(Some(&SECRET), [3; 32], TIME);
    assert_eq!(sessions.take(stranger, &mut data.to_vec(), now), None, "who could make that?");
    assert!(sessions.is_empty() && sessions.way(stranger, now, 0).is_none());

    let key = Key::of(&SECRET);
    let open = Said { at: TIME, back: BACK, inner: &[] };
    let mut hello = key.seal(&open, &[4; SEAL_RANDOM]).expect("nothing fits");
    assert_eq!(sessions.take(known, &mut hello, now), None, "it has no content");
    let mut datagram = data.to_vec();
    if let Some(len) = sessions.take(known, &mut datagram, now) {
        assert!(len <= datagram.len() && datagram[0] & 0xc0 == 0x40, "a short header");
    }
    assert_eq!(sessions.len(), 1);
    comes_back(&key, data);
}

fn comes_back(key: &Key, packet: &[u8]) {
    let said = Said { at: TIME, back: BACK, inner: packet };
    match key.seal(&said, &[5; SEAL_RANDOM]) {
        None => assert!(packet.len() > MAX_INNER),
        Some(sealed) => {
            assert!(sealed.len() <= MAX_SEALED && key.is_sealed(&sealed));
            assert_eq!(key.open(&sealed).expect("ours").inner, packet);
        }
    }
    let mut masked = Vec::new();
    match packet.len() {
        WHOLE.. => {
            masked.extend_from_slice(packet);
            key.mask_whole(&mut masked);
            assert_eq!(masked.len(), packet.len());
        }
        len if len == WHOLE - 1 => return,
        _ => key.mask_padded(packet, &[6; MASK_RANDOM], &mut masked),
    }
    if let Some(len) = key.unmask(&mut masked) {
        assert_eq!(&masked[..len], packet);
    } else {
        assert!(packet.len() < 21 || packet[0] & 0xc0 != 0x40, "a packet is lost");
    }
}
