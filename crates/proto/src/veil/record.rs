//! Datagrams in a stream: records of one or more, sealed, behind a sealed length.
//!
//! The length is sealed by itself, so that nobody can change it and watch how long the other end
//! waits. Chance lengthens each record; the first ones well, since a handshake shows by the lengths of
//! its first messages.

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};

/// Random bytes that a record takes.
pub const RECORD_RANDOM: usize = 2;
/// What the datagrams of a record may have together, with two bytes more for each.
pub const MAX_CONTENT: usize = 16_000;
/// No datagram is longer.
pub const MAX_DATAGRAM: usize = 2000;
/// Bytes of the sealed length.
pub const HEAD: usize = 2 + TAG;

const TAG: usize = 16;
/// The most that a record is lengthened by, if it is short, and if it is long.
const SHORT_PAD: u16 = 256;
const LONG_PAD: u16 = 32;
/// What is shorter counts as short.
const SHORT: usize = 1000;
/// So many records of a stream have at least a length drawn between these.
const EARLY: u64 = 24;
const EARLY_LEAST: u16 = 260;
const EARLY_MORE: u16 = 700;

/// Seals the records of one direction.
pub struct Writer {
    key: ChaCha20Poly1305,
    written: u64,
}

/// Opens the records of one direction.
pub struct Reader {
    key: ChaCha20Poly1305,
    opened: u64,
    bytes: Vec<u8>,
    /// The length of the sealed content that comes next, once it is known.
    next: Option<usize>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("written", &self.written).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("opened", &self.opened).finish_non_exhaustive()
    }
}

/// A stream that is not what it was when it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream behind the veil is broken")]
pub struct Broken;

impl Writer {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { key: ChaCha20Poly1305::new(key.into()), written: 0 }
    }

    /// Seals as many of the datagrams as go into one record, in their order, to the end of `out`.
    /// Returns how many these were. One that is empty or too long is left out.
    pub fn seal<D: AsRef<[u8]>>(
        &mut self,
        datagrams: &[D],
        random: [u8; RECORD_RANDOM],
        out: &mut Vec<u8>,
    ) -> usize {
        let (mut plain, mut taken) = (Vec::new(), 0);
        for datagram in datagrams.iter().map(AsRef::as_ref) {
            if plain.len() + 2 + datagram.len() > MAX_CONTENT {
                break;
            }
            taken += 1;
            let fits = (1..=MAX_DATAGRAM).contains(&datagram.len());
            if let Some(len) = u16::try_from(datagram.len()).ok().filter(|_| fits) {
                plain.extend_from_slice(&len.to_be_bytes());
                plain.extend_from_slice(datagram);
            }
        }
        let chance = u16::from_be_bytes(random);
        let least = match self.written < EARLY {
            true => usize::from(EARLY_LEAST + chance % EARLY_MORE),
            false => 0,
        };
        let most = if plain.len() < SHORT { SHORT_PAD } else { LONG_PAD };
        let padded = (plain.len() + usize::from(chance % most)).max(least);
        plain.resize(padded, 0);
        let len = u16::try_from(plain.len()).unwrap_or(u16::MAX);
        let count = self.written;
        self.written += 1;
        let parts = [(2 * count, &len.to_be_bytes()[..]), (2 * count + 1, &plain[..])];
        for (number, part) in parts {
            // Sealing fails only for what no memory could hold.
            out.extend(self.key.encrypt(&nonce(number), part).unwrap_or_default());
        }
        taken
    }
}

impl Reader {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { key: ChaCha20Poly1305::new(key.into()), opened: 0, bytes: Vec::new(), next: None }
    }

    /// Takes what came of the stream. Afterwards [`Reader::record`] is to be called until it has none.
    pub fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The datagrams of the next record; `None` until it is there.
    pub fn record(&mut self) -> Result<Option<Vec<Vec<u8>>>, Broken> {
        let Some(len) = self.look()? else { return Ok(None) };
        if self.bytes.len() < len {
            return Ok(None);
        }
        let plain = self.open(2 * self.opened + 1, len)?;
        (self.next, self.opened) = (None, self.opened + 1);
        datagrams(&plain).map(Some)
    }

    /// Whether the head of the next record is there, so that who made it has the secret.
    pub fn is_next_known(&mut self) -> Result<bool, Broken> {
        self.look()?;
        Ok(self.next.is_some())
    }

    /// Opens the head of the next record, if it is there.
    fn look(&mut self) -> Result<Option<usize>, Broken> {
        if self.next.is_none() && self.bytes.len() >= HEAD {
            let len = self.open(2 * self.opened, HEAD)?;
            let len = u16::from_be_bytes(len.try_into().map_err(|_| Broken)?);
            self.next = Some(usize::from(len) + TAG);
        }
        Ok(self.next)
    }

    fn open(&mut self, number: u64, len: usize) -> Result<Vec<u8>, Broken> {
        let sealed = self.bytes.get(..len).ok_or(Broken)?;
        let plain = self.key.decrypt(&nonce(number), sealed).map_err(|_| Broken)?;
        self.bytes.drain(..len);
        Ok(plain)
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce.into()
}

fn datagrams(mut content: &[u8]) -> Result<Vec<Vec<u8>>, Broken> {
    let mut all = Vec::new();
    while let Some((len, rest)) = content.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len));
        if len == 0 {
            break;
        }
        let datagram = rest.get(..len).filter(|_| len <= MAX_DATAGRAM).ok_or(Broken)?;
        all.push(datagram.to_vec());
        content = &rest[len..];
    }
    match content.iter().all(|byte| *byte == 0) {
        true => Ok(all),
        false => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const KEY: [u8; 32] = [1; 32];

    fn ends() -> (Writer, Reader) {
        (Writer::new(&KEY), Reader::new(&KEY))
    }

    fn all(reader: &mut Reader) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(some) = reader.record().unwrap() {
            all.extend(some);
        }
        all
    }

    #[test]
    fn datagrams_come_back_however_the_stream_is_cut() {
        for step in [1, 7, 100, 5000] {
            let (mut writer, mut reader) = ends();
            let sent: Vec<Vec<u8>> = (1..60).map(|n| vec![n; usize::from(n) * 25]).collect();
            let (mut stream, mut left) = (Vec::new(), &sent[..]);
            while !left.is_empty() {
                let taken = writer.seal(left, [9, left.len() as u8], &mut stream);
                left = &left[taken..];
            }
            let mut came = Vec::new();
            for part in stream.chunks(step) {
                reader.take(part);
                came.extend(all(&mut reader));
            }
            assert_eq!(came, sent);
        }
    }

    #[test]
    fn what_can_not_travel_is_left_out_and_holds_nothing_up() {
        let (mut writer, mut reader) = ends();
        let mut stream = Vec::new();
        let odd = [vec![], vec![1; MAX_DATAGRAM + 1], vec![2; MAX_DATAGRAM]];
        assert_eq!(writer.seal(&odd, [0, 0], &mut stream), 3);
        assert_eq!(writer.seal(&[[]], [0, 5], &mut stream), 1);
        reader.take(&stream);
        assert_eq!(all(&mut reader), [vec![2; MAX_DATAGRAM]]);
    }

    #[test]
    fn no_byte_can_be_changed_moved_or_sent_again() {
        let (mut writer, _) = ends();
        let mut stream = Vec::new();
        writer.seal(&[[5; 40]], [0, 0], &mut stream);
        for at in 0..stream.len() {
            let (_, mut reader) = ends();
            let mut changed = stream.clone();
            changed[at] ^= 1;
            reader.take(&changed);
            assert_eq!(reader.record(), Err(Broken), "{at}");
        }
        let (_, mut reader) = ends();
        reader.take(&stream);
        assert_eq!(all(&mut reader).len(), 1);
        reader.take(&stream);
        assert_eq!(reader.record(), Err(Broken), "sent again");
    }

    #[test]
    fn lengths_vary_and_the_first_ones_are_never_short() {
        let (mut writer, _) = ends();
        let mut lengths = Vec::new();
        for n in 0..400u16 {
            let mut stream = Vec::new();
            let chance = n.wrapping_mul(40_503).to_be_bytes();
            writer.seal(&[[5; 30]], chance, &mut stream);
            lengths.push(stream.len());
        }
        let early = &lengths[..usize::try_from(EARLY).unwrap()];
        assert!(early.iter().all(|len| *len >= 260 + HEAD + TAG), "{early:?}");
        let distinct: BTreeSet<_> = lengths.iter().collect();
        assert!(distinct.len() > 150, "only {} lengths", distinct.len());
    }
}
