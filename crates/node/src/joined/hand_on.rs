//! Ways into relays for a friend: out of the spare ones that invites brought, each given once.
//!
//! What was handed on is forgotten here, so that this device does not show later to whom it led. A
//! friend gets a few spare ones, too, and so may invite others without anybody's help.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use busel_proto::cbor;
use busel_proto::invite::RelayTicket;
use busel_proto::way_in::WayIn;
use busel_store::WriteError;

use super::{Joined, Kept};

/// Relays in one invite, where there is a choice: more of them burn if it leaks.
pub const BRIDGES: usize = 3;
/// The most spare ways into each that a friend gets.
pub const SPARES: usize = 3;

impl Joined {
    /// Relays for a friend's invite. Of those that all may share, each. Of those whose ways in are counted
    /// at most [`BRIDGES`]: `wanted` first (by their inner names), then those with the most to give, with
    /// a way in each that nobody had, and some of the rest to hand on.
    pub fn hand_on(&self, wanted: &[String]) -> Result<Vec<RelayTicket>, WriteError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut invites = self.read().invites.clone();
        let mut relays = shared(&invites);
        let counts = spares(&invites);
        let mut order: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        order.retain(|(name, _)| relays.iter().all(|relay| relay.inner_name() != *name));
        order.sort_by_key(|(name, count)| (!wanted.contains(name), std::cmp::Reverse(*count)));
        order.truncate(BRIDGES);
        let before = invites.clone();
        for (name, count) in order {
            relays.extend(take(&mut invites, &name, 1 + SPARES.min((count - 1) / 2)));
        }
        for (old, new) in before.iter().zip(&mut invites) {
            if old.invite != new.invite {
                new.was = Some(old.was());
                // Before anybody has them: one that is lost is better than one that is given twice.
                self.store.set(&new.name(), &cbor::to_vec(&*new))?;
            }
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.invites = invites;
        relays.sort_by(|a, b| a.addr.cmp(&b.addr));
        Ok(relays)
    }

    /// The relays whose ways in are counted, by inner name, and how many friends each is still enough for;
    /// none of those that may be shared without end.
    pub fn left_to_hand_on(&self) -> BTreeMap<String, usize> {
        let state = self.read();
        let shared = shared(&state.invites);
        let mut counts = spares(&state.invites);
        counts.retain(|name, _| shared.iter().all(|relay| relay.inner_name() != *name));
        counts
    }
}

fn tickets(invites: &[Kept]) -> impl Iterator<Item = &RelayTicket> {
    invites.iter().flat_map(|kept| &kept.invite.relays)
}

/// The relays with a way in that all share: each once, as the invite that knows the most names has it.
fn shared(invites: &[Kept]) -> Vec<RelayTicket> {
    let mut shared = BTreeMap::<String, RelayTicket>::new();
    for ticket in tickets(invites).filter(|ticket| ticket.spares.is_none()) {
        let known = shared.entry(ticket.inner_name()).or_insert_with(|| ticket.clone());
        if known.also.len() < ticket.also.len() {
            *known = ticket.clone();
        }
    }
    shared.into_values().collect()
}

/// How many spare ways there are into each relay.
fn spares(invites: &[Kept]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for ticket in tickets(invites) {
        if let Some(spares) = &ticket.spares {
            *counts.entry(ticket.inner_name()).or_default() += spares.len();
        }
    }
    counts
}

/// Takes so many ways into the relay of this name out of the invites: a ticket of its own.
fn take(invites: &mut [Kept], name: &str, count: usize) -> Option<RelayTicket> {
    let mut taken = Vec::<WayIn>::with_capacity(count);
    let mut of = None;
    for ticket in invites.iter_mut().flat_map(|kept| &mut kept.invite.relays) {
        if ticket.inner_name() != name {
            continue;
        }
        let bare = ticket.bare();
        let Some(spares) = &mut ticket.spares else { continue };
        let from = spares.len().saturating_sub(count - taken.len());
        taken.extend(spares.drain(from..));
        of.get_or_insert(bare);
    }
    let own = taken.pop()?;
    Some(RelayTicket { secret: own.0, spares: Some(taken), ..of? })
}

#[cfg(test)]
mod tests {
    use busel_proto::id::Hash;
    use busel_proto::invite::Invite;
    use busel_proto::page::HostName;
    use busel_store::{Options, Store, Unlock};

    use super::*;

    fn relay(seed: u8, spares: Option<u8>) -> RelayTicket {
        RelayTicket {
            addr: format!("192.0.2.{seed}:443"),
            sni: HostName::parse("www.example.org").unwrap(),
            pin: Hash([seed; 32]),
            secret: [seed; 16],
            also: vec![],
            spares: spares.map(|n| {
                (0..n).map(|n| WayIn([seed, n, 7, 7].repeat(4).try_into().unwrap())).collect()
            }),
        }
    }

    fn invite(relays: Vec<RelayTicket>) -> Invite {
        Invite { relays, ..Invite::default() }
    }

    fn joined(dir: &std::path::Path) -> Joined {
        let options = Options { dir: dir.to_owned(), unlock: Unlock::Open, quota: 1 << 20 };
        Joined::load(Store::open(options).unwrap(), vec![]).unwrap()
    }

    fn ways(relays: &[RelayTicket]) -> Vec<WayIn> {
        let spares = relays.iter().flat_map(|relay| relay.spares.iter().flatten().copied());
        relays.iter().map(|relay| WayIn(relay.secret)).chain(spares).collect()
    }

    #[test]
    fn no_way_in_is_given_twice_not_even_after_a_restart_or_another_joining() {
        let dir = tempfile::tempdir().unwrap();
        let mine = invite(vec![relay(1, Some(7))]);
        let reader = joined(dir.path());
        reader.join(&mine, false).unwrap();
        let first = reader.hand_on(&[]).unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].inner_name(), mine.relays[0].inner_name());
        assert_eq!(ways(&first).len(), 4, "one to use and three to hand on");
        drop(reader);
        let reader = joined(dir.path());
        reader.join(&mine, true).unwrap();
        let second = reader.hand_on(&[]).unwrap();
        let third = reader.hand_on(&[]).unwrap();
        assert_eq!((ways(&second).len(), ways(&third).len()), (2, 1));
        assert_eq!(reader.left_to_hand_on().into_values().collect::<Vec<_>>(), [0]);
        assert_eq!(reader.hand_on(&[]).unwrap(), [], "its own is not handed on");
        let mut all = [ways(&first), ways(&second), ways(&third)].concat();
        assert!(!all.contains(&WayIn([1; 16])));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 7);
        assert_eq!(reader.invites()[0].relays[0].secret, [1; 16], "it is in use still");
    }

    #[test]
    fn a_friend_of_a_friend_is_invited_without_anybodys_help() {
        let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut given = invite(vec![relay(1, Some(12))]);
        let mut all = vec![];
        for dir in &dirs {
            let reader = joined(dir.path());
            reader.join(&given, false).unwrap();
            given = invite(reader.hand_on(&[]).unwrap());
            all.push(given.relays[0].secret);
        }
        all.dedup();
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn an_invite_burns_few_of_many_bridges_and_shared_ones_are_handed_on_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let reader = joined(dir.path());
        let many = (1..=6).map(|seed| relay(seed, Some(seed * 2))).collect();
        reader.join(&invite(many), false).unwrap();
        reader.join(&invite(vec![relay(9, None), relay(6, None)]), false).unwrap();
        let wanted = relay(1, None).inner_name();
        let given = reader.hand_on(&[wanted]).unwrap();
        let names: Vec<_> = given.iter().map(|relay| relay.addr.as_str()).collect();
        let of = |seed: u8| format!("192.0.2.{seed}:443");
        assert_eq!(names, [of(1), of(4), of(5), of(6), of(9)]);
        assert_eq!(given[3].spares, None, "who may share it needs no other");
        assert_eq!(given[4].secret, [9; 16]);
        assert_eq!(reader.left_to_hand_on().len(), 5);
    }
}
