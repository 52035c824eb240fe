//! What a box takes the beginning of a flow for, by the bytes alone, as those do that pass known
//! protocols only. It is as easily deceived as they are: it looks at the first bytes, and believes
//! them.

use std::ops::RangeInclusive;

use hickory_proto::op::{Message, MessageType};

use super::is_initial;

/// What STUN says in each packet (RFC 8489).
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const STUN_HEAD: usize = 20;
const NTP_LEN: usize = 48;
const NTP_VERSIONS: RangeInclusive<u8> = 1..=4;
const NTP_CLIENT: u8 = 3;
/// The shortest DNS message with a question.
const DNS_LEN: u16 = 17;
const METHODS: [&str; 9] =
    ["GET ", "POST ", "PUT ", "HEAD ", "OPTIONS ", "DELETE ", "CONNECT ", "PATCH ", "TRACE "];

/// A protocol that boxes know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A DNS question.
    Dns,
    /// HTTP/1.
    Http,
    /// TLS.
    Tls,
    /// QUIC, version 1 or 2.
    Quic,
    /// A client's NTP packet.
    Ntp,
    /// A STUN message, with which WebRTC begins.
    Stun,
}

/// What a box thinks of the first bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// It is this one.
    Is(Protocol),
    /// More bytes are needed.
    Unclear,
    /// It is none of those that are known.
    Unknown,
}

impl Protocol {
    /// What the first datagram to a port begins.
    pub fn of_datagram(data: &[u8], port: u16) -> Option<Self> {
        match port {
            _ if is_initial(data) => Some(Self::Quic),
            _ if is_stun(data) => Some(Self::Stun),
            53 if is_question(data) => Some(Self::Dns),
            123 if is_ntp(data) => Some(Self::Ntp),
            _ => None,
        }
    }
}

impl Guess {
    /// What the first bytes of a TCP connection begin.
    pub fn of_stream(start: &[u8]) -> Self {
        let begins = |word: &&str| start.starts_with(word.as_bytes());
        let may_begin = |word: &&str| word.as_bytes().starts_with(start);
        match start {
            [0x16, 3, 0..=4, ..] => Self::Is(Protocol::Tls),
            _ if METHODS.iter().any(begins) => Self::Is(Protocol::Http),
            [] | [0x16] | [0x16, 3] => Self::Unclear,
            _ if METHODS.iter().any(may_begin) => Self::Unclear,
            _ => Self::of_dns(start),
        }
    }

    /// By TCP a DNS message has its length before it.
    fn of_dns(start: &[u8]) -> Self {
        match start {
            // Length, id, flags of a question, one question, no answers.
            [a, b, _, _, flags, _, 0, 1, 0, 0, ..]
                if u16::from_be_bytes([*a, *b]) >= DNS_LEN && flags & 0xf8 == 0 =>
            {
                Self::Is(Protocol::Dns)
            }
            short if short.len() < 10 => Self::Unclear,
            _ => Self::Unknown,
        }
    }
}

fn is_question(data: &[u8]) -> bool {
    Message::from_vec(data).is_ok_and(|message| {
        message.metadata.message_type == MessageType::Query && !message.queries.is_empty()
    })
}

fn is_ntp(data: &[u8]) -> bool {
    let first = data.first().copied().unwrap_or_default();
    data.len() >= NTP_LEN && first & 7 == NTP_CLIENT && NTP_VERSIONS.contains(&(first >> 3 & 7))
}

fn is_stun(data: &[u8]) -> bool {
    let [kind, _, a, b, ..] = data else { return false };
    let len = usize::from(u16::from_be_bytes([*a, *b]));
    kind & 0xc0 == 0 && data.len() == STUN_HEAD + len && data[4..8] == STUN_COOKIE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_told_by_their_beginning() {
        assert_eq!(Guess::of_stream(&[0x16, 3, 1, 2, 0]), Guess::Is(Protocol::Tls));
        assert_eq!(Guess::of_stream(b"GET / HTTP/1.1"), Guess::Is(Protocol::Http));
        let question = b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04news\x07example\0\0\x01\0\x01";
        assert_eq!(Guess::of_stream(question), Guess::Is(Protocol::Dns));
        for start in [&b""[..], b"\x16", b"G", b"GET", b"\0\x1d\x12"] {
            assert_eq!(Guess::of_stream(start), Guess::Unclear, "{start:?}");
        }
        for start in [&b"SSH-2.0-OpenSSH_9.2p1"[..], b"\x13BitTorrent protocol", &[0x81; 12]] {
            assert_eq!(Guess::of_stream(start), Guess::Unknown, "{start:?}");
        }
    }

    #[test]
    fn datagrams_are_told_by_content_and_port() {
        let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04news\x07example\0\0\x01\0\x01";
        assert_eq!(Protocol::of_datagram(question, 53), Some(Protocol::Dns));
        assert_eq!(Protocol::of_datagram(question, 54), None);
        let ntp = [&[0x23][..], &[0; 47]].concat();
        assert_eq!(Protocol::of_datagram(&ntp, 123), Some(Protocol::Ntp));
        assert_eq!(Protocol::of_datagram(&ntp, 124), None);
        let stun = [&[0, 1, 0, 0][..], &STUN_COOKIE, &[7; 12]].concat();
        assert_eq!(Protocol::of_datagram(&stun, 3478), Some(Protocol::Stun));
        assert_eq!(Protocol::of_datagram(&stun[1..], 3478), None);
        assert_eq!(Protocol::of_datagram(&[], 53), None);
    }
}
