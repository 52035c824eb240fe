//! Which of several that do the same to turn to first: resolvers, nodes, injectors.
//!
//! Remembers of each how it did lately. What fails is asked last for a while, longer each time, and
//! then has its chance again. It does not know what is asked for: for sites and routes see
//! [`crate::memory`].

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::time::Tick;

/// Remembered at most; what was heard of longest ago goes first.
const MAX: usize = 4096;
/// After one failure it is asked last for this long, and twice as long after each further one …
const REST: Duration = Duration::from_secs(30);
/// … up to this.
const MOST_REST: Duration = Duration::from_secs(8 * 60);
/// Failures in a row after which it counts as dead, not as having had a bad moment …
const DEAD: u32 = 3;
/// … which lasts this long: what fails in it, of many things asked for at once, counts once.
const MOMENT: Duration = Duration::from_secs(5);
/// The next is asked after this long if nothing is known of the one before.
const PRIOR: Duration = Duration::from_secs(1);
/// Never sooner than this: two answers cost more than the wait.
const LEAST_WAIT: Duration = Duration::from_millis(200);
/// … and never later.
const MOST_WAIT: Duration = Duration::from_secs(3);

/// How each did lately.
#[derive(Debug)]
pub struct Favour<K> {
    seen: BTreeMap<K, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Failures in a row.
    failures: u32,
    worked_at: Option<Tick>,
    /// About how long it takes.
    took: Option<Duration>,
    at: Tick,
}

/// How one stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing speaks against it.
    Good,
    /// It failed a moment ago.
    Failing,
    /// It failed several times in a row, the last time not long ago.
    Dead,
}

impl<K> Default for Favour<K> {
    fn default() -> Self {
        Self { seen: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Favour<K> {
    /// It answered after `took`.
    pub fn worked(&mut self, key: &K, took: Duration, now: Tick) {
        let seen = self.entry(key);
        seen.failures = 0;
        seen.worked_at = Some(now);
        seen.took = Some(seen.took.map_or(took, |old| (old * 3 + took) / 4));
        seen.at = now;
    }

    /// It did not answer, or made no sense. Of failures in one moment the first counts.
    pub fn failed(&mut self, key: &K, now: Tick) {
        let seen = self.entry(key);
        if seen.failures > 0 && now - seen.at < MOMENT {
            return;
        }
        seen.failures = seen.failures.saturating_add(1);
        seen.at = now;
    }

    /// How it stands.
    pub fn standing(&self, key: &K, now: Tick) -> Standing {
        match self.seen.get(key) {
            Some(seen) if seen.failures > 0 && now - seen.at < rest(seen.failures) => {
                if seen.failures >= DEAD { Standing::Dead } else { Standing::Failing }
            }
            Some(_) | None => Standing::Good,
        }
    }

    /// How long it is waited for before the next is asked beside it. One that fails is not waited
    /// for.
    pub fn patience(&self, key: &K, now: Tick) -> Duration {
        if self.standing(key, now) != Standing::Good {
            return LEAST_WAIT;
        }
        let took = self.seen.get(key).and_then(|seen| seen.took);
        took.map_or(PRIOR, |took| (took * 2).clamp(LEAST_WAIT, MOST_WAIT))
    }

    /// The keys in the order given, those that fail last.
    pub fn order(&self, mut keys: Vec<K>, now: Tick) -> Vec<K> {
        keys.sort_by_key(|key| self.standing(key, now));
        keys
    }

    /// As [`Favour::order`], but of those that nothing speaks against the first is the quicker one of two
    /// drawn by lot: so load is shared, and who is slow under it gets less of it. One that was never asked
    /// counts as quick.
    pub fn share(&self, keys: Vec<K>, seed: [u8; 32], now: Tick) -> Vec<K> {
        let mut keys = self.order(keys, now);
        let good = keys.iter().take_while(|key| self.standing(key, now) == Standing::Good).count();
        let Some(others) = good.checked_sub(1).filter(|others| *others > 0) else { return keys };
        let mut dice = ChaCha8Rng::from_seed(seed);
        let mut lot = |below: usize| {
            usize::try_from(dice.next_u64() % below.max(1) as u64).unwrap_or_default()
        };
        let one = lot(good);
        let other = (one + 1 + lot(others)) % good;
        let takes = |at: usize| self.seen.get(&keys[at]).and_then(|seen| seen.took);
        let first = if takes(other) < takes(one) { other } else { one };
        keys[..=first].rotate_right(1);
        keys
    }

    /// At most `most` of `keys`: three quarters of the places go to those that worked last, the
    /// others, and those that are left over, to any by lot, so that a new one has its chance. Who
    /// fails is taken only if there is room.
    pub fn choose(&self, keys: Vec<K>, most: usize, seed: [u8; 32], now: Tick) -> Vec<K> {
        let mut dice = ChaCha8Rng::from_seed(seed);
        let mut ranked: Vec<_> = keys
            .into_iter()
            .map(|key| (self.standing(&key, now), self.worked_at(&key), dice.next_u64(), key))
            .collect();
        ranked.sort_by(|a, b| (a.0, b.1, a.2).cmp(&(b.0, a.1, b.2)));
        let known = ranked.iter().take_while(|r| r.0 == Standing::Good && r.1.is_some()).count();
        let mut rest = ranked.split_off(known.min(most - most / 4));
        rest.sort_by_key(|r| (r.0, r.2));
        ranked.into_iter().chain(rest).take(most).map(|r| r.3).collect()
    }

    /// As [`Favour::choose`] out of two lists: first those `near`, which cost least to ask, but at least
    /// a quarter of the places go to the others.
    pub fn choose_near(
        &self,
        near: Vec<K>,
        far: Vec<K>,
        most: usize,
        seed: [u8; 32],
        now: Tick,
    ) -> Vec<K> {
        let places = most.saturating_sub(near.len()).max(most / 4).min(far.len());
        let mut chosen = self.choose(near, most - places, seed, now);
        chosen.extend(self.choose(far, places, seed, now));
        chosen
    }

    fn worked_at(&self, key: &K) -> Option<Tick> {
        self.seen.get(key).and_then(|seen| seen.worked_at)
    }

    fn entry(&mut self, key: &K) -> &mut Seen {
        if self.seen.len() >= MAX && !self.seen.contains_key(key) {
            let oldest = self.seen.iter().min_by_key(|(_, seen)| seen.at).map(|(k, _)| k.clone());
            oldest.and_then(|oldest| self.seen.remove(&oldest));
        }
        self.seen.entry(key.clone()).or_default()
    }
}

fn rest(failures: u32) -> Duration {
    (REST * 2_u32.saturating_pow((failures - 1).min(8))).min(MOST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn who_fails_goes_last_for_a_while_and_longer_each_time() {
        let mut favour = Favour::default();
        favour.failed(&'a', Tick(0));
        assert_eq!(favour.order(vec!['a', 'b'], Tick(0)), ['b', 'a']);
        assert_eq!(favour.order(vec!['a', 'b'], Tick(0) + REST), ['a', 'b']);
        let later = Tick(0) + REST;
        favour.failed(&'a', later);
        assert_eq!(favour.standing(&'a', later + REST), Standing::Failing);
        assert_eq!(favour.standing(&'a', later + REST * 2), Standing::Good);
        let mut later = later + MOMENT;
        favour.failed(&'a', later);
        assert_eq!(favour.standing(&'a', later), Standing::Dead);
        for _ in 0..100 {
            later = later + MOMENT;
            favour.failed(&'a', later);
        }
        assert_eq!(favour.standing(&'a', later + MOST_REST), Standing::Good);
        favour.failed(&'a', later);
        favour.worked(&'a', MS(5), later);
        assert_eq!(favour.standing(&'a', later), Standing::Good);
    }

    #[test]
    fn what_fails_at_once_counts_once() {
        let mut favour = Favour::default();
        let at = |ms| Tick(0) + MS(ms);
        // The hosts of one page, all asked for at once; they need not fail in the order of the clock.
        for ms in [1_000, 1_001, 999, 4_000, 5_999] {
            favour.failed(&'a', at(ms));
        }
        assert_eq!(favour.standing(&'a', at(6_000)), Standing::Failing);
        assert_eq!(favour.standing(&'a', at(1_000) + REST), Standing::Good);
        for ms in [6_000, 6_001, 11_000] {
            assert_eq!(favour.standing(&'a', at(ms)), Standing::Failing);
            favour.failed(&'a', at(ms));
        }
        assert_eq!(favour.standing(&'a', at(11_000)), Standing::Dead, "three moments do count");
        favour.worked(&'a', MS(5), at(11_001));
        favour.failed(&'a', at(11_002));
        assert_eq!(favour.standing(&'a', at(11_002)), Standing::Failing);
    }

    #[test]
    fn patience_is_its_own_time_and_none_for_who_fails() {
        let mut favour = Favour::default();
        assert_eq!(favour.patience(&1, Tick(0)), PRIOR);
        favour.worked(&1, MS(300), Tick(0));
        assert_eq!(favour.patience(&1, Tick(0)), MS(600));
        favour.worked(&2, MS(60_000), Tick(0));
        assert_eq!(favour.patience(&2, Tick(0)), MOST_WAIT);
        favour.failed(&1, Tick(0));
        assert_eq!(favour.patience(&1, Tick(0)), LEAST_WAIT);
    }

    #[test]
    fn load_is_shared_by_the_choice_of_two() {
        let mut favour = Favour::default();
        let all: Vec<u32> = (0..8).collect();
        for n in 0..7 {
            favour.worked(&n, MS(10 * u64::from(n + 1)), Tick(0));
        }
        favour.failed(&0, Tick(0));
        let mut first = [0; 8];
        for seed in 0..=255 {
            let shared = favour.share(all.clone(), [seed; 32], Tick(0));
            first[shared[0] as usize] += 1;
            assert_eq!(shared[7], 0, "who fails is the last");
            let mut sorted = shared;
            sorted.sort_unstable();
            assert_eq!(sorted, all, "nobody is lost");
        }
        assert_eq!(
            (first[0], first[6]),
            (0, 0),
            "the slowest of all never wins, the failing neither"
        );
        assert!(first[7] > first[3] && first[1] > first[5], "the quick get more: {first:?}");
        assert!(first.iter().all(|n| *n < 110), "and nobody gets all: {first:?}");
        assert_eq!(favour.share(vec![3], [1; 32], Tick(0)), [3]);
        assert_eq!(favour.share(vec![], [1; 32], Tick(0)), Vec::<u32>::new());
    }

    #[test]
    fn of_many_those_that_worked_last_are_chosen_and_some_by_lot() {
        let mut favour = Favour::default();
        let all: Vec<u32> = (0..100).collect();
        for n in 60..80 {
            favour.worked(&n, MS(5), Tick(u64::from(n)));
        }
        for n in 0..40 {
            favour.failed(&n, Tick(0));
        }
        let (mut others, mut seen) = (std::collections::BTreeSet::new(), 0);
        for seed in 0..50 {
            let chosen = favour.choose(all.clone(), 16, [seed; 32], Tick(100));
            assert_eq!(chosen[..12], [79, 78, 77, 76, 75, 74, 73, 72, 71, 70, 69, 68]);
            assert_eq!(chosen.len(), 16);
            others.extend(chosen[12..].iter().copied());
            seen += chosen[12..].iter().filter(|n| **n < 40).count();
        }
        assert_eq!(seen, 0, "who fails is not asked while there are others");
        assert!(others.len() > 30, "in time all others have their chance: {others:?}");
        let same = |seed| favour.choose(all.clone(), 16, [seed; 32], Tick(100));
        assert_eq!(same(7), same(7), "the seed decides");
    }

    #[test]
    fn those_near_are_asked_first_and_others_all_the_same() {
        let favour = Favour::<u32>::default();
        let lists = |near: u32, far: u32| ((0..near).collect(), (100..100 + far).collect());
        for (near, far, expected) in [(20, 50, (12, 4)), (1, 50, (1, 15)), (20, 2, (14, 2))] {
            let (near, far) = lists(near, far);
            let chosen = favour.choose_near(near, far, 16, [3; 32], Tick(0));
            let first = chosen.iter().take_while(|n| **n < 100).count();
            assert_eq!((first, chosen.len() - first), expected);
        }
    }

    #[test]
    fn with_room_for_all_nobody_is_left_out() {
        let mut favour = Favour::default();
        favour.failed(&2, Tick(0));
        favour.worked(&3, MS(5), Tick(0));
        let mut chosen = favour.choose(vec![1, 2, 3], 16, [1; 32], Tick(0));
        assert_eq!((chosen[0], chosen[2]), (3, 2));
        chosen.sort_unstable();
        assert_eq!(chosen, [1, 2, 3]);
        assert_eq!(favour.choose(vec![], 16, [1; 32], Tick(0)), Vec::<i32>::new());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut favour = Favour::default();
        for n in 0..MAX + 10 {
            favour.failed(&n, Tick(n as u64));
        }
        assert_eq!(favour.seen.len(), MAX);
        assert!(!favour.seen.contains_key(&0));
    }
}
