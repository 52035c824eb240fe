//! Guards: the few nodes that a quiet node keeps to, so that few ever learn that it is there.
//!
//! Who asked others each time, or took whom a stranger names, would meet a censor's nodes soon: keys
//! cost nothing. So guards come only from what a person gave, the nodes of invites; they are few, of
//! different networks if that can be, and stay for months. One that does not answer for days while
//! others do is replaced, and so is one that lies; while all are silent nobody is, for then the line is
//! cut, and spares are taken one by one, which go again once a guard answers.

use std::collections::BTreeMap;
use std::time::Duration;

use minicbor::{Decode, Encode};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::cbor::{self, CborError};
use crate::exchange::Group;
use crate::id::PeerId;
use crate::time::UnixTime;

/// How many there are.
pub const GUARDS: usize = 3;
/// Guards and spares together.
const MAX: usize = 6;
/// Nodes that are remembered as no good.
const MAX_BARRED: usize = 64;
/// The longest list that is kept.
pub const MAX_BYTES: usize = 16 * 1024;
/// A guard that fails for so long, and so often, is replaced if another one works.
const DEAD: Duration = Duration::from_secs(3 * 86_400);
const DEAD_FAILURES: u32 = 8;
/// It fails if it did not answer so often in a row. While all have failed for so long there is a spare.
const FAILING: u32 = 3;
const SPARE_AFTER: Duration = Duration::from_secs(120);
/// So many lies, and it is no guard any more, and becomes none for so long. One that was dead becomes
/// one only for want of others.
const LIES: u32 = 3;
const BARRED: Duration = Duration::from_secs(90 * 86_400);
/// What is expected of one that nothing is known of.
const PRIOR: Duration = Duration::from_millis(500);

/// A node that may become a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub peer: PeerId,
    /// Its network, if its address is known.
    pub group: Option<Group>,
    /// Whether the invite that names it was confirmed.
    pub confirmed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Guard {
    #[n(0)]
    peer: PeerId,
    #[n(1)]
    group: Option<Group>,
    #[n(2)]
    since: UnixTime,
    #[n(3)]
    worked_at: Option<UnixTime>,
    #[n(4)]
    failing_since: Option<UnixTime>,
    /// In a row.
    #[n(5)]
    failures: u32,
    /// Ever.
    #[n(6)]
    lies: u32,
}

#[derive(Debug, Default, Encode, Decode)]
#[cbor(map)]
struct Kept {
    #[n(0)]
    held: Vec<Guard>,
    #[n(1)]
    barred: Vec<Barred>,
}

#[derive(Debug, Clone, Copy, Encode, Decode)]
struct Barred {
    #[n(0)]
    peer: PeerId,
    #[n(1)]
    since: UnixTime,
    #[n(2)]
    lied: bool,
}

/// How one does in this run.
#[derive(Debug, Default, Clone, Copy)]
struct Load {
    took: Option<Duration>,
    under_way: u32,
}

/// The guards.
#[derive(Debug, Default)]
pub struct Guards {
    kept: Kept,
    loads: BTreeMap<PeerId, Load>,
    changed: bool,
}

impl Guard {
    fn fails(&self) -> bool {
        self.failures >= FAILING
    }

    fn is_silent(&self, now: UnixTime) -> bool {
        self.fails() && self.failing_since.is_some_and(|at| now.since(at) > SPARE_AFTER)
    }

    fn is_dead(&self, now: UnixTime) -> bool {
        self.failures >= DEAD_FAILURES && self.failing_since.is_some_and(|at| now.since(at) > DEAD)
    }
}

impl Guards {
    /// Reads what [`Guards::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let mut kept: Kept = cbor::from_slice(bytes, MAX_BYTES)?;
        kept.held.truncate(MAX);
        kept.barred.truncate(MAX_BARRED);
        Ok(Self { kept, ..Self::default() })
    }

    /// What is kept over restarts.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&self.kept)
    }

    /// Whether there is something new to keep since this was asked last.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// How many there are, and how many of them answer.
    pub fn count(&self) -> (usize, usize) {
        let held = &self.kept.held;
        (held.len(), held.iter().filter(|guard| !guard.fails()).count())
    }

    /// Whether a node is one of them.
    pub fn has(&self, peer: &PeerId) -> bool {
        self.kept.held.iter().any(|guard| guard.peer == *peer)
    }

    /// Only these may be any of them from now on.
    pub fn keep_to(&mut self, candidates: &[Candidate]) {
        let before = self.kept.held.len();
        self.kept.held.retain(|guard| candidates.iter().any(|c| c.peer == guard.peer));
        self.changed |= self.kept.held.len() != before;
    }

    /// Sees to it that there are enough of them. `seed` is 32 random bytes.
    pub fn fill(&mut self, candidates: &[Candidate], seed: [u8; 32], now: UnixTime) {
        self.kept.barred.retain(|barred| now.since(barred.since) < BARRED);
        self.let_go(now);
        let is_cut = self.kept.held.iter().all(|guard| guard.is_silent(now));
        let spare = usize::from(is_cut && self.kept.held.len() >= GUARDS);
        let wanted = GUARDS.max(self.kept.held.len() + spare).min(MAX);
        while self.kept.held.len() < wanted {
            let Some(drawn) = self.draw(candidates, &seed) else { return };
            self.take(&drawn, now);
        }
    }

    /// A person named a node just now. If no guard answers it is a spare at once: it may have been given
    /// for just that.
    pub fn welcome(&mut self, candidate: &Candidate, now: UnixTime) {
        let held = &mut self.kept.held;
        let lied = self.kept.barred.iter().any(|b| b.peer == candidate.peer && b.lied);
        let is_needed = held.len() >= GUARDS && held.iter().all(|guard| guard.failures > 0);
        if !is_needed || lied || held.iter().any(|guard| guard.peer == candidate.peer) {
            return;
        }
        if held.len() >= MAX {
            held.remove(GUARDS);
        }
        self.take(candidate, now);
    }

    fn take(&mut self, candidate: &Candidate, now: UnixTime) {
        self.kept.held.push(Guard {
            peer: candidate.peer,
            group: candidate.group,
            since: now,
            worked_at: None,
            failing_since: None,
            failures: 0,
            lies: 0,
        });
        self.changed = true;
    }

    /// Those that are dead, or lied too often, go; and the spares, once a guard works.
    fn let_go(&mut self, now: UnixTime) {
        let Kept { held, barred } = &mut self.kept;
        let before = held.len();
        let last = held.iter().filter_map(|guard| guard.worked_at).max();
        let outlived = |guard: &Guard| guard.is_dead(now) && last > guard.failing_since;
        let goes = |guard: &Guard| guard.lies >= LIES || outlived(guard);
        for guard in held.iter().filter(|guard| goes(guard)) {
            if barred.len() >= MAX_BARRED {
                barred.remove(0);
            }
            barred.push(Barred { peer: guard.peer, since: now, lied: guard.lies >= LIES });
        }
        held.retain(|guard| !goes(guard));
        if held.iter().take(GUARDS).any(|guard| guard.failures == 0 && guard.worked_at.is_some()) {
            held.truncate(GUARDS);
        }
        self.changed |= held.len() != before;
    }

    /// One by lot: of those whose invite was confirmed before others, and of another network than the
    /// guards that there are before one of the same.
    fn draw(&self, candidates: &[Candidate], seed: &[u8; 32]) -> Option<Candidate> {
        let barred = |peer: &PeerId, lied: bool| {
            let mut barred = self.kept.barred.iter();
            barred.any(|barred| barred.peer == *peer && barred.lied == lied)
        };
        let is_near = |group| self.kept.held.iter().any(|guard| guard.group == group);
        let free = candidates.iter().filter(|c| !self.has(&c.peer) && !barred(&c.peer, true));
        let ranked = free.map(|c| {
            let rank = (barred(&c.peer, false), !c.confirmed, is_near(c.group));
            (rank, *blake3::keyed_hash(seed, &c.peer.0).as_bytes(), c)
        });
        ranked.min_by_key(|(rank, lot, _)| (*rank, *lot)).map(|(.., c)| *c)
    }

    /// Whom to ask, in this order: of two that answer, drawn by lot, the one that is quicker and has
    /// less to do; then the others that answer; then those that don't.
    pub fn order(&self, seed: [u8; 32]) -> Vec<PeerId> {
        let mut dice = ChaCha8Rng::from_seed(seed);
        let mut drawn: Vec<_> =
            self.kept.held.iter().map(|guard| (guard.fails(), dice.next_u64(), guard)).collect();
        drawn.sort_by_key(|(fails, lot, _)| (*fails, *lot));
        let mut order: Vec<_> = drawn.iter().map(|(_, _, guard)| *guard).collect();
        if let [first, second, ..] = order[..]
            && !second.fails()
            && self.cost(second) < self.cost(first)
        {
            order.swap(0, 1);
        }
        order.into_iter().map(|guard| guard.peer).collect()
    }

    /// How long it is likely to take: doubled for each lie and for each failure of the last moments.
    fn cost(&self, guard: &Guard) -> Duration {
        let load = self.loads.get(&guard.peer).copied().unwrap_or_default();
        let took = load.took.unwrap_or(PRIOR).max(Duration::from_millis(1));
        let doubled = 1 << (guard.lies + guard.failures).min(10);
        took.saturating_mul(load.under_way.saturating_add(1)).saturating_mul(doubled)
    }

    /// It is being asked.
    pub fn begins(&mut self, peer: &PeerId) {
        if self.has(peer) {
            self.loads.entry(*peer).or_default().under_way += 1;
        }
    }

    /// It is no longer being asked, however that ended.
    pub fn ends(&mut self, peer: &PeerId) {
        if let Some(load) = self.loads.get_mut(peer) {
            load.under_way = load.under_way.saturating_sub(1);
        }
    }

    /// It answered after `took`.
    pub fn worked(&mut self, peer: &PeerId, took: Duration, now: UnixTime) {
        const HOUR: Duration = Duration::from_secs(3600);
        let Some(guard) = self.kept.held.iter_mut().find(|guard| guard.peer == *peer) else {
            return;
        };
        let is_news = guard.worked_at.is_none_or(|at| now.since(at) > HOUR);
        self.changed |= is_news || guard.failures > 0;
        if is_news {
            guard.worked_at = Some(now);
        }
        (guard.failures, guard.failing_since) = (0, None);
        let load = self.loads.entry(*peer).or_default();
        load.took = Some(load.took.map_or(took, |old| (old * 3 + took) / 4));
    }

    /// It did not answer, or stalled.
    pub fn failed(&mut self, peer: &PeerId, now: UnixTime) {
        let Some(guard) = self.kept.held.iter_mut().find(|guard| guard.peer == *peer) else {
            return;
        };
        guard.failures = guard.failures.saturating_add(1);
        guard.failing_since.get_or_insert(now);
        // Beyond that it says no more.
        self.changed |= guard.failures <= DEAD_FAILURES;
    }

    /// It said what is not true.
    pub fn lied(&mut self, peer: &PeerId) {
        let Some(guard) = self.kept.held.iter_mut().find(|guard| guard.peer == *peer) else {
            return;
        };
        guard.lies = guard.lies.saturating_add(1);
        self.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);
    const DAY: u64 = 86_400;

    fn after(days: u64) -> UnixTime {
        UnixTime(NOW.0 + days * DAY)
    }

    fn candidate(n: u8, net: u8) -> Candidate {
        let group = Some(Group::of([20, net, 0, 1].into()));
        Candidate { peer: PeerId([n; 32]), group, confirmed: true }
    }

    fn many() -> Vec<Candidate> {
        (0..20).map(|n| candidate(n, n)).collect()
    }

    fn held(guards: &Guards) -> Vec<u8> {
        guards.kept.held.iter().map(|guard| guard.peer.0[0]).collect()
    }

    fn fails(guards: &mut Guards, n: u8, now: UnixTime) {
        for _ in 0..DEAD_FAILURES {
            guards.failed(&PeerId([n; 32]), now);
        }
    }

    #[test]
    fn they_are_few_and_stay_whoever_else_comes_also_over_a_restart() {
        let mut guards = Guards::default();
        guards.fill(&many(), [1; 32], NOW);
        let first = held(&guards);
        assert_eq!(first.len(), GUARDS);
        assert!(guards.take_news() && !guards.take_news());
        let mut guards = Guards::from_bytes(&guards.to_bytes()).unwrap();
        for day in 0..60 {
            guards.fill(&many(), [u8::try_from(day).unwrap(); 32], after(day));
        }
        assert_eq!(held(&guards), first);
        assert!(!guards.take_news());
        assert!(Guards::from_bytes(b"junk").is_err());
    }

    #[test]
    fn of_a_crowd_in_one_network_and_of_unconfirmed_ones_one_is_taken_only_for_want_of_others() {
        for seed in 0..30 {
            let mut crowd: Vec<_> = (0..100).map(|n| candidate(n, 1)).collect();
            crowd.extend([candidate(200, 2), candidate(201, 3)]);
            let hostile = |n| Candidate { confirmed: false, ..candidate(n, n) };
            crowd.extend((202..250).map(hostile));
            let mut guards = Guards::default();
            guards.fill(&crowd, [seed; 32], NOW);
            let mut held = held(&guards);
            held.sort_unstable();
            assert!(held[0] < 100 && held[1..] == [200, 201], "{held:?}");
        }
        let mut guards = Guards::default();
        guards.fill(&[Candidate { confirmed: false, ..candidate(7, 7) }], [1; 32], NOW);
        assert_eq!(held(&guards), [7]);
    }

    #[test]
    fn the_dead_is_replaced_if_another_lives_and_nobody_is_while_the_line_is_cut() {
        let mut guards = Guards::default();
        guards.fill(&many(), [1; 32], NOW);
        let [a, b, c] = held(&guards)[..] else { panic!() };
        for n in [a, b, c] {
            guards.worked(&PeerId([n; 32]), PRIOR, NOW);
            fails(&mut guards, n, after(1));
        }
        guards.fill(&many(), [2; 32], after(300));
        assert_eq!(held(&guards)[..3], [a, b, c], "a cut of a year costs no guard");
        guards.worked(&PeerId([b; 32]), PRIOR, after(300));
        guards.fill(&many(), [3; 32], after(300));
        let now = held(&guards);
        assert!(now.len() == 3 && now[0] == b && !now.contains(&a), "{now:?}");
    }

    #[test]
    fn who_fails_for_an_hour_is_not_replaced() {
        let mut guards = Guards::default();
        guards.fill(&many(), [1; 32], NOW);
        let before = held(&guards);
        fails(&mut guards, before[0], NOW);
        guards.worked(&PeerId([before[1]; 32]), PRIOR, after(2));
        guards.fill(&many(), [2; 32], after(2));
        assert_eq!(held(&guards), before);
    }

    #[test]
    fn spares_help_while_all_fail_and_go_when_one_is_back() {
        let mut guards = Guards::default();
        guards.fill(&many(), [1; 32], NOW);
        let before = held(&guards);
        for n in held(&guards) {
            fails(&mut guards, n, NOW);
        }
        guards.fill(&many(), [4; 32], NOW);
        assert_eq!(held(&guards), before, "a bad moment costs nothing");
        for minute in (3..40).step_by(3) {
            let now = UnixTime(NOW.0 + minute * 60);
            guards.fill(&many(), [4; 32], now);
            for n in held(&guards) {
                fails(&mut guards, n, now);
            }
        }
        assert_eq!(held(&guards).len(), MAX, "a censor who cuts all gains so many at most");
        guards.worked(&PeerId([before[1]; 32]), PRIOR, NOW);
        guards.fill(&many(), [5; 32], NOW);
        assert_eq!(held(&guards), before);
    }

    #[test]
    fn whom_a_person_names_while_no_guard_answers_helps_at_once() {
        let mut guards = Guards::default();
        guards.fill(&many()[..3], [1; 32], NOW);
        guards.failed(&PeerId([0; 32]), NOW);
        guards.welcome(&candidate(100, 9), NOW);
        assert_eq!(held(&guards).len(), GUARDS, "two may answer");
        guards.failed(&PeerId([1; 32]), NOW);
        guards.failed(&PeerId([2; 32]), NOW);
        for n in 100..110 {
            guards.welcome(&candidate(n, n), NOW);
            assert_eq!(held(&guards).last(), Some(&n));
            assert!(held(&guards).len() <= MAX);
            guards.failed(&PeerId([n; 32]), NOW);
        }
        guards.worked(&PeerId([0; 32]), PRIOR, NOW);
        guards.fill(&many(), [1; 32], NOW);
        let mut left = held(&guards);
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2], "spares go once a guard is back");
    }

    #[test]
    fn who_lies_loses_weight_then_its_place_and_does_not_come_back_soon() {
        let mut guards = Guards::default();
        let three: Vec<_> = (0..3).map(|n| candidate(n, n)).collect();
        guards.fill(&three, [1; 32], NOW);
        let liar = PeerId([0; 32]);
        guards.lied(&liar);
        let first = (0..60).filter(|seed| guards.order([*seed; 32])[0] == liar).count();
        assert_eq!(first, 0, "of two it is never the better one");
        guards.lied(&liar);
        guards.lied(&liar);
        guards.fill(&three, [1; 32], NOW);
        let mut guards = Guards::from_bytes(&guards.to_bytes()).unwrap();
        guards.fill(&three, [1; 32], after(80));
        assert!(!guards.has(&liar));
        guards.fill(&three, [1; 32], after(91));
        assert!(guards.has(&liar));
    }

    #[test]
    fn of_two_the_less_busy_one_is_asked_and_who_fails_comes_last() {
        let mut guards = Guards::default();
        guards.fill(&many()[..3], [1; 32], NOW);
        let [a, b, c] = [0, 1, 2].map(|n| PeerId([n; 32]));
        for peer in [a, b, c] {
            guards.worked(&peer, PRIOR, NOW);
        }
        for _ in 0..9 {
            guards.begins(&a);
        }
        let orders: Vec<_> = (0..60).map(|seed| guards.order([seed; 32])).collect();
        assert!(orders.iter().all(|order| order[0] != a), "never the busiest of all");
        assert!(orders.iter().any(|order| order[0] == b) && orders.iter().any(|o| o[0] == c));
        for _ in 0..9 {
            guards.ends(&a);
        }
        fails(&mut guards, b.0[0], NOW);
        let orders: Vec<_> = (0..60).map(|seed| guards.order([seed; 32])).collect();
        assert!(orders.iter().all(|order| order.len() == 3 && order[2] == b));
        assert!(orders.iter().any(|order| order[0] == a));
    }
}
