//! What is to be had: the newest signed head of each page that many read, without its body. So a node knows of a page
//! after a cut before it is asked for it, and a reader who has an older copy, or finds one, knows whether it is the newest.
//!
//! There is one for each root, and injectors alone put into it what many ask for ([`Popular`]) or what a publisher's
//! feeds name: each head in it is listed by a signature of its own ([`Listing`]), so that a page which one
//! reader asked for does not get in, whoever knows of it. Nodes compare what they have by range-based set
//! reconciliation (Meyer: *Range-Based Set Reconciliation*, 2023; crate `negentropy`), whole roots and not sites, so that
//! who compares does not say which ones its owner reads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use minicbor::{Decode, Encode};
use negentropy::{Id, Negentropy, NegentropyStorageVector};

use crate::cbor;
use crate::cert::TrustSet;
use crate::id::{Hash, PeerId, PublicKey, SnapshotKey};
use crate::signed::{Record, Signed, SignedError};
use crate::snapshot::{SignedSnapshot, Snapshot, SnapshotError};
use crate::time::UnixTime;

/// Pages of one root at most, …
pub const MAX_PAGES: usize = 8 * 1024;
/// … and bytes of what is signed of them. What was fetched longest ago goes first.
pub const MAX_BYTES: usize = 8 << 20;
/// A page is in it for so long after it was fetched.
pub const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Clocks may differ by so much.
const MAX_SKEW: Duration = Duration::from_secs(3600);
/// The longest message of a comparison, in bytes: a sealed question has room for it. …
pub const MAX_MESSAGE: usize = 16 * 1024;
/// … the most of them that are sent, …
pub const MAX_ROUNDS: usize = 24;
/// … and the most pages that one comparison finds missing on either side: the next one goes on.
pub const MAX_MISSING: usize = 1024;
/// Pages that are asked for at once, …
pub const MAX_WANTED: usize = 256;
/// … and bytes of what is sent for that, which a frame has room for.
pub const MAX_SENT: usize = 192 * 1024;

/// The first comparison is made this soon, …
pub const FIRST: Duration = Duration::from_secs(10);
/// … and then one so often by an open node, …
pub const ROUND: Duration = Duration::from_secs(60);
/// … and by a quiet one, …
pub const QUIET_ROUND: Duration = Duration::from_secs(15 * 60);
/// … and one this soon after something new has come; each up to twice as late.
pub const NEWS: Duration = Duration::from_secs(5);

/// An injector's word that many read a page.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Listing {
    /// Format, 1.
    #[n(0)]
    pub v: u8,
    /// The hash of the signed head.
    #[n(1)]
    pub head: Hash,
    /// The injector's subkey that signed the head, too.
    #[n(2)]
    pub injector: PublicKey,
}

impl Record for Listing {
    const CONTEXT: &'static str = "busel/1/listing";
    const MAX: usize = 128;
    fn signer(&self) -> PublicKey {
        self.injector
    }
}

/// A page as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedListed {
    /// The signed head.
    #[n(0)]
    pub snapshot: SignedSnapshot,
    /// That it is listed.
    #[n(1)]
    pub listing: Signed<Listing>,
}

/// A page that was verified.
#[derive(Debug, Clone)]
pub struct Listed {
    snapshot: Snapshot,
    listing: Signed<Listing>,
}

/// Why a page was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListedError {
    /// Its head.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The listing can't be read, or its signature does not fit.
    #[error("the listing is not valid: {0}")]
    Listing(SignedError),
    /// It lists something else, or another one signed it.
    #[error("it lists another page")]
    Other,
}

impl ListedError {
    /// Whether no honest node sends such a thing.
    pub fn is_a_lie(&self) -> bool {
        match self {
            Self::Snapshot(error) => error.is_a_lie(),
            Self::Listing(_) | Self::Other => true,
        }
    }
}

impl SignedListed {
    /// Verifies the head and that it is listed.
    pub fn verify(self, trust: &TrustSet) -> Result<Listed, ListedError> {
        let snapshot = self.snapshot.verify_page(trust)?;
        let listing = self.listing.clone().verify().map_err(ListedError::Listing)?;
        let same = listing.head == snapshot.head().signed().hash()
            && listing.injector == snapshot.cert().subkey
            && listing.v == 1;
        if same { Ok(Listed { snapshot, listing: self.listing }) } else { Err(ListedError::Other) }
    }
}

impl Listed {
    /// Lists a page that this injector has signed.
    pub fn sign(snapshot: Snapshot, subkey: &ed25519_dalek::SigningKey) -> Self {
        let head = snapshot.head().signed().hash();
        let listing = Listing { v: 1, head, injector: PublicKey::from(subkey) };
        Self { snapshot, listing: Signed::sign(&listing, subkey) }
    }

    /// The page.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The root in whose catalogue it is.
    pub fn root(&self) -> PublicKey {
        self.snapshot.cert().root
    }

    /// As it travels.
    pub fn to_signed(&self) -> SignedListed {
        SignedListed { snapshot: self.snapshot.to_signed(), listing: self.listing.clone() }
    }
}

/// The catalogue of one root.
#[derive(Debug, Default)]
pub struct Catalogue {
    pages: BTreeMap<SnapshotKey, Entry>,
    /// All of them, by age.
    order: BTreeMap<(UnixTime, Hash), SnapshotKey>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// When it was fetched, and the hash of its signed head: of two of one second the same one is the newer everywhere.
    place: (UnixTime, Hash),
    signed: SignedListed,
    bytes: usize,
}

/// What came of a page that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is in, in the place of an older one if there was one.
    New,
    /// That or a newer one was there.
    Known,
    /// It is too old, from the future, or older than all that a full catalogue has.
    Refused,
}

/// Why a message of a comparison can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// It breaks the protocol.
    #[error("what it compares makes no sense: {0}")]
    Malformed(String),
    /// It is too long, or one too many.
    #[error("it compares without end")]
    Endless,
}

impl Catalogue {
    /// Puts in a page.
    pub fn put(&mut self, listed: &Listed, now: UnixTime) -> Put {
        let (key, head) = (listed.snapshot.key(), listed.snapshot.head());
        let place = (head.fetched_at, head.signed().hash());
        if is_old(head.fetched_at, now) || head.fetched_at.0 > now.0 + MAX_SKEW.as_secs() {
            return Put::Refused;
        }
        if self.pages.get(&key).is_some_and(|known| known.place >= place) {
            return Put::Known;
        }
        self.remove(&key);
        let signed = listed.to_signed();
        let bytes = cbor::to_vec(&signed).len();
        self.bytes += bytes;
        self.order.insert(place, key);
        self.pages.insert(key, Entry { place, signed, bytes });
        self.trim(MAX_PAGES, MAX_BYTES);
        if self.pages.contains_key(&key) { Put::New } else { Put::Refused }
    }

    /// Takes out what is too old by now.
    pub fn expire(&mut self, now: UnixTime) {
        while let Some(((fetched_at, _), key)) = self.order.first_key_value() {
            if !is_old(*fetched_at, now) {
                break;
            }
            let key = *key;
            self.remove(&key);
        }
    }

    fn trim(&mut self, pages: usize, bytes: usize) {
        while self.pages.len() > pages || self.bytes > bytes {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            let oldest = *oldest;
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &SnapshotKey) {
        if let Some(entry) = self.pages.remove(key) {
            self.order.remove(&entry.place);
            self.bytes -= entry.bytes;
        }
    }

    /// The newest head of a page, if that was fetched after this.
    pub fn newer(&self, key: &SnapshotKey, than: UnixTime) -> Option<&SignedSnapshot> {
        let entry = self.pages.get(key).filter(|entry| entry.place.0 > than)?;
        Some(&entry.signed.snapshot)
    }

    /// All of it.
    pub fn all(&self) -> impl Iterator<Item = &SignedListed> {
        self.pages.values().map(|entry| &entry.signed)
    }

    /// Those of these that are not in it. They are not verified yet.
    pub fn unknown(&self, mut listed: Vec<SignedListed>) -> Vec<SignedListed> {
        listed.retain(|listed| {
            let place = listed.snapshot.head.peek().map(|head| head.fetched_at);
            let place = place.map(|at| (at, listed.snapshot.head.hash()));
            place.is_ok_and(|place| !self.order.contains_key(&place))
        });
        listed
    }

    /// Of these pages what is here, as far as one answer has room for it.
    pub fn some(&self, heads: &[Hash]) -> Vec<SignedListed> {
        let wanted: BTreeSet<_> = heads.iter().collect();
        let found = self.order.iter().rev().filter(|((_, head), _)| wanted.contains(head));
        let (mut some, mut left) = (Vec::new(), MAX_SENT);
        for entry in found.filter_map(|(_, key)| self.pages.get(key)) {
            let Some(rest) = left.checked_sub(entry.bytes) else { break };
            if some.len() >= MAX_WANTED {
                break;
            }
            left = rest;
            some.push(entry.signed.clone());
        }
        some
    }

    /// How many pages there are.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// What a comparison with another one is made of.
    pub fn sketch(&self) -> Sketch {
        let mut all = NegentropyStorageVector::with_capacity(self.order.len());
        for (fetched_at, head) in self.order.keys() {
            all.insert(fetched_at.0, Id::from_byte_array(head.0)).expect("it is not sealed yet");
        }
        all.seal().expect("it is not sealed yet");
        Sketch(all)
    }
}

fn is_old(fetched_at: UnixTime, now: UnixTime) -> bool {
    fetched_at.0.saturating_add(MAX_AGE.as_secs()) < now.0
}

/// Which pages there were at one moment.
#[derive(Debug)]
pub struct Sketch(NegentropyStorageVector);

impl Sketch {
    /// Answers a message of one that compares its own with this.
    pub fn answer(&self, message: &[u8]) -> Result<Vec<u8>, CompareError> {
        if message.len() > MAX_MESSAGE {
            return Err(CompareError::Endless);
        }
        let mut own = Negentropy::borrowed(&self.0, MAX_MESSAGE as u64).map_err(malformed)?;
        own.reconcile(message).map_err(malformed)
    }
}

/// A comparison of one's own catalogue with another's.
#[derive(Debug)]
pub struct Compare {
    own: Negentropy<'static, NegentropyStorageVector>,
    rounds: usize,
    found: Differ,
}

/// By their heads, what only one of two has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differ {
    /// What is missing here.
    pub here: Vec<Hash>,
    /// What is missing there.
    pub there: Vec<Hash>,
}

/// What comes next in a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send this, and hear the answer.
    Send(Vec<u8>),
    /// It is over.
    Found(Differ),
}

impl Compare {
    /// Begins one; and what is to be sent first.
    pub fn begin(own: Sketch) -> Result<(Self, Vec<u8>), CompareError> {
        let mut own = Negentropy::owned(own.0, MAX_MESSAGE as u64).map_err(malformed)?;
        let first = own.initiate().map_err(malformed)?;
        Ok((Self { own, rounds: 1, found: Differ::default() }, first))
    }

    /// Takes in an answer.
    pub fn hear(&mut self, message: &[u8]) -> Result<Next, CompareError> {
        if message.len() > MAX_MESSAGE {
            return Err(CompareError::Endless);
        }
        let (mut there, mut here) = (Vec::new(), Vec::new());
        let next = self.own.reconcile_with_ids(message, &mut there, &mut here);
        let next = next.map_err(malformed)?;
        let Differ { here: all_here, there: all_there } = &mut self.found;
        for (all, ids) in [(all_here, here), (all_there, there)] {
            all.extend(ids.into_iter().map(|id| Hash(id.to_bytes())));
            all.truncate(MAX_MISSING);
        }
        match next {
            Some(_) if self.found.here.len() >= MAX_MISSING => {}
            Some(_) if self.rounds >= MAX_ROUNDS => return Err(CompareError::Endless),
            Some(next) => {
                self.rounds += 1;
                return Ok(Next::Send(next));
            }
            None => {}
        }
        Ok(Next::Found(std::mem::take(&mut self.found)))
    }
}

fn malformed(error: negentropy::Error) -> CompareError {
    CompareError::Malformed(error.to_string())
}

/// What is asked for so often that it is listed.
#[derive(Debug, Default)]
pub struct Popular {
    pages: BTreeMap<SnapshotKey, (UnixTime, BTreeSet<PeerId>)>,
}

/// A page is listed once so many nodes have passed on requests for it, or asked for it themselves, …
pub const ASKERS: usize = 5;
/// … within this time of the first one. Those are more than pass on one reader's.
const WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Pages that are counted at a time. The one that was first asked for longest ago goes.
const MAX_COUNTED: usize = 4096;

impl Popular {
    /// `asker` asks for a page. Returns whether it is one that many ask for.
    pub fn asked(&mut self, key: SnapshotKey, asker: PeerId, now: UnixTime) -> bool {
        if !self.pages.contains_key(&key) && self.pages.len() >= MAX_COUNTED {
            let oldest = self.pages.iter().min_by_key(|(_, (since, _))| *since);
            let oldest = oldest.map(|(key, _)| *key);
            oldest.map(|oldest| self.pages.remove(&oldest));
        }
        let (since, askers) = self.pages.entry(key).or_insert_with(|| (now, BTreeSet::new()));
        if now.since(*since) > WITHIN {
            (*since, *askers) = (now, BTreeSet::new());
        }
        if askers.len() < ASKERS {
            askers.insert(asker);
        }
        askers.len() >= ASKERS
    }
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
