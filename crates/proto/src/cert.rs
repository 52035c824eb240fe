//! Who may sign snapshots: offline roots, the subkeys they certify for some weeks, revocations,
//! and the reader's trust set.
//!
//! A root stays offline. An injector signs with a subkey; a snapshot is valid if it was fetched
//! while its subkey was, *whatever today is*, because a cut may last longer than a certificate.
//! After a revocation only heads that a root-signed checkpoint lists, or that were stored before
//! the revocation arrived, stay valid: whoever stole the subkey could backdate all others.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::id::{Hash, PublicKey};
use crate::page::HostPattern;
use crate::signed::{Record, Verified};
use crate::time::UnixTime;

/// The longest that one subkey may be valid, in seconds: 90 days.
pub const MAX_VALIDITY_SECS: u64 = 90 * 24 * 3600;

/// A root's word that a subkey signs for it between two moments.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SubkeyCert {
    /// Format, 1.
    #[n(0)]
    pub v: u8,
    /// The offline root; signs this certificate.
    #[n(1)]
    pub root: PublicKey,
    /// The key that signs heads.
    #[n(2)]
    pub subkey: PublicKey,
    /// X25519 key to which readers seal their requests (RFC 9180), the same for all readers.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub hpke: [u8; 32],
    /// Counts a root's certificates up; of two for one subkey the higher one stands.
    #[n(4)]
    pub epoch: u64,
    /// First second of validity.
    #[n(5)]
    pub not_before: UnixTime,
    /// Last second of validity.
    #[n(6)]
    pub not_after: UnixTime,
}

impl Record for SubkeyCert {
    const CONTEXT: &'static str = "busel/1/subkey-cert";
    const MAX: usize = 512;
    fn signer(&self) -> PublicKey {
        self.root
    }
}

impl SubkeyCert {
    /// Whether `at` lies within the validity, and the validity is no longer than allowed.
    pub fn covers(&self, at: UnixTime) -> bool {
        self.not_before <= at
            && at <= self.not_after
            && self.not_after.0 - self.not_before.0 <= MAX_VALIDITY_SECS
    }

    /// Whether it is time to have it renewed: less than a third of its validity is left, so that
    /// there are days for what may go wrong.
    pub fn is_due(&self, now: UnixTime) -> bool {
        let third = self.not_after.0.saturating_sub(self.not_before.0) / 3;
        now.0 >= self.not_after.0.saturating_sub(third)
    }
}

/// A root's word that subkeys may no longer be believed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revocation {
    /// Format, 1.
    #[n(0)]
    pub v: u8,
    /// The root that revokes; it can revoke only its own subkeys.
    #[n(1)]
    pub root: PublicKey,
    /// Counts up; each list repeats the earlier ones, so the highest says all.
    #[n(2)]
    pub seq: u64,
    /// The subkeys.
    #[n(3)]
    pub subkeys: Vec<PublicKey>,
}

impl Record for Revocation {
    const CONTEXT: &'static str = "busel/1/revocation";
    const MAX: usize = 64 * 1024;
    fn signer(&self) -> PublicKey {
        self.root
    }
}

/// A root's word that these heads were its subkeys' honest work.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Checkpoint {
    /// Format, 1.
    #[n(0)]
    pub v: u8,
    /// The root that signs.
    #[n(1)]
    pub root: PublicKey,
    /// Hashes of the signed heads ([`crate::signed::Signed::hash`]), ascending.
    #[n(2)]
    pub heads: Vec<Hash>,
}

impl Record for Checkpoint {
    const CONTEXT: &'static str = "busel/1/checkpoint";
    const MAX: usize = 1024 * 1024;
    fn signer(&self) -> PublicKey {
        self.root
    }
}

/// One injector root that the reader trusts, and for which hosts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TrustedRoot {
    /// The root.
    #[n(0)]
    pub key: PublicKey,
    /// What the reader calls it; shown as the authority of a page.
    #[n(1)]
    pub label: String,
    /// The hosts for which its word is taken.
    #[n(2)]
    pub hosts: Vec<HostPattern>,
}

/// How a subkey stands with its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not revoked, as far as is known.
    Good,
    /// Revoked; the revocation arrived at this time.
    Revoked(UnixTime),
}

/// The roots a reader trusts and what those roots have taken back.
#[derive(Debug, Clone, Default)]
pub struct TrustSet {
    roots: BTreeMap<PublicKey, TrustedRoot>,
    revoked: BTreeMap<PublicKey, (u64, BTreeMap<PublicKey, UnixTime>)>,
    /// Heads that a root vouches for: only for its own subkeys' ones.
    vouched: BTreeSet<(PublicKey, Hash)>,
}

impl TrustSet {
    /// Trusts `root`; a root that is there already gets this label and these hosts.
    pub fn add(&mut self, root: TrustedRoot) {
        self.roots.insert(root.key, root);
    }

    /// The root `key`, if it is trusted.
    pub fn root(&self, key: &PublicKey) -> Option<&TrustedRoot> {
        self.roots.get(key)
    }

    /// All trusted roots, by key.
    pub fn roots(&self) -> impl Iterator<Item = &TrustedRoot> {
        self.roots.values()
    }

    /// Takes a revocation that arrived at `at`. Returns whether it said something new. One of an
    /// untrusted root, and one older than what is known, says nothing.
    pub fn revoke(&mut self, revocation: &Verified<Revocation>, at: UnixTime) -> bool {
        self.revoke_since(revocation, |_| at)
    }

    /// As [`TrustSet::revoke`], where each of its keys was first taken back at a time of its own.
    pub fn revoke_since(
        &mut self,
        revocation: &Verified<Revocation>,
        since: impl Fn(&PublicKey) -> UnixTime,
    ) -> bool {
        if revocation.v != 1 || !self.roots.contains_key(&revocation.root) {
            return false;
        }
        let (seq, subkeys) = self.revoked.entry(revocation.root).or_default();
        if !subkeys.is_empty() && revocation.seq <= *seq {
            return false;
        }
        *seq = revocation.seq;
        // A later list can only add: a root that was seized must not bring a subkey back.
        let before = subkeys.len();
        for subkey in &revocation.subkeys {
            subkeys.entry(*subkey).or_insert_with(|| since(subkey));
        }
        subkeys.len() > before
    }

    /// Takes a checkpoint of a trusted root.
    pub fn vouch(&mut self, checkpoint: &Verified<Checkpoint>) {
        let ascending = checkpoint.heads.is_sorted();
        if checkpoint.v == 1 && ascending && self.roots.contains_key(&checkpoint.root) {
            self.vouched.extend(checkpoint.heads.iter().map(|head| (checkpoint.root, *head)));
        }
    }

    /// Whether `root` took `subkey` back.
    pub fn standing(&self, root: &PublicKey, subkey: &PublicKey) -> Standing {
        match self.revoked.get(root) {
            Some((_, subkeys)) => {
                subkeys.get(subkey).map_or(Standing::Good, |at| Standing::Revoked(*at))
            }
            None => Standing::Good,
        }
    }

    /// Whether a checkpoint of `root` lists this signed head.
    pub fn is_vouched(&self, root: &PublicKey, head: &Hash) -> bool {
        self.vouched.contains(&(*root, *head))
    }
}
