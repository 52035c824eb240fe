//! How a page that an injector lists gets to be known to all who help: each compares its catalogue with one that it knows,
//! by lot, at the program's own pace, and both have then what one of them had.

use busel_proto::catalogue::{NEWS, ROUND};
use busel_proto::time::Tick;
use serde::Serialize;

use crate::chance::Chance;
use crate::people::Id;
use crate::queue::Queue;

/// Nodes that one of them knows.
const KNOWN: usize = 16;

/// How long it took.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Told {
    pub(crate) open: usize,
    /// Seconds until half of them knew it, until 95 of 100, and until all did.
    pub(crate) secs: [f64; 3],
    /// Comparisons until then, for each of them.
    pub(crate) comparisons: f64,
}

/// Of so many open nodes one is the injector, which lists a page.
pub(crate) fn tell(open: usize, seed: u64) -> Told {
    let mut chance = Chance::new(seed);
    let all: Vec<Id> = (0..open).collect();
    let mut queue = Queue::default();
    let mut knows: Vec<Option<Tick>> = vec![None; open];
    let known: Vec<Vec<Id>> = (0..open)
        .map(|id| {
            let some = std::iter::repeat_with(|| chance.pick(&all).copied()).take(KNOWN);
            some.flatten().filter(|other| *other != id).collect()
        })
        .collect();
    let mut comparisons = 0_u64;
    for id in 0..open {
        queue.at(Tick(0) + chance.between(std::time::Duration::ZERO, ROUND * 2), (id, true));
    }
    knows[0] = Some(Tick(0));
    queue.at(Tick(0) + chance.between(NEWS, NEWS * 2), (0, false));
    let mut left = open - 1;
    while let Some((id, again)) = queue.next() {
        let now = queue.now();
        if again {
            queue.at(now + chance.between(ROUND, ROUND * 2), (id, true));
        }
        let Some(other) = chance.pick(&known[id]).copied() else { continue };
        comparisons += 1;
        let new = match (knows[id], knows[other]) {
            (None, Some(_)) => id,
            (Some(_), None) => other,
            _ => continue,
        };
        knows[new] = Some(now);
        queue.at(now + chance.between(NEWS, NEWS * 2), (new, false));
        left -= 1;
        if left == 0 {
            break;
        }
    }
    let mut secs: Vec<f64> =
        knows.iter().flatten().map(|at| (*at - Tick(0)).as_secs_f64()).collect();
    secs.sort_by(f64::total_cmp);
    let at = |part: usize| secs[(open * part / 100).min(open - 1)];
    let comparisons = comparisons as f64 / open as f64;
    Told { open, secs: [at(50), at(95), at(100)], comparisons }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_help_know_it_within_some_minutes() {
        for seed in 1..=3 {
            let told = tell(4000, seed);
            assert!(told.secs[1] < 300.0 && told.secs[2] < 480.0, "{told:?}");
            assert!(told.comparisons < 6.0, "{told:?}");
        }
    }
}
