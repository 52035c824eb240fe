//! One body, and all who want it, at the level of its parts: who asks whom, what goes over which line, and when
//! each has it.
//!
//! The rules are the program's own: [`Race`] says when the injector is asked beside other nodes, [`Plan`] which part
//! is asked of whom, [`Holders`] who is asked to hold it and who is named. Signatures are symbols: a part is good or it is not, and who gets a bad one sees that.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use busel_proto::blob;
use busel_proto::failure::{Failure, Route};
use busel_proto::holders::{Holders, NAMED};
use busel_proto::id::{Hash, SnapshotKey};
use busel_proto::memory::Step;
use busel_proto::plan::{Input, Manner, Output, PIECE, Pieces, Plan};
use busel_proto::race::{self, Race};
use busel_proto::time::Tick;

use crate::chance::Chance;
use crate::lines::{Lines, PACKET, Packet};
use crate::people::{Id, Manners, Person, distance};
use crate::queue::Queue;

/// As `node/route/swarm.rs` has them: between two nodes that are asked, and how many send.
const STAGGER: Duration = Duration::from_millis(60);
const MAX_SENDING: usize = 6;
/// As `node/route/many.rs` has them.
const HELD: u64 = 8 << 20;
const AHEAD: u64 = 256 << 20;
const AGAIN: Duration = Duration::from_secs(2);
/// How long other nodes are asked before the injector is asked beside them.
const PATIENCE: Duration = Duration::from_millis(400);
/// Who has lost all sources so often gives up.
const MOST_LOST: u32 = 4;
/// News of pieces are told after such a pause.
const NEWS_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a signed head, and of the card of a holder.
const HEAD: u64 = 650;
const CARD: u64 = 171;
/// Where holders are not asked but say it: they are named once the injector has sent the body so often itself.
const SEEDS: usize = 12;
/// The one page that there is.
const KEY: SnapshotKey = SnapshotKey([0; 32]);
const ROOT: Hash = Hash([0; 32]);

/// How somebody learns who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Known nodes are asked, and if none has it, the injector, which sends it.
    Asking,
    /// Who has it, and helps, says so to the injector, which names some of them.
    Named,
    /// The injector asks open nodes to hold what many ask for, and names some of these.
    Held,
}

/// What happens.
#[derive(Debug)]
enum Event {
    Arrives(Id),
    /// Whether a node that was asked has the beginning; by its place among those known.
    Heard(Id, usize, bool),
    /// A request reached the injector; its answer reached who asked.
    Requested(Id),
    Told(Id, Option<Vec<Id>>),
    /// The race, or the plan, of somebody is to be looked at.
    Race(Id),
    Plan(Id),
    /// What a source has, and gets; by its number in the plan.
    Has(Id, usize, Option<Option<Pieces>>),
    News(Id),
    AskHas(Id, usize),
    /// An order reached its source.
    Ordered {
        source: Id,
        reader: Id,
        order: u64,
        from: u64,
        to: u64,
    },
    /// Who was asked for an order does not have that.
    Nothing(Id, u64),
    /// A line is free; a packet reached the next node.
    Up(Id),
    There(Id, Packet),
    /// A node is asked to hold it, and by these has it.
    Holds(Id, Vec<Id>),
}

/// Somebody who wants it.
#[derive(Debug)]
struct Load {
    began: Tick,
    race: Option<Race>,
    /// Answers that are still awaited, and who has nothing.
    open: usize,
    nothing: Vec<Id>,
    plan: Plan,
    /// By the plan's numbers.
    sources: Vec<Id>,
    orders: BTreeMap<u64, usize>,
    there: Pieces,
    /// Whom to tell of pieces, by their number for this one, and what they were told.
    listeners: Vec<(Id, usize, Pieces)>,
    telling: bool,
    first: Option<Tick>,
    whole: Option<Tick>,
    wakes: Option<Tick>,
    /// How often nobody was left to ask.
    lost: u32,
    /// By how many guards it was kept waiting: it asks through the next one.
    turn: usize,
    by: Option<Route>,
    /// Whether its owner reads it, and does not only hold it for others.
    reads: bool,
}

/// A world, and all that is going on in it.
pub(crate) struct Swarm {
    pub(crate) people: Vec<Person>,
    pub(crate) lines: Lines,
    pub(crate) len: u64,
    finding: Finding,
    /// In which order the parts are wanted.
    pub(crate) manner: Manner,
    chance: Chance,
    queue: Queue<Event>,
    loads: Vec<Option<Box<Load>>>,
    /// Who had it from the beginning.
    whole: Vec<bool>,
    /// What the injector knows: who said that it has it; whom it asked to, and whom it has not asked.
    holders: Vec<Id>,
    held: Holders<Id>,
    idle: Vec<Id>,
    /// Bodies that the injector was asked to send, and bytes of its answers beside those.
    pub(crate) bodies: usize,
    pub(crate) words: u64,
    /// Requests to it.
    pub(crate) requests: usize,
}

/// How it went for one who read it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Went {
    pub(crate) first: Duration,
    pub(crate) whole: Duration,
    /// Whether others sent it.
    pub(crate) hit: bool,
}

impl Swarm {
    /// Nobody has it yet but the injector, which is the last of these.
    pub(crate) fn new(people: Vec<Person>, len: u64, finding: Finding, mut chance: Chance) -> Self {
        let (count, held) = (people.len(), Holders::new(chance.seed()));
        let mut swarm = Self {
            lines: Lines::new(count),
            len,
            finding,
            manner: Manner::InOrder,
            chance,
            queue: Queue::default(),
            loads: (0..count).map(|_| None).collect(),
            whole: vec![false; count],
            holders: Vec::new(),
            held,
            idle: (0..count).filter(|id| people[*id].open).collect(),
            bodies: 0,
            words: 0,
            requests: 0,
            people,
        };
        let injector = swarm.injector();
        swarm.whole[injector] = true;
        swarm
    }

    /// Somebody has it from the beginning.
    pub(crate) fn give(&mut self, id: Id) {
        self.whole[id] = true;
    }

    /// Somebody wants it then.
    pub(crate) fn arrives(&mut self, id: Id, at: Tick) {
        self.queue.at(at, Event::Arrives(id));
    }

    fn injector(&self) -> Id {
        self.people.len() - 1
    }

    /// Runs until nothing happens any more.
    pub(crate) fn run(&mut self) {
        while let Some(event) = self.queue.next() {
            self.happens(event);
        }
    }

    /// What was planned and done.
    pub(crate) fn events(&self) -> u64 {
        self.queue.planned()
    }

    /// How it went for all who read it; who has it not in the end is nobody.
    pub(crate) fn went(&self) -> Vec<Went> {
        let readers = self.loads.iter().flatten().filter(|load| load.reads);
        let went = readers.filter_map(|load| {
            let (first, whole) = (load.first? - load.began, load.whole? - load.began);
            Some(Went { first, whole, hit: load.by == Some(Route::Swarm) })
        });
        went.collect()
    }

    fn happens(&mut self, event: Event) {
        let now = self.queue.now();
        match event {
            Event::Arrives(id) => self.begin(id, true),
            Event::Heard(id, place, has) => self.heard(id, place, has),
            Event::Requested(id) => self.requested(id),
            Event::Told(id, holders) => self.told(id, holders),
            Event::Race(id) => {
                self.with_race(id, |race| race.handle(race::Input::Timeout, now));
                self.drive_race(id);
            }
            Event::Plan(id) => {
                if let Some(load) = &mut self.loads[id] {
                    load.wakes = None;
                    load.plan.handle(Input::Timeout, now);
                }
                self.drive(id);
            }
            Event::AskHas(id, source) => self.ask_has(id, source),
            Event::Has(id, source, has) => self.says(id, source, has),
            Event::News(id) => self.tell(id),
            Event::Ordered { source, reader, order, from, to } => {
                self.ordered(source, reader, order, from, to);
            }
            Event::Up(id) => self.up(id),
            Event::There(id, packet) => self.there(id, packet),
            Event::Nothing(id, order) => self.nothing(id, order),
            Event::Holds(id, holders) => self.holds(id, &holders),
        }
    }

    /// Somebody is asked to hold it.
    fn holds(&mut self, id: Id, holders: &[Id]) {
        let now = self.queue.now();
        let there = self.loads[id].as_ref().is_some_and(|load| load.whole.is_some());
        if there || self.people[id].manners != Manners::Honest {
            self.held.said(&KEY, ROOT, id, true, now);
        } else if self.loads[id].is_none() {
            self.begin(id, false);
            let own = *holders == [self.injector()];
            self.takes_from(id, holders, if own { Route::Injector } else { Route::Swarm });
        }
    }

    /// Somebody begins to load it.
    fn begin(&mut self, id: Id, reads: bool) {
        let now = self.queue.now();
        if let Some(load) = &mut self.loads[id] {
            // It holds it for others already.
            load.reads |= reads;
            load.began = now;
            let there = load.whole.map(|_| now);
            (load.first, load.whole) = (load.first.map(|_| now), there);
            return;
        }
        if self.whole[id] {
            return;
        }
        let ahead = if self.people[id].open { AHEAD } else { HELD };
        let step = |route| Step { route, patience: PATIENCE };
        let steps = [step(Route::Swarm), step(Route::Injector)];
        let mut race = Race::new(&steps, true, false);
        race.handle(race::Input::Start, now);
        self.loads[id] = Some(Box::new(Load {
            began: now,
            race: reads.then_some(race),
            open: 0,
            nothing: Vec::new(),
            plan: Plan::new(0..self.len, ahead, self.manner, self.chance.seed()),
            sources: Vec::new(),
            orders: BTreeMap::new(),
            there: Pieces::default(),
            listeners: Vec::new(),
            telling: false,
            first: None,
            whole: None,
            wakes: None,
            lost: 0,
            turn: self.chance.below(3),
            by: None,
            reads,
        }));
        self.drive_race(id);
    }

    fn with_race(&mut self, id: Id, act: impl FnOnce(&mut Race)) {
        if let Some(race) = self.loads[id].as_mut().and_then(|load| load.race.as_mut()) {
            act(race);
        }
    }

    fn drive_race(&mut self, id: Id) {
        loop {
            let Some(race) = self.loads[id].as_mut().and_then(|load| load.race.as_mut()) else {
                return;
            };
            match race.poll() {
                race::Output::Start(Route::Swarm) => self.ask_known(id),
                race::Output::Start(_) => {
                    let far = self.far(id, self.injector());
                    self.queue.at(self.queue.now() + far, Event::Requested(id));
                }
                race::Output::Wait(Some(at)) => return self.queue.at(at, Event::Race(id)),
                race::Output::Wait(None) | race::Output::GiveUp => return,
                race::Output::Cancel(_) | race::Output::Deliver(_) | race::Output::DeliverStale => {
                }
            }
        }
    }

    /// How long words take from one to another; from and to a quiet one through a guard.
    fn far(&self, from: Id, to: Id) -> Duration {
        let by = self.guard(from, to, 0);
        by.map_or_else(
            || distance(&self.people[from], &self.people[to]),
            |by| {
                distance(&self.people[from], &self.people[by])
                    + distance(&self.people[by], &self.people[to])
            },
        )
    }

    /// Through whom a quiet node and another one speak.
    fn guard(&self, quiet: Id, to: Id, nth: usize) -> Option<Id> {
        let guards = self.people[quiet].known.iter().take(3).filter(|guard| **guard != to);
        let guards: Vec<_> = guards.copied().collect();
        guards.get(nth % guards.len().max(1)).copied().filter(|_| !self.people[quiet].open)
    }

    fn ask_known(&mut self, id: Id) {
        let known = self.people[id].known.clone();
        let now = self.queue.now();
        if let Some(load) = &mut self.loads[id] {
            load.open = known.len();
        }
        for (place, node) in known.iter().enumerate() {
            let asked = now + STAGGER * u32::try_from(place).unwrap_or(u32::MAX);
            let has = self.has_beginning(*node);
            self.queue.at(asked + self.far(id, *node) * 2, Event::Heard(id, place, has));
        }
        if known.is_empty() {
            self.nobody(id);
        }
    }

    fn nobody(&mut self, id: Id) {
        let now = self.queue.now();
        let failed =
            race::Input::Failed { route: Route::Swarm, failure: Failure::NobodyHasIt, sent: false };
        self.with_race(id, |race| race.handle(failed, now));
        self.drive_race(id);
    }

    fn has_beginning(&self, id: Id) -> bool {
        let person = &self.people[id];
        let part = || self.has(id, 0..blob::lead(0, self.len));
        self.whole[id] || person.open && (person.manners != Manners::Honest || part())
    }

    fn heard(&mut self, id: Id, place: usize, has: bool) {
        let node = self.people[id].known[place];
        let Some(load) = &mut self.loads[id] else { return };
        load.open -= 1;
        if !has {
            load.nothing.push(node);
        }
        if load.by.is_some() {
            return;
        }
        if has {
            let mut sources = vec![node];
            let nothing = load.nothing.clone();
            let others = self.people[id].known.iter().copied();
            let mut others: Vec<_> = others.filter(|other| *other != node).collect();
            self.chance.shuffle(&mut others);
            others.sort_by_key(|other| nothing.contains(other));
            sources.extend(others.into_iter().take(MAX_SENDING - 1));
            self.takes_from(id, &sources, Route::Swarm);
        } else if load.open == 0 {
            self.nobody(id);
        }
    }

    /// The injector is asked.
    fn requested(&mut self, id: Id) {
        let now = self.queue.now();
        self.requests += 1;
        let holders = match self.finding {
            // Who has tried those that were named is sent it.
            _ if self.loads[id].as_ref().is_some_and(|load| load.lost > 0) => Vec::new(),
            Finding::Asking => Vec::new(),
            Finding::Named if self.bodies < SEEDS => Vec::new(),
            Finding::Named => self.some_holders(id),
            Finding::Held => {
                let asker = self.guard(id, self.injector(), 0).unwrap_or(id);
                self.held.asked(KEY, ROOT, asker, now);
                if self.held.lacks(&KEY, now) > 0 {
                    self.chance.shuffle(&mut self.idle);
                }
                for one in self.held.choose(&KEY, self.idle.iter().copied(), now) {
                    self.idle.retain(|idle| *idle != one);
                    self.ask_to_hold(one);
                }
                self.held.named(&KEY, ROOT)
            }
        };
        self.words += HEAD + holders.len() as u64 * CARD;
        if holders.is_empty() {
            self.bodies += 1;
        }
        let holders = (!holders.is_empty()).then_some(holders);
        self.queue.at(now + self.far(id, self.injector()), Event::Told(id, holders));
    }

    fn some_holders(&mut self, id: Id) -> Vec<Id> {
        let mut some = Vec::new();
        for _ in 0..4 * NAMED {
            let one = self.chance.pick(&self.holders).copied();
            some.extend(one.filter(|one| *one != id && !some.contains(one)));
            if some.len() == NAMED {
                return some;
            }
        }
        Vec::new()
    }

    /// Another open node is asked to hold it.
    fn ask_to_hold(&mut self, one: Id) {
        let now = self.queue.now();
        // What it gets it gives on before it has all of it.
        let mut holders = self.held.loads(&KEY, ROOT, one);
        if holders.is_empty() {
            holders.push(self.injector());
            self.bodies += 1;
        }
        self.words += HEAD + holders.len() as u64 * CARD;
        let far = self.far(one, self.injector());
        self.queue.at(now + far, Event::Holds(one, holders));
    }

    /// The injector has answered.
    fn told(&mut self, id: Id, holders: Option<Vec<Id>>) {
        if self.loads[id].as_ref().is_none_or(|load| load.by.is_some()) {
            return;
        }
        match holders {
            Some(holders) => self.takes_from(id, &holders, Route::Swarm),
            None => self.takes_from(id, &[self.injector()], Route::Injector),
        }
    }

    /// Somebody takes it from these. The injector sends all of it at once, and of the others the first one its
    /// beginning if they were asked for that.
    fn takes_from(&mut self, id: Id, sources: &[Id], by: Route) {
        let now = self.queue.now();
        let injector = self.injector();
        let Some(load) = &mut self.loads[id] else { return };
        load.by = Some(by);
        for source in sources {
            assert!(
                self.people[*source].open || self.whole[*source],
                "a quiet node is asked by nobody"
            );
        }
        let race_by = if sources == [injector] { Route::Injector } else { Route::Swarm };
        // Those of an earlier try keep their numbers.
        let base = load.sources.len();
        load.sources.extend_from_slice(sources);
        if self.people[id].open {
            let others = sources.iter().enumerate();
            let others = others.map(|(nth, source)| (base + nth, *source as u64));
            load.plan.divide(id as u64, others);
        }
        let lead = if by == Route::Injector { self.len } else { blob::lead(0, self.len) };
        if let Some(first) = sources.first().copied() {
            let order = load.plan.begun(base, 0..lead, now);
            load.orders.insert(order, base);
            if by == Route::Injector {
                load.plan.handle(Input::Joined(base, None), now);
            }
            let event = Event::Ordered { source: first, reader: id, order, from: 0, to: lead };
            let far = if race_by == Route::Injector { Duration::ZERO } else { self.far(id, first) };
            self.queue.at(now + far, event);
        }
        self.with_race(id, |race| race.handle(race::Input::Head(race_by), now));
        if by != Route::Injector {
            (base..base + sources.len()).for_each(|source| self.ask_has(id, source));
        }
        self.drive(id);
    }

    fn ask_has(&mut self, id: Id, source: usize) {
        let Some(node) = self.loads[id].as_ref().and_then(|load| load.sources.get(source)).copied()
        else {
            return;
        };
        let has = match &self.loads[node] {
            _ if self.whole[node] || self.people[node].manners != Manners::Honest => Some(None),
            Some(load) if load.whole.is_some() => Some(None),
            Some(load) if self.people[node].open => Some(Some(load.there.clone())),
            _ => None,
        };
        self.queue.at(self.queue.now() + self.far(id, node) * 2, Event::Has(id, source, has));
    }

    fn says(&mut self, id: Id, source: usize, has: Option<Option<Pieces>>) {
        let now = self.queue.now();
        let Some(load) = self.loads[id].as_mut().filter(|load| load.whole.is_none()) else {
            return;
        };
        let node = load.sources[source];
        match has {
            None if load.lost > 0 => {}
            None => self.queue.at(now + AGAIN, Event::AskHas(id, source)),
            Some(pieces) => {
                load.plan.handle(Input::Joined(source, pieces.clone()), now);
                if let (Some(pieces), Some(there)) = (pieces, &mut self.loads[node]) {
                    there.listeners.push((id, source, pieces));
                    self.tell_soon(node);
                }
                self.drive(id);
            }
        }
    }

    fn tell_soon(&mut self, id: Id) {
        let Some(load) = &mut self.loads[id] else { return };
        if !load.telling && !load.listeners.is_empty() {
            load.telling = true;
            self.queue.at(self.queue.now() + NEWS_PAUSE, Event::News(id));
        }
    }

    /// Tells all who listen which pieces have come.
    fn tell(&mut self, id: Id) {
        let now = self.queue.now();
        let Some(load) = &mut self.loads[id] else { return };
        load.telling = false;
        let there = load.there.clone();
        let mut told = Vec::new();
        for (listener, source, known) in &mut load.listeners {
            told.push((*listener, *source, there.beyond(known)));
            *known = there.clone();
        }
        for (listener, source, pieces) in told {
            let Some(load) = self.loads[listener].as_mut().filter(|load| load.whole.is_none())
            else {
                continue;
            };
            for piece in pieces {
                load.plan.handle(Input::Has(source, piece), now);
            }
            self.drive(listener);
        }
    }

    /// Does what the plan of somebody says.
    fn drive(&mut self, id: Id) {
        let now = self.queue.now();
        loop {
            let Some(load) = self.loads[id].as_mut().filter(|load| load.whole.is_none()) else {
                return;
            };
            match load.plan.poll(now) {
                Output::Ask(order, source, bytes) => {
                    load.orders.insert(order, source);
                    let node = load.sources[source];
                    let event = Event::Ordered {
                        source: node,
                        reader: id,
                        order,
                        from: bytes.start,
                        to: bytes.end,
                    };
                    self.queue.at(now + self.far(id, node), event);
                }
                Output::Cancel(order) => {
                    load.turn += 1;
                    if let Some(source) = load.orders.remove(&order) {
                        let node = load.sources[source];
                        self.lines.drop_order(node, id, order);
                    }
                }
                Output::Done => return self.whole_at(id),
                Output::Lost => return self.lost(id),
                Output::Wait(until) => {
                    if let Some(until) =
                        until.filter(|until| load.wakes.is_none_or(|at| at > *until))
                    {
                        load.wakes = Some(until);
                        self.queue.at(until, Event::Plan(id));
                    }
                    return;
                }
            }
        }
    }

    fn whole_at(&mut self, id: Id) {
        let now = self.queue.now();
        let Some(load) = &mut self.loads[id] else { return };
        load.whole = Some(now);
        load.race = None;
        load.orders.clear();
        match self.finding {
            Finding::Named if self.people[id].open => self.holders.push(id),
            Finding::Held => self.held.said(&KEY, ROOT, id, true, now),
            Finding::Asking | Finding::Named => {}
        }
        self.tell_soon(id);
    }

    /// Nobody of these has it after all: the injector is asked, and in the end has to send it.
    fn lost(&mut self, id: Id) {
        let (now, far) = (self.queue.now(), self.far(id, self.injector()));
        let Some(load) = &mut self.loads[id] else { return };
        load.lost += 1;
        if !load.reads {
            return self.held.said(&KEY, ROOT, id, false, now);
        }
        if load.lost > MOST_LOST {
            return;
        }
        load.plan = Plan::new(0..self.len, HELD, self.manner, self.chance.seed());
        load.orders.clear();
        load.by = None;
        self.queue.at(now + far, Event::Requested(id));
    }

    /// An order reached its source, which sends it.
    fn ordered(&mut self, source: Id, reader: Id, order: u64, from: u64, to: u64) {
        let person = &self.people[source];
        let wanted =
            self.loads[reader].as_ref().is_some_and(|load| load.orders.contains_key(&order));
        if person.manners == Manners::Stalls || !wanted {
            return;
        }
        let good = person.manners == Manners::Honest;
        if good && !self.has(source, from..to) {
            let far = self.far(reader, source);
            return self.queue.at(self.queue.now() + far, Event::Nothing(reader, order));
        }
        let turn = self.loads[reader].as_ref().map_or(0, |load| load.turn);
        let by = self.guard(reader, source, turn);
        let mut at = from;
        while at < to {
            let upto = (at / PACKET * PACKET + PACKET).min(to);
            let by = by.into_iter().collect();
            let packet = Packet { to: reader, order, upto, bytes: upto - at, good, by };
            self.send(source, packet);
            at = upto;
        }
    }

    /// Whether somebody has these bytes.
    fn has(&self, id: Id, bytes: Range<u64>) -> bool {
        let there = |load: &Load| {
            let mut pieces = bytes.start / PIECE..bytes.end.div_ceil(PIECE);
            load.whole.is_some() || pieces.all(|piece| load.there.has(piece))
        };
        self.whole[id] || self.loads[id].as_deref().is_some_and(there)
    }

    /// A source does not have what it was asked for.
    fn nothing(&mut self, id: Id, order: u64) {
        let now = self.queue.now();
        let Some(load) = self.loads[id].as_mut().filter(|load| load.whole.is_none()) else {
            return;
        };
        let Some(source) = load.orders.remove(&order) else { return };
        load.plan.handle(Input::Left(source), now);
        self.drive(id);
    }

    fn send(&mut self, from: Id, packet: Packet) {
        if self.lines.push(from, packet) {
            self.up(from);
        }
    }

    fn up(&mut self, id: Id) {
        let Some((mut packet, takes)) = self.lines.next(id, &self.people[id]) else { return };
        let left = self.queue.now() + takes;
        self.queue.at(left, Event::Up(id));
        let to = packet.by.pop().unwrap_or(packet.to);
        let there = self.lines.arrives(&self.people, id, to, left, packet.bytes);
        self.queue.at(there, Event::There(to, packet));
    }

    fn there(&mut self, id: Id, packet: Packet) {
        if packet.to != id {
            // A guard that means no good may drop what it is to pass on; change it it can't.
            if self.people[id].manners == Manners::Honest {
                self.send(id, packet);
            }
            return;
        }
        let now = self.queue.now();
        let Some(load) = self.loads[id].as_mut().filter(|load| load.whole.is_none()) else {
            return;
        };
        let Some(source) = load.orders.get(&packet.order).copied() else { return };
        if !packet.good {
            // It does not match the signed root: nothing of it is shown, and its sender is asked no more.
            load.plan.handle(Input::Left(source), now);
            return self.drive(id);
        }
        if packet.upto <= PACKET {
            load.first.get_or_insert(now);
        }
        load.plan.handle(Input::Came(packet.order, packet.upto), now);
        if packet.upto.is_multiple_of(PIECE) || packet.upto == self.len {
            load.there.add((packet.upto - 1) / PIECE);
            let whole = (0..).take_while(|piece| load.there.has(*piece)).count() as u64;
            load.plan.handle(Input::Passed((whole * PIECE).min(self.len)), now);
            self.tell_soon(id);
        }
        self.drive(id);
    }
}
