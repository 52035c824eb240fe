//! Which of several pieces of a body a node gives to one who would take any of them: what it has given least, so that
//! those who fetch the body at once have different ones to give to each other (super-seeding, as BEP 16 calls it).
//!
//! It remembers of each body how often it gave which piece, to whomever; of the bodies that it was asked for last alone.

use std::collections::BTreeMap;
use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::id::Hash;
use crate::time::Tick;

/// Bodies that are remembered …
const MAX_BODIES: usize = 64;
/// … and pieces of one. Who has given more of it begins anew.
const MAX_PIECES: usize = 16 * 1024;

/// The machine. See the module's text.
#[derive(Debug)]
pub struct SuperSeed {
    dice: ChaCha8Rng,
    bodies: BTreeMap<Hash, Body>,
}

#[derive(Debug, Default)]
struct Body {
    /// By piece.
    times: BTreeMap<u64, u32>,
    /// What comes after that which was given last.
    next: u64,
    asked: Tick,
}

impl SuperSeed {
    /// Of nothing yet.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { dice: ChaCha8Rng::from_seed(seed), bodies: BTreeMap::new() }
    }

    /// Of these pieces, which are ascending, the next one of those that were given least, and what comes after it, as many
    /// in all as `most`, that was given no more often. They are given now.
    pub fn choose(&mut self, root: Hash, of: &[u64], most: u64, now: Tick) -> Option<Range<u64>> {
        if self.bodies.len() >= MAX_BODIES && !self.bodies.contains_key(&root) {
            let oldest = self.bodies.iter().min_by_key(|(_, body)| body.asked);
            let oldest = oldest.map(|(root, _)| *root)?;
            self.bodies.remove(&oldest);
        }
        let dice = &mut self.dice;
        let body = self.bodies.entry(root).or_insert_with(|| {
            // Others that have all of it begin elsewhere.
            let lot = dice.next_u64() % (of.len() as u64).max(1);
            let next = usize::try_from(lot).ok().and_then(|lot| of.get(lot)).copied();
            Body { next: next.unwrap_or_default(), ..Body::default() }
        });
        body.asked = now;
        if body.times.len() >= MAX_PIECES {
            body.times.clear();
        }
        let times = |piece: u64| body.times.get(&piece).copied().unwrap_or_default();
        let least = of.iter().map(|piece| times(*piece)).min()?;
        let least: Vec<_> = of.iter().copied().filter(|piece| times(*piece) == least).collect();
        let next = least.partition_point(|piece| *piece < body.next);
        let least = least.get(next..).filter(|after| !after.is_empty()).unwrap_or(&least);
        let first = *least.first()?;
        let run = (first..).zip(least).take_while(|(next, piece)| next == *piece).count() as u64;
        let chosen = first..first + run.min(most.max(1));
        body.next = chosen.end;
        for piece in chosen.clone() {
            *body.times.entry(piece).or_default() += 1;
        }
        Some(chosen)
    }

    /// These were not sent after all.
    pub fn kept(&mut self, root: &Hash, pieces: Range<u64>) {
        let Some(body) = self.bodies.get_mut(root) else { return };
        for piece in pieces {
            if let Some(times) = body.times.get_mut(&piece) {
                *times = times.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Hash = Hash([1; 32]);

    #[test]
    fn who_would_take_any_gets_what_was_given_least() {
        let mut seed = SuperSeed::new([1; 32]);
        let all: Vec<u64> = (0..20).collect();
        let mut seen: Vec<_> =
            (0..20).map(|_| seed.choose(ROOT, &all, 1, Tick(0)).unwrap().start).collect();
        seen.sort_unstable();
        assert_eq!(seen, all, "each once before one comes twice");
        seed.kept(&ROOT, 7..8);
        assert_eq!(seed.choose(ROOT, &all, 1, Tick(0)), Some(7..8));
        // Of another body nothing was given.
        assert_eq!(seed.choose(Hash([2; 32]), &[3], 1, Tick(0)), Some(3..4));
        assert_eq!(seed.choose(ROOT, &[], 1, Tick(0)), None);
    }

    #[test]
    fn several_in_a_row_are_wanted_and_given_least_all_of_them() {
        let mut seed = SuperSeed::new([1; 32]);
        for _ in 0..100 {
            let chosen = seed.choose(ROOT, &[1, 2, 3, 7, 8], 2, Tick(0)).unwrap();
            assert!((1..=2).contains(&(chosen.end - chosen.start)), "{chosen:?}");
            assert!(chosen.clone().all(|piece| [1, 2, 3, 7, 8].contains(&piece)), "{chosen:?}");
        }
        let times = |piece| seed.bodies[&ROOT].times[&piece];
        let all = [1, 2, 3, 7, 8].map(times);
        assert!(all.iter().max().unwrap() - all.iter().min().unwrap() <= 1, "{all:?}");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut seed = SuperSeed::new([1; 32]);
        for n in 0..200 {
            seed.choose(Hash([n; 32]), &[1], 1, Tick(n.into()));
        }
        assert_eq!(seed.bodies.len(), MAX_BODIES);
        assert!(seed.bodies.contains_key(&Hash([199; 32])));
        for piece in 0..3 * MAX_PIECES as u64 {
            seed.choose(ROOT, &[piece], 1, Tick(1000));
        }
        assert!(seed.bodies[&ROOT].times.len() <= MAX_PIECES);
    }
}
