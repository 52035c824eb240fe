//! What a node has learned of the line to one relay: whether connections are cut short there, and
//! after how much. Forgotten in time, so that a line that has healed is used as any other.

use std::time::Duration;

use crate::time::Tick;

/// A cut after less says nothing of a limit: the line was bad, or the relay was.
const LEAST_SEEN: u64 = 4 * 1024;
/// A cut after more is none of the kind.
const MOST_SEEN: u64 = 48 * 1024;
/// No limit is lower: each leg must bring something.
const LEAST_LIMIT: u64 = 3 * 1024;
/// The limit that a first cut is taken for at most: 16 KB with a handshake are usual.
const MOST_LIMIT: u64 = 12 * 1024;
/// How long a limit is kept to the first time; twice as long each time it is found again …
const KEPT: Duration = Duration::from_secs(10 * 60);
/// … up to so many times.
const MOST_DOUBLED: u32 = 5;
/// So many resets at such a length make a limit; of silence one does.
const RESETS: u32 = 2;

/// What is known of one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Habit {
    limit: Option<(u64, Tick)>,
    found: u32,
    resets: u32,
}

impl Habit {
    /// How much may come down on one connection, if that is limited.
    pub fn limit(&self, now: Tick) -> Option<u64> {
        self.limit.filter(|(_, until)| now < *until).map(|(limit, _)| limit)
    }

    /// A connection went silent after so much had come down, while another one is answered.
    pub(super) fn froze(&mut self, down: u64, now: Tick) {
        if !(LEAST_SEEN..=MOST_SEEN).contains(&down) {
            return;
        }
        let doubled = self.found.min(MOST_DOUBLED);
        self.found = self.found.saturating_add(1);
        let known = self.limit(now).unwrap_or(u64::MAX);
        let limit = (down * 3 / 4).clamp(LEAST_LIMIT, MOST_LIMIT).min(known);
        self.limit = Some((limit, now + KEPT * 2u32.pow(doubled)));
    }

    /// A connection was reset after so much had come down.
    pub(super) fn was_reset(&mut self, down: u64, now: Tick) {
        if !(LEAST_SEEN..=MOST_SEEN).contains(&down) {
            self.resets = 0;
            return;
        }
        self.resets += 1;
        if self.resets >= RESETS {
            self.resets = 0;
            self.froze(down, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Tick {
        Tick(0) + Duration::from_secs(secs)
    }

    #[test]
    fn a_limit_is_learned_kept_for_a_while_and_forgotten() {
        let mut habit = Habit::default();
        habit.froze(1000, at(0));
        habit.froze(1 << 20, at(0));
        assert_eq!(habit.limit(at(0)), None, "too little or too much to mean a limit");
        habit.froze(14_000, at(0));
        assert_eq!(habit.limit(at(60)), Some(10_500));
        habit.froze(10_000, at(60));
        assert_eq!(habit.limit(at(61)), Some(7_500), "it was still too much");
        assert_eq!(habit.limit(at(1000)), Some(7_500), "kept for longer the second time");
        assert_eq!(habit.limit(at(1300)), None);
    }

    #[test]
    fn one_reset_is_an_accident_and_two_are_not() {
        let mut habit = Habit::default();
        habit.was_reset(15_000, at(0));
        assert_eq!(habit.limit(at(0)), None);
        habit.was_reset(1 << 20, at(1));
        habit.was_reset(15_000, at(2));
        assert_eq!(habit.limit(at(2)), None, "not in a row");
        habit.was_reset(15_000, at(3));
        assert_eq!(habit.limit(at(3)), Some(11_250));
    }
}
