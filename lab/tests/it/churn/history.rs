//! What was up when, and what follows from it: whether a request was owed an answer. It was, if one way
//! to the page was up from the moment when it was asked for until it came, or was given up.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use busel_lab::program::Exposure;

use super::town::{Person, Town, lock};

/// What a helper has read it can give to others after so long.
pub(super) const KEPT_AFTER: Duration = Duration::from_secs(3);

/// What may be up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// The node with this number, on the line that it had.
    Node(usize),
    /// The relay abroad, by which the injector is reached.
    Relay,
    /// The relay at home, by which the open nodes in homes are reached.
    RelayHome,
    /// The injector's line.
    Injector,
}

/// A page that was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) by: usize,
    pub(crate) page: usize,
    pub(crate) at: Instant,
    pub(crate) ended: Instant,
    /// By which route it came; nothing if it did not.
    pub(crate) route: Option<String>,
    pub(crate) told: String,
}

/// All that happened.
#[derive(Default)]
pub(crate) struct History {
    /// By thing: when it went up or down, beginning with down.
    turns: Mutex<BTreeMap<Thing, Vec<Instant>>>,
    /// By page: who read it, and when.
    read: Mutex<BTreeMap<usize, Vec<(usize, Instant)>>>,
}

impl History {
    /// It goes up or down now. What goes down is noted before that is done, and what goes up after.
    pub(crate) fn turn(&self, thing: Thing) {
        lock(&self.turns).entry(thing).or_default().push(Instant::now());
    }

    pub(crate) fn is_up(&self, thing: Thing) -> bool {
        self.was_up(thing, Instant::now(), Instant::now())
    }

    /// Whether it was up all the while.
    pub(crate) fn was_up(&self, thing: Thing, from: Instant, to: Instant) -> bool {
        let turns = lock(&self.turns);
        let Some(turns) = turns.get(&thing) else { return true };
        let before = turns.iter().filter(|at| **at <= from).count();
        before % 2 == 0 && !turns.iter().any(|at| *at > from && *at <= to)
    }

    /// Somebody has read a page now.
    pub(crate) fn has_read(&self, by: usize, page: usize) {
        lock(&self.read).entry(page).or_default().push((by, Instant::now()));
    }

    /// Whether it has read a page.
    pub(crate) fn has(&self, by: usize, page: usize) -> bool {
        self.read_by(&[by]).contains(&page)
    }

    /// Pages that any of these have read so far.
    pub(crate) fn read_by(&self, nodes: &[usize]) -> Vec<usize> {
        let read = lock(&self.read);
        let known = read.iter().filter(|(_, by)| by.iter().any(|(node, _)| nodes.contains(node)));
        known.map(|(page, _)| *page).collect()
    }

    /// The ways by which a request could be answered all the while; none if the asker itself was not
    /// there.
    pub(crate) fn ways(&self, town: &Town, asked: &Asked) -> Vec<String> {
        let up = |thing| self.was_up(thing, asked.at, asked.ended);
        if !up(Thing::Node(asked.by)) {
            return Vec::new();
        }
        let asker = &town.people[asked.by];
        let mut ways = Vec::new();
        if up(Thing::Injector) {
            if up(Thing::Relay) {
                ways.push("injector by its relay".to_owned());
            }
            if asker.exposure == Exposure::Open {
                ways.push("injector by the veil".to_owned());
            }
            for hop in asker.friends.iter().filter(|friend| self.leads_to(town, **friend, asked)) {
                ways.push(format!("injector through {}", town.people[*hop].host.name()));
            }
        }
        let read = lock(&self.read);
        let readers = read.get(&asked.page).into_iter().flatten();
        let kept = readers.filter(|(_, at)| *at + KEPT_AFTER <= asked.at);
        for (holder, _) in kept.filter(|(holder, _)| asker.friends.contains(holder)) {
            let person = &town.people[*holder];
            if person.exposure == Exposure::Open && self.leads_to(town, *holder, asked) {
                ways.push(format!("copy of {}", person.host.name()));
            }
        }
        ways
    }

    /// Whether a friend could be reached all the while.
    fn leads_to(&self, town: &Town, friend: usize, asked: &Asked) -> bool {
        let up = |thing| self.was_up(thing, asked.at, asked.ended);
        let person: &Person = &town.people[friend];
        up(Thing::Node(friend)) && (person.public || up(Thing::RelayHome))
    }
}
