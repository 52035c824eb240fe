//! How somebody learns who has it: those they know are asked, and the injector, which names some whom it asked to hold it.

use std::ops::Range;
use std::time::Duration;

use busel_proto::blob;
use busel_proto::failure::{Failure, Route};
use busel_proto::holders::NAMED;
use busel_proto::memory::{self, Step};
use busel_proto::plan::{Pieces, Plan};
use busel_proto::race::{self, Race};
use busel_proto::time::Tick;

use super::{AHEAD, Event, Finding, HELD, KEY, Load, Ordered, ROOT, Source, Swarm};
use crate::guarded::Guarded;
use crate::people::{Id, Manners};

/// As `node/route/swarm.rs` has it: between two nodes that are asked.
const STAGGER: Duration = Duration::from_millis(60);
/// As `node/route/injector.rs` has them: so many guards are asked to pass a request on, and how long the last of them is
/// waited for.
const FIRST_HOPS: usize = 2;
const OWN_AFTER: Duration = Duration::from_secs(5);
/// How long other nodes are asked before the injector is asked beside them.
const PATIENCE: Duration = Duration::from_millis(400);
/// All know by then that it is to be had.
const LISTED: Duration = Duration::from_secs(240);
/// Bytes of a signed head, and of the card of a holder.
const HEAD: u64 = 650;
const CARD: u64 = 171;
/// Where holders are not asked but say it: they are named once the injector has sent the body so often itself.
const SEEDS: usize = 12;

impl Swarm {
    /// Somebody is asked to hold it.
    pub(super) fn holds(&mut self, id: Id, holders: &[Id]) {
        let now = self.queue.now();
        let there = self.loads[id].as_ref().is_some_and(|load| load.whole.is_some());
        if there || self.people[id].manners != Manners::Honest {
            self.held.said(&KEY, ROOT, id, true, now);
        } else if self.loads[id].is_none() {
            self.begin(id, false);
            let sources = holders.iter().map(|node| Source { node: *node, by: Vec::new() });
            self.takes_from(id, sources.collect(), Route::Injector, None);
        }
    }

    /// Somebody begins to load it.
    pub(super) fn begin(&mut self, id: Id, reads: bool) {
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
        let open = self.people[id].open;
        if !open {
            let guards = self.people[id].known.iter().take(3);
            let took = |guard: &Id| (*guard, self.far(id, None, *guard) * 4);
            let guards: Vec<_> = guards.map(took).collect();
            self.guarded.insert(id, Guarded::new(&guards, &mut self.chance));
        }
        let step = |route| Step { route, patience: PATIENCE };
        let mut steps = vec![step(Route::Swarm), step(Route::Injector)];
        if self.finding == Finding::Listed && now >= Tick(0) + LISTED {
            steps = memory::copies_first(&steps);
        }
        let mut race = Race::new(&steps, true, false);
        race.handle(race::Input::Start, now);
        let ahead = if open { AHEAD } else { HELD };
        self.loads[id] = Some(Box::new(Load {
            began: now,
            race: reads.then_some(race),
            open: 0,
            nothing: Vec::new(),
            asked: [].into(),
            ways: Vec::new(),
            plan: Plan::new(0..self.len, ahead, self.manner, self.chance.seed()),
            sources: Vec::new(),
            spare: Vec::new(),
            base: 0,
            joined: Vec::new(),
            unheard: Vec::new(),
            orders: [].into(),
            labels: 0,
            there: Pieces::default(),
            passed: 0,
            listeners: Vec::new(),
            telling: false,
            first: None,
            whole: None,
            wakes: None,
            race_wakes: None,
            requests: 0,
            trying: Vec::new(),
            by: None,
            hit: false,
            reads,
        }));
        self.drive_race(id);
    }

    /// Something happened to a route of somebody.
    pub(super) fn tell_race(&mut self, id: Id, input: race::Input) {
        let now = self.queue.now();
        if let Some(race) = self.loads[id].as_mut().and_then(|load| load.race.as_mut()) {
            race.handle(input, now);
            self.drive_race(id);
        }
    }

    fn drive_race(&mut self, id: Id) {
        loop {
            let Some(load) = &mut self.loads[id] else { return };
            let Some(race) = &mut load.race else { return };
            match race.poll() {
                race::Output::Start(route) => {
                    load.trying.push(route);
                    match route {
                        Route::Swarm => self.ask_known(id),
                        _ => self.request(id),
                    }
                }
                race::Output::Cancel(route) => {
                    load.trying.retain(|trying| *trying != route);
                    if load.by == Some(route) {
                        self.stop(id);
                    }
                    if route == Route::Swarm {
                        self.cancel_asked(id);
                    }
                }
                race::Output::Wait(until) => {
                    let sooner = |at: &Tick| load.race_wakes.is_none_or(|wakes| wakes > *at);
                    if let Some(at) = until.filter(sooner) {
                        load.race_wakes = Some(at);
                        self.queue.at(at, Event::Race(id));
                    }
                    return;
                }
                race::Output::GiveUp => {
                    load.race = None;
                    return self.gives_up(id);
                }
                race::Output::Deliver(_) | race::Output::DeliverStale => {}
            }
        }
    }

    /// The guards of a quiet node, in the order in which it asks them.
    fn guards(&mut self, id: Id) -> Vec<Id> {
        self.guarded.get(&id).map(|guarded| guarded.order(&mut self.chance)).unwrap_or_default()
    }

    /// Through whom it may ask a node.
    fn by(guards: &[Id], node: Id) -> Vec<Id> {
        guards.iter().copied().filter(|guard| *guard != node).collect()
    }

    fn ask_known(&mut self, id: Id) {
        let (known, now) = (self.people[id].known.len(), self.queue.now());
        let guards = self.guards(id);
        let Some(load) = &mut self.loads[id] else { return };
        load.open = known;
        load.ways = guards;
        load.nothing.clear();
        for place in 0..known {
            let at = now + STAGGER * u32::try_from(place).unwrap_or(u32::MAX);
            self.queue.at(at, Event::Asks(id, place));
        }
        if known == 0 {
            self.nobody(id);
        }
    }

    /// It is asked whether it has it, unless another one has answered.
    pub(super) fn asks(&mut self, id: Id, place: usize) {
        let load = self.loads[id].as_ref().filter(|load| load.tries(Route::Swarm));
        let Some(load) = load else { return };
        let node = self.people[id].known[place];
        let by = Self::by(&load.ways, node);
        if let Some((by, far)) = self.through(id, &by, node) {
            self.queue.at(self.queue.now() + far, Event::Asked(id, place, by));
        }
    }

    /// Who has it sends the beginning, or what comes next, with the answer.
    pub(super) fn asked(&mut self, id: Id, place: usize, by: Option<Id>) {
        let node = self.people[id].known[place];
        let load = self.loads[id].as_ref().filter(|load| load.tries(Route::Swarm));
        let Some(from) = load.map(|load| load.passed) else { return };
        let bytes = from..blob::lead(from, self.len);
        if !self.says_it_has(node, bytes.clone()) {
            let far = self.far(id, by, node);
            return self.queue.at(self.queue.now() + far, Event::HasNothing(id, place));
        }
        let Some(load) = &mut self.loads[id] else { return };
        let label = load.label();
        load.asked.insert(label, node);
        self.ordered(Ordered { source: node, reader: id, by, label, bytes });
    }

    fn nobody(&mut self, id: Id) {
        let (route, failure) = (Route::Swarm, Failure::NobodyHasIt);
        self.tell_race(id, race::Input::Failed { route, failure, sent: false });
    }

    fn says_it_has(&self, id: Id, bytes: Range<u64>) -> bool {
        let person = &self.people[id];
        let part = || self.has(id, bytes);
        self.whole[id] || person.open && (person.manners != Manners::Honest || part())
    }

    pub(super) fn has_nothing(&mut self, id: Id, place: usize) {
        let node = self.people[id].known[place];
        let Some(load) = self.loads[id].as_mut().filter(|load| load.tries(Route::Swarm)) else {
            return;
        };
        load.open = load.open.saturating_sub(1);
        load.nothing.push(node);
        if load.open == 0 {
            self.nobody(id);
        }
    }

    /// The first good bytes of those who were asked have come, with this label: those sources are gone on with, the others are
    /// told that it is not wanted any more.
    pub(super) fn won(&mut self, id: Id, label: u64) {
        let Some(load) = &mut self.loads[id] else { return };
        let Some(node) = load.asked.remove(&label) else { return };
        let (nothing, guards) = (load.nothing.clone(), load.ways.clone());
        let others = self.people[id].known.iter().copied();
        let mut others: Vec<_> = others.filter(|other| *other != node).collect();
        self.chance.shuffle(&mut others);
        others.sort_by_key(|other| nothing.contains(other));
        let nodes = std::iter::once(node).chain(others);
        let sources = nodes.map(|node| Source { node, by: Self::by(&guards, node) }).collect();
        self.takes_from(id, sources, Route::Swarm, Some(label));
    }

    /// Who was asked besides is told that it is not wanted any more.
    pub(super) fn cancel_asked(&mut self, id: Id) {
        let now = self.queue.now();
        let Some(load) = &mut self.loads[id] else { return };
        let (asked, guards) = (std::mem::take(&mut load.asked), load.ways.clone());
        for (label, node) in asked {
            let far = self.far(id, None, node);
            let senders = [&guards[..], &[node]].concat();
            self.queue.at(now + far, Event::Dropped(id, senders, label));
        }
    }

    /// A request goes to the injector: through a guard, then through another one, then on our own connection.
    pub(super) fn request(&mut self, id: Id) {
        if !self.has_injector {
            return;
        }
        let (now, injector) = (self.queue.now(), self.injector());
        let hops: Vec<_> = self.guards(id).into_iter().take(FIRST_HOPS).collect();
        let (by, after) = self.through(id, &hops, injector).unwrap_or_else(|| {
            let guarded = self.guarded.get(&id);
            let failing = guarded.is_some_and(|guarded| guarded.fails(&hops, now));
            let waited = if failing { Duration::ZERO } else { OWN_AFTER };
            let far = self.far(id, None, injector);
            if let Some(guarded) = self.guarded.get_mut(&id) {
                hops.iter().for_each(|hop| guarded.failed(*hop, now));
            }
            (None, waited + far)
        });
        self.queue.at(now + after, Event::Requested(id, by));
    }

    /// The injector is asked.
    pub(super) fn requested(&mut self, id: Id, by: Option<Id>) {
        let now = self.queue.now();
        self.requests += 1;
        let Some(load) = &mut self.loads[id] else { return };
        let before = load.requests;
        load.requests = before.saturating_add(1);
        let holders = match self.finding {
            Finding::Asking => Vec::new(),
            // Who has tried those that were named is sent it.
            Finding::Named if before > 0 => Vec::new(),
            Finding::Named if self.bodies < SEEDS => Vec::new(),
            Finding::Named => self.some_holders(id),
            Finding::Held | Finding::Listed => {
                self.held.asked(KEY, ROOT, by.unwrap_or(id), now);
                if self.held.lacks(&KEY, now) > 0 {
                    self.chance.shuffle(&mut self.idle);
                }
                for one in self.held.choose(&KEY, self.idle.iter().copied(), now) {
                    self.idle.retain(|idle| *idle != one);
                    self.ask_to_hold(one);
                }
                self.held.named(&KEY, ROOT, before)
            }
        };
        self.words += HEAD + holders.len() as u64 * CARD;
        if holders.is_empty() {
            self.bodies += 1;
        }
        self.queue.at(now + self.far(id, by, self.injector()), Event::Told(id, holders, by));
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
        let far = self.far(one, None, self.injector());
        self.queue.at(now + far, Event::Holds(one, holders));
    }

    /// The injector has answered: these hold it, or it sends it itself. Each is asked through one guard.
    pub(super) fn told(&mut self, id: Id, holders: &[Id], by: Option<Id>) {
        if !self.loads[id].as_ref().is_some_and(|load| load.tries(Route::Injector)) {
            return;
        }
        if holders.is_empty() {
            let by = by.into_iter().collect();
            let injector = Source { node: self.injector(), by };
            return self.takes_from(id, vec![injector], Route::Injector, None);
        }
        let guards = self.guards(id);
        let sources = holders.iter().enumerate().map(|(nth, node)| {
            let others = Self::by(&guards, *node);
            let by = others.get(nth % others.len().max(1)).copied().into_iter().collect();
            Source { node: *node, by }
        });
        self.takes_from(id, sources.collect(), Route::Injector, None);
    }
}
