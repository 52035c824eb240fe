//! Names that are numbers: hashes, keys, and the key under which a snapshot is asked for.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use minicbor::{Decode, Encode};

/// A name that could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Not base32 (RFC 4648, no padding, any case) of 32 bytes.
    #[error("not a 32-byte id in base32 (52 letters and digits)")]
    Malformed,
    /// 32 bytes that are no Ed25519 public key, or one of small order.
    #[error("these 32 bytes are no usable Ed25519 public key")]
    NotAKey,
}

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

        impl $name {
            /// The raw bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first 10 hex digits, for debug logs.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                let raw = BASE32_NOPAD
                    .decode(s.trim().to_ascii_uppercase().as_bytes())
                    .map_err(|_| IdError::Malformed)?;
                Ok(Self(raw.try_into().map_err(|_| IdError::Malformed)?))
            }
        }
    };
}

bytes32! {
    /// A BLAKE3 root: names a blob by its bytes.
    Hash
}
bytes32! {
    /// A node's Ed25519 public key; equal to iroh's `EndpointId`.
    PeerId
}
bytes32! {
    /// An Ed25519 public key that signs records: an injector's root or one of its subkeys.
    PublicKey
}
bytes32! {
    /// What a peer is asked for: the hash of a canonical URL and a variant. Whoever can guess the
    /// URL can compute it; whoever can't learns nothing.
    SnapshotKey
}

impl Hash {
    /// The BLAKE3 hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl From<blake3::Hash> for Hash {
    fn from(h: blake3::Hash) -> Self {
        Self(*h.as_bytes())
    }
}

impl From<Hash> for blake3::Hash {
    fn from(h: Hash) -> Self {
        Self::from_bytes(h.0)
    }
}

impl PublicKey {
    /// The key in the form that verifies signatures. Weak keys (of small order) are refused: a
    /// signature under one would fit many messages.
    pub fn verifying(&self) -> Result<ed25519_dalek::VerifyingKey, IdError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| IdError::NotAKey)?;
        if key.is_weak() { Err(IdError::NotAKey) } else { Ok(key) }
    }
}

impl From<&ed25519_dalek::SigningKey> for PublicKey {
    fn from(key: &ed25519_dalek::SigningKey) -> Self {
        Self(key.verifying_key().to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = Hash::of(b"stork");
        assert_eq!(id.to_string().parse::<Hash>(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse::<Hash>(), Ok(id));
        assert_eq!("abc".parse::<Hash>(), Err(IdError::Malformed));
    }

    #[test]
    fn a_weak_key_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey(identity).verifying(), Err(IdError::NotAKey));
    }
}
