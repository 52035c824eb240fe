//! One body, and all who want it, at the level of its parts: who asks whom, what goes over which line, and when
//! each has it.
//!
//! The rules are the program's own: [`Race`] says when the injector is asked beside other nodes, [`Plan`] which part
//! is asked of whom, [`Holders`] who is asked to hold it and who is named, [`Guarded`] through which guard. Signatures
//! are symbols: a part is good or it is not, and who gets a bad one sees that. [`finding`] is how somebody learns who
//! has it, [`moving`] how it gets to them.

mod finding;
mod moving;

use std::collections::BTreeMap;
use std::time::Duration;

use busel_proto::failure::Route;
use busel_proto::holders::Holders;
use busel_proto::id::{Hash, SnapshotKey};
use busel_proto::plan::{Input, Manner, Order, Pieces, Plan};
use busel_proto::race::{self, Race};
use busel_proto::superseed::SuperSeed;
use busel_proto::time::Tick;

use crate::chance::Chance;
use crate::guarded::Guarded;
use crate::lines::{Lines, Packet};
use crate::people::{Id, Manners, Person, distance};
use crate::queue::Queue;

/// How far quiet nodes look ahead, and open ones, as `node/route/many.rs` has it.
const HELD: u64 = 8 << 20;
const AHEAD: u64 = 256 << 20;
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
    /// The same; and after a while all know that it is to be had, so that known nodes are waited for longer.
    Listed,
}

/// What happens. Where somebody is told by whom a thing comes, that is the guard of a quiet node.
#[derive(Debug)]
enum Event {
    Arrives(Id),
    /// A node is asked for it that may have it, by its place among those known; and has nothing.
    Asks(Id, usize),
    Asked(Id, usize, Option<Id>),
    HasNothing(Id, usize),
    /// A request reached the injector; its answer reached who asked.
    Requested(Id, Option<Id>),
    Told(Id, Vec<Id>, Option<Id>),
    /// A guard passed a question on and brought the answer, after so long; these were silent before.
    Passed(Id, Id, Duration, Vec<Id>),
    /// The race, or the plan, of somebody is to be looked at.
    Race(Id),
    Plan(Id),
    /// What a source has, and gets, asked for this time; by its number in the plan.
    AskHas(Id, usize, u32),
    Has(Id, usize, Option<Option<Pieces>>, u32),
    News(Id),
    /// An order reached its source.
    Ordered(Ordered),
    /// A source is to choose what it sends; it has chosen these bytes.
    MayChoose(Choice),
    Chose(Id, u64, std::ops::Range<u64>),
    /// Who was asked for an order does not have that.
    Nothing(Id, u64),
    /// What was ordered is not wanted any more.
    Dropped(Id, Vec<Id>, u64),
    /// A line is free; a packet reached the next node.
    Up(Id),
    There(Id, Packet),
    /// A node is asked to hold it, and by these has it.
    Holds(Id, Vec<Id>),
}

/// Bytes that somebody asks a node for.
#[derive(Debug)]
struct Ordered {
    source: Id,
    reader: Id,
    by: Option<Id>,
    label: u64,
    bytes: std::ops::Range<u64>,
}

/// Pieces of which somebody lets a node choose, and how many in a row at most.
#[derive(Debug)]
struct Choice {
    source: Id,
    reader: Id,
    by: Option<Id>,
    label: u64,
    of: Vec<u64>,
    most: u64,
}

/// Who sends, and through which guards a quiet node asks them.
#[derive(Debug, Clone)]
struct Source {
    node: Id,
    by: Vec<Id>,
}

/// Somebody who wants it.
#[derive(Debug)]
struct Load {
    began: Tick,
    race: Option<Race>,
    /// Answers that are still awaited, and who has nothing.
    open: usize,
    nothing: Vec<Id>,
    /// Who was asked whether they have it, by the label of what they send then.
    asked: BTreeMap<u64, Id>,
    /// The guards through which those that it knows are asked.
    ways: Vec<Id>,
    plan: Plan,
    /// By the plan's numbers.
    sources: Vec<Source>,
    /// From which number on they are those of this try.
    base: usize,
    /// Who may take the place of one of them; who has something; and who has not said yet whether they have.
    spare: Vec<Source>,
    joined: Vec<usize>,
    unheard: Vec<usize>,
    /// Which order of which source is under way, by the label of what it brings.
    orders: BTreeMap<u64, (Order, usize)>,
    labels: u64,
    there: Pieces,
    /// Up to which byte its beginning is.
    passed: u64,
    /// Whom to tell of pieces, by their number for this one, and what they were told.
    listeners: Vec<(Id, usize, Pieces)>,
    telling: bool,
    first: Option<Tick>,
    whole: Option<Tick>,
    wakes: Option<Tick>,
    race_wakes: Option<Tick>,
    /// How often the injector was asked.
    requests: u8,
    /// The routes that are being tried, and the one that sends it.
    trying: Vec<Route>,
    by: Option<Route>,
    /// Whether others than the injector did in the end.
    hit: bool,
    /// Whether its owner reads it, and does not only hold it for others.
    reads: bool,
}

impl Load {
    fn tries(&self, route: Route) -> bool {
        self.trying.contains(&route)
    }

    /// Whether nobody is going to send more.
    fn is_stuck(&self) -> bool {
        self.orders.is_empty() && self.unheard.is_empty() && !self.plan.hopes()
    }

    /// The label of what is asked for next.
    fn label(&mut self) -> u64 {
        self.labels += 1;
        self.labels
    }
}

/// A world, and all that is going on in it.
pub(crate) struct Swarm {
    pub(crate) people: Vec<Person>,
    pub(crate) lines: Lines,
    pub(crate) len: u64,
    finding: Finding,
    /// Whether it can be asked.
    pub(crate) has_injector: bool,
    /// In which order the parts are wanted.
    pub(crate) manner: Manner,
    chance: Chance,
    queue: Queue<Event>,
    loads: Vec<Option<Box<Load>>>,
    /// Of quiet nodes that read it.
    guarded: BTreeMap<Id, Guarded>,
    /// What each has given to those who let it choose.
    superseeds: BTreeMap<Id, SuperSeed>,
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
            has_injector: true,
            manner: Manner::InOrder,
            chance,
            queue: Queue::default(),
            loads: (0..count).map(|_| None).collect(),
            guarded: BTreeMap::new(),
            superseeds: BTreeMap::new(),
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
            Some(Went { first, whole, hit: load.hit })
        });
        went.collect()
    }

    fn happens(&mut self, event: Event) {
        let now = self.queue.now();
        match event {
            Event::Arrives(id) => self.begin(id, true),
            Event::Asks(id, place) => self.asks(id, place),
            Event::Asked(id, place, by) => self.asked(id, place, by),
            Event::HasNothing(id, place) => self.has_nothing(id, place),
            Event::Requested(id, by) => self.requested(id, by),
            Event::Told(id, holders, by) => self.told(id, &holders, by),
            Event::Passed(id, guard, took, silent) => {
                if let Some(guarded) = self.guarded.get_mut(&id) {
                    guarded.worked(guard, took, now);
                    silent.iter().for_each(|guard| guarded.failed(*guard, now));
                }
            }
            Event::Race(id) => {
                if let Some(load) = &mut self.loads[id] {
                    load.race_wakes = None;
                }
                self.tell_race(id, race::Input::Timeout);
            }
            Event::Plan(id) => {
                if let Some(load) = &mut self.loads[id] {
                    load.wakes = None;
                    load.plan.handle(Input::Timeout, now);
                }
                self.drive(id);
            }
            Event::AskHas(id, source, nth) => self.ask_has(id, source, nth),
            Event::Has(id, source, has, nth) => self.says(id, source, has, nth),
            Event::News(id) => self.tell(id),
            Event::MayChoose(choice) => self.may_choose(choice),
            Event::Chose(id, label, bytes) => self.chose(id, label, bytes),
            Event::Ordered(ordered) => self.ordered(ordered),
            Event::Dropped(reader, senders, label) => self.drop_order(reader, &senders, label),
            Event::Up(id) => self.up(id),
            Event::There(id, packet) => self.there(id, packet),
            Event::Nothing(id, label) => self.nothing(id, label),
            Event::Holds(id, holders) => self.holds(id, &holders),
        }
    }

    /// Through whom a question of somebody gets to a node, and after how long: the first one of these guards that passes
    /// it on, of which each is waited for before the next is asked. Nobody, if none does.
    fn through(&mut self, id: Id, by: &[Id], node: Id) -> Option<(Option<Id>, Duration)> {
        let now = self.queue.now();
        let Some(guarded) = self.guarded.get(&id) else {
            return Some((None, self.far(id, None, node)));
        };
        let (mut waited, mut silent) = (Duration::ZERO, Vec::new());
        for (guard, patience) in guarded.in_turn(by, now) {
            if self.people[guard].manners == Manners::Honest {
                let far = self.far(id, Some(guard), node);
                if self.people[node].manners == Manners::Honest {
                    let passed = Event::Passed(id, guard, far * 2, silent);
                    self.queue.at(now + waited + far * 2, passed);
                }
                return Some((Some(guard), waited + far));
            }
            waited += patience;
            silent.push(guard);
        }
        None
    }

    /// How long words take from one to another, through a guard if there is one.
    fn far(&self, from: Id, by: Option<Id>, to: Id) -> Duration {
        let far = |a: Id, b: Id| distance(&self.people[a], &self.people[b]);
        by.map_or_else(|| far(from, to), |by| far(from, by) + far(by, to))
    }
}
