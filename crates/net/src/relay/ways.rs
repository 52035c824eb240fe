//! Who may enter a relay now. A table, replaced as a whole when ways in are given out or taken back.
//!
//! What a stranger says is looked up under a hash that the stranger can't compute, so that the time it
//! takes says nothing of what is in the table. What was taken back is not in it: to the relay it is as
//! unknown as what never was.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use busel_proto::id::Hash;
use busel_proto::way_in::{Place, WayIn};
use data_encoding::HEXLOWER;

/// By which way in somebody came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entrance {
    /// The one that all holders of the relay's first invite share.
    Shared,
    /// One of a batch.
    Given(Place),
}

/// The table.
#[derive(Debug)]
pub(super) struct Ways {
    key: [u8; 32],
    open: RwLock<Arc<HashMap<Hash, Entrance>>>,
}

impl Ways {
    pub(super) fn new(ways: impl IntoIterator<Item = (WayIn, Entrance)>) -> Self {
        let all = Self { key: rand::random(), open: RwLock::default() };
        all.replace(ways);
        all
    }

    /// From now on these are good, and no others.
    pub(super) fn replace(&self, ways: impl IntoIterator<Item = (WayIn, Entrance)>) {
        let open = ways.into_iter().map(|(way, entrance)| (self.hash(&way), entrance));
        let open = Arc::new(open.collect());
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = open;
    }

    /// What this first part of a path lets into.
    pub(super) fn entrance(&self, first: &str) -> Option<Entrance> {
        let way = HEXLOWER.decode(first.as_bytes()).ok()?.try_into().ok()?;
        let hash = self.hash(&WayIn(way));
        self.open().get(&hash).copied()
    }

    /// All entrances that are good.
    pub(super) fn entrances(&self) -> std::collections::BTreeSet<Entrance> {
        self.open().values().copied().collect()
    }

    fn open(&self) -> Arc<HashMap<Hash, Entrance>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hash(&self, way: &WayIn) -> Hash {
        Hash::of(&[&self.key[..], &way.0].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_table_is_good_and_only_as_it_is_written() {
        let given = Entrance::Given(Place { batch: 1, number: 2 });
        let ways = Ways::new([(WayIn([0xab; 16]), Entrance::Shared), (WayIn([1; 16]), given)]);
        assert_eq!(ways.entrance(&"ab".repeat(16)), Some(Entrance::Shared));
        assert_eq!(ways.entrance(&"01".repeat(16)), Some(given));
        for odd in [&"AB".repeat(16), &"ab".repeat(15), &"ab".repeat(17), "", "relay", "é"] {
            assert_eq!(ways.entrance(odd), None, "{odd}");
        }
        ways.replace([(WayIn([1; 16]), given)]);
        assert_eq!(ways.entrance(&"ab".repeat(16)), None);
        assert_eq!(ways.entrances(), [given].into());
    }
}
