//! The two forms of a veiled datagram.
//!
//! **Sealed**: a nonce and a box that holds the time, a secret for the way back, the QUIC datagram
//! and padding. It is what a session begins with, and what all QUIC packets with a long header
//! travel in. Eight bytes of its nonce are computed from the rest, so that junk is told from it by
//! one block of AES.
//!
//! **Masked**: a QUIC packet with a short header, of which all but the first bytes is ciphertext
//! already. Those are XORed with what a block cipher makes of a sample of the ciphertext, as QUIC
//! protects its own headers (RFC 9001 §5.4). Short ones are padded to lengths by chance; long ones
//! keep their length, so that the system can still send many at once.
//!
//! Masking does not authenticate: QUIC does. It is only taken from an address that opened a session
//! by a sealed datagram ([`super::sessions`]).

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::VeilSecret;
use crate::time::UnixTime;

/// The longest sealed datagram: fits into an IPv4 packet of 1400 bytes.
pub const MAX_SEALED: usize = 1372;
/// The longest QUIC datagram that can be sealed.
pub const MAX_INNER: usize = MAX_SEALED - OVERHEAD;
/// Masked datagrams from this length on are not padded.
pub const WHOLE: usize = 1000;
/// Random bytes that sealing takes.
pub const SEAL_RANDOM: usize = FREE + 2;
/// Random bytes that masking takes.
pub const MASK_RANDOM: usize = 64;

/// The part of the nonce that is random, and the part that is computed from it.
const FREE: usize = 16;
const TAG: usize = 8;
const NONCE: usize = FREE + TAG;
/// Time, secret and length, before the datagram.
const HEAD: usize = 8 + 32 + 2;
const OVERHEAD: usize = NONCE + HEAD + 16;
/// The most padding of a sealed and of a masked datagram.
const SEAL_PAD: usize = 255;
const MASK_PAD: usize = MASK_RANDOM - 1;
/// Bytes of a sample, and of what is masked by it: flags, connection id and packet number.
const SAMPLE: usize = 16;
const MASKED: usize = 15;
/// No QUIC packet with a short header is shorter (RFC 9000 §10.3).
const SHORTEST: usize = 21;

/// What a secret opens, seals, masks and unmasks.
pub struct Key {
    tag: Aes128,
    seal: XChaCha20Poly1305,
    mask: Aes128,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What a sealed datagram says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<'a> {
    /// When it was sealed.
    pub at: UnixTime,
    /// What to seal and mask answers under.
    pub back: VeilSecret,
    /// The QUIC datagram; empty if it only says where its sender is.
    pub inner: &'a [u8],
}

/// A sealed datagram that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The random part of its nonce.
    pub nonce: [u8; FREE],
    /// When it was sealed.
    pub at: UnixTime,
    /// What to seal and mask answers under.
    pub back: VeilSecret,
    /// The QUIC datagram.
    pub inner: Vec<u8>,
}

impl Key {
    /// The keys of a secret.
    pub fn of(secret: &VeilSecret) -> Self {
        let key = |context: &str| blake3::derive_key(context, &secret.0);
        let block = |context: &str| {
            Aes128::new_from_slice(&key(context)[..16]).expect("AES-128 has keys of 16 bytes")
        };
        Self {
            tag: block("busel 1 veil tag"),
            seal: XChaCha20Poly1305::new(&key("busel 1 veil seal").into()),
            mask: block("busel 1 veil mask"),
        }
    }

    /// Seals what is `said`, with padding by chance. `None` if the datagram is too long for it.
    pub fn seal(&self, said: &Said<'_>, random: &[u8; SEAL_RANDOM]) -> Option<Vec<u8>> {
        let room = MAX_INNER.checked_sub(said.inner.len())?.min(SEAL_PAD);
        let (free, chance) = random.split_first_chunk::<FREE>()?;
        let pad = usize::from(u16::from_be_bytes([chance[0], chance[1]])) % (room + 1);
        let nonce = self.nonce(free);
        let mut plain = Vec::with_capacity(HEAD + said.inner.len() + pad + 16);
        plain.extend_from_slice(&said.at.0.to_be_bytes());
        plain.extend_from_slice(&said.back.0);
        plain.extend_from_slice(&u16::try_from(said.inner.len()).ok()?.to_be_bytes());
        plain.extend_from_slice(said.inner);
        plain.resize(plain.len() + pad, 0);
        let sealed = self.seal.encrypt(&XNonce::from(nonce), &plain[..]).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// Whether this may be sealed to this key: it is with odds of 2⁻⁶⁴ if it is not.
    pub fn is_sealed(&self, datagram: &[u8]) -> bool {
        let whole = (OVERHEAD..=MAX_SEALED).contains(&datagram.len());
        let free = datagram.first_chunk::<FREE>().filter(|_| whole);
        free.is_some_and(|free| datagram.starts_with(&self.nonce(free)))
    }

    /// Opens a sealed datagram.
    pub fn open(&self, datagram: &[u8]) -> Option<Opened> {
        let (nonce, sealed) = datagram.split_first_chunk::<NONCE>()?;
        let mut plain = self.seal.decrypt(&XNonce::from(*nonce), sealed).ok()?;
        let (at, rest) = plain.split_first_chunk::<8>()?;
        let (back, rest) = rest.split_first_chunk::<32>()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_be_bytes(*len));
        let at = UnixTime(u64::from_be_bytes(*at));
        let back = VeilSecret(*back);
        let pad = rest.get(len..)?;
        if pad.iter().any(|byte| *byte != 0) {
            return None;
        }
        plain.truncate(HEAD + len);
        plain.drain(..HEAD);
        let nonce = nonce.first_chunk().copied()?;
        Some(Opened { nonce, at, back, inner: plain })
    }

    /// Masks a packet of at least [`WHOLE`] bytes in place.
    pub fn mask_whole(&self, packet: &mut [u8]) {
        let Some(at) = packet.len().checked_sub(SAMPLE) else { return };
        self.toggle(packet, at);
    }

    /// Writes a packet that is shorter than [`WHOLE`] `- 1`, masked and padded by chance, to the end
    /// of `out`.
    pub fn mask_padded(&self, packet: &[u8], random: &[u8; MASK_RANDOM], out: &mut Vec<u8>) {
        let room = (WHOLE - 2).saturating_sub(packet.len()).min(MASK_PAD);
        let (chance, noise) = (random[0], &random[1..]);
        let pad = usize::from(chance) % (room + 1);
        let start = out.len();
        out.extend_from_slice(packet);
        out.extend_from_slice(&noise[..pad]);
        out.push(u8::try_from(pad).unwrap_or_default());
        let padded = &mut out[start..];
        let last = padded.len() - 1;
        if let Some(at) = last.checked_sub(SAMPLE) {
            let mask = self.toggle(&mut padded[..last], at);
            padded[last] ^= mask[MASKED];
        }
    }

    /// Unmasks a datagram in place. Returns how long the packet at its front is; `None` if it is no
    /// QUIC packet with a short header.
    pub fn unmask(&self, datagram: &mut [u8]) -> Option<usize> {
        let len = datagram.len();
        let packet = if len >= WHOLE {
            self.toggle(datagram, len - SAMPLE);
            len
        } else {
            let last = len.checked_sub(1)?;
            let mask = self.toggle(&mut datagram[..last], last.checked_sub(SAMPLE)?);
            last.checked_sub(usize::from(datagram[last] ^ mask[MASKED]))?
        };
        (packet >= SHORTEST && is_short(datagram)).then_some(packet)
    }

    /// XORs the first bytes with what the sample at `at`, the last bytes, makes.
    fn toggle(&self, bytes: &mut [u8], at: usize) -> [u8; 16] {
        let (front, sample) = bytes.split_at_mut(at);
        let mut mask = [0; SAMPLE];
        mask.copy_from_slice(&sample[..SAMPLE]);
        let mut mask = mask.into();
        self.mask.encrypt_block(&mut mask);
        for (byte, mask) in front.iter_mut().zip(&mask[..MASKED]) {
            *byte ^= mask;
        }
        mask.into()
    }

    fn nonce(&self, free: &[u8; FREE]) -> [u8; NONCE] {
        let mut block = (*free).into();
        self.tag.encrypt_block(&mut block);
        let mut nonce = [0; NONCE];
        nonce[..FREE].copy_from_slice(free);
        nonce[FREE..].copy_from_slice(&block[..TAG]);
        nonce
    }
}

/// Whether a QUIC packet has a short header (RFC 9000 §17.3): of the two first bits only the second
/// is set.
pub fn is_short(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0xc0 == 0x40)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK: VeilSecret = VeilSecret([2; 32]);

    fn key() -> Key {
        Key::of(&VeilSecret([1; 32]))
    }

    fn said(inner: &[u8]) -> Said<'_> {
        Said { at: UnixTime(1_800_000_000), back: BACK, inner }
    }

    fn random<const N: usize>(seed: u8) -> [u8; N] {
        let mut bytes = [0; N];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    /// A packet as QUIC makes it: the same flags and connection id, then ciphertext.
    fn packet(len: usize, seed: u8) -> Vec<u8> {
        let mut packet = vec![0; len];
        blake3::Hasher::new().update(&[seed, 9]).finalize_xof().fill(&mut packet);
        packet[0] = 0x40 | packet[0] & 0x3f;
        packet[1..9].fill(7);
        packet
    }

    #[test]
    fn what_is_sealed_opens_under_its_key_alone() {
        for (seed, len) in [(1, 0), (2, 40), (3, 1200), (4, MAX_INNER)] {
            let inner = packet(len.max(9), seed);
            let sealed = key().seal(&said(&inner[..len]), &random(seed)).unwrap();
            assert!(sealed.len() <= MAX_SEALED && key().is_sealed(&sealed));
            let opened = key().open(&sealed).unwrap();
            assert_eq!((opened.at, opened.back), (UnixTime(1_800_000_000), BACK));
            assert_eq!(opened.inner, &inner[..len]);
            let other = Key::of(&BACK);
            assert!(!other.is_sealed(&sealed) && other.open(&sealed).is_none());
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(!key().is_sealed(&changed) || key().open(&changed).is_none(), "{at}");
            }
            for cut in 0..sealed.len() {
                assert!(key().open(&sealed[..cut]).is_none(), "{cut}");
            }
        }
        assert_eq!(key().seal(&said(&[0; MAX_INNER + 1]), &random(1)), None);
    }

    #[test]
    fn what_is_masked_comes_back_at_every_length() {
        for len in SHORTEST..1500 {
            let whole = packet(len, 5);
            let mut datagram = Vec::new();
            match len {
                WHOLE.. => {
                    datagram.clone_from(&whole);
                    key().mask_whole(&mut datagram);
                    assert_eq!(datagram.len(), len, "many can be sent at once");
                }
                _ if len == WHOLE - 1 => continue,
                _ => key().mask_padded(&whole, &random((len % 256) as u8), &mut datagram),
            }
            assert_ne!(datagram[1..9], [7; 8], "the connection id is hidden");
            assert_eq!(key().unmask(&mut datagram), Some(len), "{len}");
            assert_eq!(datagram[..len], whole, "{len}");
        }
    }

    #[test]
    fn no_byte_is_the_same_in_two_datagrams_and_lengths_vary() {
        let mut sealed = Vec::new();
        let mut masked = Vec::new();
        for seed in 0..=255 {
            sealed.push(key().seal(&said(&[0; 1200]), &random(seed)).unwrap());
            let mut datagram = Vec::new();
            key().mask_padded(&packet(40, seed), &random(seed), &mut datagram);
            masked.push(datagram);
        }
        for all in [sealed, masked] {
            let shortest = all.iter().map(Vec::len).min().unwrap();
            for at in 0..shortest {
                let mut values: Vec<_> = all.iter().map(|datagram| datagram[at]).collect();
                values.sort_unstable();
                values.dedup();
                // Of 256 values drawn at random, some 162 differ.
                assert!(values.len() > 120, "byte {at} has only {} values", values.len());
            }
            let mut lengths: Vec<_> = all.iter().map(Vec::len).collect();
            lengths.sort_unstable();
            lengths.dedup();
            assert!(lengths.len() > 40, "only {} lengths", lengths.len());
        }
    }
}
