//! What roots took back and what they vouch for: revocations and checkpoints, come with a copy or
//! by hand. Kept in the store, so that no restart forgets one.
//!
//! It judges what a root says against what the root said before, not whether the root is trusted.

use std::collections::{BTreeMap, BTreeSet};

use busel_proto::cbor;
use busel_proto::cert::{Checkpoint, Revocation, TrustSet};
use busel_proto::id::{Hash, PublicKey};
use busel_proto::signed::{Signed, Verified};
use busel_proto::time::UnixTime;
use busel_store::{ReadError, Store, WriteError};
use minicbor::{Decode, Encode};

/// Names of settings in the store.
const REVOCATIONS: &str = "revocation/";
const CHECKPOINTS: &str = "checkpoint/";
/// Checkpoints of one root that are kept.
const MAX_CHECKPOINTS: usize = 64;
/// The longest word of a root, in bytes.
pub const MAX_WORD: usize = 1024 * 1024 + 80;

/// What a root says, its signature verified.
#[derive(Debug)]
pub enum Word {
    /// It takes subkeys back.
    Revocation(Box<Verified<Revocation>>),
    /// It vouches for heads.
    Checkpoint(Box<Verified<Checkpoint>>),
}

/// What a word brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Subkeys that are believed no longer.
    pub revoked: usize,
    /// Heads that stay valid though their key may be taken back.
    pub vouched: usize,
}

/// Why a word was not heeded.
#[derive(Debug, thiserror::Error)]
pub enum HeedError {
    /// It is no revocation and no checkpoint, or its signature does not fit.
    #[error("this is no revocation and no checkpoint of any root")]
    Unreadable,
    /// Of a root that is not trusted.
    #[error("it is the word of a root that is not trusted here")]
    Untrusted,
    /// Known already, or older than what is known.
    #[error("it says nothing new")]
    Old,
    /// Keys that were taken back before are missing from it.
    #[error("it leaves out keys that were taken back before, which no list may")]
    LeavesOut,
    /// The root vouches too often.
    #[error("there are {MAX_CHECKPOINTS} checkpoints of this root already")]
    TooMany,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] WriteError),
}

impl Word {
    /// Reads and verifies a word.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeedError> {
        if bytes.len() > MAX_WORD {
            return Err(HeedError::Unreadable);
        }
        let revocation = Signed::<Revocation>::from_bytes(bytes).and_then(Signed::verify);
        if let Some(revocation) = revocation.ok().filter(|r| r.v == 1) {
            return Ok(Self::Revocation(Box::new(revocation)));
        }
        let checkpoint = Signed::<Checkpoint>::from_bytes(bytes).and_then(Signed::verify);
        let sound = |c: &Verified<Checkpoint>| c.v == 1 && c.heads.is_sorted();
        let checkpoint = checkpoint.ok().filter(sound).ok_or(HeedError::Unreadable)?;
        Ok(Self::Checkpoint(Box::new(checkpoint)))
    }

    /// Whose word it is.
    pub fn root(&self) -> PublicKey {
        match self {
            Self::Revocation(revocation) => revocation.root,
            Self::Checkpoint(checkpoint) => checkpoint.root,
        }
    }
}

/// All that was heeded.
#[derive(Default)]
pub(super) struct Heeded {
    revocations: BTreeMap<PublicKey, Kept>,
    checkpoints: BTreeMap<(PublicKey, Hash), Verified<Checkpoint>>,
}

/// The newest revocation of a root, and when each of its keys was first taken back.
struct Kept {
    revocation: Verified<Revocation>,
    since: BTreeMap<PublicKey, UnixTime>,
}

/// A revocation as it is stored.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Row {
    #[n(0)]
    signed: Signed<Revocation>,
    /// When it arrived.
    #[n(1)]
    at: UnixTime,
    /// Keys that were taken back by an earlier one, and when that arrived.
    #[cbor(n(2), default)]
    earlier: Vec<Earlier>,
}

#[derive(Encode, Decode)]
struct Earlier {
    #[n(0)]
    key: PublicKey,
    #[n(1)]
    at: UnixTime,
}

/// A word that may be kept: what is to be stored, under which name.
pub(super) struct Taken {
    pub(super) name: String,
    pub(super) row: Vec<u8>,
    pub(super) heard: Heard,
}

impl Heeded {
    pub(super) fn load(store: &Store) -> Result<Self, ReadError> {
        let mut heeded = Self::default();
        // What can't be read is left where it is; the next word of its root replaces it.
        for (_, bytes) in store.settings_with(REVOCATIONS)? {
            let row = cbor::from_slice::<Row>(&bytes, busel_store::MAX_SETTING).ok();
            if let Some(row) = row
                && let Ok(revocation) = row.signed.verify()
                && revocation.v == 1
            {
                let mut since: BTreeMap<_, _> =
                    revocation.subkeys.iter().map(|key| (*key, row.at)).collect();
                since.extend(row.earlier.iter().map(|earlier| (earlier.key, earlier.at)));
                heeded.revocations.insert(revocation.root, Kept { revocation, since });
            }
        }
        for (_, bytes) in store.settings_with(CHECKPOINTS)? {
            if let Ok(Word::Checkpoint(checkpoint)) = Word::from_bytes(&bytes) {
                let hash = checkpoint.signed().hash();
                heeded.checkpoints.insert((checkpoint.root, hash), *checkpoint);
            }
        }
        Ok(heeded)
    }

    /// Whether a word may be taken, and what of it is to be kept.
    pub(super) fn judge(&self, word: &Word, at: UnixTime) -> Result<Taken, HeedError> {
        match word {
            Word::Revocation(revocation) => self.judge_revocation(revocation, at),
            Word::Checkpoint(checkpoint) => self.judge_checkpoint(checkpoint),
        }
    }

    fn judge_revocation(
        &self,
        revocation: &Verified<Revocation>,
        at: UnixTime,
    ) -> Result<Taken, HeedError> {
        // One of another format, which this version can't apply, must not replace one that it can.
        if revocation.v != 1 {
            return Err(HeedError::Unreadable);
        }
        let known = self.revocations.get(&revocation.root);
        if known.is_some_and(|known| known.revocation.seq >= revocation.seq) {
            return Err(HeedError::Old);
        }
        let keys: BTreeSet<_> = revocation.subkeys.iter().collect();
        // A root that was seized must not bring a subkey back.
        let earlier = known.map(|known| &known.since).into_iter().flatten();
        let earlier: Vec<_> = earlier.map(|(key, at)| Earlier { key: *key, at: *at }).collect();
        if !earlier.iter().all(|earlier| keys.contains(&earlier.key)) {
            return Err(HeedError::LeavesOut);
        }
        let heard = Heard { revoked: keys.len() - earlier.len(), vouched: 0 };
        let row = cbor::to_vec(&Row { signed: revocation.signed().clone(), at, earlier });
        Ok(Taken { name: format!("{REVOCATIONS}{}", revocation.root), row, heard })
    }

    fn judge_checkpoint(&self, checkpoint: &Verified<Checkpoint>) -> Result<Taken, HeedError> {
        let hash = checkpoint.signed().hash();
        if self.checkpoints.contains_key(&(checkpoint.root, hash)) {
            return Err(HeedError::Old);
        }
        let of_root = self.checkpoints.keys().filter(|(root, _)| *root == checkpoint.root);
        if of_root.count() >= MAX_CHECKPOINTS {
            return Err(HeedError::TooMany);
        }
        let name = format!("{CHECKPOINTS}{}/{hash}", checkpoint.root);
        let heard = Heard { revoked: 0, vouched: checkpoint.heads.len() };
        Ok(Taken { name, row: checkpoint.signed().to_bytes().to_vec(), heard })
    }

    /// Takes a word that was judged.
    pub(super) fn take(&mut self, word: Word, at: UnixTime) {
        match word {
            Word::Revocation(revocation) => {
                let kept = self.revocations.remove(&revocation.root);
                let mut since = kept.map(|kept| kept.since).unwrap_or_default();
                for key in &revocation.subkeys {
                    since.entry(*key).or_insert(at);
                }
                let root = revocation.root;
                self.revocations.insert(root, Kept { revocation: *revocation, since });
            }
            Word::Checkpoint(checkpoint) => {
                let hash = checkpoint.signed().hash();
                self.checkpoints.insert((checkpoint.root, hash), *checkpoint);
            }
        }
    }

    /// Tells a trust set all of it.
    pub(super) fn tell(&self, trust: &mut TrustSet) {
        for Kept { revocation, since } in self.revocations.values() {
            let when = |key: &PublicKey| since.get(key).copied().unwrap_or_default();
            trust.revoke_since(revocation, when);
        }
        for checkpoint in self.checkpoints.values() {
            trust.vouch(checkpoint);
        }
    }

    /// The newest revocation of `root`.
    pub(super) fn revocation(&self, root: &PublicKey) -> Option<Signed<Revocation>> {
        self.revocations.get(root).map(|kept| kept.revocation.signed().clone())
    }
}
