//! A token bucket, for policies that slow traffic down: it says how long a packet must wait so that
//! a rate is kept. It holds no packets; the verdict `Delay` does that.

use std::time::Duration;

/// Lets a number of bits per second through, and a burst at once.
#[derive(Clone, Debug)]
pub struct Bucket {
    bits_per_second: u64,
    burst: Duration,
    longest: Duration,
    /// When all that was let in so far is out.
    free_at: Duration,
}

impl Bucket {
    /// A bucket that lets `burst` bytes through at once, and holds no packet longer than `longest`.
    pub fn new(bits_per_second: u64, burst: u64, longest: Duration) -> Self {
        let burst = spent(burst, bits_per_second);
        Self { bits_per_second, burst, longest, free_at: Duration::ZERO }
    }

    /// How long a packet of this many bytes waits; nothing if it is to be dropped.
    pub fn admit(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let from = self.free_at.max(now);
        let wait = (from - now).saturating_sub(self.burst);
        if wait > self.longest {
            return None;
        }
        self.free_at = from + spent(bytes as u64, self.bits_per_second);
        Some(wait)
    }
}

/// How long so many bytes take.
fn spent(bytes: u64, bits_per_second: u64) -> Duration {
    let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(bits_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_rate() {
        // 1000 bytes a second, 2000 at once, three seconds of queue.
        let mut bucket = Bucket::new(8000, 2000, Duration::from_secs(3));
        let now = Duration::from_secs(100);
        let waits: Vec<_> = (0..8).map(|_| bucket.admit(now, 1000)).collect();
        let second = |n| Some(Duration::from_secs(n));
        assert_eq!(waits[..3], [second(0), second(0), second(0)]);
        assert_eq!(waits[3..], [second(1), second(2), second(3), None, None]);
        assert_eq!(bucket.admit(now + Duration::from_secs(60), 1000), second(0));
    }
}
