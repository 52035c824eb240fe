//! Invites: the line, and what its checksum covers.

use busel_proto::cbor;
use busel_proto::id::Hash;
use busel_proto::invite::{Invite, InviteError, MAX_LINE, PREFIX};
use data_encoding::BASE32_NOPAD;

/// The input is read as a line, and as the record inside a line that is otherwise in order.
pub fn invite(data: &[u8]) {
    if let Ok(line) = std::str::from_utf8(data) {
        read(line);
    }
    let mut bytes = data.to_vec();
    bytes.extend_from_slice(&Hash::of(data).0[..4]);
    let line = format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase());
    if let Some(invite) = read(&line) {
        assert_eq!(cbor::to_vec(&invite), data, "an invite has one form");
    }
}

fn read(line: &str) -> Option<Invite> {
    let bare: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    match Invite::from_line(line) {
        Ok(invite) => {
            assert!(bare.len() <= MAX_LINE);
            assert_eq!(invite.to_line(), bare.to_ascii_lowercase(), "a line has one form");
            for peer in &invite.peers {
                assert_eq!(invite.relay_of(peer).is_some(), peer.relay.is_some());
            }
            Some(invite)
        }
        Err(InviteError::Character(at)) => {
            let named = bare.chars().nth(at - 1).expect("the position lies in the line");
            assert!(!BASE32_NOPAD.specification().symbols.contains(named.to_ascii_uppercase()));
            None
        }
        Err(_) => None,
    }
}
