//! What to throw away when the store is over its quota.
//!
//! Pins last; then what is old, large and held by many others goes first. A copy that nobody else
//! is known to hold is worth more than one that every neighbour has.

use std::time::Duration;

use crate::time::UnixTime;

/// What is known of one stored snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<Id> {
    /// Its name in the store.
    pub id: Id,
    /// Bytes that go if it goes.
    pub bytes: u64,
    /// When it was last asked for, by the reader or by a peer.
    pub used: UnixTime,
    /// Other nodes that are known to hold it.
    pub holders: u32,
    /// Whether the reader pinned it.
    pub pinned: bool,
}

/// Chooses of `candidates` what to remove so that at least `excess` bytes go, the least valuable
/// first. Pinned ones are chosen only when nothing else is left.
pub fn choose<Id: Copy + Ord>(candidates: &[Candidate<Id>], excess: u64, now: UnixTime) -> Vec<Id> {
    let mut ranked: Vec<_> = candidates.iter().map(|c| (c.pinned, value(c, now), c)).collect();
    ranked.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.id.cmp(&b.2.id)));
    let mut freed = 0;
    let mut chosen = Vec::new();
    for (_, _, candidate) in ranked {
        if freed >= excess {
            break;
        }
        freed += candidate.bytes;
        chosen.push(candidate.id);
    }
    chosen
}

/// Halves with each day unused, with each doubling of size beyond 64 KiB, and is shared among the
/// holders.
fn value<Id>(candidate: &Candidate<Id>, now: UnixTime) -> f64 {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let days = now.since(candidate.used).as_secs_f64() / DAY.as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a rank needs no exact bytes")]
    let doublings = (candidate.bytes as f64 / 65536.0).max(1.0).log2();
    0.5_f64.powf(days + doublings) / f64::from(candidate.holders + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(10_000_000);

    fn candidate(id: u32, bytes: u64, days: u64, holders: u32, pinned: bool) -> Candidate<u32> {
        Candidate { id, bytes, used: UnixTime(NOW.0 - days * 86_400), holders, pinned }
    }

    #[test]
    fn the_old_the_large_and_the_common_go_first() {
        let fresh = candidate(1, 1000, 0, 0, false);
        let old = candidate(2, 1000, 9, 0, false);
        let large = candidate(3, 64 << 20, 0, 0, false);
        let common = candidate(4, 1000, 0, 40, false);
        let pinned = candidate(5, 1000, 99, 99, true);
        let all = [pinned, fresh, old, large, common];
        assert_eq!(choose(&all, u64::MAX, NOW), [3, 2, 4, 1, 5]);
    }

    #[test]
    fn no_more_goes_than_must() {
        let all = [candidate(1, 600, 3, 0, false), candidate(2, 600, 2, 0, false)];
        assert_eq!(choose(&all, 600, NOW), [1]);
        assert_eq!(choose(&all, 601, NOW), [1, 2]);
        assert_eq!(choose(&all, 0, NOW), [0u32; 0]);
    }
}
