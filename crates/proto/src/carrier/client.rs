//! The client's end: it opens legs, one as long as nothing is wrong, and learns what the line does to
//! them.
//!
//! A leg is *suspect* when what it was asked for is overdue by the line's own measure. Silence alone
//! means nothing: a leg on which nothing is awaited is idle. After something came, and then nothing
//! for a while, it is asked for a sign, so that a flow that was cut off in the middle is found out.
//! Only when another leg is answered, and the suspect is still silent, was it the leg and not the line.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::frame::Frame;
use super::habit::Habit;
use super::session::{Broken, End, Leg, LegId, Session};
use super::{EXPIRY, MAX_LEGS};
use crate::time::Tick;

/// A leg that was ended and is not closed by then is dropped; and so long the end of the stream is
/// waited for.
const LINGER: Duration = Duration::from_secs(5);
/// After a leg could not be opened, the next is tried after this long, and after twice as long each
/// time, up to …
const RETRY: Duration = Duration::from_millis(250);
/// … this.
const MOST_RETRY: Duration = Duration::from_secs(8);
/// A leg that was used up so quickly shows that much is coming.
const QUICK: Duration = Duration::from_secs(2);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientOutput {
    /// Open a leg. `known`: the server has this session already.
    Open {
        /// The new leg.
        leg: LegId,
        /// Whether the server has answered in this session.
        known: bool,
    },
    /// Close a leg at once.
    Drop(LegId),
    /// Wait for something to happen, at most until then.
    Wait(Option<Tick>),
    /// The session has ended.
    Over,
}

/// The machine.
#[derive(Debug)]
pub struct Client {
    session: Session,
    habit: Habit,
    next: u32,
    opening: Option<LegId>,
    failures: u32,
    retry_at: Tick,
    /// When a leg was last heard.
    met_at: Tick,
    known: bool,
    gone: bool,
    /// When the last leg was used up; whether that was soon after the one before.
    used_up: Option<Tick>,
    busy_until: Tick,
    drops: Vec<LegId>,
    finished_at: Option<Tick>,
    /// What had come on a leg that was silent to its end, if no other has been answered since.
    silent: Option<u64>,
    /// The legs that were ended, and when.
    ended: Vec<(LegId, Tick)>,
}

impl Deref for Client {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Client {
    /// A new session over a line with this habit.
    pub fn new(habit: Habit, seed: [u8; 32], now: Tick) -> Self {
        Self {
            session: Session::new(true, seed),
            habit,
            next: 0,
            opening: None,
            failures: 0,
            retry_at: now,
            met_at: now,
            known: false,
            gone: false,
            used_up: None,
            busy_until: now,
            drops: Vec::new(),
            finished_at: None,
            silent: None,
            ended: Vec::new(),
        }
    }

    /// Whether a leg is answered and owes nothing for too long.
    pub fn is_well(&self) -> bool {
        self.session.legs.values().any(|leg| leg.is_answered() && !leg.suspect)
    }

    /// What was learned of the line.
    pub fn habit(&self) -> &Habit {
        &self.habit
    }

    /// A leg that was to be opened is: its first frame may be written.
    pub fn opened(&mut self, id: LegId, now: Tick) {
        if self.opening.take_if(|opening| *opening == id).is_none() {
            return;
        }
        let budget = self.habit.limit(now).or_else(|| self.presumed_limit());
        let steady = |leg: &&Leg| !leg.suspect;
        let from = self.session.legs.values().filter(steady).map(|leg| leg.number).min();
        let mut leg = Leg::new();
        leg.number = id.0;
        leg.open = Some(Frame::Open {
            number: id.0,
            from: from.unwrap_or(id.0),
            budget: budget.map_or(0, |budget| u32::try_from(budget).unwrap_or(0)),
        });
        leg.granted = budget;
        self.session.legs.insert(id, leg);
    }

    /// If a leg has just gone silent in the middle, the next is taken for short-lived too.
    fn presumed_limit(&self) -> Option<u64> {
        let mut guess = Habit::default();
        let suspect = self.session.legs.values().find(|leg| leg.suspect)?;
        guess.froze(suspect.down, Tick(0));
        guess.limit(Tick(0))
    }

    /// A leg could not be opened.
    pub fn failed(&mut self, id: LegId, now: Tick) {
        if self.opening == Some(id) {
            self.opening = None;
        }
        self.session.lost(id);
        self.retry_at = now + (RETRY * 2u32.pow(self.failures.min(8))).min(MOST_RETRY);
        self.failures = self.failures.saturating_add(1);
    }

    /// The server does not know the session, or takes no new one.
    pub fn refused(&mut self, id: LegId, now: Tick) {
        self.gone = true;
        self.failed(id, now);
    }

    /// A leg is closed. `reset`: it did not end as it should.
    pub fn lost(&mut self, id: LegId, reset: bool, now: Tick) {
        let Some(leg) = self.session.legs.get(&id) else { return };
        let early = leg.end != End::Said && !leg.peer_ended;
        if leg.suspect && leg.is_answered() {
            self.silent = Some(leg.down);
        } else if reset && early {
            self.habit.was_reset(leg.down, now);
        }
        if !leg.is_answered() {
            return self.failed(id, now);
        }
        self.session.lost(id);
    }

    /// Takes what came on a leg.
    pub fn received(&mut self, id: LegId, bytes: &[u8], now: Tick) -> Result<(), Broken> {
        (self.met_at, self.known, self.failures) = (now, true, 0);
        let ended = |client: &Self| client.session.legs.get(&id).is_some_and(|leg| leg.peer_ended);
        let before = ended(self);
        let done = self.session.received(id, bytes, now);
        if done.is_err() {
            self.session.lost(id);
        } else if !before && ended(self) {
            if self.used_up.is_some_and(|last| now - last < QUICK) {
                self.busy_until = now + QUICK;
            }
            self.used_up = Some(now);
        }
        done
    }

    /// What to do at `now`; to be asked until it waits.
    pub fn poll(&mut self, now: Tick) -> ClientOutput {
        if self.is_over(now) {
            return ClientOutput::Over;
        }
        self.doubt(now);
        self.probe(now);
        self.settle(now);
        self.let_go(now);
        if let Some(leg) = self.drops.pop() {
            return ClientOutput::Drop(leg);
        }
        if self.opening.is_none() && self.retry_at <= now && self.wants_leg(now) {
            let leg = LegId(self.next);
            self.next = self.next.saturating_add(1);
            self.opening = Some(leg);
            return ClientOutput::Open { leg, known: self.known };
        }
        ClientOutput::Wait(self.next_moment(now))
    }

    fn is_over(&mut self, now: Tick) -> bool {
        let finished = self.session.is_finished();
        let since = finished.then(|| *self.finished_at.get_or_insert(now));
        let lingered = since.is_some_and(|at| now - at >= LINGER);
        self.gone || lingered || self.session.is_done() || now - self.last_met() >= EXPIRY
    }

    /// When the other end was last known to be there: on an idle leg, it still is.
    fn last_met(&self) -> Tick {
        let idle =
            self.session.legs.values().any(|leg| leg.is_answered() && leg.asked_at.is_none());
        if idle { Tick(u64::MAX) } else { self.met_at }
    }

    /// Suspects each leg that owes an answer for too long.
    fn doubt(&mut self, now: Tick) {
        let patience = self.session.patience();
        for leg in self.session.legs.values_mut() {
            leg.suspect |= leg.asked_at.is_some_and(|at| now - at >= patience);
        }
    }

    /// Asks for a sign where something came, and then nothing.
    fn probe(&mut self, now: Tick) {
        let Some((id, heard)) = self.to_probe() else { return };
        if now - heard >= self.session.patience()
            && let Some(leg) = self.session.legs.get_mut(&id)
        {
            (leg.ping, leg.news_at) = (true, None);
        }
    }

    /// The leg in use, if it brought something and nothing is awaited on it, and when it was heard.
    fn to_probe(&self) -> Option<(LegId, Tick)> {
        let id = self.session.speaker()?;
        let leg = self.session.legs.get(&id)?;
        let news = leg.news_at.filter(|_| leg.asked_at.is_none() && !leg.peer_ended)?;
        Some((id, leg.heard_at.unwrap_or(news)))
    }

    /// Lets newer legs take over from older ones, once they are answered.
    fn settle(&mut self, now: Tick) {
        let newest =
            self.session.legs.iter().rev().find(|(_, leg)| leg.is_answered() && !leg.suspect);
        let Some(newest) = newest.map(|(id, _)| *id) else { return };
        if let Some(down) = self.silent.take() {
            self.habit.froze(down, now);
        }
        let older: Vec<LegId> = self.session.legs.range(..newest).map(|(id, _)| *id).collect();
        for id in older {
            let Some(leg) = self.session.legs.get_mut(&id) else { continue };
            if leg.suspect {
                self.habit.froze(leg.down, now);
                self.session.lost(id);
                self.drops.push(id);
            } else if leg.end == End::Not && (leg.granted.is_none() || leg.peer_ended) {
                leg.end = End::Wanted;
                self.ended.push((id, now));
            }
        }
    }

    /// Drops legs that were ended and that the other end does not close.
    fn let_go(&mut self, now: Tick) {
        let late = self.ended.iter().filter(|(_, at)| now - *at >= LINGER);
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.session.lost(id);
            self.drops.push(id);
        }
        self.ended.retain(|(id, _)| self.session.legs.contains_key(id));
    }

    fn wants_leg(&mut self, now: Tick) -> bool {
        let legs = &self.session.legs;
        let usable = |leg: &&Leg| !leg.suspect && !leg.peer_ended && leg.end == End::Not;
        let wanted = !legs.values().any(|leg| usable(&leg)) || self.runs_low(now);
        let open = legs.values().filter(|leg| leg.end != End::Said).count();
        if wanted && open >= MAX_LEGS {
            // The oldest one that is of no use makes room.
            let useless = legs.iter().find(|(_, leg)| leg.suspect).map(|(id, _)| *id);
            let Some(id) = useless else { return false };
            self.session.lost(id);
            self.drops.push(id);
            return false;
        }
        wanted
    }

    /// Whether what may still come on the legs that are there is little.
    fn runs_low(&self, now: Tick) -> bool {
        let Some(limit) = self.habit.limit(now) else { return false };
        let left = |leg: &Leg| match leg.granted {
            _ if leg.suspect || leg.peer_ended || leg.end != End::Not => 0,
            Some(granted) => granted.saturating_sub(leg.down),
            None => limit.saturating_sub(leg.down),
        };
        let left: u64 = self.session.legs.values().map(left).sum();
        let enough = if now < self.busy_until { limit * 9 / 4 } else { limit * 3 / 4 };
        left < enough
    }

    fn next_moment(&self, now: Tick) -> Option<Tick> {
        let patience = self.session.patience();
        let legs = self.session.legs.values();
        let asked = legs.filter(|leg| !leg.suspect).filter_map(|leg| leg.asked_at);
        let overdue = asked.map(|at| at + patience).min();
        let probe = self.to_probe().map(|(_, heard)| heard + patience);
        let linger = self.ended.iter().map(|(_, at)| *at + LINGER).min();
        let finished = self.finished_at.map(|at| at + LINGER);
        let retry = (self.opening.is_none() && self.retry_at > now).then_some(self.retry_at);
        let expiry = Some(self.last_met()).filter(|at| at.0 != u64::MAX).map(|at| at + EXPIRY);
        let moments = [self.session.ack_at(now), overdue, probe, linger, finished, retry, expiry];
        // What is due was done; it must not be waited for again.
        moments.into_iter().flatten().filter(|at| *at > now).min()
    }
}
