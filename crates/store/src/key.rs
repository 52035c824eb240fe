//! The data key: how it lies on the disk, and what is derived from it.
//!
//! One random key encrypts everything. It is kept in the file `key`, in clear or wrapped by a
//! passphrase (Argon2id, then ChaCha20-Poly1305), so that a new passphrase rewrites one small file
//! and wiping that file wipes all. A platform's keyring is not used yet: it would be a third way.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use busel_proto::cbor;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::disk::{self, Disk};
use crate::error::{Fault, OpenError};

/// The file's name in the store's directory.
pub(crate) const FILE: &str = "key";

/// Argon2id: 64 MiB, three passes, one lane (about RFC 9106's second choice; one lane, since
/// phones have few fast cores).
const COST: (u32, u32, u32) = (64 * 1024, 3, 1);
/// The most that a key file may ask for, so that a foreign one can't exhaust the machine.
const MAX_COST: (u32, u32, u32) = (1024 * 1024, 16, 8);
const MAX_FILE: u64 = 1024;

/// What opens the store.
pub enum Unlock {
    /// The data key lies in clear beside the data: the disk protects nothing.
    Open,
    /// The data key is wrapped by this passphrase.
    Passphrase(Zeroizing<String>),
}

impl std::fmt::Debug for Unlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Passphrase(_) => "Passphrase(…)",
        })
    }
}

/// What protects the data key on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Nothing: whoever has the disk has the data.
    Open,
    /// A passphrase.
    Passphrase,
}

/// The key of all.
#[derive(Clone)]
pub(crate) struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    pub(crate) fn random() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    /// The two keys of AES-256-XTS for the index.
    pub(crate) fn pages(&self) -> Zeroizing<[u8; 64]> {
        let mut key = Zeroizing::new([0; 64]);
        let mut hasher = blake3::Hasher::new_derive_key("busel store 1 index pages");
        hasher.update(&*self.0).finalize_xof().fill(&mut *key);
        key
    }

    /// The key of the tags on rows.
    pub(crate) fn tags(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key("busel store 1 row tags", &*self.0))
    }

    /// Shows whether a key read in clear is the one that was written.
    fn check(&self) -> [u8; 16] {
        let whole = blake3::derive_key("busel store 1 key check", &*self.0);
        *whole.first_chunk().expect("32 bytes have 16")
    }
}

/// Exactly one of `clear` and `wrapped` is there.
#[derive(Encode, Decode)]
#[cbor(map)]
struct KeyFile {
    #[n(0)]
    v: u8,
    #[n(1)]
    clear: Option<Clear>,
    #[n(2)]
    wrapped: Option<Wrapped>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Clear {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    check: [u8; 16],
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Wrapped {
    /// KiB of memory.
    #[n(0)]
    memory: u32,
    #[n(1)]
    passes: u32,
    #[n(2)]
    lanes: u32,
    #[cbor(n(3), with = "minicbor::bytes")]
    salt: [u8; 16],
    #[cbor(n(4), with = "minicbor::bytes")]
    nonce: [u8; 12],
    /// The key under ChaCha20-Poly1305.
    #[cbor(n(5), with = "minicbor::bytes")]
    sealed: Vec<u8>,
}

/// Writes the key file, durably, in place of what was there.
pub(crate) fn write(
    disk: &dyn Disk,
    dir: &Path,
    key: &DataKey,
    unlock: &Unlock,
) -> Result<Protection, Fault> {
    let (file, protection) = match unlock {
        Unlock::Open => {
            let clear = Clear { key: *key.0, check: key.check() };
            (KeyFile { v: 1, clear: Some(clear), wrapped: None }, Protection::Open)
        }
        Unlock::Passphrase(passphrase) => {
            let wrapped = Some(wrap(key, passphrase)?);
            (KeyFile { v: 1, clear: None, wrapped }, Protection::Passphrase)
        }
    };
    let bytes = Zeroizing::new(cbor::to_vec(&file));
    disk::write_whole(disk, dir, FILE, &bytes)?;
    Ok(protection)
}

/// Reads the key file; `None` if there is none.
pub(crate) fn read(
    disk: &dyn Disk,
    dir: &Path,
    unlock: &Unlock,
) -> Result<Option<(DataKey, Protection)>, OpenError> {
    let Some(bytes) = disk::read_whole(disk, &dir.join(FILE), MAX_FILE)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    let file: KeyFile = cbor::from_slice(&bytes, bytes.len()).map_err(|_| damaged())?;
    match (file, unlock) {
        (KeyFile { v: 1, clear: Some(clear), wrapped: None }, _) => {
            let key = DataKey(Zeroizing::new(clear.key));
            let fits = key.check() == clear.check;
            if fits { Ok(Some((key, Protection::Open))) } else { Err(damaged()) }
        }
        (KeyFile { v: 1, clear: None, wrapped: Some(_) }, Unlock::Open) => {
            Err(OpenError::NeedsPassphrase)
        }
        (KeyFile { v: 1, clear: None, wrapped: Some(wrapped) }, Unlock::Passphrase(given)) => {
            Ok(Some((unwrap(&wrapped, given)?, Protection::Passphrase)))
        }
        _ => Err(damaged()),
    }
}

fn damaged() -> OpenError {
    OpenError::Damaged("its key file can't be read".into())
}

fn wrap(key: &DataKey, passphrase: &str) -> Result<Wrapped, Fault> {
    let (salt, nonce): ([u8; 16], [u8; 12]) = (rand::random(), rand::random());
    let cipher = cipher(passphrase, &salt, COST).ok_or_else(no_memory)?;
    let sealed = cipher
        .encrypt(&Nonce::from(nonce), &key.0[..])
        .expect("32 bytes are not too long to encrypt");
    Ok(Wrapped { memory: COST.0, passes: COST.1, lanes: COST.2, salt, nonce, sealed })
}

fn no_memory() -> Fault {
    Fault::Io(std::io::ErrorKind::OutOfMemory, "the passphrase can't be worked in".into())
}

fn unwrap(wrapped: &Wrapped, passphrase: &str) -> Result<DataKey, OpenError> {
    let cost = (wrapped.memory, wrapped.passes, wrapped.lanes);
    if cost.0 > MAX_COST.0 || cost.1 > MAX_COST.1 || cost.2 > MAX_COST.2 {
        return Err(damaged());
    }
    let cipher = cipher(passphrase, &wrapped.salt, cost).ok_or_else(damaged)?;
    let key = cipher
        .decrypt(&Nonce::from(wrapped.nonce), &wrapped.sealed[..])
        .map(Zeroizing::new)
        .map_err(|_| OpenError::WrongPassphrase)?;
    let key: [u8; 32] = key[..].try_into().map_err(|_| damaged())?;
    Ok(DataKey(Zeroizing::new(key)))
}

fn cipher(
    passphrase: &str,
    salt: &[u8; 16],
    (memory, passes, lanes): (u32, u32, u32),
) -> Option<ChaCha20Poly1305> {
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut key = Zeroizing::new([0; 32]);
    argon2.hash_password_into(passphrase.as_bytes(), salt, &mut *key).ok()?;
    Some(ChaCha20Poly1305::new(&(*key).into()))
}
