//! How much one client, and all together, may ask of an injector.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use busel_proto::id::PeerId;
use busel_proto::rates::Rates;
use busel_proto::time::Tick;

use crate::lock;

/// Fetches from origins at once.
const MAX_FETCHES: usize = 256;

/// The limits of one injector.
#[derive(Debug)]
pub struct Limits {
    start: Instant,
    rates: Mutex<Rates>,
    fetches: std::sync::Arc<tokio::sync::Semaphore>,
    total: AtomicU64,
}

impl Limits {
    /// Allows each client so many requests a second.
    pub fn new(per_second: u32) -> Self {
        Self {
            start: Instant::now(),
            rates: Mutex::new(Rates::new(per_second, rand::random())),
            fetches: std::sync::Arc::new(tokio::sync::Semaphore::new(MAX_FETCHES)),
            total: AtomicU64::new(0),
        }
    }

    /// Whether `client` may make a request at `now`; if so, it is counted.
    pub fn allow(&self, client: &PeerId, now: Instant) -> bool {
        let now = Tick(0) + now.saturating_duration_since(self.start);
        lock(&self.rates).take(client, now)
    }

    /// A place for one more fetch from an origin, if there is one.
    pub fn fetch(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let place = self.fetches.clone().try_acquire_owned().ok()?;
        self.total.fetch_add(1, Ordering::Relaxed);
        Some(place)
    }

    /// Fetches so far.
    pub fn fetches(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}
