//! Time as an argument: a wall clock for what is signed, a monotonic one for what is raced.
//! Neither type can be read from a clock here; the shell makes them.

use std::ops::{Add, Sub};
use std::time::Duration;

use minicbor::{Decode, Encode};

/// Wall time: whole seconds since 1970-01-01T00:00:00Z. What records carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct UnixTime(#[n(0)] pub u64);

impl UnixTime {
    /// Seconds from `earlier` to `self`; 0 if `earlier` is later (clocks differ).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// This time as the standard library's, for crates that want it.
    pub fn to_system(self) -> std::time::SystemTime {
        // Beyond what the system can count, the last moment before is as good.
        let most = u64::try_from(i64::MAX / 2).expect("positive");
        std::time::UNIX_EPOCH + Duration::from_secs(self.0.min(most))
    }
}

/// Monotonic time: microseconds since a start that only the caller knows. What machines take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Add<Duration> for Tick {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Tick {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}
