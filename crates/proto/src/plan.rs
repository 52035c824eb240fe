//! The plan of a transfer that several sources share: which part of a body is asked of which of them, and
//! what happens if one is slow, breaks off or lies.
//!
//! A body is cut into *pieces* of [`PIECE`] bytes. A source is asked for a run of pieces at a time, an
//! *order*, as long as its speed deserves, and for the next one while the one before still comes, so that it
//! never waits for us. Every piece proves itself ([`crate::blob`]), so it does not matter who sends which.
//!
//! * For a reader the earliest pieces come first, and for all none further ahead than is said: what was not
//!   passed on yet has to be held. A quicker source gets the earlier ones.
//! * For a file, and for a reader where others give on what they get, the rarest come first. What nobody has but
//!   who has all, those who fetch it at the same time divide among them ([`Plan::divide`]), so that they have
//!   different parts to give to each other; among equals it is drawn by lot.
//! * An order that brings nothing for longer than its source usually takes is given up, and its pieces go to
//!   others. What is held by the slowest is asked of a second source at the end, so that nobody waits for it.
//!
//! What has bytes, streams and peers is the shell's: it carries out [`Output`] and reports [`Input`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use minicbor::{Decode, Encode};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::blob::{GROUP, MAX_LEN, MAX_WINDOW};
use crate::time::Tick;

/// Bytes of a piece: the largest window.
pub const PIECE: u64 = MAX_WINDOW;
/// The most pieces of one body.
pub const MAX_PIECES: u64 = MAX_LEN / PIECE;
/// Orders that one source has at a time.
const DEPTH: usize = 2;
/// An order is for about as much as its source sends in this time, …
const SPAN: Duration = Duration::from_millis(400);
/// … but not for more pieces than this.
const MOST_PIECES: u64 = 16;
/// Where others give on what they get, a reader asks who has all for what falls to it of so many pieces, …
const FAR: u64 = 128;
/// … and if nothing does, for one of the next so many, by lot …
const NEAR: u64 = 32;
/// … unless the reader has waited for so long. Then what they wait for is asked of a second source, too.
const WAITS: Duration = Duration::from_millis(600);
/// So many pieces in a row fall to the same one.
const BLOCK: u64 = 4;
/// Sources of which a plan makes use at a time.
pub const MAX_SOURCES: usize = 32;
/// A source of which nothing is known brings the first bytes of an order within this, …
const PRIOR: Duration = Duration::from_secs(3);
/// … others within so many times what they usually take for that, or for the next bytes, but within these.
const PATIENCE: u32 = 4;
const LIMITS: (Duration, Duration) = (Duration::from_millis(750), Duration::from_secs(20));
/// A source that was given up rests so long, twice as long each further time, and is then asked again …
const REST: Duration = Duration::from_secs(1);
/// … but not more often than this in a row.
const MAX_FAULTS: u32 = 4;
/// A piece is asked of so many sources at once, when nothing else is left to ask for.
const TWICE: usize = 2;

/// A source, by the number that the shell gave it.
pub type Source = usize;
/// An order, by its number in this plan.
pub type Order = u64;
/// What a source sends already when the plan begins: how long its first bytes took is not known.
const LEAD: Order = 0;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// There is a source, or more is known of it. It has all, or these pieces and others later.
    Joined(Source, Option<Pieces>),
    /// A source has one more piece.
    Has(Source, u64),
    /// A source gets no more pieces than it has.
    Settled(Source),
    /// This piece is there, from before.
    There(u64),
    /// For so long nobody looked at what came.
    Slept(Duration),
    /// The bytes of an order are there, verified, up to this one.
    Came(Order, u64),
    /// An order broke off: its source rests, and is asked again.
    Broke(Order),
    /// Its source does not have that, sent what is not so, or is gone: it is asked no more.
    Left(Source),
    /// What was wanted in order is passed on up to this byte.
    Passed(u64),
    /// The time that [`Output::Wait`] named has come.
    Timeout,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask a source for these bytes: whole groups, or to the end.
    Ask(Order, Source, Range<u64>),
    /// Forget an order: what it still brings is not needed, or was waited for too long.
    Cancel(Order),
    /// All of it is there.
    Done,
    /// Pieces are missing, and there is nobody left to ask.
    Lost,
    /// Nothing to do until something happens or this moment comes.
    Wait(Option<Tick>),
}

/// What is wanted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// The earliest: somebody reads it while it comes.
    InOrder,
    /// What the fewest sources have: it is put away.
    RarestFirst,
}

/// A set of pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Pieces(#[n(0)] Vec<u64>);

impl Pieces {
    /// Whether a piece is in it.
    pub fn has(&self, piece: u64) -> bool {
        let (word, bit) = (usize::try_from(piece / 64).unwrap_or(usize::MAX), piece % 64);
        self.0.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }

    /// Adds one, which is below [`MAX_PIECES`].
    pub fn add(&mut self, piece: u64) {
        let (word, bit) = (usize::try_from(piece.min(MAX_PIECES) / 64).unwrap_or(0), piece % 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    /// Those that are in it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        (0..self.0.len() as u64 * 64).filter(|piece| self.has(*piece))
    }

    /// Those that are in it and not in `others`, ascending.
    pub fn beyond(&self, others: &Self) -> Vec<u64> {
        self.iter().filter(|piece| !others.has(*piece)).collect()
    }
}

impl FromIterator<u64> for Pieces {
    fn from_iter<I: IntoIterator<Item = u64>>(pieces: I) -> Self {
        let mut all = Self::default();
        pieces.into_iter().for_each(|piece| all.add(piece));
        all
    }
}

/// The machine. See the module's text.
#[derive(Debug)]
pub struct Plan {
    /// The bytes that are wanted.
    want: Range<u64>,
    /// How far ahead of what was passed on.
    ahead: u64,
    manner: Manner,
    dice: ChaCha8Rng,
    /// By piece, from the first one that is wanted and not passed on: what is known of it.
    pieces: VecDeque<Piece>,
    /// The number of the first of these.
    first: u64,
    sources: BTreeMap<Source, State>,
    gone: usize,
    /// The numbers by which it is divided: our own, and those of sources.
    own: Option<u64>,
    numbers: BTreeMap<Source, u64>,
    orders: BTreeMap<Order, Under>,
    next: Order,
    /// When something was passed on last.
    passed_at: Option<Tick>,
    out: VecDeque<Output>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Piece {
    there: bool,
    /// How many orders are for it.
    asked: u8,
}

/// What is known of a source.
#[derive(Debug, Default)]
struct State {
    /// What it has; all, if nothing is said.
    has: Option<Pieces>,
    /// Bytes a second, lately.
    speed: Option<u64>,
    /// What came since that was last reckoned, and in which time.
    counted: (u64, Duration),
    /// How long its first bytes of an order usually take, and the pause before its next ones.
    first: Option<Duration>,
    pause: Option<Duration>,
    /// Whether it may get what it does not have yet.
    grows: bool,
    /// Whether anything came of it.
    sent: bool,
    faults: u32,
    rests_until: Tick,
}

impl State {
    /// Its next bytes came after so long.
    fn paused(usual: &mut Option<Duration>, took: Duration) {
        *usual = Some(usual.map_or(took, |usual| took.max((usual * 7 + took) / 8)));
    }

    /// How long its next bytes usually take: no less than the largest window does.
    fn usual(&self, begun: bool) -> Option<Duration> {
        let window = self.speed.map_or(0, |speed| MAX_WINDOW * 1000 / speed.max(1));
        let usual = if begun { self.pause } else { self.first };
        Some(usual?.max(Duration::from_millis(window)))
    }

    /// How long they are waited for.
    fn patience(&self, begun: bool) -> Duration {
        let usual = self.usual(begun);
        usual.map_or(PRIOR, |usual| (usual * PATIENCE).clamp(LIMITS.0, LIMITS.1))
    }

    /// So much came in this time.
    fn count(&mut self, bytes: u64, took: Duration) {
        const ENOUGH: Duration = Duration::from_millis(20);
        self.counted = (self.counted.0 + bytes, self.counted.1 + took);
        let (bytes, took) = self.counted;
        if took < ENOUGH {
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let speed = bytes.saturating_mul(1_000_000) / micros;
        self.speed = Some(self.speed.map_or(speed, |old| (old * 3 + speed) / 4));
        self.counted = (0, Duration::ZERO);
    }
}

/// An order under way.
#[derive(Debug)]
struct Under {
    source: Source,
    bytes: Range<u64>,
    /// Up to where it came.
    at: u64,
    /// When something came last, be it of an order before it.
    since: Tick,
}

impl Plan {
    /// For these bytes of a body, and nothing further than so many bytes ahead of what was passed on.
    pub fn new(want: Range<u64>, ahead: u64, manner: Manner, seed: [u8; 32]) -> Self {
        let first = want.start / PIECE;
        let mut plan = Self {
            want,
            ahead,
            manner,
            dice: ChaCha8Rng::from_seed(seed),
            pieces: VecDeque::new(),
            first,
            sources: BTreeMap::new(),
            gone: 0,
            own: None,
            numbers: BTreeMap::new(),
            orders: BTreeMap::new(),
            next: LEAD + 1,
            passed_at: None,
            out: VecDeque::new(),
        };
        plan.look_ahead(plan.want.start);
        plan
    }

    /// A source sends these bytes already, as the answer to what was asked before there was a plan.
    /// Whether it has more is not known yet.
    pub fn begun(&mut self, source: Source, bytes: Range<u64>, now: Tick) -> Order {
        self.handle(Input::Joined(source, Some(Pieces::default())), now);
        self.order(LEAD, source, bytes, now);
        LEAD
    }

    /// We give on what we get, as those of the sources do that don't have all. Each of us has a number, the same for all
    /// who fetch it: what nobody else has falls to one of us.
    pub fn divide(&mut self, own: u64, others: impl IntoIterator<Item = (Source, u64)>) {
        self.own = Some(own);
        self.numbers.extend(others);
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Tick) {
        match input {
            Input::Joined(source, has) => {
                if self.sources.len() < MAX_SOURCES || self.sources.contains_key(&source) {
                    let state = self.sources.entry(source).or_default();
                    (state.grows, state.has) = (has.is_some(), has);
                }
            }
            Input::Settled(source) => {
                if let Some(state) = self.sources.get_mut(&source) {
                    state.grows = false;
                }
            }
            Input::Slept(time) => {
                self.orders.values_mut().for_each(|under| under.since = under.since + time);
                self.passed_at = self.passed_at.map(|at| at + time);
            }
            Input::Timeout => {}
            Input::Has(source, piece) => {
                let has = self.sources.get_mut(&source).and_then(|state| state.has.as_mut());
                if let Some(has) = has.filter(|_| piece < self.want.end.div_ceil(PIECE)) {
                    has.add(piece);
                }
            }
            Input::There(number) => {
                if let Some(piece) = self.piece(number) {
                    piece.there = true;
                }
            }
            Input::Came(order, to) => self.came(order, to, now),
            Input::Broke(order) => {
                if let Some(under) = self.put_back(order) {
                    self.blame(under.source, now);
                }
            }
            Input::Left(source) => {
                self.leaves(source);
                self.give_up(source);
            }
            Input::Passed(to) => {
                self.passed_at = Some(now);
                self.look_ahead(to);
            }
        }
    }

    /// What to do next, until it says [`Output::Wait`], [`Output::Done`] or [`Output::Lost`].
    pub fn poll(&mut self, now: Tick) -> Output {
        if self.out.is_empty() {
            self.check(now);
            self.fill(now);
        }
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        if self.is_done() {
            return Output::Done;
        }
        if self.sources.is_empty() {
            return Output::Lost;
        }
        let due = self.orders.values().map(|under| self.due(under));
        let rested = self.sources.values().map(|state| state.rests_until);
        let waits = self.passed_at.filter(|_| self.is_read()).map(|at| at + WAITS);
        Output::Wait(due.chain(rested.chain(waits).filter(|at| *at > now)).min())
    }

    /// Whether all that is wanted is there.
    pub fn is_done(&self) -> bool {
        let last = self.want.end.div_ceil(PIECE);
        let left = self.first + self.pieces.len() as u64;
        left >= last && self.pieces.iter().all(|piece| piece.there)
    }

    /// How many sources are asked no more.
    pub fn gone(&self) -> usize {
        self.gone
    }

    /// Whether there is a source that may get pieces that it does not have yet.
    pub fn hopes(&self) -> bool {
        self.sources.values().any(|state| state.grows)
    }

    fn is_read(&self) -> bool {
        self.manner == Manner::InOrder
    }

    /// All before `at` is passed on.
    fn look_ahead(&mut self, at: u64) {
        let last = self.want.end.div_ceil(PIECE);
        let passed = if at >= self.want.end { last } else { at / PIECE };
        while self.first < passed && self.pieces.pop_front().is_some() {
            self.first += 1;
        }
        let to = at.saturating_add(self.ahead).div_ceil(PIECE).min(last);
        let known = self.first + self.pieces.len() as u64;
        self.pieces.extend((known..to).map(|_| Piece::default()));
    }

    fn piece(&mut self, piece: u64) -> Option<&mut Piece> {
        let at = piece.checked_sub(self.first)?;
        self.pieces.get_mut(usize::try_from(at).ok()?)
    }

    fn came(&mut self, order: Order, to: u64, now: Tick) {
        let Some(under) = self.orders.get_mut(&order) else { return };
        let (before, took) = (under.at, now - under.since);
        let begun = before > under.bytes.start;
        under.at = to.clamp(before, under.bytes.end);
        let (at, source, over) = (under.at, under.source, under.at >= under.bytes.end);
        if let Some(state) = self.sources.get_mut(&source) {
            state.faults = 0;
            // The way there and back is in the first bytes' time.
            if begun {
                State::paused(&mut state.pause, took);
                state.count(at - before, took);
            } else if order != LEAD {
                State::paused(&mut state.first, took);
            }
            state.sent = true;
        }
        // What is sent one after the other is waited for one after the other.
        for under in self.orders.values_mut().filter(|under| under.source == source) {
            under.since = now;
        }
        let pieces = self.whole(before..at);
        for number in pieces {
            if let Some(piece) = self.piece(number) {
                piece.there = true;
            }
            self.drop_others(number, order);
        }
        if over {
            self.put_back(order);
        }
    }

    /// The pieces that are whole once bytes up to the end of `came` are there.
    fn whole(&self, came: Range<u64>) -> Range<u64> {
        let end =
            if came.end >= self.want.end { came.end.div_ceil(PIECE) } else { came.end / PIECE };
        came.start / PIECE..end
    }

    /// Who else was asked for a piece that is there need not send it.
    fn drop_others(&mut self, piece: u64, order: Order) {
        let sends = |under: &Under| under.at / PIECE == piece;
        let others = self.orders.iter().filter(|(other, under)| **other != order && sends(under));
        let others: Vec<_> = others.map(|(other, _)| *other).collect();
        for other in others {
            self.put_back(other);
            self.out.push_back(Output::Cancel(other));
        }
    }

    /// An order is over: what of it is not there may be asked of others.
    fn put_back(&mut self, order: Order) -> Option<Under> {
        let under = self.orders.remove(&order)?;
        for number in pieces_of(&under.bytes) {
            if let Some(piece) = self.piece(number) {
                piece.asked = piece.asked.saturating_sub(1);
            }
        }
        Some(under)
    }

    fn give_up(&mut self, source: Source) {
        let orders = self.orders.iter().filter(|(_, under)| under.source == source);
        let orders: Vec<_> = orders.map(|(order, _)| *order).collect();
        for order in orders {
            self.put_back(order);
            self.out.push_back(Output::Cancel(order));
        }
    }

    /// A source kept somebody waiting.
    fn blame(&mut self, source: Source, now: Tick) {
        let Some(state) = self.sources.get_mut(&source) else { return };
        state.faults += 1;
        state.speed = state.speed.map(|speed| speed / 2);
        state.rests_until = now + REST * 2u32.pow((state.faults - 1).min(8));
        // Who has sent nothing ever is not waited for a second time.
        if state.faults > MAX_FAULTS || !state.sent {
            self.leaves(source);
        }
    }

    /// It is asked no more.
    fn leaves(&mut self, source: Source) {
        self.gone += usize::from(self.sources.remove(&source).is_some());
    }

    fn due(&self, under: &Under) -> Tick {
        let begun = under.at > under.bytes.start;
        let state = self.sources.get(&under.source);
        under.since + state.map_or(PRIOR, |state| state.patience(begun))
    }

    /// Whether who reads waits for the next piece.
    fn waits(&self, now: Tick) -> bool {
        self.is_read() && self.passed_at.is_some_and(|at| now >= at + WAITS)
    }

    /// Orders that bring nothing are given up.
    fn check(&mut self, now: Tick) {
        let late = self.orders.values().filter(|under| now >= self.due(under));
        let late: BTreeSet<_> = late.map(|under| under.source).collect();
        for source in late {
            self.give_up(source);
            self.blame(source, now);
        }
    }

    /// Gives each source that has room for it something to do, the quickest first.
    fn fill(&mut self, now: Tick) {
        let mut idle: Vec<_> =
            self.sources.iter().filter(|(_, state)| state.rests_until <= now).collect();
        idle.sort_by_key(|(_, state)| std::cmp::Reverse(state.speed));
        let idle: Vec<_> = idle.into_iter().map(|(source, _)| *source).collect();
        for depth in 0..DEPTH {
            for source in &idle {
                let busy = self.orders.values().filter(|under| under.source == *source).count();
                // One that has proven nothing yet is not asked for more than one thing.
                let proven = self.sources[source].sent;
                if busy > depth || (busy > 0 && !proven) {
                    continue;
                }
                let first = self.choose(*source, now).or_else(|| self.choose_twice(*source, busy));
                if let Some(first) = first {
                    self.ask(*source, first, now);
                }
            }
        }
    }

    /// A piece that nobody was asked for.
    fn choose(&mut self, source: Source, now: Tick) -> Option<u64> {
        let has = self.sources.get(&source)?.has.as_ref();
        let free = |(at, piece): (usize, &Piece)| {
            let number = self.first + at as u64;
            let is_free = !piece.there && piece.asked == 0;
            (is_free && has.is_none_or(|has| has.has(number))).then_some(number)
        };
        let mut free: Vec<_> = self.pieces.iter().enumerate().filter_map(free).collect();
        if self.is_read() {
            // Who has all is asked for what others can give on, unless there are none, or the reader waits.
            let waits = self.waits(now);
            if waits && let Some(next) = self.waited_for(source, now) {
                return Some(next);
            }
            if has.is_some() || waits || !self.hopes() {
                return free.first().copied();
            }
        }
        if has.is_none() {
            let reach = if self.is_read() { self.first + FAR } else { u64::MAX };
            let ours = free.iter().take_while(|piece| **piece < reach);
            let ours = ours.copied().filter(|piece| self.falls_to_us(*piece)).collect();
            let ours = self.one_of_the_rarest(ours);
            if ours.is_some() {
                return ours;
            }
        }
        if self.is_read() {
            let near = free.partition_point(|piece| *piece < self.first + NEAR);
            free.truncate(near.max(1));
        }
        self.one_of_the_rarest(free)
    }

    fn one_of_the_rarest(&mut self, mut pieces: Vec<u64>) -> Option<u64> {
        let rarity = |piece: u64| {
            let has = |state: &&State| state.has.as_ref().is_none_or(|has| has.has(piece));
            self.sources.values().filter(has).count()
        };
        let rarest = pieces.iter().map(|piece| rarity(*piece)).min()?;
        pieces.retain(|piece| rarity(*piece) == rarest);
        let lot = usize::try_from(self.dice.next_u64() % pieces.len() as u64).unwrap_or_default();
        pieces.get(lot).copied()
    }

    /// Whether it is ours to get a piece from who has all.
    fn falls_to_us(&self, piece: u64) -> bool {
        let block = piece / BLOCK;
        let Some(own) = self.own.map(|own| lot(own, block)) else { return false };
        let others = self.numbers.iter().filter(|(source, _)| {
            self.sources.get(source).is_some_and(|state| state.grows && state.has.is_some())
        });
        others.map(|(_, number)| lot(*number, block)).all(|other| other < own)
    }

    /// The next piece, if one other source alone was asked for it and is slower with it than usual, and this one has
    /// proven itself.
    fn waited_for(&self, source: Source, now: Tick) -> Option<u64> {
        let state = self.sources.get(&source).filter(|state| state.sent)?;
        let has = state.has.as_ref().is_none_or(|has| has.has(self.first));
        self.pieces.front().filter(|piece| has && !piece.there && piece.asked == 1)?;
        let under =
            self.orders.values().find(|under| pieces_of(&under.bytes).contains(&self.first))?;
        let begun = under.at > under.bytes.start;
        let usual = self.sources.get(&under.source).and_then(|state| state.usual(begun));
        let late = now >= under.since + usual.map_or(WAITS, |usual| WAITS.max(usual * 2));
        (late && under.source != source).then_some(self.first)
    }

    /// With nothing else left, a piece that a slower source was asked for: for a reader the earliest, which
    /// they wait for, else the one that is expected last.
    fn choose_twice(&self, source: Source, busy: usize) -> Option<u64> {
        let state = self.sources.get(&source).filter(|_| busy == 0)?;
        let own = PIECE.saturating_mul(1000) / state.speed?.max(1);
        let wait = |under: &Under| {
            let left = (under.at / PIECE + 1) * PIECE - under.at;
            let speed = self.sources.get(&under.source).and_then(|state| state.speed);
            speed.map(|speed| left.saturating_mul(1000) / speed.max(1))
        };
        let slower = self.orders.values().filter(|under| {
            let piece = under.at / PIECE;
            let asked = piece
                .checked_sub(self.first)
                .and_then(|at| self.pieces.get(usize::try_from(at).ok()?));
            let once = asked.is_some_and(|piece| !piece.there && usize::from(piece.asked) < TWICE);
            let has = state.has.as_ref().is_none_or(|has| has.has(piece));
            once && has && under.source != source && wait(under).is_none_or(|wait| wait > own * 2)
        });
        match self.manner {
            Manner::InOrder => slower.map(|under| under.at / PIECE).min(),
            Manner::RarestFirst => {
                let last = slower.max_by_key(|under| wait(under).unwrap_or(u64::MAX));
                last.map(|under| under.at / PIECE)
            }
        }
    }

    /// Asks a source for a piece and, if it is quick, those after it.
    fn ask(&mut self, source: Source, first: u64, now: Tick) {
        let state = &self.sources[&source];
        let span = u64::try_from(SPAN.as_millis()).unwrap_or_default();
        let most =
            state.speed.map_or(1, |speed| (speed * span / 1000 / PIECE).clamp(1, MOST_PIECES));
        // What falls to another one is not asked for with what falls to us.
        let ours = state.has.is_none() && self.falls_to_us(first);
        let mut end = first;
        for number in first..first + most {
            let at = usize::try_from(number - self.first).unwrap_or(usize::MAX);
            let Some(piece) = self.pieces.get(at).filter(|piece| !piece.there) else { break };
            let has = state.has.as_ref().is_none_or(|has| has.has(number));
            // The first may be asked for twice, and then it alone.
            if !has || (number > first && piece.asked > 0) || end > first && self.is_asked(first) {
                break;
            }
            if ours && !self.falls_to_us(number) {
                break;
            }
            end = number + 1;
        }
        let start = (first * PIECE).max(self.want.start / GROUP * GROUP);
        let bytes = start..(end * PIECE).min(self.want.end);
        let order = self.next;
        self.next += 1;
        self.order(order, source, bytes.clone(), now);
        self.out.push_back(Output::Ask(order, source, bytes));
    }

    fn order(&mut self, order: Order, source: Source, bytes: Range<u64>, now: Tick) {
        for number in pieces_of(&bytes) {
            if let Some(piece) = self.piece(number) {
                piece.asked += 1;
            }
        }
        self.orders.insert(order, Under { source, at: bytes.start, bytes, since: now });
    }

    fn is_asked(&self, piece: u64) -> bool {
        let at = piece.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.pieces.get(at)).is_some_and(|piece| piece.asked > 0)
    }
}

/// Who of all has the highest one gets a block from who has all. It spreads well and is quick, as SplitMix64 is.
fn lot(number: u64, block: u64) -> u64 {
    let mixed = number ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// The pieces that these bytes lie in.
fn pieces_of(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / PIECE..bytes.end.div_ceil(PIECE)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
