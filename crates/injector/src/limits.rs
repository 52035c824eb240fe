//! How much one client, and all together, may ask of an injector.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use busel_proto::id::PeerId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lock;

/// Fetches from origins at once.
const MAX_FETCHES: usize = 256;
/// Clients whose rate is remembered; the ones that were quiet for longest are forgotten.
const MAX_CLIENTS: usize = 16_384;
/// A client may make this many seconds' worth of requests at once.
const BURST_SECS: f64 = 4.0;

/// The limits of one injector.
#[derive(Debug)]
pub struct Limits {
    per_second: f64,
    clients: Mutex<HashMap<PeerId, Bucket>>,
    fetches: Arc<Semaphore>,
    total: AtomicU64,
}

/// A token bucket.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Limits {
    /// Allows each client so many requests a second.
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second: f64::from(per_second.max(1)),
            clients: Mutex::default(),
            fetches: Arc::new(Semaphore::new(MAX_FETCHES)),
            total: AtomicU64::new(0),
        }
    }

    /// Whether `client` may make a request at `now`; if so, it is counted.
    pub fn allow(&self, client: PeerId, now: Instant) -> bool {
        let most = self.per_second * BURST_SECS;
        let mut clients = lock(&self.clients);
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client) {
            let full_again =
                |b: &Bucket| now.saturating_duration_since(b.at).as_secs_f64() > BURST_SECS;
            clients.retain(|_, bucket| !full_again(bucket));
            if clients.len() >= MAX_CLIENTS {
                return false;
            }
        }
        let bucket = clients.entry(client).or_insert(Bucket { tokens: most, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(most);
        bucket.at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }

    /// A place for one more fetch from an origin, if there is one.
    pub fn fetch(&self) -> Option<OwnedSemaphorePermit> {
        let place = self.fetches.clone().try_acquire_owned().ok()?;
        self.total.fetch_add(1, Ordering::Relaxed);
        Some(place)
    }

    /// Fetches so far.
    pub fn fetches(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_greedy_client_is_slowed_and_others_are_not() {
        let limits = Limits::new(10);
        let start = Instant::now();
        let greedy = PeerId([1; 32]);
        let allowed = (0..100).filter(|_| limits.allow(greedy, start)).count();
        assert_eq!(allowed, 40);
        assert!(limits.allow(PeerId([2; 32]), start));
        let later = start + Duration::from_secs(1);
        let allowed = (0..100).filter(|_| limits.allow(greedy, later)).count();
        assert_eq!(allowed, 10);
    }
}
