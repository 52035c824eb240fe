//! Which sealed requests were seen before: nobody who carried one may have it answered again.
//!
//! A nonce is remembered by the time in its request, in generations as long as the times that are
//! taken at any moment lie apart, so that two generations hold all that can be replayed, and an old
//! one is dropped as a whole. Each is bounded. When one is full, who has put more into it than its
//! share is declined, and all others still have a reserve.

use std::collections::{BTreeMap, BTreeSet};

use crate::crowd::seats;
use crate::id::PeerId;
use crate::sealed::{InjectRequest, MAX_SKEW, SealError};
use crate::time::UnixTime;

/// Nonces of one generation that anyone may add.
const SHARED: usize = 1 << 18;
/// Seats of a generation, of which each client has two, and what each is good for after that.
const SEATS: usize = 1 << 13;
const RESERVE: u8 = 64;
/// How many seconds of requests' times one generation holds.
const SPAN: u64 = 2 * MAX_SKEW.as_secs();

/// Refuses requests that were seen before or are of another time. Bounded.
///
/// If the clock is set back by more than [`MAX_SKEW`], what was forgotten meanwhile can be replayed
/// once: its answer can still be opened by nobody but its asker.
#[derive(Debug)]
pub struct ReplayGuard {
    key: [u8; 32],
    generations: BTreeMap<u64, Generation>,
}

#[derive(Debug)]
struct Generation {
    seen: BTreeSet<[u8; 16]>,
    /// How much each seat has put in, up to the reserve.
    seats: Vec<u8>,
}

impl ReplayGuard {
    /// A guard that has seen nothing. `key` is 32 random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key, generations: BTreeMap::new() }
    }

    /// Checks a request that came from `client` at `now`, and remembers it.
    pub fn check(
        &mut self,
        request: &InjectRequest,
        client: &PeerId,
        now: UnixTime,
    ) -> Result<(), SealError> {
        let (off, skew) = (now.0.abs_diff(request.at.0), MAX_SKEW.as_secs());
        if off > skew {
            return Err(SealError::Clock(off));
        }
        // At most two times `SPAN` begin within what is taken now.
        let live = now.0.saturating_sub(skew) / SPAN..=now.0.saturating_add(skew) / SPAN;
        self.generations.retain(|generation, _| live.contains(generation));
        let generation = self.generations.entry(request.at.0 / SPAN).or_default();
        generation.take(request.nonce, seats(&self.key, client, SEATS))
    }

    /// How many requests it remembers.
    pub fn held(&self) -> usize {
        self.generations.values().map(|generation| generation.seen.len()).sum()
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self { seen: BTreeSet::new(), seats: vec![0; SEATS] }
    }
}

impl Generation {
    fn take(&mut self, nonce: [u8; 16], [one, other]: [usize; 2]) -> Result<(), SealError> {
        if self.seen.contains(&nonce) {
            return Err(SealError::Replayed);
        }
        let seat = if self.seats[one] <= self.seats[other] { one } else { other };
        if self.seen.len() >= SHARED && self.seats[seat] >= RESERVE {
            return Err(SealError::Overloaded);
        }
        self.seats[seat] = self.seats[seat].saturating_add(1).min(RESERVE);
        self.seen.insert(nonce);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Variant;

    const NOW: UnixTime = UnixTime(1_000_100);

    fn request(at: UnixTime, n: u64) -> InjectRequest {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&n.to_be_bytes());
        let url = "https://a.example/".into();
        let variant = Variant::default();
        let (from, root, new, held) = (Some(0), None, false, None);
        InjectRequest { url, variant, at, nonce, from, root, new, held }
    }

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    #[test]
    fn replays_and_wrong_clocks_are_refused() {
        let mut guard = ReplayGuard::new([7; 32]);
        let asked = request(NOW, 1);
        assert_eq!(guard.check(&asked, &peer(1), NOW), Ok(()));
        assert_eq!(guard.check(&asked, &peer(1), NOW), Err(SealError::Replayed));
        assert_eq!(guard.check(&asked, &peer(2), NOW), Err(SealError::Replayed));
        let late = UnixTime(NOW.0 + 601);
        assert_eq!(guard.check(&asked, &peer(1), late), Err(SealError::Clock(601)));
    }

    #[test]
    fn a_request_is_remembered_for_as_long_as_it_would_be_taken() {
        for at in [0, 1, 599, 600, 1199].map(|n| UnixTime(1_200_000 + n)) {
            let mut guard = ReplayGuard::new([7; 32]);
            let early = UnixTime(at.0 - 600);
            assert_eq!(guard.check(&request(at, 1), &peer(1), early), Ok(()));
            for later in (early.0..=at.0 + 600).map(UnixTime) {
                let again = guard.check(&request(at, 1), &peer(1), later);
                assert_eq!(again, Err(SealError::Replayed), "{} at {}", at.0, later.0);
                let other = request(later, later.0);
                guard.check(&other, &peer(2), later).unwrap();
            }
        }
    }

    #[test]
    fn when_it_is_full_the_greedy_are_declined_and_the_others_are_not() {
        let mut guard = ReplayGuard::new([7; 32]);
        for n in 0..SHARED as u64 {
            guard.check(&request(NOW, n), &peer(1), NOW).unwrap();
        }
        let next = request(NOW, 1 << 40);
        assert_eq!(guard.check(&next, &peer(1), NOW), Err(SealError::Overloaded));
        for other in 2..200 {
            let asked = request(NOW, (1 << 41) + u64::from(other));
            assert_eq!(guard.check(&asked, &peer(other), NOW), Ok(()), "{other}");
            assert_eq!(guard.check(&asked, &peer(1), NOW), Err(SealError::Replayed));
        }
        let many = (0..1000).filter(|n| {
            guard.check(&request(NOW, (1 << 42) + n), &peer(2), NOW) == Err(SealError::Overloaded)
        });
        assert!(many.count() >= 1000 - 2 * usize::from(RESERVE), "a reserve has an end");
    }

    #[test]
    fn it_is_bounded_and_what_is_old_is_forgotten_as_a_whole() {
        let mut guard = ReplayGuard::new([7; 32]);
        for n in 0..20_000 {
            guard.check(&request(NOW, n), &peer(1), NOW).unwrap();
        }
        assert_eq!(guard.held(), 20_000);
        let later = UnixTime(NOW.0 + 2 * SPAN);
        guard.check(&request(later, 1), &peer(1), later).unwrap();
        assert_eq!((guard.held(), guard.generations.len()), (1, 1));
    }
}
