//! What a stream of the veil begins with, and what both ends make of it.
//!
//! The client speaks first, in printable characters only ([`super::text`]): a nonce of which eight
//! bytes are computed from the rest, so that junk is told by one block of AES, then a masked length, then
//! a sealed box with the time, a secret for the way back and padding. It is as long as chance says. The
//! server's first bytes are a salt. Records follow in both directions at once ([`super::record`]).

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::VeilSecret;
use super::record::{Reader, Writer};
use super::text::{self, BLOCK, CHARS};
use crate::time::UnixTime;

/// So many characters say how long the hello is, and whether it may be one.
pub const HEAD_TEXT: usize = 2 * CHARS;
/// The longest hello.
pub const MAX_TEXT: usize = MOST * CHARS;
/// Random bytes that a hello takes.
pub const HELLO_RANDOM: usize = FREE + 2 + 30;
/// Random bytes that the server begins with.
pub const SALT: usize = 16;

const FREE: usize = 16;
const TAG: usize = 8;
const NONCE: usize = FREE + TAG;
/// What stands before the box.
const FRONT: usize = NONCE + 2;
/// Time and secret.
const SAID: usize = 8 + 32;
/// The fewest and the most blocks of a hello.
const LEAST: usize = (FRONT + SAID + 16).div_ceil(BLOCK);
const MOST: usize = 40;

/// What a veil secret makes and opens hellos with.
pub struct HelloKey {
    secret: VeilSecret,
    tag: Aes128,
    seal: XChaCha20Poly1305,
}

impl std::fmt::Debug for HelloKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HelloKey(…)")
    }
}

/// A hello that was opened.
#[derive(Debug)]
pub struct Hello {
    /// The random part of its nonce.
    pub nonce: [u8; FREE],
    /// When it was made.
    pub at: UnixTime,
    /// What the stream's records are sealed with.
    pub keys: Keys,
}

/// What the records of one stream are sealed with.
pub struct Keys {
    nonce: [u8; NONCE],
    back: VeilSecret,
    secret: VeilSecret,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl HelloKey {
    /// The keys of a veil secret.
    pub fn of(secret: &VeilSecret) -> Self {
        let key = |context: &str| blake3::derive_key(context, &secret.0);
        let tag = key("busel 1 veil tcp tag");
        Self {
            secret: *secret,
            tag: Aes128::new_from_slice(&tag[..16]).expect("AES-128 has keys of 16 bytes"),
            seal: XChaCha20Poly1305::new(&key("busel 1 veil tcp seal").into()),
        }
    }

    /// A client's hello, made now, and what its stream is sealed with. `back` is made for it alone.
    pub fn make(
        &self,
        at: UnixTime,
        back: VeilSecret,
        random: &[u8; HELLO_RANDOM],
    ) -> Option<(Vec<u8>, Keys)> {
        let (free, rest) = random.split_first_chunk::<FREE>()?;
        let (chance, seed) = rest.split_first_chunk::<2>()?;
        let blocks = LEAST + usize::from(u16::from_be_bytes(*chance)) % (MOST - LEAST + 1);
        let (nonce, mask) = self.nonce(free);
        let len = u16::try_from(blocks).ok()? ^ u16::from_be_bytes(mask);
        let mut plain = Vec::with_capacity(blocks * BLOCK);
        plain.extend_from_slice(&at.0.to_be_bytes());
        plain.extend_from_slice(&back.0);
        plain.resize(blocks * BLOCK - FRONT - 16, 0);
        let sealed = self.seal.encrypt(&XNonce::from(nonce), &plain[..]).ok()?;
        let bytes = [&nonce[..], &len.to_be_bytes(), &sealed].concat();
        let mut chances = [0; MOST];
        blake3::Hasher::new().update(seed).finalize_xof().fill(&mut chances);
        let mut said = Vec::with_capacity(blocks * CHARS);
        text::write(&bytes, chances, &mut said);
        Some((said, Keys { nonce, back, secret: self.secret }))
    }

    /// How long the hello is that begins so; `None` if it is none.
    pub fn len(&self, head: &[u8; HEAD_TEXT]) -> Option<usize> {
        let bytes = text::read(head)?;
        let (nonce, mask) = self.nonce(bytes.first_chunk()?);
        let rest = bytes.strip_prefix(&nonce[..])?;
        let blocks = u16::from_be_bytes(*rest.first_chunk()?) ^ u16::from_be_bytes(mask);
        let blocks = usize::from(blocks);
        (LEAST..=MOST).contains(&blocks).then_some(blocks * CHARS)
    }

    /// Opens a whole hello.
    pub fn open(&self, said: &[u8]) -> Option<Hello> {
        let bytes = text::read(said)?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE>()?;
        let sealed = rest.get(2..)?;
        let plain = self.seal.decrypt(&XNonce::from(*nonce), sealed).ok()?;
        let (at, rest) = plain.split_first_chunk::<8>()?;
        let (back, pad) = rest.split_first_chunk::<32>()?;
        if pad.iter().any(|byte| *byte != 0) {
            return None;
        }
        let keys = Keys { nonce: *nonce, back: VeilSecret(*back), secret: self.secret };
        let at = UnixTime(u64::from_be_bytes(*at));
        Some(Hello { nonce: *nonce.first_chunk()?, at, keys })
    }

    /// The nonce with this random part, and what masks the length.
    fn nonce(&self, free: &[u8; FREE]) -> ([u8; NONCE], [u8; 2]) {
        let mut block = (*free).into();
        self.tag.encrypt_block(&mut block);
        let mut nonce = [0; NONCE];
        nonce[..FREE].copy_from_slice(free);
        nonce[FREE..].copy_from_slice(&block[..TAG]);
        (nonce, [block[TAG], block[TAG + 1]])
    }
}

impl Keys {
    /// What the client sends with.
    pub fn up_writer(&self) -> Writer {
        Writer::new(&self.up())
    }

    /// What the server takes with.
    pub fn up_reader(&self) -> Reader {
        Reader::new(&self.up())
    }

    /// What the server sends with, after this salt.
    pub fn down_writer(&self, salt: &[u8; SALT]) -> Writer {
        Writer::new(&self.down(salt))
    }

    /// What the client takes with, after this salt.
    pub fn down_reader(&self, salt: &[u8; SALT]) -> Reader {
        Reader::new(&self.down(salt))
    }

    fn up(&self) -> [u8; 32] {
        let parts = [&self.nonce[..], &self.back.0, &self.secret.0].concat();
        blake3::derive_key("busel 1 veil tcp up", &parts)
    }

    fn down(&self, salt: &[u8; SALT]) -> [u8; 32] {
        let parts = [&salt[..], &self.nonce, &self.back.0, &self.secret.0].concat();
        blake3::derive_key("busel 1 veil tcp down", &parts)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const BACK: VeilSecret = VeilSecret([2; 32]);
    const AT: UnixTime = UnixTime(1_800_000_000);

    fn random(seed: u16) -> [u8; HELLO_RANDOM] {
        let mut bytes = [0; HELLO_RANDOM];
        blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn hellos(key: &HelloKey) -> Vec<Vec<u8>> {
        (0..300).map(|seed| key.make(AT, BACK, &random(seed)).unwrap().0).collect()
    }

    #[test]
    fn a_hello_opens_under_its_secret_alone() {
        let (key, other) = (HelloKey::of(&VeilSecret([1; 32])), HelloKey::of(&BACK));
        for said in hellos(&key) {
            let head = said.first_chunk().unwrap();
            assert_eq!(key.len(head), Some(said.len()));
            assert!(said.len() <= MAX_TEXT);
            assert_eq!(key.open(&said).unwrap().at, AT);
            assert!(other.len(head).is_none() && other.open(&said).is_none());
        }
    }

    #[test]
    fn no_byte_of_it_can_be_changed_or_missed() {
        let key = HelloKey::of(&VeilSecret([1; 32]));
        let (said, _) = key.make(AT, BACK, &random(1)).unwrap();
        for at in 0..said.len() {
            let mut changed = said.clone();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            let head = changed.first_chunk().unwrap();
            let whole = key.len(head).is_some_and(|len| len == changed.len());
            assert!(!whole || key.open(&changed).is_none(), "{at}");
            assert!(key.open(&said[..at]).is_none(), "{at}");
        }
    }

    #[test]
    fn it_has_no_constant_and_no_length_of_its_own_and_all_is_printable() {
        let all = hellos(&HelloKey::of(&VeilSecret([1; 32])));
        for at in 0..LEAST * CHARS {
            let values: BTreeSet<u8> = all.iter().map(|said| said[at]).collect();
            assert!(values.len() > 75, "character {at} has only {} values", values.len());
        }
        let lengths: BTreeSet<usize> = all.iter().map(Vec::len).collect();
        assert!(lengths.len() > 30, "only {} lengths", lengths.len());
        let printable = |said: &Vec<u8>| said.iter().all(|byte| (0x20..=0x7e).contains(byte));
        assert!(all.iter().all(printable));
    }

    #[test]
    fn both_ends_make_the_same_of_it_and_streams_differ() {
        let key = HelloKey::of(&VeilSecret([1; 32]));
        let (said, ours) = key.make(AT, BACK, &random(1)).unwrap();
        let theirs = key.open(&said).unwrap().keys;
        let (_, others) = key.make(AT, BACK, &random(2)).unwrap();
        assert_eq!(ours.up(), theirs.up());
        assert_eq!(ours.down(&[7; SALT]), theirs.down(&[7; SALT]));
        let all = [ours.up(), ours.down(&[7; SALT]), ours.down(&[8; SALT]), others.up()];
        assert_eq!(BTreeSet::from(all).len(), 4);
    }
}
