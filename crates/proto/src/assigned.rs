//! Assigned copies: what a quiet node holds for others.
//!
//! What a node answers must not tell what its owner read. So a quiet one answers only with copies that
//! it was given to hold, and which those are is a function of its id, of what its guards offer and of
//! which roots it trusts, and of nothing that its owner reads: each page is nearer to some ids than to others, and each node takes what is nearest
//! to it. Ids change daily and cost nothing, so no one can have a page be held by a node of his choice
//! for long, nor does holding it mean anything.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::id::{PeerId, SnapshotKey};
use crate::time::UnixTime;

/// Copies that are offered at once.
pub const MAX_OFFERS: usize = 128;
/// Copies that one node offers in a day.
pub const MAX_A_DAY: usize = 256;
const DAY_SECS: u64 = 86_400;
/// What one takes beside its body, about, in bytes.
const HEAD: u64 = 2048;

/// A copy that a node can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Offer {
    /// Its key.
    #[n(0)]
    pub key: SnapshotKey,
    /// When it was fetched: of two the newer one is held.
    #[n(1)]
    pub fetched_at: UnixTime,
    /// Length of its body.
    #[n(2)]
    pub len: u64,
}

/// How far a page is from a node. Who does not know the page's address can't choose an id near it.
fn distance(id: &PeerId, key: &SnapshotKey) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("busel 1 assigned");
    hasher.update(&id.0);
    hasher.update(&key.0);
    *hasher.finalize().as_bytes()
}

/// What is offered in a day of all that there is: a part by lot, the same for all who ask, so that asking
/// under many ids shows no more.
#[derive(Debug)]
pub struct Shown {
    seed: [u8; 32],
    day: u64,
    keys: BTreeSet<SnapshotKey>,
}

impl Shown {
    /// Nothing yet. `seed` is the offering node's own, always the same.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, day: 0, keys: BTreeSet::new() }
    }

    /// What may be offered at `now`: what was today, as far as it is there, and more of `all` while that
    /// were not [`MAX_A_DAY`].
    pub fn today(&mut self, all: Vec<Offer>, now: UnixTime) -> Vec<Offer> {
        let day = now.0 / DAY_SECS;
        if day != self.day {
            (self.day, self.keys) = (day, BTreeSet::new());
        }
        let lot = |key: &SnapshotKey| {
            let mut hasher = blake3::Hasher::new_keyed(&self.seed);
            hasher.update(&day.to_be_bytes()).update(&key.0);
            *hasher.finalize().as_bytes()
        };
        let (mut shown, mut others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|offer| self.keys.contains(&offer.key));
        others.sort_by_cached_key(|offer| lot(&offer.key));
        others.truncate(MAX_A_DAY - self.keys.len());
        self.keys.extend(others.iter().map(|offer| offer.key));
        shown.append(&mut others);
        shown
    }
}

/// What is offered to `id` of all that may be: what is nearest to it.
pub fn offered(id: &PeerId, all: &[Offer]) -> Vec<Offer> {
    let mut nearest = all.to_vec();
    nearest.sort_by_cached_key(|offer| distance(id, &offer.key));
    nearest.truncate(MAX_OFFERS);
    nearest
}

/// What `id` holds of what it is offered: the nearest, as many as `quota` bytes have room for.
pub fn chosen(id: &PeerId, offers: &[Offer], quota: u64) -> Vec<Offer> {
    let mut newest: BTreeMap<SnapshotKey, Offer> = BTreeMap::new();
    for offer in offers {
        let known = newest.entry(offer.key).or_insert(*offer);
        if (known.fetched_at, known.len) < (offer.fetched_at, offer.len) {
            *known = *offer;
        }
    }
    let mut nearest: Vec<_> = newest.into_values().collect();
    nearest.sort_by_cached_key(|offer| distance(id, &offer.key));
    let mut left = quota;
    nearest.retain(|offer| {
        let room = left.checked_sub(offer.len.saturating_add(HEAD));
        left = room.unwrap_or(left);
        room.is_some()
    });
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(n: u8, len: u64) -> Offer {
        Offer { key: SnapshotKey([n; 32]), fetched_at: UnixTime(u64::from(n)), len }
    }

    const ID: PeerId = PeerId([7; 32]);

    #[test]
    fn it_depends_on_the_id_and_not_on_who_offers_first() {
        let all: Vec<_> = (0..200).map(|n| offer(n, 1000)).collect();
        let quota = 20 * (1000 + HEAD);
        let held = chosen(&ID, &all, quota);
        assert_eq!(held.len(), 20);
        let backwards: Vec<_> = all.iter().rev().copied().collect();
        assert_eq!(chosen(&ID, &backwards, quota), held);
        let (left, right) = all.split_at(90);
        let told = [offered(&ID, right), offered(&ID, left), offered(&ID, left)].concat();
        assert_eq!(chosen(&ID, &told, quota), held, "whoever offers what");
        let other = chosen(&PeerId([8; 32]), &all, quota);
        let same = other.iter().filter(|offer| held.contains(offer)).count();
        assert!(same < 10, "{same}");
        assert_eq!(offered(&ID, &all).len(), MAX_OFFERS);
    }

    #[test]
    fn who_asks_under_many_ids_sees_only_the_part_of_the_day() {
        let all: Vec<_> = (0..2000_u32)
            .map(|n| {
                let mut key = [0; 32];
                key[..4].copy_from_slice(&n.to_be_bytes());
                Offer { key: SnapshotKey(key), fetched_at: UnixTime(1), len: 10 }
            })
            .collect();
        let now = UnixTime(1_800_000_000);
        let mut shown = Shown::new([5; 32]);
        let today = shown.today(all.clone(), now);
        assert_eq!(shown.today(all[100..].to_vec(), now).len(), {
            today.iter().filter(|offer| all[100..].contains(offer)).count()
        });
        let mut seen: Vec<_> = (0..=255)
            .flat_map(|n| offered(&PeerId([n; 32]), &today))
            .map(|offer| offer.key)
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), MAX_A_DAY);
        let later = shown.today(all, UnixTime(now.0 + DAY_SECS));
        let both = later.iter().filter(|offer| today.contains(offer)).count();
        assert!(both < MAX_A_DAY / 2, "{both}");
    }

    #[test]
    fn the_quota_holds_and_what_is_too_large_keeps_nothing_else_out() {
        let offers = [offer(1, 10), offer(2, u64::MAX), offer(3, 20)];
        let held = chosen(&ID, &offers, 2 * HEAD + 30);
        assert_eq!(held.len(), 2);
        assert!(chosen(&ID, &offers, 0).is_empty());
    }

    #[test]
    fn of_two_the_newer_one() {
        let old = offer(1, 10);
        let new = Offer { fetched_at: UnixTime(99), ..old };
        assert_eq!(chosen(&ID, &[new, old], 1 << 20), [new]);
        assert_eq!(chosen(&ID, &[old, new], 1 << 20), [new]);
    }
}
