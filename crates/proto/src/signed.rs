//! `Signed<T>` → `Verified<T>`: unverified data has its own type, and only `verify` makes the other.

use std::marker::PhantomData;
use std::ops::Deref;

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey};
use minicbor::{Decode, Encode};

use crate::cbor::{self, CborError};
use crate::id::{Hash, PublicKey};

/// Something small that a key vouches for.
pub trait Record: for<'b> Decode<'b, ()> + Encode<()> {
    /// Names the kind of record inside the signed bytes, so that a signature over one kind never
    /// fits another.
    const CONTEXT: &'static str;
    /// The most bytes that one may have.
    const MAX: usize;
    /// The key that must have signed it.
    fn signer(&self) -> PublicKey;
}

/// Why a signed record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// The bytes are no such record.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// The record names a key that can't have signed it.
    #[error("its key is no usable Ed25519 key")]
    BadKey,
    /// The signature does not fit the record and its key.
    #[error("its signature does not fit")]
    BadSignature,
}

/// A record with a signature that nobody has checked yet.
///
/// On the wire: a CBOR array of the record's bytes and the 64-byte Ed25519 signature over
/// `CONTEXT ‖ 0x00 ‖ record bytes`.
#[derive(Debug, Encode, Decode)]
pub struct Signed<T> {
    #[cbor(n(0), with = "minicbor::bytes")]
    payload: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    signature: [u8; 64],
    #[cbor(skip)]
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self { payload: self.payload.clone(), signature: self.signature, kind: PhantomData }
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.payload == other.payload && self.signature == other.signature
    }
}

impl<T> Eq for Signed<T> {}

impl<T: Record> Signed<T> {
    /// Signs `record`.
    ///
    /// # Panics
    /// If `key` is not the key that the record names: that is a mistake in the program.
    pub fn sign(record: &T, key: &SigningKey) -> Self {
        assert_eq!(record.signer(), PublicKey::from(key), "a record is signed by the key it names");
        let payload = cbor::to_vec(record);
        let signature = key.sign(&message::<T>(&payload)).to_bytes();
        Self { payload, signature, kind: PhantomData }
    }

    /// Reads what [`Signed::to_bytes`] wrote. Nothing is verified.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignedError> {
        Ok(cbor::from_slice(bytes, T::MAX + 80)?)
    }

    /// The bytes to store or send.
    pub fn to_bytes(&self) -> Bytes {
        cbor::to_vec(self).into()
    }

    /// The hash by which a checkpoint names this record.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.to_bytes())
    }

    /// What it says, unverified: only for finding the key or certificate to verify it with.
    pub fn peek(&self) -> Result<T, SignedError> {
        Ok(cbor::from_slice(&self.payload, T::MAX)?)
    }

    /// Checks form and signature. That the key may be trusted is the caller's next question.
    pub fn verify(self) -> Result<Verified<T>, SignedError> {
        let record = self.peek()?;
        let key = record.signer().verifying().map_err(|_| SignedError::BadKey)?;
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&message::<T>(&self.payload), &signature)
            .map_err(|_| SignedError::BadSignature)?;
        Ok(Verified { record, signed: self })
    }
}

fn message<T: Record>(payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(T::CONTEXT.len() + 1 + payload.len());
    message.extend_from_slice(T::CONTEXT.as_bytes());
    message.push(0);
    message.extend_from_slice(payload);
    message
}

/// A record whose signature fits the key it names.
#[derive(Debug)]
pub struct Verified<T> {
    record: T,
    signed: Signed<T>,
}

impl<T> Verified<T> {
    /// The record with its signature, to pass on.
    pub fn signed(&self) -> &Signed<T> {
        &self.signed
    }
}

impl<T: Clone> Clone for Verified<T> {
    fn clone(&self) -> Self {
        Self { record: self.record.clone(), signed: self.signed.clone() }
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! kind {
        ($name:ident, $context:literal) => {
            #[derive(Debug, Clone, PartialEq, Encode, Decode)]
            #[cbor(map)]
            struct $name {
                #[n(0)]
                key: PublicKey,
                #[n(1)]
                word: String,
            }
            impl Record for $name {
                const CONTEXT: &'static str = $context;
                const MAX: usize = 256;
                fn signer(&self) -> PublicKey {
                    self.key
                }
            }
        };
    }
    kind!(Oath, "test/oath");
    kind!(Joke, "test/joke");

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn oath(word: &str) -> Oath {
        Oath { key: PublicKey::from(&key()), word: word.into() }
    }

    #[test]
    fn a_signed_record_verifies_and_survives_the_wire() {
        let signed = Signed::sign(&oath("stork"), &key());
        let back = Signed::<Oath>::from_bytes(&signed.to_bytes()).unwrap();
        assert_eq!(back, signed);
        assert_eq!(back.verify().unwrap().word, "stork");
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = Signed::sign(&oath("stork"), &key()).to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let taken = Signed::<Oath>::from_bytes(&bad).and_then(Signed::verify);
            assert!(taken.is_err(), "bit {bit} was not noticed");
        }
    }

    #[test]
    fn a_signature_does_not_fit_another_kind_of_record() {
        let bytes = Signed::sign(&oath("stork"), &key()).to_bytes();
        let joke = Signed::<Joke>::from_bytes(&bytes).unwrap();
        assert_eq!(joke.verify().unwrap_err(), SignedError::BadSignature);
    }
}
