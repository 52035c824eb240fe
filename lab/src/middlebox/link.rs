//! One direction of a line between two places: how long a packet takes, and whether it arrives. Pure:
//! time and chance are arguments.
//!
//! Packets keep their order; a line that mixes them up is not there yet.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What a line is like, the same both ways.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkSpec {
    /// How long a packet takes at least.
    pub latency: Duration,
    /// How much longer it may take.
    pub jitter: Duration,
    /// The share of packets that are lost, from 0 to 1.
    pub loss: f64,
    /// Bits per second; no limit if nothing.
    pub bandwidth: Option<u64>,
    /// The same away from the host, if it is another.
    pub uplink: Option<u64>,
    /// How many bytes may wait for the line; what comes then is dropped.
    pub queue: usize,
}

impl LinkSpec {
    /// A line with nothing but latency.
    pub const fn latency(latency: Duration) -> Self {
        let (jitter, loss, queue) = (Duration::ZERO, 0.0, 256 << 10);
        Self { latency, jitter, loss, bandwidth: None, uplink: None, queue }
    }

    /// The same with a limit in bits per second.
    #[must_use]
    pub const fn with_bandwidth(self, bits_per_second: u64) -> Self {
        Self { bandwidth: Some(bits_per_second), ..self }
    }

    /// The same with another limit away from the host.
    #[must_use]
    pub const fn with_uplink(self, bits_per_second: u64) -> Self {
        Self { uplink: Some(bits_per_second), ..self }
    }

    /// Away from the host.
    pub(super) fn up(self) -> Self {
        Self { bandwidth: self.uplink.or(self.bandwidth), ..self }
    }

    /// The same with a share of lost packets.
    #[must_use]
    pub const fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same with up to so much more latency.
    #[must_use]
    pub const fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }
}

/// One direction of a line, at work.
#[derive(Debug)]
pub(super) struct Link {
    spec: LinkSpec,
    chance: ChaCha8Rng,
    /// When all that waits will have been sent.
    free_at: Duration,
    /// When the last packet arrives.
    last: Duration,
}

impl Link {
    pub(super) fn new(spec: LinkSpec, seed: u64, number: u64) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        chance.set_stream(number);
        Self { spec, chance, free_at: Duration::ZERO, last: Duration::ZERO }
    }

    /// When a packet that is sent now arrives; nothing if it does not.
    pub(super) fn carry(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let spec = self.spec;
        if spec.loss > 0.0 && self.chance.random_bool(spec.loss.clamp(0.0, 1.0)) {
            return None;
        }
        let mut sent = now;
        if let Some(bandwidth) = spec.bandwidth {
            let from = self.free_at.max(now);
            if from - now > takes(spec.queue, bandwidth) {
                return None;
            }
            sent = from + takes(bytes, bandwidth);
            self.free_at = sent;
        }
        let jitter = match spec.jitter {
            Duration::ZERO => Duration::ZERO,
            jitter => self.chance.random_range(Duration::ZERO..=jitter),
        };
        self.last = (sent + spec.latency + jitter).max(self.last);
        Some(self.last)
    }
}

/// How long so many bytes take to send.
fn takes(bytes: usize, bits_per_second: u64) -> Duration {
    let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(bits_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_full_queue_drops_its_tail() {
        // A byte takes 1 ms, three may wait.
        let spec = LinkSpec { queue: 3, ..LinkSpec::latency(MS * 10).with_bandwidth(8000) };
        let mut link = Link::new(spec, 1, 0);
        let arrives: Vec<_> = (0..6).map(|_| link.carry(MS, 1)).collect();
        let at = |n| Some(MS * n);
        assert_eq!(arrives, [at(12), at(13), at(14), at(15), None, None]);
        assert_eq!(link.carry(MS * 100, 1), at(111));
    }

    #[test]
    fn loss_and_jitter_follow_the_seed_and_keep_the_order() {
        let spec = LinkSpec::latency(MS).with_loss(0.25).with_jitter(MS * 20);
        let run = |seed| {
            let mut link = Link::new(spec, seed, 0);
            (0..1000).map(|n| link.carry(MS * n, 100)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let arrived: Vec<Duration> = run(7).into_iter().flatten().collect();
        assert!(arrived.is_sorted() && (650..850).contains(&arrived.len()));
    }
}
