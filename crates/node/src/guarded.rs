//! The guards of a quiet node: filled from what its reader joined, told how each did, kept in the store.
//!
//! Which nodes they are and whom to ask first is `busel_proto::guards`' to say.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use busel_net::finder::invite::contacts;
use busel_net::wire::Contact;
use busel_proto::exchange::Group;
use busel_proto::guards::{Candidate, Guards};
use busel_proto::id::PeerId;
use busel_proto::invite::{Invite, VeilTicket};
use busel_store::{ReadError, Store};
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::clock;
use crate::joined::Joined;

/// Its name in the store.
const GUARDS: &str = "guards";
/// Of the new ones of an invite, so many help at once if no guard answers.
const MAX_WELCOME: usize = 2;
/// Nodes that were named otherwise than by an invite.
const MAX_NAMED: usize = 64;

/// The guards, and who may become one.
pub(crate) struct Guarded {
    guards: Arc<Mutex<Guards>>,
    /// Held while they are written, so that the newest are written last.
    writing: Arc<Mutex<()>>,
    invited: Mutex<Vec<Candidate>>,
    named: Mutex<Vec<Candidate>>,
    store: Store,
    tasks: TaskTracker,
}

/// That a guard is being asked, until it is dropped.
pub(crate) struct Asking<'a>(Option<(&'a Guarded, PeerId)>);

impl Guarded {
    /// Reads who they are. A list that can't be read is none: then guards are drawn anew.
    pub(crate) fn load(
        store: Store,
        tasks: TaskTracker,
        joined: &Joined,
    ) -> Result<Self, ReadError> {
        let kept = store.setting(GUARDS)?;
        let guards = kept.and_then(|bytes| Guards::from_bytes(&bytes).ok()).unwrap_or_default();
        Ok(Self {
            guards: Arc::new(Mutex::new(guards)),
            writing: Arc::default(),
            invited: Mutex::new(invited_by(joined)),
            named: Mutex::default(),
            store,
            tasks,
        })
    }

    /// Looks anew at what was joined.
    pub(crate) fn invited(&self, joined: &Joined) {
        let mut new = invited_by(joined);
        let before = std::mem::replace(&mut *lock(&self.invited), new.clone());
        new.retain(|new| before.iter().all(|known| known.peer != new.peer));
        new.iter().take(MAX_WELCOME).for_each(|new| self.welcome(new));
    }

    fn welcome(&self, candidate: &Candidate) {
        lock(&self.guards).welcome(candidate, clock::now());
        self.keep();
    }

    /// A person named a node otherwise than by an invite.
    pub(crate) fn named(&self, contact: &Contact) {
        let mut named = lock(&self.named);
        if named.len() < MAX_NAMED && named.iter().all(|known| known.peer != contact.peer) {
            named.push(candidate(contact, true));
            self.welcome(&candidate(contact, true));
        }
    }

    /// Whom to ask, in this order.
    pub(crate) fn order(&self, joined: &Joined) -> Vec<PeerId> {
        let candidates = [lock(&self.invited).clone(), lock(&self.named).clone()].concat();
        let order = {
            let mut guards = lock(&self.guards);
            guards.fill(&candidates, rand::random(), clock::now());
            guards.order(rand::random())
        };
        self.keep();
        let view = joined.view();
        let injects = |peer: &PeerId| view.injectors.iter().any(|injector| injector.peer == *peer);
        order.into_iter().filter(|peer| !injects(peer)).collect()
    }

    /// How many there are, and how many of them answer.
    pub(crate) fn count(&self) -> (usize, usize) {
        lock(&self.guards).count()
    }

    /// Notes that one is being asked.
    pub(crate) fn asking(&self, peer: PeerId) -> Asking<'_> {
        lock(&self.guards).begins(&peer);
        Asking(Some((self, peer)))
    }

    pub(crate) fn worked(&self, peer: &PeerId, took: Duration) {
        lock(&self.guards).worked(peer, took, clock::now());
        self.keep();
    }

    pub(crate) fn failed(&self, peer: &PeerId) {
        lock(&self.guards).failed(peer, clock::now());
        self.keep();
    }

    pub(crate) fn lied(&self, peer: &PeerId) {
        lock(&self.guards).lied(peer);
        self.keep();
    }

    /// Keeps what is new.
    fn keep(&self) {
        if !lock(&self.guards).take_news() {
            return;
        }
        let (store, guards, writing) =
            (self.store.clone(), self.guards.clone(), self.writing.clone());
        self.tasks.spawn_blocking(move || {
            let _writing = lock(&writing);
            let bytes = lock(&guards).to_bytes();
            if let Err(error) = store.set(GUARDS, &bytes) {
                debug!(%error, "the guards were not kept");
            }
        });
    }
}

impl Asking<'_> {
    /// For a node that has no guards.
    pub(crate) fn nobody() -> Self {
        Self(None)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some((guarded, peer)) = &self.0 {
            lock(&guarded.guards).ends(peer);
        }
    }
}

/// Who may become a guard by what was joined.
fn invited_by(joined: &Joined) -> Vec<Candidate> {
    let (firm, weak) = (joined.invites_that_are(true), joined.invites_that_are(false));
    // An injector learns what is asked for, so it must not be who learns by whom.
    let injects = |peer: &PeerId| {
        let mut tickets = firm.iter().chain(&weak).flat_map(|invite| &invite.injectors);
        tickets.any(|ticket| ticket.peer == *peer)
    };
    let of = |invites: &[Invite], confirmed| -> Vec<Candidate> {
        let contacts = invites.iter().flat_map(contacts);
        let others = contacts.filter(|contact| !injects(&contact.peer));
        others.map(|contact| candidate(&contact, confirmed)).collect()
    };
    let mut candidates = of(&firm, true);
    candidates.extend(of(&weak, false));
    candidates
}

fn candidate(contact: &Contact, confirmed: bool) -> Candidate {
    let veiled = contact.veil.iter().flat_map(VeilTicket::addrs).next();
    let plain = contact.addrs.first().copied();
    let relay = contact.relay.iter().find_map(|relay| relay.addr.parse().ok());
    let addr: Option<SocketAddr> = veiled.or(plain).or(relay);
    let group = addr.map(|addr| Group::of(addr.ip()));
    Candidate { peer: contact.peer, group, confirmed }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
