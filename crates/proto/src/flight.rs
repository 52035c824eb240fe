//! May the first bytes of a tunnel be sent a second time, by another way?
//!
//! A filter that reads the server name resets a connection after the client's first flight. If
//! that flight is only a TLS ClientHello, sending it again elsewhere starts a second handshake and
//! nothing more, and the reader never notices the reset. Any other first bytes may be a request
//! that must not be made twice, so they go out once. Early data (RFC 8446 §2.3) is such a request.

/// The most bytes of a first flight that are held for sending again.
pub const MAX_FLIGHT: usize = 16 * 1024;

const HANDSHAKE: u8 = 22;
const CHANGE_CIPHER_SPEC: u8 = 20;
const CLIENT_HELLO: u8 = 1;
const EARLY_DATA: u16 = 42;

/// Whether `flight`, all that the client sent so far, may be sent again to another way.
pub fn may_replay(flight: &[u8]) -> bool {
    let mut hello = Vec::new();
    let mut rest = flight;
    while !rest.is_empty() {
        let Some((kind, body, tail)) = record(rest) else {
            // A record that is not complete yet: only its kind is known.
            return only_handshake_begun(rest)
                && starts_hello(&hello, rest)
                && !(is_whole(&hello) && offers_early_data(&hello));
        };
        match kind {
            HANDSHAKE => hello.extend_from_slice(body),
            CHANGE_CIPHER_SPEC => {}
            _ => return false,
        }
        rest = tail;
    }
    flight.is_empty() || (hello.first() == Some(&CLIENT_HELLO) && !offers_early_data(&hello))
}

fn record(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(5)?;
    let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
    let (body, tail) = rest.split_at_checked(len)?;
    (head[1] == 3).then_some((head[0], body, tail))
}

fn only_handshake_begun(rest: &[u8]) -> bool {
    rest[0] == HANDSHAKE && rest.get(1).is_none_or(|major| *major == 3)
}

fn starts_hello(hello: &[u8], rest: &[u8]) -> bool {
    hello.first().or(rest.get(5)).is_none_or(|kind| *kind == CLIENT_HELLO)
}

/// Whether the first handshake message is there to its end.
fn is_whole(hello: &[u8]) -> bool {
    hello.split_first_chunk::<4>().is_some_and(|([_, len @ ..], body)| {
        let len = len.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        len <= body.len()
    })
}

/// Whether a ClientHello carries the `early_data` extension. One that can't be read counts as yes.
fn offers_early_data(hello: &[u8]) -> bool {
    extensions(hello).is_none_or(|found| found.contains(&EARLY_DATA))
}

/// The extension types of a ClientHello (RFC 8446 §4.1.2); `None` if it is cut or malformed.
fn extensions(hello: &[u8]) -> Option<Vec<u16>> {
    let body = hello.get(4..)?;
    let mut at = 2 + 32;
    at += 1 + usize::from(*body.get(at)?);
    at += 2 + be16(body, at)?;
    at += 1 + usize::from(*body.get(at)?);
    let end = at + 2 + be16(body, at)?;
    at += 2;
    let mut found = Vec::new();
    while at < end {
        found.push(u16::try_from(be16(body, at)?).ok()?);
        at += 4 + be16(body, at + 2)?;
    }
    Some(found)
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])))
}

/// The server name that a ClientHello in `flight` shows, if it can be read.
pub fn server_name(flight: &[u8]) -> Option<&str> {
    let (HANDSHAKE, hello, _) = record(flight)? else { return None };
    let body = hello.get(4..)?;
    let mut at = 2 + 32;
    at += 1 + usize::from(*body.get(at)?);
    at += 2 + be16(body, at)?;
    at += 1 + usize::from(*body.get(at)?);
    let end = at + 2 + be16(body, at)?;
    at += 2;
    while at < end {
        let len = be16(body, at + 2)?;
        if be16(body, at)? == 0 {
            let name = body.get(at + 9..at + 9 + be16(body, at + 7)?)?;
            return std::str::from_utf8(name).ok();
        }
        at += 4 + len;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut ext = Vec::new();
        for (kind, body) in extensions {
            ext.extend(kind.to_be_bytes());
            ext.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
            ext.extend(*body);
        }
        let mut body = vec![3, 3];
        body.extend([9; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(u16::try_from(ext.len()).unwrap().to_be_bytes());
        body.extend(ext);
        let mut message = vec![CLIENT_HELLO, 0];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(body);
        let mut record = vec![HANDSHAKE, 3, 1];
        record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        record.extend(message);
        record
    }

    const SNI: (u16, &[u8]) = (0, b"\x00\x0e\x00\x00\x0bnews.example");

    #[test]
    fn a_client_hello_may_be_sent_again_whole_or_in_part() {
        let flight = hello(&[SNI, (43, &[2, 3, 4])]);
        assert!(may_replay(&flight));
        assert!((0..flight.len()).all(|cut| may_replay(&flight[..cut])));
        assert!(may_replay(&[&flight[..], &[20, 3, 3, 0, 1, 1]].concat()));
    }

    #[test]
    fn a_request_may_not() {
        assert!(!may_replay(b"POST /pay HTTP/1.1\r\n"));
        assert!(!may_replay(b"\x16\x02junk"));
        assert!(!may_replay(&hello(&[SNI, (EARLY_DATA, &[])])));
        let early = [&hello(&[SNI])[..], &[23, 3, 3, 0, 1, 7]].concat();
        assert!(!may_replay(&early));
        let begun = [&hello(&[SNI])[..], &[23]].concat();
        assert!(!may_replay(&begun));
        for next in [&[22][..], &[22, 3, 3, 0, 9], &[22, 3, 3, 0, 9, 8]] {
            let begun = [&hello(&[SNI, (EARLY_DATA, &[])])[..], next].concat();
            assert!(!may_replay(&begun), "a second record has begun");
            assert!(may_replay(&[&hello(&[SNI])[..], next].concat()));
        }
    }

    #[test]
    fn the_server_name_is_read() {
        let flight = hello(&[(10, &[0, 2, 0, 29]), (0, b"\x00\x0f\x00\x00\x0cnews.example")]);
        assert_eq!(server_name(&flight), Some("news.example"));
        assert_eq!(server_name(b"GET / HTTP/1.1\r\n\r\n"), None);
        for cut in 0..flight.len() {
            assert!(server_name(&flight[..cut]).is_none());
        }
    }
}
