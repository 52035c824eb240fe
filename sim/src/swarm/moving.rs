//! How it gets to who wants it: what the plan says is asked for, and what comes of that over the lines.

use std::ops::Range;
use std::time::Duration;

use busel_proto::blob::{self, GROUP};
use busel_proto::failure::{Failure, Route};
use busel_proto::plan::{Input, Output, PIECE, Pieces, Plan};
use busel_proto::race;
use busel_proto::superseed::SuperSeed;
use busel_proto::time::Tick;

use super::{AHEAD, Choice, Event, Finding, HELD, KEY, Load, Ordered, ROOT, Source, Swarm};
use crate::lines::{PACKET, Packet};
use crate::people::{Id, Manners};

/// As `node/route/many.rs` has them: how many send, and when and how often a node that has nothing is asked again.
const MAX_SENDING: usize = 6;
const AGAIN: Duration = Duration::from_secs(2);
const MOST_AGAIN: u32 = 15;
const HAS_LIMIT: Duration = Duration::from_secs(4);
/// News of pieces are told after such a pause.
const NEWS_PAUSE: Duration = Duration::from_millis(100);

impl Swarm {
    /// Somebody takes it from these. The injector sends all of it at once; of the others the first one is asked for the
    /// beginning, or sends it already, under this label.
    pub(super) fn takes_from(
        &mut self,
        id: Id,
        mut sources: Vec<Source>,
        by: Route,
        begun: Option<u64>,
    ) {
        let now = self.queue.now();
        // Who sent it until now, and who else was asked, is told that it is not wanted.
        self.tell_race(id, race::Input::Head(by));
        self.cancel_asked(id);
        self.stop(id);
        let own = sources.first().is_some_and(|source| source.node == self.injector());
        let Some(load) = &mut self.loads[id] else { return };
        (load.by, load.hit) = (Some(by), !own);
        load.trying.clear();
        for source in &sources {
            let whole = self.whole[source.node];
            assert!(self.people[source.node].open || whole, "a quiet node is asked by nobody");
        }
        load.spare = sources.split_off(sources.len().min(MAX_SENDING));
        load.base = load.sources.len();
        (load.joined, load.unheard) = (vec![load.base], Vec::new());
        // Those of an earlier try keep their numbers.
        let (base, count) = (load.sources.len(), sources.len());
        if self.people[id].open {
            load.plan.gives_on();
        }
        let Some(first) = sources.first().cloned() else { return };
        load.sources.extend(sources);
        let from = load.passed;
        let lead = from..if own { self.len } else { blob::lead(from, self.len) };
        let order = load.plan.begun(base, lead.clone(), now);
        if own {
            load.plan.handle(Input::Joined(base, None), now);
        }
        let label = begun.unwrap_or_else(|| load.label());
        load.orders.insert(label, (order, base));
        if begun.is_none() {
            load.plan.handle(Input::Passed(from), now);
            let ordered = |by| Ordered { source: first.node, reader: id, by, label, bytes: lead };
            // The injector has begun to send, through who passed the request on.
            let through = match own {
                true => Some((first.by.first().copied(), Duration::ZERO)),
                false => self.through(id, &first.by, first.node),
            };
            if let Some((by, far)) = through {
                self.queue.at(now + far, Event::Ordered(ordered(by)));
            }
        }
        self.tell_race(id, race::Input::Waiting);
        if !own {
            (base..base + count).for_each(|source| self.ask_has(id, source, 0));
        }
        self.drive(id);
    }

    /// Somebody else takes the place of one who has nothing, or is asked no more.
    fn next_one(&mut self, id: Id) -> bool {
        let Some(load) = &mut self.loads[id] else { return false };
        if load.spare.is_empty() {
            return false;
        }
        let (next, number) = (load.spare.remove(0), load.sources.len());
        load.sources.push(next);
        self.ask_has(id, number, 0);
        true
    }

    /// A node is asked which pieces it has, for this time.
    pub(super) fn ask_has(&mut self, id: Id, source: usize, nth: u32) {
        let load = self.loads[id].as_mut().filter(|load| load.whole.is_none());
        let Some(load) = load.filter(|load| source < load.sources.len()) else { return };
        if nth == 0 {
            load.unheard.push(source);
        }
        let Source { node, by } = load.sources[source].clone();
        let has = match &self.loads[node] {
            _ if self.whole[node] || self.people[node].manners != Manners::Honest => Some(None),
            Some(load) if load.whole.is_some() => Some(None),
            Some(load) if self.people[node].open => Some(Some(load.there.clone())),
            _ => None,
        };
        let now = self.queue.now();
        match self.through(id, &by, node) {
            Some((by, far)) => {
                let at = now + far + self.far(id, by, node);
                self.queue.at(at, Event::Has(id, source, has, nth));
            }
            None => self.queue.at(now + HAS_LIMIT, Event::Has(id, source, None, nth)),
        }
    }

    pub(super) fn says(&mut self, id: Id, source: usize, has: Option<Option<Pieces>>, nth: u32) {
        let now = self.queue.now();
        let Some(load) = self.loads[id].as_mut().filter(|load| load.whole.is_none()) else {
            return;
        };
        // Those of an earlier try do not matter any more.
        if source < load.base {
            return;
        }
        load.unheard.retain(|unheard| *unheard != source);
        let node = load.sources[source].node;
        if let Some(pieces) = has {
            load.joined.push(source);
            load.plan.handle(Input::Joined(source, pieces.clone()), now);
            if let Some(pieces) = pieces {
                match &mut self.loads[node] {
                    Some(there) => there.listeners.push((id, source, pieces)),
                    // It has given up meanwhile.
                    None => self.settled(id, source),
                }
                self.tell_soon(node);
            }
        } else if !load.plan.knows(source) && !self.next_one(id) && nth < MOST_AGAIN {
            self.queue.at(now + AGAIN, Event::AskHas(id, source, nth + 1));
        }
        self.drive(id);
    }

    fn tell_soon(&mut self, id: Id) {
        let Some(load) = &mut self.loads[id] else { return };
        if !load.telling && !load.listeners.is_empty() {
            load.telling = true;
            self.queue.at(self.queue.now() + NEWS_PAUSE, Event::News(id));
        }
    }

    /// Tells all who listen which pieces have come.
    pub(super) fn tell(&mut self, id: Id) {
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
            for piece in pieces.into_iter().filter(|_| source >= load.base) {
                load.plan.handle(Input::Has(source, piece), now);
            }
            self.drive(listener);
        }
    }

    /// Does what the plan of somebody says.
    pub(super) fn drive(&mut self, id: Id) {
        let now = self.queue.now();
        loop {
            let Some(load) = self.loads[id].as_mut().filter(|load| load.whole.is_none()) else {
                return;
            };
            let gone = load.joined.iter().position(|source| !load.plan.knows(*source));
            if let Some(gone) = gone {
                load.joined.swap_remove(gone);
                self.next_one(id);
                continue;
            }
            match load.plan.poll(now) {
                Output::Ask(order, number, bytes) => {
                    let label = load.label();
                    load.orders.insert(label, (order, number));
                    let Source { node, by } = load.sources[number].clone();
                    if let Some((by, far)) = self.through(id, &by, node) {
                        let ordered = Ordered { source: node, reader: id, by, label, bytes };
                        self.queue.at(now + far, Event::Ordered(ordered));
                    }
                }
                Output::Choose(order, number, of, most) => {
                    let label = load.label();
                    load.orders.insert(label, (order, number));
                    let Source { node, by } = load.sources[number].clone();
                    if let Some((by, far)) = self.through(id, &by, node) {
                        let choice = Choice { source: node, reader: id, by, label, of, most };
                        self.queue.at(now + far, Event::MayChoose(choice));
                    }
                }
                Output::Cancel(order) => {
                    let mut labels = load.orders.iter().filter(|(_, (of, _))| *of == order);
                    if let Some((label, (_, number))) =
                        labels.next().map(|(label, of)| (*label, *of))
                    {
                        load.orders.remove(&label);
                        self.unwanted(id, number, label);
                    }
                }
                Output::Late(source) => pass_by_others(&mut load.sources[source]),
                Output::Done => return self.whole_at(id),
                Output::Lost if load.unheard.is_empty() => return self.lost(id),
                // Those who are asked have it not, and get it not.
                Output::Wait(None) if load.is_stuck() => return self.lost(id),
                Output::Lost => return,
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

    /// A source, and who passes it on, is told that something is not wanted any more.
    fn unwanted(&mut self, id: Id, number: usize, label: u64) {
        let Some(load) = &self.loads[id] else { return };
        let source = &load.sources[number];
        let senders = [&source.by[..], &[source.node]].concat();
        let at = self.queue.now() + self.far(id, None, source.node);
        self.queue.at(at, Event::Dropped(id, senders, label));
    }

    /// Something is not wanted any more: these don't send, or pass on, what they have not yet.
    pub(super) fn drop_order(&mut self, id: Id, senders: &[Id], label: u64) {
        senders.iter().for_each(|sender| self.lines.drop_order(*sender, id, label));
    }

    fn whole_at(&mut self, id: Id) {
        let now = self.queue.now();
        let Some(load) = &mut self.loads[id] else { return };
        load.whole = Some(now);
        load.race = None;
        load.trying.clear();
        load.orders.clear();
        self.guarded.remove(&id);
        match self.finding {
            Finding::Named if self.people[id].open => self.holders.push(id),
            Finding::Held | Finding::Listed => self.held.said(&KEY, ROOT, id, true, now),
            Finding::Asking | Finding::Named => {}
        }
        self.tell_soon(id);
    }

    /// Nobody of these has it after all.
    fn lost(&mut self, id: Id) {
        let now = self.queue.now();
        self.stop(id);
        let Some(load) = &mut self.loads[id] else { return };
        if load.race.is_some() {
            let Some(route) = load.by.take() else { return };
            let failure = Failure::NobodyHasIt;
            return self.tell_race(id, race::Input::Failed { route, failure, sent: true });
        }
        // Its owner may want to read it later, or does already.
        let reads = load.reads.then_some(load.began);
        self.held.said(&KEY, ROOT, id, false, now);
        self.gives_up(id);
        self.loads[id] = None;
        if let Some(began) = reads {
            self.begin(id, true);
            self.loads[id].iter_mut().for_each(|load| load.began = began);
        }
    }

    /// What was ordered is not wanted any more; what is still missing may be asked of others.
    pub(super) fn stop(&mut self, id: Id) {
        let Some(load) = &mut self.loads[id] else { return };
        let ahead = if self.people[id].open { AHEAD } else { HELD };
        load.plan = Plan::new(load.passed..self.len, ahead, self.manner, self.chance.seed());
        load.there.iter().for_each(|piece| load.plan.handle(Input::There(piece), Tick(0)));
        load.joined.clear();
        let orders = std::mem::take(&mut load.orders);
        for (label, (_, number)) in orders {
            self.unwanted(id, number, label);
        }
    }

    /// It gets no more: who wants it of it is told.
    pub(super) fn gives_up(&mut self, id: Id) {
        let Some(load) = &mut self.loads[id] else { return };
        for (listener, source, _) in std::mem::take(&mut load.listeners) {
            self.settled(listener, source);
            self.drive(listener);
        }
    }

    fn settled(&mut self, id: Id, source: usize) {
        let now = self.queue.now();
        if let Some(load) = self.loads[id].as_mut().filter(|load| load.whole.is_none()) {
            load.plan.handle(Input::Settled(source), now);
        }
    }

    /// A source is to choose, and sends what it chose.
    pub(super) fn may_choose(&mut self, choice: Choice) {
        let Choice { source, reader, by, label, of, most } = choice;
        let now = self.queue.now();
        let there = |piece: &u64| self.has(source, piece * PIECE..(piece + 1) * PIECE);
        let of: Vec<_> = match self.people[source].manners {
            Manners::Honest => of.into_iter().filter(there).collect(),
            Manners::Lies => of,
            Manners::Stalls => return,
        };
        let dice = &mut self.chance;
        let seed = self.superseeds.entry(source).or_insert_with(|| SuperSeed::new(dice.seed()));
        let chosen = seed.choose(ROOT, &of, most, now);
        let far = self.far(reader, by, source);
        let Some(chosen) = chosen else {
            return self.queue.at(now + far, Event::Nothing(reader, label));
        };
        let bytes = chosen.start * PIECE..(chosen.end * PIECE).min(self.len);
        self.queue.at(now + far, Event::Chose(reader, label, bytes.clone()));
        self.ordered(Ordered { source, reader, by, label, bytes });
    }

    /// Somebody is told what its source has chosen.
    pub(super) fn chose(&mut self, id: Id, label: u64, bytes: Range<u64>) {
        let now = self.queue.now();
        let Some(load) = self.loads[id].as_mut().filter(|load| load.whole.is_none()) else {
            return;
        };
        if let Some((order, _)) = load.orders.get(&label).copied() {
            load.plan.handle(Input::Chose(order, bytes), now);
            self.drive(id);
        }
    }

    /// An order reached its source, which sends it.
    pub(super) fn ordered(&mut self, ordered: Ordered) {
        let Ordered { source, reader, by, label, bytes } = ordered;
        let manners = self.people[source].manners;
        let wanted =
            |load: &Load| load.orders.contains_key(&label) || load.asked.contains_key(&label);
        if manners == Manners::Stalls || !self.loads[reader].as_deref().is_some_and(wanted) {
            return;
        }
        let good = manners == Manners::Honest;
        if good && !self.has(source, bytes.clone()) {
            let far = self.far(reader, by, source);
            return self.queue.at(self.queue.now() + far, Event::Nothing(reader, label));
        }
        let mut at = bytes.start;
        while at < bytes.end {
            // The first window is short, so that its reader soon has something.
            let next = if at == bytes.start { GROUP } else { PACKET };
            let upto = (at / next * next + next).min(bytes.end);
            let by = by.into_iter().collect();
            self.send(source, Packet { to: reader, label, upto, bytes: upto - at, good, by });
            at = upto;
        }
    }

    /// Whether somebody has these bytes.
    pub(super) fn has(&self, id: Id, bytes: Range<u64>) -> bool {
        let there = |load: &Load| {
            let mut pieces = bytes.start / PIECE..bytes.end.div_ceil(PIECE);
            load.whole.is_some() || pieces.all(|piece| load.there.has(piece))
        };
        self.whole[id] || self.loads[id].as_deref().is_some_and(there)
    }

    /// A source does not have what it was asked for.
    pub(super) fn nothing(&mut self, id: Id, label: u64) {
        self.leaves(id, label);
    }

    /// It is asked no more.
    fn leaves(&mut self, id: Id, label: u64) {
        let now = self.queue.now();
        let Some(load) = self.loads[id].as_mut().filter(|load| load.whole.is_none()) else {
            return;
        };
        let Some((_, source)) = load.orders.remove(&label) else { return };
        load.plan.handle(Input::Left(source), now);
        self.drive(id);
    }

    fn send(&mut self, from: Id, packet: Packet) {
        if self.lines.push(from, packet) {
            self.up(from);
        }
    }

    pub(super) fn up(&mut self, id: Id) {
        let Some((mut packet, takes)) = self.lines.next(id, &self.people[id]) else { return };
        let left = self.queue.now() + takes;
        self.queue.at(left, Event::Up(id));
        let to = packet.by.pop().unwrap_or(packet.to);
        let there = self.lines.arrives(&self.people, id, to, left, packet.bytes);
        self.queue.at(there, Event::There(to, packet));
    }

    pub(super) fn there(&mut self, id: Id, packet: Packet) {
        if packet.to != id {
            // A guard that means no good may drop what it is to pass on; change it it can't.
            if self.people[id].manners == Manners::Honest {
                self.send(id, packet);
            }
            return;
        }
        let Some(load) = self.loads[id].as_mut().filter(|load| load.whole.is_none()) else {
            return;
        };
        if load.asked.contains_key(&packet.label) {
            if !packet.good {
                load.asked.remove(&packet.label);
                return;
            }
            if load.tries(Route::Swarm) {
                self.won(id, packet.label);
            }
        }
        self.came(id, &packet);
    }

    fn came(&mut self, id: Id, packet: &Packet) {
        let now = self.queue.now();
        let Some(load) = self.loads[id].as_mut().filter(|load| load.whole.is_none()) else {
            return;
        };
        let Some((order, _)) = load.orders.get(&packet.label).copied() else { return };
        if !packet.good {
            // It does not match the signed root: nothing of it is shown, and its sender is asked no more.
            return self.leaves(id, packet.label);
        }
        if packet.upto <= PACKET {
            load.first.get_or_insert(now);
        }
        load.plan.handle(Input::Came(order, packet.upto), now);
        let is_next = (packet.upto - 1) / PIECE == load.passed / PIECE;
        if packet.upto.is_multiple_of(PIECE) || packet.upto == self.len {
            load.there.add((packet.upto - 1) / PIECE);
            let whole = (0..).take_while(|piece| load.there.has(*piece)).count() as u64;
            load.passed = (whole * PIECE).min(self.len);
            load.plan.handle(Input::Passed(load.passed), now);
            self.tell_soon(id);
        }
        if is_next {
            self.tell_race(id, race::Input::Progress);
            self.tell_race(id, race::Input::Waiting);
        }
        self.drive(id);
    }
}

/// Another guard is asked first the next time.
fn pass_by_others(source: &mut Source) {
    if !source.by.is_empty() {
        source.by.rotate_left(1);
    }
}
