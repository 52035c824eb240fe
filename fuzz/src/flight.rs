//! First flights: what may be sent twice, and the server name in it.

use busel_proto::flight::{may_replay, server_name};

const HANDSHAKE: u8 = 22;
const CHANGE_CIPHER_SPEC: u8 = 20;

/// What may be sent again is a ClientHello without early data, as far as it can be seen.
pub fn flight(data: &[u8]) {
    let name = server_name(data);
    if let Some(name) = name {
        let inside = data.windows(name.len().max(1)).any(|part| part == name.as_bytes());
        assert!(name.is_empty() || inside, "the name comes from the flight");
        let longer = [data, &[HANDSHAKE, 3, 3]].concat();
        assert_eq!(server_name(&longer), Some(name), "what follows changes no name");
    }
    if !may_replay(data) {
        return;
    }
    let mut hello = Vec::new();
    let mut rest = data;
    while let Some((kind, body, tail)) = record(rest) {
        assert!(matches!(kind, HANDSHAKE | CHANGE_CIPHER_SPEC), "kind {kind} is sent twice");
        if kind == HANDSHAKE {
            hello.extend_from_slice(body);
        }
        rest = tail;
    }
    assert!(rest.first().is_none_or(|kind| *kind == HANDSHAKE), "a request may have begun");
    assert!(hello.first().is_none_or(|kind| *kind == 1), "no ClientHello");
    if let Some(whole) = message(&hello) {
        assert!(!offers_early_data(whole), "early data is sent twice");
    }
}

fn record(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(5)?;
    let (body, tail) =
        rest.split_at_checked(usize::from(u16::from_be_bytes([head[3], head[4]])))?;
    Some((head[0], body, tail))
}

/// The first handshake message, if it is whole, without its header.
fn message(bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_at_checked(4)?;
    let len = u32::from_be_bytes([0, head[1], head[2], head[3]]);
    rest.get(..usize::try_from(len).ok()?)
}

/// Another reading of the same thing, by cutting from the front (RFC 8446 §4.1.2). `false` for what
/// can't be read: whether that is sent again is the code's choice.
fn offers_early_data(hello: &[u8]) -> bool {
    fn vector(bytes: &[u8], wide: bool) -> Option<(&[u8], &[u8])> {
        let (len, rest) = if wide {
            let (len, rest) = bytes.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        } else {
            let (len, rest) = bytes.split_first()?;
            (usize::from(*len), rest)
        };
        rest.split_at_checked(len)
    }
    let read = || {
        let (_, rest) = hello.split_at_checked(2 + 32)?;
        let (_, rest) = vector(rest, false)?;
        let (_, rest) = vector(rest, true)?;
        let (_, rest) = vector(rest, false)?;
        let (mut extensions, _) = vector(rest, true)?;
        while !extensions.is_empty() {
            let (kind, rest) = extensions.split_first_chunk::<2>()?;
            if u16::from_be_bytes(*kind) == 42 {
                return Some(());
            }
            extensions = vector(rest, true)?.1;
        }
        None
    };
    read().is_some()
}
