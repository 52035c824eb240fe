//! Which sealed datagrams were seen before: one that is sent again gets no answer.
//!
//! A nonce is remembered by the time in its datagram, in generations as long as the times that are
//! taken at any moment lie apart, so that an old one is dropped as a whole. Each is bounded; when
//! one is full, no more sealed datagrams of its time are taken. Sessions that are open go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::UnixTime;

/// How far the time in a sealed datagram may lie from our clock.
pub const MAX_SKEW: Duration = Duration::from_secs(600);
/// Nonces of one generation.
const MOST: usize = 1 << 17;
const SPAN: u64 = 2 * MAX_SKEW.as_secs();

/// Nonces that were seen. Bounded.
#[derive(Debug)]
pub struct Nonces {
    /// Nothing older is taken: what came before this start is not remembered.
    since: UnixTime,
    seen: BTreeMap<u64, BTreeSet<[u8; 16]>>,
}

impl Nonces {
    /// Has seen nothing since now.
    pub fn new(since: UnixTime) -> Self {
        Self { since, seen: BTreeMap::new() }
    }

    /// Whether a datagram of this time and nonce is of now, and new. It is not new any more then.
    pub fn take(&mut self, nonce: [u8; 16], at: UnixTime, now: UnixTime) -> bool {
        let skew = MAX_SKEW.as_secs();
        if at < self.since || now.0.abs_diff(at.0) > skew {
            return false;
        }
        let live = now.0.saturating_sub(skew) / SPAN..=now.0.saturating_add(skew) / SPAN;
        self.seen.retain(|generation, _| live.contains(generation));
        let generation = self.seen.entry(at.0 / SPAN).or_default();
        generation.len() < MOST && generation.insert(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_000_100);

    #[test]
    fn each_is_taken_once_and_only_in_its_time() {
        let mut nonces = Nonces::new(UnixTime(NOW.0 - 300));
        assert!(nonces.take([1; 16], NOW, NOW));
        assert!(!nonces.take([1; 16], NOW, NOW), "again");
        assert!(nonces.take([2; 16], UnixTime(NOW.0 + 600), NOW), "their clock is ahead");
        assert!(!nonces.take([3; 16], UnixTime(NOW.0 + 601), NOW));
        assert!(!nonces.take([4; 16], UnixTime(NOW.0 - 301), NOW), "from before this start");
    }

    #[test]
    fn one_is_remembered_for_as_long_as_it_would_be_taken() {
        for at in [0, 1, 599, 600, 1199].map(|n| UnixTime(1_200_000 + n)) {
            let mut nonces = Nonces::new(UnixTime(0));
            assert!(nonces.take([1; 16], at, UnixTime(at.0 - 600)));
            for later in at.0 - 600..=at.0 + 601 {
                assert!(!nonces.take([1; 16], at, UnixTime(later)), "{} at {later}", at.0);
            }
        }
    }

    #[test]
    fn it_is_bounded() {
        let mut nonces = Nonces::new(UnixTime(0));
        let nonce = |n: usize| {
            let mut nonce = [0; 16];
            nonce[..8].copy_from_slice(&n.to_be_bytes());
            nonce
        };
        assert_eq!((0..MOST + 9).filter(|n| nonces.take(nonce(*n), NOW, NOW)).count(), MOST);
        let later = UnixTime(NOW.0 + 2 * SPAN);
        assert!(nonces.take(nonce(0), later, later));
        assert_eq!(nonces.seen.len(), 1, "what is old is forgotten");
    }
}
