//! How a leg to one relay is tried: which name its handshake shows, whether the hello is split, and
//! whether it goes through an upstream proxy. What worked is tried first for a while.

use std::time::Duration;

use crate::time::Tick;

/// What worked is tried first for so long; then the plainest is again.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// The next approach is tried beside one that is silent after this many connects' time …
const CONNECTS: u32 = 4;
/// … but not before, and …
const LEAST_WAIT: Duration = Duration::from_millis(600);
/// … not after this.
const MOST_WAIT: Duration = Duration::from_secs(3);
/// The most names of a relay that are tried.
const MAX_NAMES: usize = 8;

/// One way to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Approach {
    /// Which of the relay's names is shown.
    pub name: usize,
    /// Whether the hello is split.
    pub split: bool,
    /// Whether it goes through the upstream proxy.
    pub upstream: bool,
}

/// What is known of the line to one relay.
#[derive(Debug, Clone, Default)]
pub struct Approaches {
    best: Option<(Approach, Tick)>,
}

impl Approaches {
    /// All approaches, in the order in which they are to be tried.
    pub fn order(&self, names: usize, upstream: bool, now: Tick) -> Vec<Approach> {
        let names = names.clamp(1, MAX_NAMES);
        let by = |upstream| {
            let first = [false, true].map(move |split| Approach { name: 0, split, upstream });
            let more = (1..names).map(move |name| Approach { name, split: false, upstream });
            let split = (1..names).map(move |name| Approach { name, split: true, upstream });
            first.into_iter().chain(more).chain(split)
        };
        let through = upstream.then(|| by(true)).into_iter().flatten();
        let mut all: Vec<Approach> = by(false).chain(through).collect();
        let best = self.best.filter(|(_, at)| now - *at < KEPT).map(|(best, _)| best);
        // One that is no longer possible is not tried.
        if let Some(at) = all.iter().position(|approach| Some(*approach) == best) {
            all[..=at].rotate_right(1);
        }
        all
    }

    /// This one led to the relay.
    pub fn worked(&mut self, approach: Approach, now: Tick) {
        match self.best {
            // Counted from when it was found, so that the plainest has its chance again.
            Some((best, at)) if best == approach && now - at < KEPT => {}
            _ => self.best = Some((approach, now)),
        }
    }

    /// How long a silent one has before the next is tried beside it, if connecting took so long.
    pub fn patience(connect: Option<Duration>) -> Duration {
        connect.map_or(MOST_WAIT, |took| (took * CONNECTS).clamp(LEAST_WAIT, MOST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Tick {
        Tick(0) + Duration::from_secs(secs)
    }

    #[test]
    fn the_plainest_is_first_until_another_has_worked_and_then_again() {
        let mut known = Approaches::default();
        let all = known.order(2, true, at(0));
        assert_eq!(all.len(), 8);
        assert_eq!(all[0], Approach { name: 0, split: false, upstream: false });
        assert!(all[..4].iter().all(|approach| !approach.upstream));
        let other = Approach { name: 1, split: false, upstream: false };
        known.worked(other, at(0));
        let again = known.order(2, true, at(60));
        assert_eq!(again[0], other);
        assert_eq!(again[1], all[0]);
        assert_eq!(again.len(), 8, "none is lost");
        known.worked(other, at(1800));
        assert_eq!(known.order(2, true, at(3601)), all);
        known.worked(other, at(3601));
        assert_eq!(known.order(1, false, at(3700)).len(), 2, "a name that is gone is not tried");
    }

    #[test]
    fn how_long_one_is_waited_for_is_measured() {
        assert_eq!(Approaches::patience(Some(Duration::from_millis(5))), LEAST_WAIT);
        assert_eq!(
            Approaches::patience(Some(Duration::from_millis(300))),
            Duration::from_millis(1200)
        );
        assert_eq!(Approaches::patience(None), MOST_WAIT);
    }
}
