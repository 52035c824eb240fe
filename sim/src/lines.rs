//! Lines: each sends one packet after the other, in turn for all who are sent something over it, and hands it
//! to the next node of its way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use busel_proto::time::Tick;

use crate::people::{Id, Person, distance};

/// Bytes that go over a line at once.
pub(crate) const PACKET: u64 = 64 << 10;

/// Part of an order on its way.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    /// Who is to have it at last.
    pub(crate) to: Id,
    /// Of the order, for that one.
    pub(crate) label: u64,
    /// Up to which byte of the body it goes.
    pub(crate) upto: u64,
    pub(crate) bytes: u64,
    /// Whether it is what it should be.
    pub(crate) good: bool,
    /// Who else passes it on, the next one last.
    pub(crate) by: Vec<Id>,
}

/// The lines of all nodes.
#[derive(Debug)]
pub(crate) struct Lines {
    ups: Vec<Up>,
    /// Until when what was sent to each takes its line.
    downs: Vec<Tick>,
    /// Bytes that each has sent.
    pub(crate) sent: Vec<u64>,
}

/// One line's sending side.
#[derive(Debug, Default)]
struct Up {
    busy: bool,
    /// For whom there is something, in turn.
    turns: VecDeque<Id>,
    waiting: BTreeMap<Id, VecDeque<Packet>>,
}

impl Lines {
    /// Of so many nodes.
    pub(crate) fn new(count: usize) -> Self {
        let ups = (0..count).map(|_| Up::default()).collect();
        Self { ups, downs: vec![Tick(0); count], sent: vec![0; count] }
    }

    /// A node is to send this. Says whether its line was idle, so that it begins now.
    pub(crate) fn push(&mut self, from: Id, packet: Packet) -> bool {
        let up = &mut self.ups[from];
        let waiting = up.waiting.entry(packet.to).or_default();
        if waiting.is_empty() {
            up.turns.push_back(packet.to);
        }
        waiting.push_back(packet);
        !std::mem::replace(&mut up.busy, true)
    }

    /// What a node sends next, and how long that takes its line.
    pub(crate) fn next(&mut self, from: Id, person: &Person) -> Option<(Packet, Duration)> {
        let up = &mut self.ups[from];
        let Some(to) = up.turns.pop_front() else {
            up.busy = false;
            return None;
        };
        let waiting = up.waiting.get_mut(&to)?;
        let packet = waiting.pop_front()?;
        if waiting.is_empty() {
            up.waiting.remove(&to);
        } else {
            up.turns.push_back(to);
        }
        self.sent[from] += packet.bytes;
        let takes = Duration::from_micros(packet.bytes * 1_000_000 / person.up.max(1));
        Some((packet, takes))
    }

    /// When something that left `from` at `left` is all at `to`.
    pub(crate) fn arrives(
        &mut self,
        people: &[Person],
        from: Id,
        to: Id,
        left: Tick,
        bytes: u64,
    ) -> Tick {
        let takes = Duration::from_micros(bytes * 1_000_000 / people[to].down.max(1));
        let there = (left + distance(&people[from], &people[to])).max(self.downs[to]) + takes;
        self.downs[to] = there;
        there
    }

    /// An order is not wanted any more: what of it was not sent yet is not.
    pub(crate) fn drop_order(&mut self, from: Id, to: Id, label: u64) {
        let up = &mut self.ups[from];
        let Some(waiting) = up.waiting.get_mut(&to) else { return };
        waiting.retain(|packet| packet.label != label);
        if waiting.is_empty() {
            up.waiting.remove(&to);
            up.turns.retain(|turn| *turn != to);
        }
    }
}
