//! The plan of a transfer that several sources share: which part of a body is asked of which of them, and
//! what happens if one is slow, breaks off or lies.
//!
//! A body is cut into *pieces* of [`PIECE`] bytes. A source is asked for a run of pieces at a time, an
//! *order*, as long as its speed deserves, and for the next one while the one before still comes, so that it
//! never waits for us. Every piece proves itself ([`crate::blob`]), so it does not matter who sends which.
//!
//! * For a reader the earliest pieces come first, and for all none further ahead than is said: what was not
//!   passed on yet has to be held. A quicker source gets the earlier ones.
//! * For a file, and for a reader where others give on what they get, the rarest come first; among equals it is drawn
//!   by lot. Who gives on what it gets ([`Plan::gives_on`]) lets who has all choose among them: that one knows what it
//!   has given least ([`crate::superseed`]), so that those who fetch it at the same time get different parts to give to
//!   each other, though they don't know of each other.
//! * An order that brings nothing for longer than its source usually takes is *late*: its pieces go to others, and its
//!   source, once it has rested, is asked for one more. It is not cancelled so soon: many may share its line, and
//!   what is on the way would be sent for nothing. What is held by the slowest is asked of a second source at the end, so
//!   that nobody waits for it.
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

/// Bytes of a piece. It is given on when all of it is there, so it is short: a line that many share takes long for it.
pub const PIECE: u64 = 4 * GROUP;
/// The most pieces of one body.
pub const MAX_PIECES: u64 = MAX_LEN / PIECE;
/// Orders that one source has at a time.
const DEPTH: usize = 2;
/// An order is for about as much as its source sends in this time, …
const SPAN: Duration = Duration::from_millis(400);
/// … but not for more pieces than this.
const MOST_PIECES: u64 = 64;
/// It is for so many as long as nothing is known of its source.
const FIRST_PIECES: u64 = 4;
/// Where others give on what they get, a reader asks who has all for any of so many pieces …
const FAR: u64 = 512;
/// … or, if it gives on nothing, for one of the next so many, by lot …
const NEAR: u64 = 128;
/// … unless the reader has waited for so long. Then what they wait for is asked of a second source, too.
const WAITS: Duration = Duration::from_millis(600);
/// Who may choose chooses among so many pieces at most.
pub const MOST_NAMED: usize = 256;
/// … and among so few only if no more are wanted: what one lacks that was given to somebody slow, all others lack, too, and
/// who has all would send it to each of them.
const LEAST_NAMED: usize = 64;
/// Sources of which a plan makes use at a time.
pub const MAX_SOURCES: usize = 32;
/// A source of which nothing is known brings the first bytes of an order within this, if somebody reads it, …
const PRIOR: Duration = Duration::from_secs(3);
/// … others within so many times what they usually take for that, or for the next bytes, but within these …
const PATIENCE: u32 = 4;
const LIMITS: (Duration, Duration) = (Duration::from_millis(750), Duration::from_secs(20));
/// … or else within so long beyond that: by then a connection that is dead has ended.
const LATE: Duration = Duration::from_secs(40);
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
    /// Its source has chosen these bytes of those that an order lets it choose from.
    Chose(Order, Range<u64>),
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
    /// Let a source choose one of these pieces, and as many in a row of them as the number says.
    Choose(Order, Source, Vec<u64>, u64),
    /// Forget an order: what it still brings is not needed, or was waited for too long.
    Cancel(Order),
    /// What a source was asked for is late: whoever passes it on may be why.
    Late(Source),
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
    /// Whether others get from us what we have got.
    gives_on: bool,
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
    /// Whether anything came of it, and when last.
    sent: bool,
    sent_at: Tick,
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

    /// How long they are waited for, if anything is known of it.
    fn patience(&self, begun: bool) -> Option<Duration> {
        Some((self.usual(begun)? * PATIENCE).clamp(LIMITS.0, LIMITS.1))
    }

    /// How many pieces one order is for.
    fn pieces_at_once(&self) -> u64 {
        let span = u64::try_from(SPAN.as_millis()).unwrap_or_default();
        let pieces = |speed: u64| (speed * span / 1000 / PIECE).clamp(1, MOST_PIECES);
        self.speed.map_or(FIRST_PIECES, pieces)
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
    /// Of which pieces its source may choose, until it has, and how many; then there are no bytes.
    may: Vec<u64>,
    most: u64,
    /// Up to where it came.
    at: u64,
    /// When something came last, be it of an order before it, which it follows then without a pause.
    since: Tick,
    follows: bool,
    /// Since when its pieces may be asked of others meanwhile.
    late: Option<Tick>,
}

impl Under {
    fn new(source: Source, bytes: Range<u64>, since: Tick) -> Self {
        let at = bytes.start;
        Self { source, bytes, may: Vec::new(), most: 0, at, since, follows: false, late: None }
    }
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
            gives_on: false,
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

    /// We give on what we get, as those of the sources do that don't have all.
    pub fn gives_on(&mut self) {
        self.gives_on = true;
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
                for under in self.orders.values_mut() {
                    under.since = under.since + time;
                    under.late = under.late.map(|at| at + time);
                }
                self.sources.values_mut().for_each(|state| state.sent_at = state.sent_at + time);
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
            Input::Chose(order, bytes) => self.chose(order, bytes, now),
            Input::Came(order, to) => self.came(order, to, now),
            Input::Broke(order) => {
                // If it was late its source was blamed for that.
                let under = self.put_back(order).filter(|under| under.late.is_none());
                under.into_iter().for_each(|under| self.blame(under.source, now));
            }
            Input::Left(source) => self.leaves(source),
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
        self.sees_end() && self.pieces.iter().all(|piece| piece.there)
    }

    /// Whether this is a source, and is not asked no more.
    pub fn knows(&self, source: Source) -> bool {
        self.sources.contains_key(&source)
    }

    /// Whether there is a source that may get pieces that it does not have yet.
    pub fn hopes(&self) -> bool {
        self.sources.values().any(|state| state.grows)
    }

    fn is_read(&self) -> bool {
        self.manner == Manner::InOrder
    }

    /// Whether it looks ahead to the end.
    fn sees_end(&self) -> bool {
        self.first + self.pieces.len() as u64 >= self.want.end.div_ceil(PIECE)
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

    fn chose(&mut self, order: Order, bytes: Range<u64>, now: Tick) {
        let Some(under) = self.orders.get_mut(&order) else { return };
        let (source, most, may) = (under.source, under.most, std::mem::take(&mut under.may));
        let ends = bytes.end == self.want.end || bytes.end.is_multiple_of(PIECE);
        let whole = bytes.start < bytes.end && bytes.start.is_multiple_of(PIECE) && ends;
        let many = pieces_of(&bytes).count() as u64 > most;
        if !whole || many || !pieces_of(&bytes).all(|piece| may.contains(&piece)) {
            return self.leaves(source);
        }
        self.set_late(order, None, now);
        // Others may have been asked meanwhile.
        if pieces_of(&bytes).all(|piece| self.is_there(piece) || self.is_asked(piece)) {
            self.put_back(order);
            return self.out.push_back(Output::Cancel(order));
        }
        for number in pieces_of(&bytes) {
            if let Some(piece) = self.piece(number) {
                piece.asked += 1;
            }
        }
        if let Some(under) = self.orders.get_mut(&order) {
            (under.at, under.bytes) = (bytes.start, bytes);
        }
    }

    fn came(&mut self, order: Order, to: u64, now: Tick) {
        let Some(under) = self.orders.get_mut(&order) else { return };
        let (before, took) = (under.at, now - under.since);
        let begun = before > under.bytes.start || under.follows;
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
            (state.sent, state.sent_at) = (true, now);
        }
        // What is sent one after the other is waited for one after the other.
        for under in self.orders.values_mut().filter(|under| under.source == source) {
            if under.late.is_none() {
                (under.since, under.follows) = (now, true);
            }
        }
        self.set_late(order, None, now);
        let pieces = self.whole(before..at);
        for number in pieces {
            if let Some(piece) = self.piece(number) {
                piece.there = true;
            }
            self.drop_others(number, order);
        }
        // Others have brought what comes next of it.
        let passed = !over && self.piece(at / PIECE).is_none_or(|piece| piece.there);
        if over || passed {
            self.put_back(order);
        }
        if passed {
            self.out.push_back(Output::Cancel(order));
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
        let sends = |under: &Under| under.may.is_empty() && under.at / PIECE == piece;
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
        for number in pieces_of(&under.bytes).filter(|_| under.late.is_none()) {
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
        self.sources.remove(&source);
        self.give_up(source);
    }

    fn due(&self, under: &Under) -> Tick {
        if let Some(late) = under.late {
            return late + LATE;
        }
        let begun = under.at > under.bytes.start;
        let known = self.sources.get(&under.source).and_then(|state| state.patience(begun));
        let patience = known.unwrap_or(if self.is_read() { PRIOR } else { LIMITS.1 });
        under.since + patience
    }

    /// An order is late since then, or no longer: its pieces may be asked of others, or are asked of its source.
    fn set_late(&mut self, order: Order, late: Option<Tick>, now: Tick) {
        let Some(under) = self.orders.get_mut(&order) else { return };
        let before = std::mem::replace(&mut under.late, late);
        if before.is_some() == late.is_some() {
            return;
        }
        under.since = now;
        for number in pieces_of(&under.bytes.clone()) {
            if let Some(piece) = self.piece(number) {
                let less = piece.asked.saturating_sub(1);
                piece.asked = if late.is_some() { less } else { piece.asked + 1 };
            }
        }
    }

    /// Whether who reads waits for the next piece.
    fn waits(&self, now: Tick) -> bool {
        self.is_read() && self.passed_at.is_some_and(|at| now >= at + WAITS)
    }

    /// Orders that bring nothing are late, and given up in the end.
    fn check(&mut self, now: Tick) {
        let due = self.orders.iter().filter(|(_, under)| now >= self.due(under));
        let due: Vec<_> = due.map(|(order, under)| (*order, under.source, under.late)).collect();
        let mut slow = BTreeSet::new();
        for (order, source, late) in due {
            let state = self.sources.get(&source);
            match late {
                None if state.is_some_and(|state| state.sent) => {
                    self.set_late(order, Some(now), now);
                    slow.insert(source);
                }
                // It has sent other things: this one is not coming.
                Some(since) if state.is_some_and(|state| state.sent_at > since) => {
                    self.put_back(order);
                    self.out.push_back(Output::Cancel(order));
                }
                None | Some(_) => self.leaves(source),
            }
        }
        for source in slow {
            self.blame(source, now);
            self.out.push_back(Output::Late(source));
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
                let of_it = self.orders.values().filter(|under| under.source == *source);
                let (late, busy): (Vec<_>, Vec<_>) = of_it.partition(|under| under.late.is_some());
                let (late, busy) = (late.len(), busy.len());
                // One that is late, has proven nothing yet, or has not chosen yet, is not asked for more than one thing.
                let chooses = |under: &Under| under.source == *source && !under.may.is_empty();
                let chooses = self.orders.values().any(chooses);
                let alone = late > 0 || !self.sources[source].sent || chooses;
                if busy > depth || (busy > 0 && alone) || late > DEPTH {
                    continue;
                }
                let mut of = self.choose(*source, now);
                if of.is_empty() {
                    of.extend(self.choose_twice(*source, busy));
                }
                match &of[..] {
                    [] => {}
                    [first] => self.ask(*source, *first, now),
                    _ => self.let_choose(*source, of, now),
                }
            }
        }
    }

    /// A piece that nobody was asked for, or several of which the source may choose.
    fn choose(&mut self, source: Source, now: Tick) -> Vec<u64> {
        let Some(state) = self.sources.get(&source) else { return Vec::new() };
        let has = state.has.as_ref();
        // Who reads may get it by another guard; of a file it may still be on the way, unless other things came since.
        let sent_at = state.sent_at;
        let late = self.orders.values().filter(|under| under.source == source);
        let late = late.filter(|under| under.late.is_some_and(|late| sent_at <= late));
        let late: Vec<_> =
            late.filter(|_| !self.is_read()).map(|under| pieces_of(&under.bytes)).collect();
        let free = |(at, piece): (usize, &Piece)| {
            let number = self.first + at as u64;
            let is_late = late.iter().any(|late| late.contains(&number));
            let is_free = !piece.there && piece.asked == 0 && !is_late;
            (is_free && has.is_none_or(|has| has.has(number))).then_some(number)
        };
        let mut free: Vec<_> = self.pieces.iter().enumerate().filter_map(free).collect();
        if self.is_read() {
            // Who has all is asked for what others can give on, unless there are none, or the reader waits.
            let waits = self.waits(now);
            if waits && let Some(next) = self.waited_for(source, now) {
                return vec![next];
            }
            if has.is_some() || waits || !self.hopes() {
                free.truncate(1);
                return free;
            }
        }
        let chooses = has.is_none() && self.gives_on;
        if self.is_read() {
            let reach = self.first + if chooses { FAR } else { NEAR };
            free.truncate(free.partition_point(|piece| *piece < reach).max(1));
        }
        if chooses {
            let mut named = self.rarest(free, LEAST_NAMED);
            named.truncate(MOST_NAMED);
            return named;
        }
        let rarest = self.rarest(free, 1);
        let lot = self.dice.next_u64() % (rarest.len() as u64).max(1);
        rarest.get(usize::try_from(lot).unwrap_or_default()).copied().into_iter().collect()
    }

    /// Those that the fewest sources have, and so many at least, if there are.
    fn rarest(&self, pieces: Vec<u64>, least: usize) -> Vec<u64> {
        let rarity = |piece: &u64| {
            let has = |state: &&State| state.has.as_ref().is_none_or(|has| has.has(*piece));
            self.sources.values().filter(has).count()
        };
        let rarities: Vec<_> = pieces.iter().map(rarity).collect();
        let Some(last) = least.min(pieces.len()).checked_sub(1) else { return pieces };
        let most = *rarities.clone().select_nth_unstable(last).1;
        let rarest = pieces.into_iter().zip(rarities).filter(|(_, rarity)| *rarity <= most);
        rarest.map(|(piece, _)| piece).collect()
    }

    /// The next piece, if one other source alone was asked for it and is slower with it than usual, and this one has
    /// proven itself.
    fn waited_for(&self, source: Source, now: Tick) -> Option<u64> {
        let state = self.sources.get(&source).filter(|state| state.sent)?;
        let has = state.has.as_ref().is_none_or(|has| has.has(self.first));
        self.pieces.front().filter(|piece| has && !piece.there && piece.asked == 1)?;
        let asked =
            |under: &&Under| under.late.is_none() && pieces_of(&under.bytes).contains(&self.first);
        let under = self.orders.values().find(asked)?;
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
        let has_it = |under: &Under, piece| {
            under.source == source && pieces_of(&under.bytes).contains(&piece)
        };
        let chosen = self.orders.values().filter(|under| under.may.is_empty());
        let slower = chosen.filter(|under| {
            let piece = under.at / PIECE;
            if self.orders.values().any(|own| has_it(own, piece)) {
                return false;
            }
            let asked = piece
                .checked_sub(self.first)
                .and_then(|at| self.pieces.get(usize::try_from(at).ok()?));
            let once = asked.is_some_and(|piece| !piece.there && usize::from(piece.asked) < TWICE);
            let has = state.has.as_ref().is_none_or(|has| has.has(piece));
            once && has && wait(under).is_none_or(|wait| wait > own * 2)
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
        // What a slower one was asked for, a second one may be, too, for a reader with some of what comes after it.
        let twice = self.known(first).map_or(0, |piece| piece.asked);
        let most = match twice {
            0 => state.pieces_at_once(),
            _ if self.is_read() && self.sees_end() => state.pieces_at_once().min(FIRST_PIECES),
            _ => 1,
        };
        let like_it = |number: &u64| {
            let has = state.has.as_ref().is_none_or(|has| has.has(*number));
            has && self.known(*number).is_some_and(|piece| !piece.there && piece.asked == twice)
        };
        let end = (first..first + most).take_while(like_it).last().map_or(first, |last| last + 1);
        let start = (first * PIECE).max(self.want.start / GROUP * GROUP);
        let bytes = start..(end * PIECE).min(self.want.end);
        let order = self.next;
        self.next += 1;
        self.order(order, source, bytes.clone(), now);
        self.out.push_back(Output::Ask(order, source, bytes));
    }

    /// Lets a source choose.
    fn let_choose(&mut self, source: Source, of: Vec<u64>, now: Tick) {
        let most = self.sources[&source].pieces_at_once();
        let order = self.next;
        self.next += 1;
        let under = Under { most, may: of.clone(), ..Under::new(source, 0..0, now) };
        self.orders.insert(order, under);
        self.out.push_back(Output::Choose(order, source, of, most));
    }

    fn order(&mut self, order: Order, source: Source, bytes: Range<u64>, now: Tick) {
        for number in pieces_of(&bytes) {
            if let Some(piece) = self.piece(number) {
                piece.asked += 1;
            }
        }
        self.orders.insert(order, Under::new(source, bytes, now));
    }

    fn is_asked(&self, piece: u64) -> bool {
        self.known(piece).is_some_and(|piece| piece.asked > 0)
    }

    /// Whether it is, or was passed on.
    fn is_there(&self, piece: u64) -> bool {
        self.known(piece).is_none_or(|piece| piece.there)
    }

    fn known(&self, piece: u64) -> Option<&Piece> {
        let at = piece.checked_sub(self.first)?;
        self.pieces.get(usize::try_from(at).ok()?)
    }
}

/// The pieces that these bytes lie in.
fn pieces_of(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / PIECE..bytes.end.div_ceil(PIECE)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
