//! Virtual time: what happens when, in the order in which it was planned where that is the same moment.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use busel_proto::time::Tick;

/// Events to come.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    now: Tick,
    serial: u64,
    due: BinaryHeap<Reverse<(Tick, u64)>>,
    events: BTreeMap<u64, E>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { now: Tick(0), serial: 0, due: BinaryHeap::new(), events: BTreeMap::new() }
    }
}

impl<E> Queue<E> {
    /// The moment that it is.
    pub(crate) fn now(&self) -> Tick {
        self.now
    }

    /// Has something happen then, or now if that is past.
    pub(crate) fn at(&mut self, when: Tick, event: E) {
        self.due.push(Reverse((when.max(self.now), self.serial)));
        self.events.insert(self.serial, event);
        self.serial += 1;
    }

    /// Goes on to what happens next.
    pub(crate) fn next(&mut self) -> Option<E> {
        let Reverse((when, serial)) = self.due.pop()?;
        self.now = when;
        self.events.remove(&serial)
    }

    /// How many events have been planned so far.
    pub(crate) fn planned(&self) -> u64 {
        self.serial
    }
}
