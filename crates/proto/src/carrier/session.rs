//! What both ends of a carrier have: the stream, and the legs that it travels on at the moment.
//!
//! It opens and closes no leg by itself; that is for [`Client`](super::Client) and
//! [`Server`](super::Server). Whatever was written on a leg that is lost, and is not known to have
//! arrived, is written again on another.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::WINDOW;
use super::frame::{ACK_LEN, DATA_HEAD, Decoder, Frame, FrameError, HEAD};
use super::inbox::Inbox;
use super::outbox::{Outbox, Ranges};
use super::shape::{Shape, Side};
use crate::time::Tick;

/// How long an acknowledgement may wait for company.
const ACK_DELAY: Duration = Duration::from_millis(20);
/// After so many bytes it does not wait.
const ACK_AFTER: usize = 32 * 1024;
/// What a write costs on the line beside its bytes, about: TLS adds to each record.
pub(super) const OVERHEAD: u64 = 32;
/// A leg with less than this left of its budget is at its end.
const LEAST_BUDGET: u64 = OVERHEAD * 2 + (ACK_LEN + DATA_HEAD + HEAD) as u64 + 64;
/// The wait for an answer, before anything was measured …
const PRIOR_PATIENCE: Duration = Duration::from_secs(2);
/// … and however quick or slow the line is.
const LEAST_PATIENCE: Duration = Duration::from_millis(700);
const MOST_PATIENCE: Duration = Duration::from_secs(5);

/// A leg of a session, as its own end counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub u32);

/// Why a leg can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Its bytes are no frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Its frames make no sense.
    #[error("the other end does not keep to the rules")]
    Rules,
}

/// How far this end is with ending a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Not,
    Wanted,
    Said,
}

/// One leg.
#[derive(Debug)]
pub(super) struct Leg {
    decoder: Decoder,
    shape: Shape,
    /// What of the stream was written on it and is not known to have arrived.
    sent: Ranges,
    /// The client's first frame, until it is written.
    pub(super) open: Option<Frame>,
    /// The first frame was written or read.
    opened: bool,
    /// Its number, as the client counts.
    pub(super) number: u32,
    /// What this end may still write.
    pub(super) budget: Option<u64>,
    /// What the other end may write, as this one has said.
    pub(super) granted: Option<u64>,
    /// About how many bytes came, on the line.
    pub(super) down: u64,
    pub(super) end: End,
    pub(super) peer_ended: bool,
    /// When an acknowledgement is due on it.
    ack_at: Option<Tick>,
    ack_bytes: usize,
    /// An acknowledgement is to be asked for.
    pub(super) ping: bool,
    /// One was asked for and did not come.
    pinged: bool,
    pub(super) heard_at: Option<Tick>,
    /// When a part of the stream came last, until a sign was asked for after it.
    pub(super) news_at: Option<Tick>,
    /// Since when something is awaited on it.
    pub(super) asked_at: Option<Tick>,
    /// When what was written up to this offset.
    sample: Option<(Tick, u64)>,
    /// It is silent where it ought to answer.
    pub(super) suspect: bool,
}

impl Leg {
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::default(),
            shape: Shape::default(),
            sent: Ranges::default(),
            open: None,
            opened: false,
            number: 0,
            budget: None,
            granted: None,
            down: 0,
            end: End::Not,
            peer_ended: false,
            ack_at: None,
            ack_bytes: 0,
            ping: false,
            pinged: false,
            heard_at: None,
            news_at: None,
            asked_at: None,
            sample: None,
            suspect: false,
        }
    }

    /// Whether the other end has answered on it.
    pub(super) fn is_answered(&self) -> bool {
        self.heard_at.is_some()
    }

    fn owe_ack(&mut self, at: Tick) {
        self.ack_at = Some(self.ack_at.map_or(at, |old| old.min(at)));
    }

    /// Something came: what is still awaited is awaited from now on.
    fn heard(&mut self, len: usize, now: Tick) {
        self.down += len as u64 + OVERHEAD;
        self.heard_at = Some(now);
        self.shape.heard();
        self.suspect = false;
        self.asked_at = None;
    }
}

/// One end of a stream that travels on legs.
#[derive(Debug)]
pub struct Session {
    is_client: bool,
    out: Outbox,
    inbox: Inbox,
    pub(super) legs: BTreeMap<LegId, Leg>,
    chance: ChaCha8Rng,
    /// About how long an answer takes, and how much that varies.
    rtt: Option<(Duration, Duration)>,
    /// The leg on which the end of the stream was said.
    fin_on: Option<LegId>,
    /// How far the other end was told that it may go.
    told: u64,
}

impl Session {
    pub(super) fn new(is_client: bool, seed: [u8; 32]) -> Self {
        Self {
            is_client,
            out: Outbox::new(),
            inbox: Inbox::default(),
            legs: BTreeMap::new(),
            chance: ChaCha8Rng::from_seed(seed),
            rtt: None,
            fin_on: None,
            told: WINDOW as u64,
        }
    }

    /// How many bytes [`Session::write`] takes now.
    pub fn room(&self) -> usize {
        self.out.room()
    }

    /// Takes bytes to carry, as many as there is room for.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        self.out.put(bytes)
    }

    /// No more bytes come from this side.
    pub fn finish(&mut self) {
        self.out.finished = true;
    }

    /// The next bytes that were carried here.
    pub fn read(&mut self) -> Option<Bytes> {
        self.inbox.take()
    }

    /// Whether all that the other side had to say was read.
    pub fn is_read(&self) -> bool {
        self.inbox.is_over()
    }

    /// Whether both sides have said all, and know that it arrived.
    pub fn is_done(&self) -> bool {
        self.is_said() && self.inbox.is_whole()
    }

    /// Whether this side has said all.
    pub(super) fn is_finished(&self) -> bool {
        self.out.finished
    }

    /// Whether this side has said all, and all of it arrived.
    pub(super) fn is_said(&self) -> bool {
        self.out.finished && self.out.base() == self.out.end()
    }

    /// Whether nothing more is to be written on this leg.
    pub fn is_ended(&self, leg: LegId) -> bool {
        self.legs.get(&leg).is_none_or(|leg| leg.end == End::Said)
    }

    /// How long an answer is waited for: what was measured, doubled.
    pub fn patience(&self) -> Duration {
        let measured = self.rtt.map_or(PRIOR_PATIENCE, |(mean, off)| (mean + off * 4) * 2);
        measured.clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }

    /// How long an answer takes, if one came.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|(mean, _)| mean)
    }

    /// The leg that carries the stream now. The client speaks on its newest, the server fills them in
    /// order. On a leg that is not the session's first the client waits for the answer, which says
    /// what need not be sent again.
    pub(super) fn speaker(&self) -> Option<LegId> {
        let ready = |leg: &Leg| leg.is_answered() || !self.is_client || leg.number == 0;
        let begun = |leg: &Leg| leg.opened || leg.open.is_some();
        let usable = |leg: &Leg| leg.end == End::Not && begun(leg) && ready(leg);
        let legs = self.legs.iter().filter(|(_, leg)| usable(leg));
        let best = if self.is_client {
            legs.max_by_key(|(id, leg)| (!leg.suspect, !leg.peer_ended, leg.is_answered(), **id))
        } else {
            let mut legs = legs;
            legs.next()
        };
        best.map(|(id, _)| *id)
    }

    /// Takes what came on a leg. A leg that is broken is lost.
    pub(super) fn received(&mut self, id: LegId, bytes: &[u8], now: Tick) -> Result<(), Broken> {
        let Some(leg) = self.legs.get_mut(&id) else { return Ok(()) };
        leg.heard(bytes.len(), now);
        leg.decoder.push(bytes);
        while let Some(leg) = self.legs.get_mut(&id)
            && let Some(frame) = leg.decoder.take()?
        {
            self.take(id, frame, now)?;
        }
        if let Some(leg) = self.legs.get_mut(&id)
            && (leg.pinged || !leg.sent.is_empty())
        {
            leg.asked_at = Some(now);
        }
        Ok(())
    }

    fn take(&mut self, id: LegId, frame: Frame, now: Tick) -> Result<(), Broken> {
        let is_client = self.is_client;
        let Some(leg) = self.legs.get_mut(&id) else { return Ok(()) };
        if !is_client && !leg.opened && !matches!(frame, Frame::Open { .. } | Frame::Pad(_)) {
            return Err(Broken::Rules);
        }
        let sound = match frame {
            Frame::Pad(_) => true,
            Frame::Data { offset, bytes } => {
                leg.ack_bytes += bytes.len();
                let at = if leg.ack_bytes >= ACK_AFTER { now } else { now + ACK_DELAY };
                leg.owe_ack(at);
                leg.news_at = Some(now);
                self.inbox.put(offset, &bytes)
            }
            Frame::Ack { received, limit } => self.acked(id, received, limit, now),
            Frame::Open { number, from, budget } => {
                let first = !is_client && !leg.opened;
                leg.opened = true;
                leg.number = number;
                leg.budget = (budget > 0).then_some(u64::from(budget));
                leg.owe_ack(now);
                let over: Vec<LegId> = self.below(from);
                over.into_iter().for_each(|id| self.lost(id));
                first
            }
            Frame::End => {
                leg.peer_ended = true;
                if !is_client && leg.end == End::Not {
                    leg.end = End::Wanted;
                }
                true
            }
            Frame::Fin(at) => {
                leg.owe_ack(now);
                self.inbox.finish(at)
            }
            Frame::Ping => {
                leg.owe_ack(now);
                true
            }
        };
        if sound { Ok(()) } else { Err(Broken::Rules) }
    }

    fn below(&self, number: u32) -> Vec<LegId> {
        let opened = self.legs.iter().filter(|(_, leg)| leg.opened && leg.number < number);
        opened.map(|(id, _)| *id).collect()
    }

    fn acked(&mut self, id: LegId, received: u64, limit: u64, now: Tick) -> bool {
        if !self.out.acked(received, limit) {
            return false;
        }
        let base = self.out.base();
        self.legs.values_mut().for_each(|leg| leg.sent.forget(base));
        let Some(leg) = self.legs.get_mut(&id) else { return true };
        leg.pinged = false;
        if let Some((at, _)) = leg.sample.take_if(|(_, to)| received >= *to) {
            let took = now - at;
            self.rtt = Some(match self.rtt {
                None => (took, took / 2),
                Some((mean, off)) => {
                    let new = mean.abs_diff(took);
                    ((mean * 7 + took) / 8, (off * 3 + new) / 4)
                }
            });
        }
        true
    }

    /// What is to be written on a leg next, as one write.
    pub fn transmit(&mut self, id: LegId, now: Tick) -> Option<Vec<u8>> {
        let speaks = self.speaker() == Some(id);
        let data = speaks && self.out.is_due();
        let window =
            speaks && self.inbox.limit() - self.told.min(self.inbox.limit()) >= WINDOW as u64 / 4;
        let fin = speaks && self.out.finished && self.out.is_sent() && self.fin_on.is_none();
        // Who can't speak any more leaves its acknowledgements to whoever does.
        self.pass_on_ack();
        let leg = self.legs.get_mut(&id)?;
        if leg.end == End::Said || !(leg.opened || leg.open.is_some()) {
            return None;
        }
        if leg.budget.is_some_and(|left| left < LEAST_BUDGET) && leg.end == End::Not {
            leg.end = End::Wanted;
        }
        let ending = leg.end == End::Wanted;
        let ack = leg.ack_at.is_some_and(|at| at <= now) || leg.open.is_some();
        if !(ending || ack || window || data || fin || leg.ping) {
            return None;
        }
        Some(self.compose(id, data && !ending, fin && !ending, now))
    }

    fn pass_on_ack(&mut self) {
        let mut owed = None;
        for leg in self.legs.values_mut().filter(|leg| leg.end == End::Said) {
            owed = owed.into_iter().chain(leg.ack_at.take()).min();
        }
        if let (Some(at), Some(id)) = (owed, self.speaker())
            && let Some(leg) = self.legs.get_mut(&id)
        {
            leg.owe_ack(at);
        }
    }

    fn compose(&mut self, id: LegId, data: bool, fin: bool, now: Tick) -> Vec<u8> {
        let ack = Frame::Ack { received: self.inbox.received(), limit: self.inbox.limit() };
        let is_client = self.is_client;
        let leg = self.legs.get_mut(&id).expect("asked for by its id a moment ago");
        let side = match (is_client, leg.budget) {
            (true, _) => Side::Client,
            (false, None) => Side::Server,
            (false, Some(_)) => Side::Sparing,
        };
        let mut lengths = leg.shape.next(side, &mut self.chance);
        if let Some(left) = leg.budget {
            let left = usize::try_from(left.saturating_sub(OVERHEAD)).unwrap_or(usize::MAX);
            lengths.most = lengths.most.min(left.saturating_sub(HEAD));
            lengths.least = lengths.least.min(lengths.most);
        }
        let mut out = Vec::with_capacity(lengths.most.min(2048));
        if let Some(open) = leg.open.take() {
            leg.opened = true;
            leg.asked_at = Some(now);
            leg.sample = Some((now, 0));
            open.put(&mut out);
        }
        ack.put(&mut out);
        self.told = self.inbox.limit();
        (leg.ack_at, leg.ack_bytes) = (None, 0);
        if std::mem::take(&mut leg.ping) {
            leg.pinged = true;
            leg.asked_at = leg.asked_at.or(Some(now));
            Frame::Ping.put(&mut out);
        }
        let room = lengths.most.saturating_sub(out.len() + DATA_HEAD).min(super::MAX_DATA);
        if data && let Some((offset, bytes)) = self.out.take(room) {
            let to = offset + bytes.len() as u64;
            leg.sent.add(offset..to);
            leg.sample = leg.sample.or(Some((now, to)));
            leg.asked_at = leg.asked_at.or(Some(now));
            Frame::Data { offset, bytes }.put(&mut out);
        }
        if fin && self.out.is_sent() {
            self.fin_on = Some(id);
            Frame::Fin(self.out.end()).put(&mut out);
        }
        if leg.end == End::Wanted {
            leg.end = End::Said;
            Frame::End.put(&mut out);
        } else {
            let pad = Shape::padding(lengths, out.len(), &mut self.chance);
            if pad >= HEAD {
                Frame::Pad(pad - HEAD).put(&mut out);
            }
        }
        if let Some(left) = &mut leg.budget {
            *left = left.saturating_sub(out.len() as u64 + OVERHEAD);
        }
        out
    }

    /// A leg is gone; what was on it is sent again unless it is known to have arrived.
    pub(super) fn lost(&mut self, id: LegId) {
        let Some(leg) = self.legs.remove(&id) else { return };
        self.out.lost(leg.sent);
        // What was told on it may not have been heard.
        self.told = 0;
        if self.fin_on == Some(id) {
            self.fin_on = None;
        }
    }

    /// When an acknowledgement that is not due yet will be.
    pub(super) fn ack_at(&self, now: Tick) -> Option<Tick> {
        let legs = self.legs.values().filter(|leg| leg.end == End::Not);
        legs.filter_map(|leg| leg.ack_at).filter(|at| *at > now).min()
    }
}
