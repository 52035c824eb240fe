//! The ClientHello in QUIC's first packets (RFC 9000, 9001 and 9369), as a box reads it that knows how
//! to undo their protection: anybody can, since its keys are made from what the packet says openly.
//! It puts CRYPTO frames together over packets, in any order.
//!
//! It reads the client's Initial packets of versions 1 and 2 only, and nothing that comes behind
//! another kind of packet in the same datagram.

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{DirectionalKeys, Keys, Version};
use rustls::{Side, SupportedCipherSuite};

use super::ClientHello;
use super::assembly::Assembly;

/// The sample for the mask of a header begins so far behind where the packet number begins.
const SAMPLE_AT: usize = 4;

/// What is known of the beginning of one QUIC connection.
#[derive(Default)]
pub struct Initials {
    /// Made from the first packet.
    keys: Option<DirectionalKeys>,
    crypto: Assembly,
    hello: Option<Box<ClientHello>>,
}

/// The part of an Initial packet that is not hidden.
struct Head<'a> {
    version: Version,
    to: &'a [u8],
    /// Where the packet number begins.
    number_at: usize,
    /// Where the packet ends.
    end: usize,
}

/// Whether a datagram begins with an Initial packet of QUIC version 1 or 2.
pub fn is_initial(datagram: &[u8]) -> bool {
    Head::read(datagram).is_some()
}

impl Initials {
    /// Takes a datagram of the client, and gives the hello once it is there whole.
    pub fn take(&mut self, datagram: &[u8]) -> Option<&ClientHello> {
        let mut rest = datagram;
        while self.hello.is_none()
            && let Some(head) = Head::read(rest)
        {
            let (packet, behind) = rest.split_at(head.end);
            if let Some(frames) = self.open(&head, packet) {
                self.read(&frames);
            }
            rest = behind;
        }
        self.hello()
    }

    /// The hello, if it is there whole.
    pub fn hello(&self) -> Option<&ClientHello> {
        self.hello.as_deref()
    }

    /// Whether any packet was read, so that a hello may follow or has come.
    pub fn began(&self) -> bool {
        self.keys.is_some()
    }

    /// Undoes the protection. A packet that the known keys do not fit may begin another connection,
    /// or follow a Retry; then its own are made.
    fn open(&mut self, head: &Head<'_>, packet: &[u8]) -> Option<Vec<u8>> {
        if let Some(keys) = &self.keys
            && let Some(frames) = opened(keys, head, packet)
        {
            return Some(frames);
        }
        let keys = initial_keys(head.version, head.to, Side::Server)?.remote;
        let frames = opened(&keys, head, packet)?;
        (self.keys, self.crypto) = (Some(keys), Assembly::default());
        Some(frames)
    }

    /// Reads the frames that an Initial packet may have.
    fn read(&mut self, mut frames: &[u8]) {
        while let Some((&kind, rest)) = frames.split_first() {
            frames = rest;
            let read = match kind {
                0 | 1 => Some(()),
                2 | 3 => acknowledgement(&mut frames, kind == 3),
                6 => crypto(&mut frames).map(|(at, data)| self.crypto.piece(at, data)),
                _ => None,
            };
            if read.is_none() {
                break;
            }
        }
        if let [1, a, b, c, ..] = *self.crypto.bytes() {
            let len = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
            let whole = self.crypto.bytes().get(..len);
            self.hello = whole.and_then(|hello| ClientHello::parse(hello).ok()).map(Box::new);
        }
    }
}

impl std::fmt::Debug for Initials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Initials").field("hello", &self.hello).finish_non_exhaustive()
    }
}

impl<'a> Head<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let mut rest = packet;
        let first = *taken(&mut rest, 1)?.first()?;
        let version = match (first & 0xf0, taken(&mut rest, 4)?) {
            (0xc0, [0, 0, 0, 1]) => Version::V1,
            (0xd0, [0x6b, 0x33, 0x43, 0xcf]) => Version::V2,
            _ => return None,
        };
        let to_len = *taken(&mut rest, 1)?.first()?;
        let to = taken(&mut rest, to_len.into())?;
        let from_len = *taken(&mut rest, 1)?.first()?;
        taken(&mut rest, from_len.into())?;
        let token_len = varint(&mut rest)?;
        taken(&mut rest, token_len)?;
        let len = varint(&mut rest)?;
        let number_at = packet.len() - rest.len();
        taken(&mut rest, len)?;
        Some(Self { version, to, number_at, end: number_at + len })
    }
}

/// The keys of both sides' Initial packets.
fn initial_keys(version: Version, to: &[u8], side: Side) -> Option<Keys> {
    let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 else { return None };
    Some(suite.quic_suite()?.keys(to, side, version))
}

/// The frames in a packet, if these are its keys.
fn opened(keys: &DirectionalKeys, head: &Head<'_>, packet: &[u8]) -> Option<Vec<u8>> {
    let mut packet = packet.to_vec();
    let (open, hidden) = packet.split_at_mut(head.number_at);
    let (number, behind) = hidden.split_at_mut_checked(SAMPLE_AT)?;
    let sample = behind.get(..keys.header.sample_len())?;
    keys.header.decrypt_in_place(sample, open.first_mut()?, number).ok()?;
    let number_len = 1 + usize::from(open.first()? & 3);
    let number = number[..number_len].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (head, body) = packet.split_at_mut(head.number_at + number_len);
    Some(keys.packet.decrypt_in_place(number, head, body).ok()?.to_vec())
}

fn acknowledgement(frames: &mut &[u8], with_marks: bool) -> Option<()> {
    let (_largest, _delay) = (varint(frames)?, varint(frames)?);
    let ranges = varint(frames)?;
    varint(frames)?;
    for _ in 0..ranges.checked_mul(2)? {
        varint(frames)?;
    }
    for _ in 0..3 * usize::from(with_marks) {
        varint(frames)?;
    }
    Some(())
}

fn crypto<'a>(frames: &mut &'a [u8]) -> Option<(usize, &'a [u8])> {
    let at = varint(frames)?;
    let len = varint(frames)?;
    Some((at, taken(frames, len)?))
}

/// A number of 1, 2, 4 or 8 bytes; its first two bits say of how many.
fn varint(bytes: &mut &[u8]) -> Option<usize> {
    let len = 1 << (bytes.first()? >> 6);
    let number = taken(bytes, len)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    usize::try_from(number & (u64::MAX >> (66 - 8 * len))).ok()
}

/// The next bytes, which are then gone from the front.
fn taken<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(front)
}

#[cfg(test)]
mod tests;
