//! The server's end: it takes the legs that the client opens, and forgets the session when none comes
//! for a while.

use std::ops::{Deref, DerefMut};

use super::session::{Broken, Leg, LegId, Session};
use super::{EXPIRY, MAX_LEGS};
use crate::time::Tick;

/// Legs that are kept: the client may have given one up that still looks well from here.
const MOST_LEGS: usize = MAX_LEGS + 2;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerOutput {
    /// Close a leg at once.
    Drop(LegId),
    /// Wait for something to happen, at most until then.
    Wait(Option<Tick>),
    /// The session has ended.
    Over,
}

/// The machine.
#[derive(Debug)]
pub struct Server {
    session: Session,
    next: u32,
    /// Since when there is no leg.
    alone: Option<Tick>,
    drops: Vec<LegId>,
}

impl Deref for Server {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Server {
    /// A new session.
    pub fn new(seed: [u8; 32], now: Tick) -> Self {
        let session = Session::new(false, seed);
        Self { session, next: 0, alone: Some(now), drops: Vec::new() }
    }

    /// A leg has come. If there are too many, the oldest goes.
    pub fn opened(&mut self, now: Tick) -> LegId {
        if self.session.legs.len() >= MOST_LEGS
            && let Some(oldest) = self.session.legs.keys().next().copied()
        {
            self.drop(oldest, now);
        }
        let id = LegId(self.next);
        self.next = self.next.wrapping_add(1);
        self.session.legs.insert(id, Leg::new());
        self.alone = None;
        id
    }

    /// A leg is closed.
    pub fn lost(&mut self, id: LegId, now: Tick) {
        self.session.lost(id);
        self.note(now);
    }

    fn drop(&mut self, id: LegId, now: Tick) {
        self.lost(id, now);
        self.drops.push(id);
    }

    fn note(&mut self, now: Tick) {
        if self.session.legs.is_empty() {
            self.alone.get_or_insert(now);
        }
    }

    /// Takes what came on a leg.
    pub fn received(&mut self, id: LegId, bytes: &[u8], now: Tick) -> Result<(), Broken> {
        let before: Vec<LegId> = self.session.legs.keys().copied().collect();
        let done = self.session.received(id, bytes, now);
        if done.is_err() {
            self.session.lost(id);
        }
        let gone = before.into_iter().filter(|id| !self.session.legs.contains_key(id));
        self.drops.extend(gone);
        self.note(now);
        done
    }

    /// What to do at `now`; to be asked until it waits.
    pub fn poll(&mut self, now: Tick) -> ServerOutput {
        if let Some(leg) = self.drops.pop() {
            return ServerOutput::Drop(leg);
        }
        let expired = self.alone.is_some_and(|since| now - since >= EXPIRY);
        if expired || (self.session.is_said() && self.alone.is_some()) {
            return ServerOutput::Over;
        }
        let expiry = self.alone.map(|since| since + EXPIRY);
        ServerOutput::Wait(self.session.ack_at(now).into_iter().chain(expiry).min())
    }
}
