//! How many bytes a day a node moves for others through its exit.
//!
//! A helper's line may be metered, and an exit without a limit is worth attacking. Days are those
//! of UTC. It counts bytes, each once, and knows nothing of who they are for.

use minicbor::{Decode, Encode};

use crate::time::UnixTime;

const DAY_SECS: u64 = 24 * 3600;

/// What was used of which day; kept across restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Used {
    /// Days since 1970-01-01.
    #[n(0)]
    pub day: u64,
    /// Bytes.
    #[n(1)]
    pub bytes: u64,
}

/// Nothing is left for today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedUp;

/// A limit of bytes a day, and what was used of it.
#[derive(Debug, Clone)]
pub struct DayBudget {
    limit: Option<u64>,
    used: Used,
}

impl DayBudget {
    /// A budget of `limit` bytes a day, of which `used` was used; without a limit it only counts.
    pub fn new(limit: Option<u64>, used: Used) -> Self {
        Self { limit, used }
    }

    /// What was used so far, of the last day on which anything was.
    pub fn used(&self) -> Used {
        self.used
    }

    /// Whether anything is left at `now`.
    pub fn has_left(&mut self, now: UnixTime) -> bool {
        self.begin(now);
        self.limit.is_none_or(|limit| self.used.bytes < limit)
    }

    /// Uses `bytes` at `now`, or, if that is more than is left, all that is left, for nothing: what
    /// is not enough for one piece would only let the next connection begin and break.
    pub fn take(&mut self, bytes: u64, now: UnixTime) -> Result<(), UsedUp> {
        self.begin(now);
        let sum = self.used.bytes.saturating_add(bytes);
        match self.limit {
            Some(limit) if sum > limit => {
                self.used.bytes = limit;
                Err(UsedUp)
            }
            Some(_) | None => {
                self.used.bytes = sum;
                Ok(())
            }
        }
    }

    /// A clock that is set back makes another day, too.
    fn begin(&mut self, now: UnixTime) {
        let day = now.0 / DAY_SECS;
        if day != self.used.day {
            self.used = Used { day, bytes: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: UnixTime = UnixTime(1000 * DAY_SECS + DAY_SECS / 2);

    #[test]
    fn a_day_has_its_bytes_and_the_next_one_has_them_again() {
        let mut budget = DayBudget::new(Some(100), Used::default());
        assert_eq!(budget.take(60, NOON), Ok(()));
        assert_eq!(budget.take(40, NOON), Ok(()));
        assert!(!budget.has_left(NOON));
        assert_eq!(budget.take(1, NOON), Err(UsedUp));
        let tomorrow = UnixTime(NOON.0 + DAY_SECS / 2);
        assert!(budget.has_left(tomorrow));
        assert_eq!(budget.take(100, tomorrow), Ok(()));
        assert_eq!(budget.take(1, tomorrow), Err(UsedUp));
    }

    #[test]
    fn what_is_not_enough_for_a_piece_is_used_up() {
        let mut budget = DayBudget::new(Some(100), Used::default());
        assert_eq!(budget.take(99, NOON), Ok(()));
        assert_eq!(budget.take(u64::MAX, NOON), Err(UsedUp));
        assert!(!budget.has_left(NOON));
    }

    #[test]
    fn what_was_used_before_a_restart_counts() {
        let mut before = DayBudget::new(Some(100), Used::default());
        before.take(100, NOON).unwrap();
        let mut after = DayBudget::new(Some(100), before.used());
        assert_eq!(after.take(1, NOON), Err(UsedUp));
        let mut wider = DayBudget::new(Some(200), before.used());
        assert_eq!(wider.take(1, NOON), Ok(()));
    }

    #[test]
    fn without_a_limit_it_only_counts() {
        let mut budget = DayBudget::new(None, Used::default());
        assert_eq!(budget.take(u64::MAX, NOON), Ok(()));
        assert_eq!(budget.take(u64::MAX, NOON), Ok(()));
        assert!(budget.has_left(NOON));
        assert_eq!(budget.used().bytes, u64::MAX);
    }
}
