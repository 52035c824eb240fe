//! What the reader joined: invites, the roots that were confirmed, the site list, the injectors and
//! what they took back. Kept in the store, read at the start.
//!
//! Order counts: of two entries for one site the first stands, of two for one root the last. So each
//! invite is kept with its place, and a restart changes nothing. Each is kept under a hash of what it was:
//! the spare ways in that it brought are taken out of it one by one, and joining it again brings none
//! back.

mod hand_on;
mod heeded;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use busel_proto::cbor;
use busel_proto::cert::{Revocation, SubkeyCert, TrustSet, TrustedRoot};
use busel_proto::id::{Hash, PeerId, PublicKey};
use busel_proto::invite::{Invite, InviteError};
use busel_proto::page::HostName;
use busel_proto::signed::{Signed, Verified};
use busel_proto::sites::{Site, SiteList};
use busel_proto::time::UnixTime;
use busel_store::{ReadError, Store, WriteError};
use minicbor::{Decode, Encode};

pub use hand_on::{BRIDGES, SPARES};
use heeded::Heeded;
pub use heeded::{Heard, HeedError, MAX_WORD, Word};

/// Names of settings in the store.
const INVITES: &str = "joined/";
const CERTIFICATES: &str = "certificate/";

/// What the reader joined.
pub struct Joined {
    store: Store,
    own_sites: Vec<Site>,
    state: RwLock<State>,
    /// Held while something new is judged, written and taken.
    changing: Mutex<()>,
}

#[derive(Default)]
struct State {
    invites: Vec<Kept>,
    /// Replaced as a whole, so that a request works with one consistent view.
    view: Arc<View>,
    heeded: Heeded,
    /// Newer certificates of injectors that invites name, by subkey.
    renewed: BTreeMap<PublicKey, Verified<SubkeyCert>>,
    own_roots: Vec<TrustedRoot>,
}

/// What requests are judged by.
#[derive(Default)]
pub struct View {
    /// Whom the reader trusts.
    pub trust: TrustSet,
    /// Whose pages may be shared.
    pub sites: Arc<SiteList>,
    /// Injectors and their certificates, newest first.
    pub injectors: Vec<Injector>,
}

/// An injector that a trusted root certified.
#[derive(Debug, Clone)]
pub struct Injector {
    /// Its node.
    pub peer: PeerId,
    /// Its certificate.
    pub cert: Verified<SubkeyCert>,
}

#[derive(Clone, Encode, Decode)]
#[cbor(map)]
struct Kept {
    #[n(0)]
    invite: Invite,
    #[n(1)]
    trusted: bool,
    /// Counts up with each that is joined.
    #[cbor(n(2), default)]
    place: u64,
    /// The hash of the invite as it was joined, if something was taken out of it since.
    #[n(3)]
    was: Option<Hash>,
}

impl Kept {
    fn was(&self) -> Hash {
        self.was.unwrap_or_else(|| Hash::of(&cbor::to_vec(&self.invite)))
    }

    fn name(&self) -> String {
        format!("{INVITES}{}", self.was())
    }
}

/// Why an invite was not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It says what no invite may.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] WriteError),
}

/// What joining brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinReport {
    /// Nodes that can be asked.
    pub peers: usize,
    /// Roots that are trusted now.
    pub roots: usize,
    /// Roots that the invite asks to trust and that were not confirmed.
    pub unconfirmed: usize,
    /// Sites on the site list now.
    pub sites: usize,
}

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joined")
    }
}

impl Joined {
    /// Reads what was joined before; `own_sites` are the reader's own.
    pub fn load(store: Store, own_sites: Vec<Site>) -> Result<Self, ReadError> {
        const MAX: usize = 64 * 1024;
        let mut state = State { heeded: Heeded::load(&store)?, ..State::default() };
        for (_, bytes) in store.settings_with(INVITES)? {
            // One that an older version wrote and this one can't read, or would not join, is left
            // where it is.
            let kept = cbor::from_slice::<Kept>(&bytes, MAX).ok();
            state.invites.extend(kept.filter(|kept| kept.invite.check().is_ok()));
        }
        state.invites.sort_by_key(|kept| kept.place);
        for (_, bytes) in store.settings_with(CERTIFICATES)? {
            if let Ok(signed) = Signed::<SubkeyCert>::from_bytes(&bytes)
                && let Ok(cert) = signed.verify()
            {
                state.renewed.insert(cert.subkey, cert);
            }
        }
        state.rebuild(&own_sites);
        Ok(Self { store, own_sites, state: RwLock::new(state), changing: Mutex::default() })
    }

    /// What requests are judged by now.
    pub fn view(&self) -> Arc<View> {
        self.read().view.clone()
    }

    /// The invites that were joined, in that order.
    pub fn invites(&self) -> Vec<Invite> {
        self.read().invites.iter().map(|kept| kept.invite.clone()).collect()
    }

    /// Those of them that were confirmed, or were not.
    pub fn invites_that_are(&self, trusted: bool) -> Vec<Invite> {
        let state = self.read();
        let invites = state.invites.iter().filter(|kept| kept.trusted == trusted);
        invites.map(|kept| kept.invite.clone()).collect()
    }

    /// Joins `invite`. What it helps to reach is taken at once; its roots and sites only if
    /// `trusted`, the reader's word that they were confirmed.
    pub fn join(&self, invite: &Invite, trusted: bool) -> Result<JoinReport, JoinError> {
        invite.check()?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.read().invites.iter().map(|kept| kept.place + 1).max().unwrap_or(1);
        let mut kept = Kept { invite: invite.clone(), trusted, place, was: None };
        let was = kept.was();
        if let Some(old) = self.read().invites.iter().find(|old| old.was() == was) {
            kept = Kept { trusted, place, ..old.clone() };
        }
        self.store.set(&kept.name(), &cbor::to_vec(&kept))?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.invites.retain(|old| old.was() != was);
        state.invites.push(kept);
        state.rebuild(&self.own_sites);
        Ok(JoinReport {
            peers: invite.peers.len(),
            roots: state.view.trust.roots().count(),
            unconfirmed: if trusted { 0 } else { invite.roots.len() },
            sites: state.view.sites.iter().count(),
        })
    }

    /// Trusts a root of this very node: an injector believes itself.
    pub fn trust_own(&self, root: TrustedRoot) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.own_roots.push(root);
        state.rebuild(&self.own_sites);
    }

    /// Heeds the word of a root, come with content or by hand.
    pub fn heed(&self, word: Word, at: UnixTime) -> Result<Heard, HeedError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = {
            let state = self.read();
            state.view.trust.root(&word.root()).ok_or(HeedError::Untrusted)?;
            state.heeded.judge(&word, at)?
        };
        self.store.set(&taken.name, &taken.row)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.heeded.take(word, at);
        state.rebuild(&self.own_sites);
        Ok(taken.heard)
    }

    /// Whether `cert` is a newer one of an injector that is known: of the same root, for the same
    /// subkey. So there are never more of them than invites name injectors.
    pub fn is_news(&self, cert: &Verified<SubkeyCert>) -> bool {
        let same =
            |known: &Injector| known.cert.root == cert.root && known.cert.subkey == cert.subkey;
        let view = self.view();
        cert.v == 1 && view.injectors.iter().any(|i| same(i) && i.cert.epoch < cert.epoch)
    }

    /// Takes the newer certificate of an injector, which came with what it signed. Returns whether
    /// it said something new.
    pub fn renew(&self, cert: &Verified<SubkeyCert>) -> Result<bool, WriteError> {
        if !self.is_news(cert) {
            return Ok(false);
        }
        // Another task may have taken a newer one since.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_news(cert) {
            return Ok(false);
        }
        self.store.set(&format!("{CERTIFICATES}{}", cert.subkey), &cert.signed().to_bytes())?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.renewed.insert(cert.subkey, cert.clone());
        state.rebuild(&self.own_sites);
        Ok(true)
    }

    /// The newest revocation of `root`, to send along with its snapshots.
    pub fn revocation(&self, root: &PublicKey) -> Option<Signed<Revocation>> {
        self.read().heeded.revocation(root)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rebuild(&mut self, own_sites: &[Site]) {
        let mut view = View::default();
        for root in &self.own_roots {
            view.trust.add(root.clone());
        }
        let mut sites = own_sites.to_vec();
        for Kept { invite, .. } in self.invites.iter().filter(|kept| kept.trusted) {
            for root in &invite.roots {
                view.trust.add(root.clone());
            }
            sites.extend(invite.sites.iter().cloned());
        }
        self.heeded.tell(&mut view.trust);
        view.injectors = self.injectors(&view.trust);
        view.injectors.sort_by_key(|injector| std::cmp::Reverse(injector.cert.epoch));
        view.sites = Arc::new(SiteList::new(sites));
        self.view = Arc::new(view);
    }

    /// The injectors of roots that are trusted, each once, however many invites name it. Certificates
    /// are public, and which node works under one is the invite's word: an unconfirmed invite may
    /// renew a certificate, not put another node under it.
    fn injectors(&self, trust: &TrustSet) -> Vec<Injector> {
        let (mut injectors, mut confirmed) = (Vec::<Injector>::new(), BTreeSet::new());
        let (firm, weak): (Vec<_>, Vec<_>) = self.invites.iter().partition(|kept| kept.trusted);
        for Kept { invite, trusted, .. } in firm.into_iter().chain(weak) {
            for ticket in &invite.injectors {
                let Ok(cert) = ticket.cert.clone().verify() else { continue };
                let named = (ticket.peer, cert.root);
                if trust.root(&cert.root).is_none() || !(*trusted || confirmed.contains(&named)) {
                    continue;
                }
                confirmed.insert(named);
                let newer = self.renewed.get(&cert.subkey);
                let newer = newer.filter(|new| new.root == cert.root && new.epoch > cert.epoch);
                let cert = newer.cloned().unwrap_or(cert);
                let injector = Injector { peer: ticket.peer, cert };
                match injectors.iter_mut().find(|known| known.is_same(&injector)) {
                    Some(known) if known.cert.epoch < injector.cert.epoch => *known = injector,
                    Some(_) => {}
                    None => injectors.push(injector),
                }
            }
        }
        injectors
    }
}

impl Injector {
    /// Whether it is the same node with the same subkey of the same root: asked once, not twice.
    fn is_same(&self, other: &Self) -> bool {
        let key = |injector: &Self| (injector.peer, injector.cert.root, injector.cert.subkey);
        key(self) == key(other)
    }
}

impl View {
    /// Injectors whose word counts for `host`, and whose key is valid at `now`. If the reader's
    /// clock is so wrong that none is, all count: the injector will tell the time.
    pub fn injectors_for(&self, host: &HostName, now: UnixTime) -> Vec<Injector> {
        let counts = |injector: &&Injector| {
            let root = self.trust.root(&injector.cert.root);
            root.is_some_and(|root| root.hosts.iter().any(|pattern| pattern.matches(host)))
        };
        let all: Vec<_> = self.injectors.iter().filter(counts).cloned().collect();
        let valid: Vec<_> = all.iter().filter(|i| i.cert.covers(now)).cloned().collect();
        if valid.is_empty() { all } else { valid }
    }
}
