//! Sealed requests: only the injector learns what is asked for, and whoever carries the request
//! only that something is.
//!
//! The request is sealed with HPKE (RFC 9180: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! ChaCha20-Poly1305) to the key in the injector's certificate, which is the same for all readers.
//! It is padded to a few sizes, and carries a time and a nonce against replay. The response has the
//! shape of Oblivious HTTP (RFC 9458 §4.4), made to stream: a nonce, then AEAD chunks under a key
//! exported from the request's context, numbered, the last one marked so that a cut is noticed.

use std::time::Duration;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hpke::aead::ChaCha20Poly1305 as HpkeChaCha;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem as _, OpModeR, OpModeS, Serializable, setup_receiver};
use minicbor::{Decode, Encode};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::card::Card;
use crate::cbor::{self, CborError};
use crate::failure::Failure;
use crate::holders;
use crate::id::{Hash, PublicKey};
use crate::page::Variant;
use crate::signed::{Record, Signed};
use crate::snapshot::{Field, SignedSnapshot};
use crate::time::UnixTime;

/// The longest envelope.
pub const MAX_ENVELOPE: usize = 20 * 1024;
/// Content bytes in one chunk of a response.
pub const CHUNK: usize = 16 * 1024;
/// The longest sealed chunk: a signed snapshot, its kind and the tag.
pub const MAX_CHUNK: usize = SignedSnapshot::MAX + 1 + 16;
/// The longest list of holders.
const MAX_HELD: usize = holders::NAMED * (Card::MAX + 8) + 8;
/// How far the request's time may lie from the injector's clock.
pub const MAX_SKEW: Duration = Duration::from_secs(600);

/// Padded sizes of a request, so that its length does not tell the URL.
const SIZES: [usize; 5] = [512, 1024, 2048, 4096, 9216];

/// What keeps what is sealed for one use from being taken for another's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    pub(crate) info: &'static [u8],
    pub(crate) export: &'static [u8],
    pub(crate) response: &'static str,
}

const INJECT: Use = Use {
    info: b"busel/1 inject request",
    export: b"busel/1 inject response",
    response: "busel 1 inject response key",
};

type Kem = X25519HkdfSha256;

/// What a reader asks an injector for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InjectRequest {
    /// Canonical URL.
    #[n(0)]
    pub url: String,
    /// Its form.
    #[n(1)]
    pub variant: Variant,
    /// The reader's clock.
    #[n(2)]
    pub at: UnixTime,
    /// Sixteen random bytes.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// First byte of the body that is wanted; `None` for the head alone.
    #[n(4)]
    pub from: Option<u64>,
    /// Only this body will do: the reader has its first part.
    #[n(5)]
    pub root: Option<Hash>,
    /// The reader insists on a copy fetched just now.
    #[n(6)]
    pub new: bool,
    /// The reader can ask others: who has the body will do instead of it ([`Part::Held`]). So often it asked an
    /// injector for it before.
    #[n(7)]
    pub held: Option<u8>,
}

/// Why a sealed message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was not sealed to this key, or was changed on the way.
    #[error("it can't be opened")]
    Unopened,
    /// Sealed to a key that this injector does not have (any more).
    #[error("it is sealed to another key")]
    OtherKey,
    /// Opened, but malformed.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// It has been seen before.
    #[error("it has been seen before")]
    Replayed,
    /// The reader's clock is off by more than [`MAX_SKEW`].
    #[error("the clocks differ by {0} seconds")]
    Clock(u64),
    /// More of this client's than can be told from replays.
    #[error("too many requests for one client; wait some minutes")]
    Overloaded,
    /// It asks for what may not be asked so.
    #[error("it is no question")]
    Unfit,
    /// The request is longer than the largest padded size.
    #[error("the address is too long to be sealed")]
    TooLong,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Envelope {
    #[n(0)]
    v: u8,
    /// Which injector key.
    #[n(1)]
    to: PublicKey,
    #[cbor(n(2), with = "minicbor::bytes")]
    encapsulated: [u8; 32],
    #[cbor(n(3), with = "minicbor::bytes")]
    sealed: Vec<u8>,
}

/// Makes an HPKE key pair (secret, public) of 32 random bytes.
pub fn hpke_key(random: &[u8; 32]) -> ([u8; 32], [u8; 32]) {
    let (secret, public) = Kem::derive_keypair(random);
    (secret.to_bytes().into(), public.to_bytes().into())
}

/// Seals `request` to the injector whose certificate names `subkey` and `hpke`. `random` is 32
/// fresh random bytes. Returns the envelope and what opens the response.
pub fn seal_request(
    request: &InjectRequest,
    subkey: &PublicKey,
    hpke: &[u8; 32],
    random: [u8; 32],
) -> Result<(Vec<u8>, ResponseKey), SealError> {
    seal(INJECT, cbor::to_vec(request), subkey, hpke, random)
}

/// Opens an envelope with the injector's secret key.
pub fn open_request(
    envelope: &[u8],
    subkey: &PublicKey,
    secret: &[u8; 32],
) -> Result<(InjectRequest, ResponseKey), SealError> {
    let (request, key) = open(INJECT, envelope, subkey, secret)?;
    Ok((cbor::from_slice(&request, SIZES[SIZES.len() - 1])?, key))
}

/// Seals `plain`, padded, to whoever is named by `to` and holds the secret of `hpke`.
pub(crate) fn seal(
    of: Use,
    plain: Vec<u8>,
    to: &PublicKey,
    hpke: &[u8; 32],
    random: [u8; 32],
) -> Result<(Vec<u8>, ResponseKey), SealError> {
    let key = <Kem as hpke::Kem>::PublicKey::from_bytes(hpke).map_err(|_| SealError::OtherKey)?;
    let mut rng = ChaCha20Rng::from_seed(random);
    let (encapsulated, mut context) = hpke::setup_sender_with_rng::<HpkeChaCha, HkdfSha256, Kem>(
        &OpModeS::Base,
        &key,
        of.info,
        &mut rng,
    )
    .map_err(|_| SealError::Unopened)?;
    let sealed = context.seal(&pad(plain)?, to.as_bytes()).map_err(|_| SealError::Unopened)?;
    let mut secret = [0; 32];
    context.export(of.export, &mut secret).map_err(|_| SealError::Unopened)?;
    let encapsulated: [u8; 32] = encapsulated.to_bytes().into();
    let envelope = Envelope { v: 1, to: *to, encapsulated, sealed };
    Ok((cbor::to_vec(&envelope), ResponseKey { secret, encapsulated, context: of.response }))
}

/// Opens what [`seal`] sealed.
pub(crate) fn open(
    of: Use,
    envelope: &[u8],
    to: &PublicKey,
    secret: &[u8; 32],
) -> Result<(Vec<u8>, ResponseKey), SealError> {
    let envelope: Envelope = cbor::from_slice(envelope, MAX_ENVELOPE)?;
    if envelope.v != 1 || envelope.to != *to {
        return Err(SealError::OtherKey);
    }
    let key =
        <Kem as hpke::Kem>::PrivateKey::from_bytes(secret).map_err(|_| SealError::OtherKey)?;
    let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(&envelope.encapsulated)
        .map_err(|_| SealError::Unopened)?;
    let mut context =
        setup_receiver::<HpkeChaCha, HkdfSha256, Kem>(&OpModeR::Base, &key, &encapsulated, of.info)
            .map_err(|_| SealError::Unopened)?;
    let padded = context.open(&envelope.sealed, to.as_bytes()).map_err(|_| SealError::Unopened)?;
    let mut exported = [0; 32];
    context.export(of.export, &mut exported).map_err(|_| SealError::Unopened)?;
    let key =
        ResponseKey { secret: exported, encapsulated: envelope.encapsulated, context: of.response };
    Ok((unpad(&padded)?.to_vec(), key))
}

/// Two bytes of length, the request, zeros up to the next size.
fn pad(request: Vec<u8>) -> Result<Vec<u8>, SealError> {
    let size = *SIZES.iter().find(|s| **s >= request.len() + 2).ok_or(SealError::TooLong)?;
    let len = u16::try_from(request.len()).map_err(|_| SealError::TooLong)?;
    let mut padded = len.to_be_bytes().to_vec();
    padded.extend(request);
    padded.resize(size, 0);
    Ok(padded)
}

fn unpad(padded: &[u8]) -> Result<&[u8], SealError> {
    let malformed = || SealError::Cbor(CborError::Malformed("wrong padding".into()));
    let (len, rest) = padded.split_first_chunk::<2>().ok_or_else(malformed)?;
    let len = usize::from(u16::from_be_bytes(*len));
    let (request, zeros) = rest.split_at_checked(len).ok_or_else(malformed)?;
    if zeros.iter().all(|b| *b == 0) { Ok(request) } else { Err(malformed()) }
}

/// What both ends of one sealed request share for its response.
#[derive(Clone)]
pub struct ResponseKey {
    secret: [u8; 32],
    encapsulated: [u8; 32],
    context: &'static str,
}

impl std::fmt::Debug for ResponseKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResponseKey(…)")
    }
}

impl ResponseKey {
    /// The cipher of a response that begins with `nonce`, 32 random bytes of the injector's.
    pub fn cipher(&self, nonce: &[u8; 32]) -> ChunkCipher {
        let mut hasher = blake3::Hasher::new_derive_key(self.context);
        hasher.update(&self.secret);
        hasher.update(&self.encapsulated);
        hasher.update(nonce);
        let key = Key::from(*hasher.finalize().as_bytes());
        ChunkCipher { cipher: ChaCha20Poly1305::new(&key), counter: 0 }
    }
}

/// Seals or opens the chunks of one response, in order.
pub struct ChunkCipher {
    cipher: ChaCha20Poly1305,
    counter: u64,
}

impl std::fmt::Debug for ChunkCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChunkCipher(at {})", self.counter)
    }
}

impl ChunkCipher {
    /// Seals the next part. `last` marks the end of the response.
    pub fn seal(&mut self, part: &Part<'_>, last: bool) -> Vec<u8> {
        self.seal_bytes(&part.to_bytes(), last)
    }

    /// Seals the next bytes, whatever they are.
    pub fn seal_bytes(&mut self, bytes: &[u8], last: bool) -> Vec<u8> {
        let nonce = self.next_nonce();
        self.cipher
            .encrypt(&nonce, Payload { msg: bytes, aad: &[u8::from(last)] })
            .expect("ChaCha20-Poly1305 seals any chunk below 256 GiB")
    }

    /// Opens the next chunk: its bytes, to be read with [`Part::from_bytes`], and whether it was
    /// the last.
    pub fn open(&mut self, chunk: &[u8]) -> Result<(Vec<u8>, bool), SealError> {
        let nonce = self.next_nonce();
        for last in [false, true] {
            let payload = Payload { msg: chunk, aad: &[u8::from(last)] };
            if let Ok(bytes) = self.cipher.decrypt(&nonce, payload) {
                return Ok((bytes, last));
            }
        }
        Err(SealError::Unopened)
    }

    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        nonce.into()
    }
}

/// What an injector knows of a response whose body has not ended yet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Preview {
    /// HTTP status.
    #[n(0)]
    pub status: u16,
    /// As [`crate::snapshot::Head::headers`].
    #[n(1)]
    pub headers: Vec<Field>,
    /// When the head arrived.
    #[n(2)]
    pub fetched_at: UnixTime,
    /// Whether over verified TLS.
    #[n(3)]
    pub tls: bool,
    /// The body's length, if the origin said it.
    #[n(4)]
    pub len: Option<u64>,
}

/// One part of a response: `Preview`, `Data`…, `Signed`; or `Signed`, `Data`…; or `Signed`, `Held`; or
/// `Declined`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// The head of a body that is still coming in. It may be shown at once, because this channel
    /// is the injector's; it may be shared only after the root is signed.
    Preview(Preview),
    /// The next bytes of the body.
    Data(&'a [u8]),
    /// The signed snapshot: at the front if the injector has the body already, at the end if not.
    Signed(Box<SignedSnapshot>),
    /// It can't be had.
    Declined(Failure),
    /// The reader's clock is off; this is the injector's.
    Clock(UnixTime),
    /// These open nodes hold the body, or are loading it; at most [`holders::NAMED`].
    Held(Vec<Signed<Card>>),
}

impl<'a> Part<'a> {
    /// One byte of kind, then the part.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Preview(preview) => (0, cbor::to_vec(preview)),
            Self::Data(data) => (1, data.to_vec()),
            Self::Signed(snapshot) => (2, cbor::to_vec(snapshot.as_ref())),
            Self::Declined(failure) => (3, cbor::to_vec(failure)),
            Self::Clock(time) => (4, cbor::to_vec(time)),
            Self::Held(cards) => (5, cbor::to_vec(cards)),
        };
        let mut bytes = Vec::with_capacity(1 + body.len());
        bytes.push(kind);
        bytes.extend(body);
        bytes
    }

    /// Reads what [`Part::to_bytes`] wrote.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, SealError> {
        let empty = || SealError::Cbor(CborError::Malformed("empty part".into()));
        let (kind, body) = bytes.split_first().ok_or_else(empty)?;
        Ok(match kind {
            0 => Self::Preview(cbor::from_slice(body, MAX_CHUNK)?),
            1 => Self::Data(body),
            2 => Self::Signed(Box::new(cbor::from_slice(body, SignedSnapshot::MAX)?)),
            3 => Self::Declined(cbor::from_slice(body, 4096)?),
            4 => Self::Clock(cbor::from_slice(body, 16)?),
            5 => Self::Held(cbor::from_slice(body, MAX_HELD)?),
            _ => return Err(CborError::Malformed("unknown kind of part".into()).into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (PublicKey, [u8; 32], [u8; 32]) {
        let (secret, public) = hpke_key(&[3; 32]);
        (PublicKey([9; 32]), secret, public)
    }

    fn request(url: &str) -> InjectRequest {
        InjectRequest {
            url: url.into(),
            variant: Variant::default(),
            at: UnixTime(1_000_000),
            nonce: [4; 16],
            from: Some(0),
            root: None,
            new: false,
            held: None,
        }
    }

    #[test]
    fn a_request_opens_only_with_the_injectors_key() {
        let (subkey, secret, public) = keys();
        let asked = request("https://news.example/a");
        let (envelope, _) = seal_request(&asked, &subkey, &public, [1; 32]).unwrap();
        assert_eq!(open_request(&envelope, &subkey, &secret).unwrap().0, asked);
        let (other, _) = hpke_key(&[8; 32]);
        assert_eq!(open_request(&envelope, &subkey, &other).unwrap_err(), SealError::Unopened);
        let wrong = PublicKey([8; 32]);
        assert_eq!(open_request(&envelope, &wrong, &secret).unwrap_err(), SealError::OtherKey);
        let mut bad = envelope;
        *bad.last_mut().unwrap() ^= 1;
        assert_eq!(open_request(&bad, &subkey, &secret).unwrap_err(), SealError::Unopened);
    }

    #[test]
    fn the_length_does_not_tell_the_url() {
        let (subkey, _, public) = keys();
        let len =
            |url: &str| seal_request(&request(url), &subkey, &public, [1; 32]).unwrap().0.len();
        let long = format!("https://news.example/{}", "a".repeat(300));
        assert_eq!(len("https://a.example/"), len(&long));
        let too_long = request(&format!("https://a/{}", "a".repeat(9300)));
        let sealed = seal_request(&too_long, &subkey, &public, [1; 32]);
        assert_eq!(sealed.unwrap_err(), SealError::TooLong);
    }

    #[test]
    fn a_response_streams_and_a_cut_or_a_swap_is_noticed() {
        let (subkey, secret, public) = keys();
        let (envelope, reader) =
            seal_request(&request("https://a.example/"), &subkey, &public, [1; 32]).unwrap();
        let (_, injector) = open_request(&envelope, &subkey, &secret).unwrap();
        let mut seal = injector.cipher(&[7; 32]);
        let first = seal.seal(&Part::Data(b"first"), false);
        let second = seal.seal(&Part::Data(b"second"), true);

        let mut open = reader.cipher(&[7; 32]);
        let (bytes, last) = open.open(&first).unwrap();
        assert_eq!((Part::from_bytes(&bytes).unwrap(), last), (Part::Data(b"first"), false));
        let (bytes, last) = open.open(&second).unwrap();
        assert_eq!((Part::from_bytes(&bytes).unwrap(), last), (Part::Data(b"second"), true));

        let mut swapped = reader.cipher(&[7; 32]);
        assert_eq!(swapped.open(&second).unwrap_err(), SealError::Unopened);
    }
}
