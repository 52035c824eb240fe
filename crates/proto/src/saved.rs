//! Which of the nodes that once worked are kept, and in what order they are tried again.
//!
//! A cut may last for months, and while the device has no network at all every node fails. So failing
//! alone makes nobody forgotten: a node goes when there is no room, or when others have worked for
//! long and it has not. A list of nodes in one network would end with that network, so of many in one
//! the least go first, and the tries go around the networks.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exchange::Group;
use crate::time::UnixTime;

/// Nodes that are kept.
pub const MAX: usize = 256;
/// A node that others outlived by this is forgotten.
const OUTLIVED: Duration = Duration::from_secs(60 * 86_400);
/// … if it failed so often since it worked.
const FAILURES: u32 = 8;
/// After this long a success counts half.
const HALF_LIFE: Duration = Duration::from_secs(14 * 86_400);

/// How a node did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// When it worked last.
    pub worked_at: UnixTime,
    /// How often it failed since then.
    pub failures: u32,
    /// Its network, if its address is known.
    pub group: Option<Group>,
}

impl Record {
    /// Between 0 and 1: how likely it is worth a try.
    fn worth(&self, now: UnixTime) -> f64 {
        let age = now.since(self.worked_at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        // A clock that went back makes nobody new.
        0.5_f64.powf(age) / (1.0 + f64::from(self.failures)).sqrt()
    }
}

/// The order in which they are tried: the best of each network, then the next best of each.
pub fn order<K: Ord + Copy>(records: &BTreeMap<K, Record>, now: UnixTime) -> Vec<K> {
    let mut by_worth: Vec<_> = records.iter().collect();
    by_worth.sort_by(|a, b| b.1.worth(now).total_cmp(&a.1.worth(now)));
    let mut seen: BTreeMap<Option<Group>, usize> = BTreeMap::new();
    let mut turns: Vec<(usize, usize, K)> = Vec::with_capacity(by_worth.len());
    for (place, (key, record)) in by_worth.into_iter().enumerate() {
        let turn = seen.entry(record.group).or_default();
        turns.push((*turn, place, *key));
        *turn += 1;
    }
    turns.sort_by_key(|(turn, place, _)| (*turn, *place));
    turns.into_iter().map(|(_, _, key)| key).collect()
}

/// Who is forgotten now: those whom others have outlived, and if there are still too many, the last in
/// order.
pub fn forgotten<K: Ord + Copy>(records: &BTreeMap<K, Record>, now: UnixTime) -> Vec<K> {
    let newest = records.values().map(|record| record.worked_at).max().unwrap_or_default();
    let is_dead =
        |record: &Record| record.failures >= FAILURES && newest.since(record.worked_at) > OUTLIVED;
    let mut gone: Vec<K> =
        records.iter().filter(|(_, record)| is_dead(record)).map(|(key, _)| *key).collect();
    let left = records.len() - gone.len();
    if left > MAX {
        let mut order = order(records, now);
        order.retain(|key| !gone.contains(key));
        gone.extend(order.split_off(MAX));
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const NOW: UnixTime = UnixTime(20_000 * DAY);

    fn record(days_ago: u64, failures: u32, net: u8) -> Record {
        let group = Some(Group::of([20, net, 0, 1].into()));
        Record { worked_at: UnixTime(NOW.0 - days_ago * DAY), failures, group }
    }

    #[test]
    fn what_worked_lately_comes_first_and_networks_take_turns() {
        let records = [
            ('a', record(1, 0, 1)),
            ('b', record(2, 0, 1)),
            ('c', record(3, 0, 1)),
            ('d', record(40, 0, 2)),
            ('e', record(0, 30, 3)),
        ];
        let records = records.into_iter().collect();
        assert_eq!(order(&records, NOW), ['a', 'e', 'd', 'b', 'c']);
    }

    #[test]
    fn a_long_cut_makes_nobody_forgotten() {
        let records: BTreeMap<_, _> = (0..200u8).map(|n| (n, record(400, 5000, n))).collect();
        assert!(forgotten(&records, NOW).is_empty());
    }

    #[test]
    fn whom_others_have_outlived_is_forgotten() {
        let records = [('a', record(70, 8, 1)), ('b', record(70, 7, 2)), ('c', record(1, 0, 3))];
        assert_eq!(forgotten(&records.into_iter().collect(), NOW), ['a']);
    }

    #[test]
    fn of_too_many_the_crowded_network_loses() {
        let crowd = 0..u16::try_from(MAX).unwrap() + 20;
        let mut records: BTreeMap<u16, _> = crowd.map(|n| (n, record(1, 0, 1))).collect();
        records.insert(9999, record(30, 3, 2));
        let gone = forgotten(&records, NOW);
        assert_eq!(gone.len(), 21);
        assert!(!gone.contains(&9999), "the only one of its network stays");
    }
}
