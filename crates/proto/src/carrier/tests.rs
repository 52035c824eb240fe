//! Both ends over a line in simulated time that delays, freezes and cuts.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{Client, ClientOutput, Habit, LegId, Server, ServerOutput};
use crate::time::Tick;

const STEP: Duration = Duration::from_millis(5);

/// What a line does to each connection.
#[derive(Clone, Copy, Default)]
struct Line {
    /// One way, in steps.
    delay: u64,
    /// Nothing comes down after so many bytes.
    freeze: Option<usize>,
    /// A connection is reset after so many bytes, both ways together, give or take.
    cut: Option<usize>,
    /// Bytes a step each way.
    rate: Option<usize>,
}

/// One connection.
#[derive(Default)]
struct Wire {
    up: VecDeque<(u64, Vec<u8>)>,
    down: VecDeque<(u64, Vec<u8>)>,
    server: Option<LegId>,
    came_down: usize,
    moved: usize,
    cut: Option<usize>,
    client_closed: bool,
    server_closed: bool,
}

struct World {
    client: Client,
    server: Server,
    line: Line,
    wires: BTreeMap<LegId, Wire>,
    opening: Vec<(u64, LegId)>,
    chance: ChaCha8Rng,
    step: u64,
    opened: usize,
    most: usize,
    down: Vec<usize>,
    over: bool,
    up_text: Vec<u8>,
    down_text: Vec<u8>,
    written: (usize, usize),
    got_up: Vec<u8>,
    got_down: Vec<u8>,
}

impl World {
    fn new(line: Line, up: usize, down: usize, seed: u64) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut text = |len: usize| {
            let mut text = vec![0; len];
            chance.fill_bytes(&mut text);
            text
        };
        let (up_text, down_text) = (text(up), text(down));
        Self {
            client: Client::new(Habit::default(), [1; 32], Tick(0)),
            server: Server::new([2; 32], Tick(0)),
            line,
            wires: BTreeMap::new(),
            opening: Vec::new(),
            chance,
            step: 0,
            opened: 0,
            most: 0,
            down: Vec::new(),
            over: false,
            up_text,
            down_text,
            written: (0, 0),
            got_up: Vec::new(),
            got_down: Vec::new(),
        }
    }

    fn now(&self) -> Tick {
        Tick(0) + STEP * u32::try_from(self.step).unwrap()
    }

    fn step(&mut self) {
        self.step += 1;
        let now = self.now();
        self.written.0 += self.client.write(&self.up_text[self.written.0..]);
        self.written.1 += self.server.write(&self.down_text[self.written.1..]);
        self.dial(now);
        self.transmit(now);
        self.deliver(now);
        self.got_up.extend(std::iter::from_fn(|| self.server.read()).flatten());
        self.got_down.extend(std::iter::from_fn(|| self.client.read()).flatten());
    }

    fn dial(&mut self, now: Tick) {
        loop {
            match self.client.poll(now) {
                ClientOutput::Open { leg, .. } => {
                    self.opened += 1;
                    self.opening.push((self.step + 4 * self.line.delay, leg));
                }
                ClientOutput::Drop(leg) => self.close(leg),
                ClientOutput::Over => {
                    self.over = true;
                    break;
                }
                ClientOutput::Wait(_) => break,
            }
        }
        let due = |(at, _): &(u64, LegId)| *at <= self.step;
        for (_, leg) in self.opening.extract_if(.., |o| due(o)).collect::<Vec<_>>() {
            let cut = self.line.cut.map(|n| n / 2 + self.chance.next_u32() as usize % n);
            self.wires.insert(leg, Wire { cut, ..Wire::default() });
            self.client.opened(leg, now);
        }
        while let ServerOutput::Drop(leg) = self.server.poll(now) {
            let found = self.wires.iter().find(|(_, wire)| wire.server == Some(leg));
            if let Some(id) = found.map(|(id, _)| *id) {
                self.close(id);
            }
        }
        let alive = self.wires.values().filter(|wire| !wire.client_closed).count();
        self.most = self.most.max(alive);
    }

    fn close(&mut self, leg: LegId) {
        let Some(wire) = self.wires.remove(&leg) else { return };
        self.down.push(wire.came_down);
        let now = self.now();
        self.client.lost(leg, true, now);
        if let Some(id) = wire.server {
            self.server.lost(id, now);
        }
    }

    fn transmit(&mut self, now: Tick) {
        for (id, wire) in &mut self.wires {
            let mut room = self.line.rate.unwrap_or(usize::MAX);
            // Pressure from a full line: no more is written than it carries.
            let waiting = |queue: &VecDeque<(u64, Vec<u8>)>| queue.len() > 64;
            while !waiting(&wire.up)
                && room > 0
                && let Some(bytes) = self.client.transmit(*id, now)
            {
                room = room.saturating_sub(bytes.len());
                wire.up.push_back((self.step + self.line.delay, bytes));
            }
            wire.client_closed = self.client.is_ended(*id);
            let Some(server) = wire.server else { continue };
            let mut room = self.line.rate.unwrap_or(usize::MAX);
            while !waiting(&wire.down)
                && room > 0
                && let Some(bytes) = self.server.transmit(server, now)
            {
                room = room.saturating_sub(bytes.len());
                wire.down.push_back((self.step + self.line.delay, bytes));
            }
            wire.server_closed = self.server.is_ended(server);
        }
    }

    fn deliver(&mut self, now: Tick) {
        let mut closed = Vec::new();
        for (id, wire) in &mut self.wires {
            let due = |queue: &mut VecDeque<(u64, Vec<u8>)>, step| {
                queue.pop_front_if(|(at, _)| *at <= step).map(|(_, bytes)| bytes)
            };
            while let Some(mut bytes) = due(&mut wire.up, self.step) {
                wire.moved += bytes.len();
                let cut = wire.cut.is_some_and(|cut| wire.moved > cut);
                if cut {
                    bytes.truncate(self.chance.next_u32() as usize % bytes.len());
                    closed.push(*id);
                }
                let server = *wire.server.get_or_insert_with(|| self.server.opened(now));
                self.server.received(server, &bytes, now).unwrap();
                if cut {
                    break;
                }
            }
            while let Some(bytes) = due(&mut wire.down, self.step) {
                wire.moved += bytes.len();
                wire.came_down += bytes.len();
                if wire.cut.is_some_and(|cut| wire.moved > cut) {
                    closed.push(*id);
                    break;
                }
                if self.line.freeze.is_some_and(|most| wire.came_down > most) {
                    continue;
                }
                self.client.received(*id, &bytes, now).unwrap();
            }
            let empty = wire.up.is_empty() && wire.down.is_empty();
            if wire.client_closed && wire.server_closed && empty {
                closed.push(*id);
            }
        }
        closed.into_iter().for_each(|id| self.close(id));
    }

    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step();
            let whole = self.got_up.len() == self.up_text.len()
                && self.got_down.len() == self.down_text.len();
            if whole {
                break;
            }
        }
        assert!(
            self.got_up == self.up_text,
            "{} of {} came up by {} legs",
            self.got_up.len(),
            self.up_text.len(),
            self.opened
        );
        assert!(
            self.got_down == self.down_text,
            "{} of {} came down",
            self.got_down.len(),
            self.down_text.len()
        );
    }
}

/// A minute, in steps.
const MINUTE: u64 = 60_000 / 5;

#[test]
fn where_nothing_is_wrong_there_is_one_leg() {
    for seed in 0..10 {
        let line = Line { delay: 1 + seed * 3, ..Line::default() };
        let mut world = World::new(line, 2_000_000, 3_000_000, seed);
        world.run(MINUTE);
        // An idle leg is no frozen one.
        for _ in 0..10 * MINUTE {
            world.step();
        }
        assert_eq!((world.opened, world.over), (1, false));
        // It still carries.
        world.up_text.extend([7; 1000]);
        world.run(MINUTE);
        assert_eq!(world.opened, 1);
    }
}

#[test]
fn a_slow_line_is_no_frozen_one() {
    // 8 KiB a second, both ways at once.
    let line = Line { delay: 20, rate: Some(40), ..Line::default() };
    let mut world = World::new(line, 100_000, 200_000, 1);
    world.run(2 * MINUTE);
    assert_eq!(world.opened, 1);
}

#[test]
fn a_freeze_costs_one_pause_and_then_none() {
    for delay in [1, 8, 30] {
        let line = Line { delay, freeze: Some(14_000), ..Line::default() };
        let mut world = World::new(line, 30_000, 300_000, delay);
        world.run(MINUTE);
        let frozen = world.down.iter().filter(|down| **down > 14_000).count();
        assert_eq!(frozen, 1, "it knows after the first: {:?}", world.down);
        assert!(world.most <= super::MAX_LEGS, "{} at once", world.most);
        let limit = world.client.habit().limit(world.now());
        assert!(limit.is_some_and(|limit| limit < 14_000));
    }
}

#[test]
fn cuts_at_any_byte_lose_and_double_nothing() {
    for seed in 0..150 {
        let cut = Some(8_000 + 700 * usize::try_from(seed).unwrap());
        let line = Line { delay: 1 + seed % 12, cut, ..Line::default() };
        let mut world = World::new(line, 60_000, 90_000, seed);
        world.run(5 * MINUTE);
        assert!(world.opened > 1 || cut > Some(100_000));
        assert!(world.most <= super::MAX_LEGS);
    }
}

#[test]
fn both_ends_learn_that_the_stream_is_over() {
    let mut world = World::new(Line { delay: 3, ..Line::default() }, 5000, 5000, 1);
    world.run(MINUTE);
    world.server.finish();
    for _ in 0..100 {
        world.step();
    }
    assert!(world.client.is_read() && !world.over);
    world.client.finish();
    for _ in 0..100 {
        world.step();
    }
    assert!(world.server.is_read() && world.over);
}

#[test]
fn a_session_that_nobody_comes_back_to_ends() {
    let mut server = Server::new([2; 32], Tick(0));
    let leg = server.opened(Tick(0));
    assert_eq!(server.poll(Tick(0)), ServerOutput::Wait(None));
    server.lost(leg, Tick(0));
    let ServerOutput::Wait(Some(at)) = server.poll(Tick(1)) else { panic!("it does not end") };
    assert_eq!(server.poll(at), ServerOutput::Over);
}

#[test]
fn no_record_of_the_first_exchanges_is_short_or_like_the_last() {
    let mut world = World::new(Line { delay: 1, ..Line::default() }, 0, 0, 3);
    let mut lens = Vec::new();
    for round in 0..10 {
        for _ in 0..20 {
            world.step();
        }
        // A question and an answer, each of one length.
        world.client.write(&[round; 40]);
        world.server.write(&[round; 40]);
        let now = world.now();
        for id in world.wires.keys() {
            if let Some(bytes) = world.client.transmit(*id, now) {
                lens.push(bytes.len());
                let server = world.wires[id].server.unwrap();
                world.server.received(server, &bytes, now).unwrap();
            }
        }
    }
    let different: std::collections::BTreeSet<_> = lens.iter().collect();
    assert!(lens.len() >= 8 && different.len() > lens.len() / 2, "{lens:?}");
    assert!(lens.iter().all(|len| *len > 250), "{lens:?}");
}
