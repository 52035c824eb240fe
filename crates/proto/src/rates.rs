//! How often each of many clients may ask: token buckets in a table of fixed size.
//!
//! Nothing is cleaned and nothing fills up, see `crowd`: a client who asks too much drains its own
//! two buckets, and who shares one of them with it still has the other.

use std::time::Duration;

use crate::crowd::seats;
use crate::id::PeerId;
use crate::time::Tick;

/// Buckets. Two of them are a client's.
const BUCKETS: usize = 1 << 16;
/// A client may make this many seconds' worth of requests at once.
const BURST: Duration = Duration::from_secs(4);

/// The rates of all clients.
pub struct Rates {
    key: [u8; 32],
    /// What one bucket gives: half of a client's rate.
    per_second: f64,
    buckets: Vec<Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Tick,
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rates({} a second)", self.per_second * 2.0)
    }
}

impl Rates {
    /// Allows each client so many requests a second. `key` is 32 random bytes.
    pub fn new(per_second: u32, key: [u8; 32]) -> Self {
        let per_second = f64::from(per_second.max(1)) / 2.0;
        let full = Bucket { tokens: per_second * BURST.as_secs_f64(), at: Tick(0) };
        Self { key, per_second, buckets: vec![full; BUCKETS] }
    }

    /// Whether `client` may make a request at `now`; if so, it is counted.
    pub fn take(&mut self, client: &PeerId, now: Tick) -> bool {
        let [one, other] = seats(&self.key, client, BUCKETS).map(|at| (at, self.filled(at, now)));
        let (at, mut tokens) = if one.1 >= other.1 { one } else { other };
        let allowed = tokens >= 1.0;
        if allowed {
            tokens -= 1.0;
        }
        self.buckets[at] = Bucket { tokens, at: now };
        allowed
    }

    fn filled(&self, at: usize, now: Tick) -> f64 {
        let bucket = self.buckets[at];
        let more = (now - bucket.at).as_secs_f64() * self.per_second;
        (bucket.tokens + more).min(self.per_second * BURST.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u64) -> PeerId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        PeerId(id)
    }

    #[test]
    fn a_greedy_client_is_slowed_and_others_are_not() {
        let mut rates = Rates::new(10, [7; 32]);
        let start = Tick(5_000_000);
        let allowed = (0..100).filter(|_| rates.take(&peer(1), start)).count();
        assert_eq!(allowed, 40);
        assert!(rates.take(&peer(2), start));
        let later = start + Duration::from_secs(1);
        let allowed = (0..100).filter(|_| rates.take(&peer(1), later)).count();
        assert_eq!(allowed, 10);
    }

    #[test]
    fn a_crowd_of_strangers_locks_nobody_out() {
        let mut rates = Rates::new(10, [7; 32]);
        let now = Tick(5_000_000);
        // More than any table of clients would have held, all in one moment.
        let served = (0..20_000).filter(|n| rates.take(&peer(*n), now)).count();
        assert_eq!(served, 20_000);
        assert!(rates.take(&peer(1 << 40), now), "and the next one is served, too");
    }

    #[test]
    fn among_greedy_clients_a_modest_one_is_served() {
        let mut rates = Rates::new(10, [7; 32]);
        let now = Tick(5_000_000);
        for greedy in 0..1000 {
            while rates.take(&peer(greedy), now) {}
        }
        let modest = (1_000_000..1_010_000).filter(|n| rates.take(&peer(*n), now)).count();
        assert!(modest > 9900, "{modest} of 10000");
    }
}
