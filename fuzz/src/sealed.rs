//! Sealed requests, questions and responses: envelopes, what is inside a good one, parts and chunks.

use busel_proto::cbor;
use busel_proto::id::{PeerId, PublicKey};
use busel_proto::message::Ask;
use busel_proto::question::{QuestionKey, seal_question};
use busel_proto::sealed::{
    ChunkCipher, InjectRequest, Part, SealError, hpke_key, open_request, seal_request,
};
use ed25519_dalek::SigningKey;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use minicbor::Encode;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// The key to which seeds are sealed.
pub(crate) const SUBKEY: PublicKey = PublicKey([9; 32]);

/// The first byte says as what the rest is read.
pub fn sealed(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 6 {
        0 => envelope(data),
        1 => content(data),
        2 => part(data),
        3 => chunk(data),
        4 => request(data),
        _ => question(data),
    }
}

/// An HPKE key pair (secret, public).
pub(crate) fn keys() -> ([u8; 32], [u8; 32]) {
    hpke_key(&[3; 32])
}

fn envelope(data: &[u8]) {
    let (secret, _) = keys();
    if let Ok((request, _)) = open_request(data, &SUBKEY, &secret) {
        // Nobody but the maker of the seeds has sealed anything.
        assert_eq!(request.url, crate::seeds::PAGE);
    }
}

/// Any content, sealed as it should be: what is taken is one padded request and nothing else.
fn content(data: &[u8]) {
    #[derive(Encode)]
    #[cbor(map)]
    struct Envelope {
        #[n(0)]
        v: u8,
        #[n(1)]
        to: PublicKey,
        #[cbor(n(2), with = "minicbor::bytes")]
        encapsulated: [u8; 32],
        #[cbor(n(3), with = "minicbor::bytes")]
        sealed: Vec<u8>,
    }
    let (secret, public) = keys();
    let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&public).expect("a true key");
    let (encapsulated, mut context) =
        hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &key,
            b"busel/1 inject request",
            &mut ChaCha20Rng::from_seed([5; 32]),
        )
        .expect("a true key");
    let sealed = context.seal(data, SUBKEY.as_bytes()).expect("it is short");
    let encapsulated = encapsulated.to_bytes().into();
    let envelope = Envelope { v: 1, to: SUBKEY, encapsulated, sealed };
    match open_request(&cbor::to_vec(&envelope), &SUBKEY, &secret) {
        Ok((request, _)) => {
            let inside = cbor::to_vec(&request);
            assert_eq!(data[..2], u16::try_from(inside.len()).expect("short").to_be_bytes());
            assert_eq!(data[2..2 + inside.len()], inside, "a request has one form");
            assert!(data[2 + inside.len()..].iter().all(|byte| *byte == 0));
        }
        Err(SealError::Cbor(_)) => {}
        Err(other) => panic!("{other:?} for what was sealed as it should be"),
    }
}

fn part(data: &[u8]) {
    if let Ok(part) = Part::from_bytes(data) {
        assert_eq!(part.to_bytes(), data, "a part has one form");
    }
}

fn ciphers() -> (ChunkCipher, ChunkCipher) {
    let (secret, public) = keys();
    let asked = crate::seeds::request();
    let (envelope, reader) = seal_request(&asked, &SUBKEY, &public, [1; 32]).expect("it is short");
    let (_, injector) = open_request(&envelope, &SUBKEY, &secret).expect("it is ours");
    (injector.cipher(&[8; 32]), reader.cipher(&[8; 32]))
}

/// Junk is no chunk; a true one opens once, in its place, unchanged, with its mark.
fn chunk(data: &[u8]) {
    let (mut seal, mut open) = ciphers();
    assert_eq!(open.open(data), Err(SealError::Unopened), "junk was opened");
    let last = data.first().is_some_and(|byte| byte & 1 != 0);
    let part = Part::Data(data);
    let first = seal.seal(&part, last);
    let second = seal.seal(&part, last);
    // The junk took the first number: the first chunk is not expected any more.
    assert_eq!(open.open(&first), Err(SealError::Unopened), "a chunk out of its place");
    let (_, mut open) = ciphers();
    assert_eq!(open.open(&first), Ok((part.to_bytes(), last)));
    let mut bad = second.clone();
    let at = usize::from(*data.last().unwrap_or(&0)) % bad.len();
    bad[at] ^= 1;
    assert_eq!(open.open(&bad), Err(SealError::Unopened), "a changed chunk was opened");
}

/// What is asked arrives, whatever it is; only its length may forbid it.
fn request(data: &[u8]) {
    let (secret, public) = keys();
    let Ok(asked) = cbor::from_slice::<InjectRequest>(data, 16 * 1024) else { return };
    match seal_request(&asked, &SUBKEY, &public, [6; 32]) {
        Ok((envelope, _)) => {
            let opened = open_request(&envelope, &SUBKEY, &secret).map(|(request, _)| request);
            assert_eq!(opened, Ok(asked));
        }
        Err(error) => {
            assert_eq!(error, SealError::TooLong);
            assert!(data.len() + 2 > 9216);
        }
    }
}

/// Junk is no question; what may be asked so arrives, and nothing else is asked so.
fn question(data: &[u8]) {
    let identity = [7; 32];
    let to = PeerId(SigningKey::from_bytes(&identity).verifying_key().to_bytes());
    let key = QuestionKey::new(&identity);
    assert!(key.open(data).is_err(), "junk was opened");
    let Ok(ask) = cbor::from_slice::<Ask>(data, 4096) else { return };
    match seal_question(&ask, &to, [6; 32]) {
        Ok((envelope, _)) => assert_eq!(key.open(&envelope).map(|(ask, _)| ask), Ok(ask)),
        Err(error) => assert_eq!(error, SealError::Unfit),
    }
}
