//! How much one client, and all together, may ask of an injector.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use busel_node::places::{Full, Place, Places};
use busel_proto::id::PeerId;
use busel_proto::rates::Rates;
use busel_proto::time::Tick;

use crate::{Config, lock};

/// The limits of one injector.
#[derive(Debug)]
pub struct Limits {
    start: Instant,
    rates: Mutex<Rates>,
    fetches: Places,
    cuts: Places,
    total: AtomicU64,
}

impl Limits {
    /// The limits that `config` sets.
    pub fn new(config: &Config) -> Self {
        Self {
            start: Instant::now(),
            rates: Mutex::new(Rates::new(config.requests_per_second, rand::random())),
            fetches: Places::new(config.fetches, config.fetches_per_client),
            cuts: Places::new(config.fetches / 4, config.fetches_per_client / 4),
            total: AtomicU64::new(0),
        }
    }

    /// Whether `client` may make a request at `now`; if so, it is counted.
    pub fn allow(&self, client: &PeerId, now: Instant) -> bool {
        let now = Tick(0) + now.saturating_duration_since(self.start);
        lock(&self.rates).take(client, now)
    }

    /// A place for one more fetch from an origin that `client` asks for, if there is one.
    pub fn fetch(&self, client: PeerId) -> Result<Place, Full> {
        let place = self.fetches.take(client)?;
        self.total.fetch_add(1, Ordering::Relaxed);
        Ok(place)
    }

    /// A place for one more part of a body that is fetched already: so many less, that whole ones find theirs.
    pub fn cut(&self, client: PeerId) -> Result<Place, Full> {
        self.cuts.take(client)
    }

    /// Fetches so far.
    pub fn fetches(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}
