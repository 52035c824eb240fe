//! Sealed questions: what a quiet node asks an open one through its guard.
//!
//! The guard learns who asks whom, and not for what; the open node for what, and not who. The question
//! is sealed with HPKE under a key of one use, as requests to injectors are ([`crate::sealed`]), to the
//! asked node's own key: its Ed25519 key as one of X25519, so that whoever knows a node's id can ask
//! it, and no card or invite need say more. That one key pair may both sign and take what is sealed so
//! is shown in Thormarker: *On using the same key pair for Ed25519 and an X25519 based KEM* (2021).
//!
//! Nothing in a question is new to who repeats it: the answer comes sealed to the first asker.

use ed25519_dalek::SigningKey;

use crate::cbor;
use crate::id::{PeerId, PublicKey};
use crate::message::{Ask, MAX_FRAME};
use crate::sealed::{self, ResponseKey, SealError, Use};

/// The longest piece of an answer in one sealed chunk.
pub const PIECE: usize = 16 * 1024;
/// The longest sealed chunk.
pub const MAX_CHUNK: usize = PIECE + 16;

const QUESTION: Use = Use {
    info: b"busel/1 question",
    export: b"busel/1 question answer",
    response: "busel 1 question answer key",
};

/// What opens questions to a node.
pub struct QuestionKey {
    to: PeerId,
    secret: [u8; 32],
}

impl std::fmt::Debug for QuestionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QuestionKey(…)")
    }
}

impl QuestionKey {
    /// That of the node with this identity.
    pub fn new(identity: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(identity);
        Self { to: PeerId(key.verifying_key().to_bytes()), secret: key.to_scalar_bytes() }
    }

    /// The node.
    pub fn id(&self) -> &PeerId {
        &self.to
    }

    /// Opens a question, and says how to seal the answer.
    pub fn open(&self, envelope: &[u8]) -> Result<(Ask, ResponseKey), SealError> {
        let (plain, key) = sealed::open(QUESTION, envelope, &PublicKey(self.to.0), &self.secret)?;
        let ask: Ask = cbor::from_slice(&plain, MAX_FRAME)?;
        if is_question(&ask) { Ok((ask, key)) } else { Err(SealError::Unfit) }
    }
}

/// Seals `ask` to the node `to`; `random` is 32 fresh random bytes. Returns the envelope and what opens
/// the answer.
pub fn seal_question(
    ask: &Ask,
    to: &PeerId,
    random: [u8; 32],
) -> Result<(Vec<u8>, ResponseKey), SealError> {
    let key = PublicKey(to.0).verifying().map_err(|_| SealError::OtherKey)?;
    let hpke = key.to_montgomery().to_bytes();
    if !is_question(ask) {
        return Err(SealError::Unfit);
    }
    sealed::seal(QUESTION, cbor::to_vec(ask), &PublicKey(to.0), &hpke, random)
}

/// Whether it only asks for what the node holds: nothing else is done for who hides.
fn is_question(ask: &Ask) -> bool {
    let copies =
        matches!(ask, Ask::Fetch { .. } | Ask::Blob { .. } | Ask::Any { .. } | Ask::Has { .. });
    let asks = copies || matches!(ask, Ask::Compare { .. } | Ask::Listed { .. });
    asks && ask.is_sane()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Hash, SnapshotKey};

    fn question() -> Ask {
        Ask::Fetch { key: SnapshotKey([3; 32]), from: Some(0), root: None }
    }

    #[test]
    fn only_the_asked_node_opens_it_and_only_the_asker_the_answer() {
        let key = QuestionKey::new(&[1; 32]);
        let (envelope, asker) = seal_question(&question(), &key.to, [9; 32]).unwrap();
        let (ask, holder) = key.open(&envelope).unwrap();
        assert_eq!(ask, question());
        let chunk = holder.cipher(&[7; 32]).seal_bytes(b"an answer", true);
        let opened = asker.cipher(&[7; 32]).open(&chunk).unwrap();
        assert_eq!(opened, (b"an answer".to_vec(), true));

        let other = QuestionKey::new(&[2; 32]);
        assert_eq!(other.open(&envelope).unwrap_err(), SealError::OtherKey);
        let posing = QuestionKey { to: key.to, secret: other.secret };
        assert_eq!(posing.open(&envelope).unwrap_err(), SealError::Unopened);
        let mut bad = envelope;
        *bad.last_mut().unwrap() ^= 1;
        assert_eq!(key.open(&bad).unwrap_err(), SealError::Unopened);
    }

    #[test]
    fn no_two_look_alike_and_all_are_as_long() {
        let to = QuestionKey::new(&[1; 32]).to;
        let root = Some(Hash([4; 32]));
        let longer = Ask::Fetch { key: SnapshotKey([3; 32]), from: Some(1 << 30), root };
        let (one, _) = seal_question(&question(), &to, [1; 32]).unwrap();
        let (same, _) = seal_question(&question(), &to, [2; 32]).unwrap();
        let (long, _) = seal_question(&longer, &to, [3; 32]).unwrap();
        assert_ne!(one, same);
        assert_eq!((one.len(), one.len()), (same.len(), long.len()));
    }

    #[test]
    fn nothing_but_questions_is_asked_so() {
        let to = QuestionKey::new(&[1; 32]).to;
        let ask = Ask::Nodes { card: None };
        assert_eq!(seal_question(&ask, &to, [1; 32]).unwrap_err(), SealError::Unfit);
        let key = SigningKey::from_bytes(&[1; 32]).verifying_key().to_montgomery().to_bytes();
        let (envelope, _) =
            sealed::seal(QUESTION, cbor::to_vec(&ask), &PublicKey(to.0), &key, [1; 32]).unwrap();
        let opened = QuestionKey::new(&[1; 32]).open(&envelope);
        assert_eq!(opened.unwrap_err(), SealError::Unfit);
        assert!(seal_question(&question(), &PeerId([0; 32]), [1; 32]).is_err(), "no key");
    }
}
