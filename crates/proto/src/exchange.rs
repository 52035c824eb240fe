//! Which nodes an open node tells others of, and whom it believes: the table of cards.
//!
//! Keys cost nothing, so one liar can sign any number of cards. What comes of one source, and what
//! lies in one network, has a share of the table only, until a connection has shown that a node is
//! there; and only such nodes are told of. What is told changes by the hour and is the same for all
//! who ask, so that asking often brings no list.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::card::Card;
use crate::id::PeerId;
use crate::signed::Signed;
use crate::time::UnixTime;

/// Cards that are told at once.
pub const MAX_TOLD: usize = 16;
/// Cards that are kept.
const MAX: usize = 512;
/// Of those that nobody has seen work: from one source, and in one network.
const MAX_SOURCE: usize = 16;
const MAX_GROUP: usize = 8;
/// Nodes that worked, in one network: those that worked last stay.
const MAX_GROUP_GOOD: usize = 16;
/// A node is told of while it worked within this time.
const FRESH: Duration = Duration::from_secs(3 * 86_400);
const HOUR: u64 = 3600;

/// Where a card came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The node itself, over a connection that proved its key.
    Itself,
    /// Another node's telling.
    Told(PeerId),
    /// The public DHT, where anyone may say anything.
    Dht,
}

/// The network of an address: what one owner usually has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Group(#[cbor(n(0), with = "minicbor::bytes")] [u8; 5]);

impl Group {
    /// Of IPv4 the first 16 bits, of IPv6 the first 32.
    pub fn of(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(addr) => {
                let [a, b, ..] = addr.octets();
                Self([4, a, b, 0, 0])
            }
            IpAddr::V6(addr) => {
                let [a, b, c, d, ..] = addr.octets();
                Self([6, a, b, c, d])
            }
        }
    }
}

/// Why a card was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another one of that node is as new.
    #[error("it is known")]
    Known,
    /// Its source, or its network, has its share.
    #[error("too many of its kind")]
    Share,
    /// There is no room.
    #[error("too many cards")]
    Full,
}

/// The cards of other open nodes.
#[derive(Debug)]
pub struct Cards {
    own: PeerId,
    seed: [u8; 32],
    held: BTreeMap<PeerId, Held>,
}

#[derive(Debug)]
struct Held {
    signed: Signed<Card>,
    card: Card,
    source: Source,
    group: Option<Group>,
    worked_at: Option<UnixTime>,
}

impl Held {
    /// Whether it was connected to not long ago.
    fn works(&self, now: UnixTime) -> bool {
        self.worked_at.is_some_and(|at| now.since(at) < FRESH)
    }
}

impl Cards {
    /// No cards yet. `own` is this node, whose card is not kept; `seed` is 32 random bytes.
    pub fn new(own: PeerId, seed: [u8; 32]) -> Self {
        Self { own, seed, held: BTreeMap::new() }
    }

    /// Keeps a card that was checked.
    pub fn heard(
        &mut self,
        card: Card,
        signed: Signed<Card>,
        source: Source,
    ) -> Result<(), Refused> {
        let known = self.held.get(&card.peer);
        if card.peer == self.own || known.is_some_and(|k| k.card.made_at >= card.made_at) {
            return Err(Refused::Known);
        }
        let group = card.veil.addrs().next().map(|addr| Group::of(addr.ip()));
        let worked_at = known.and_then(|known| known.worked_at);
        let source = if worked_at.is_some() { known.map_or(source, |k| k.source) } else { source };
        if worked_at.is_none() {
            self.has_share(&card.peer, source, group)?;
        }
        if known.is_none() && self.held.len() >= MAX && !self.make_room() {
            return Err(Refused::Full);
        }
        self.held.insert(card.peer, Held { signed, card, source, group, worked_at });
        Ok(())
    }

    /// A connection to a node was made, or could not be.
    pub fn tried(&mut self, peer: &PeerId, worked: bool, now: UnixTime) {
        let Some(held) = self.held.get_mut(peer) else { return };
        match (worked, held.worked_at) {
            (true, _) => {
                held.worked_at = Some(now);
                self.thin(peer);
            }
            // Nobody has ever seen it.
            (false, None) => drop(self.held.remove(peer)),
            (false, Some(_)) => {}
        }
    }

    /// What `asker` is told now.
    pub fn told(&self, asker: &PeerId, now: UnixTime) -> Vec<Signed<Card>> {
        let hour = (now.0 / HOUR).to_be_bytes();
        let lot = |peer: &PeerId| {
            let mut hasher = blake3::Hasher::new_keyed(&self.seed);
            hasher.update(&hour).update(&peer.0);
            *hasher.finalize().as_bytes()
        };
        let fresh = |held: &&Held| held.works(now);
        let mut drawn: Vec<_> = self.held.values().filter(fresh).collect();
        drawn.sort_by_cached_key(|held| lot(&held.card.peer));
        drawn.truncate(MAX_TOLD);
        let others = drawn.into_iter().filter(|held| held.card.peer != *asker);
        others.map(|held| held.signed.clone()).collect()
    }

    /// All nodes that were connected to not long ago.
    pub fn working(&self, now: UnixTime) -> Vec<PeerId> {
        self.held.values().filter(|held| held.works(now)).map(|held| held.card.peer).collect()
    }

    /// The card of a node.
    pub fn card(&self, peer: &PeerId) -> Option<Signed<Card>> {
        self.held.get(peer).map(|held| held.signed.clone())
    }

    /// Whether a node whose card is held was connected to not long ago.
    pub fn works(&self, peer: &PeerId, now: UnixTime) -> bool {
        self.held.get(peer).is_some_and(|held| held.works(now))
    }

    /// How many nodes it has cards of.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn has_share(
        &self,
        peer: &PeerId,
        source: Source,
        group: Option<Group>,
    ) -> Result<(), Refused> {
        let unseen = |held: &&Held| held.worked_at.is_none() && held.card.peer != *peer;
        let unseen: Vec<_> = self.held.values().filter(unseen).collect();
        let of_source = unseen.iter().filter(|held| held.source == source).count();
        let of_group = unseen.iter().filter(|held| held.group == group).count();
        let own_word = source == Source::Itself;
        if (own_word || of_source < MAX_SOURCE) && of_group < MAX_GROUP {
            Ok(())
        } else {
            Err(Refused::Share)
        }
    }

    /// Of the nodes that worked in the network of this one, the last ones stay.
    fn thin(&mut self, peer: &PeerId) {
        let group = self.held.get(peer).and_then(|held| held.group);
        let good = self.held.values().filter(|h| h.group == group && h.worked_at.is_some());
        let mut good: Vec<_> = good.map(|held| (held.worked_at, held.card.peer)).collect();
        good.sort();
        for (_, oldest) in good.iter().take(good.len().saturating_sub(MAX_GROUP_GOOD)) {
            self.held.remove(oldest);
        }
    }

    /// Drops one that nobody has seen work, or the one that worked longest ago.
    fn make_room(&mut self) -> bool {
        let oldest = self.held.values().map(|h| (h.worked_at, h.card.made_at, h.card.peer)).min();
        oldest.is_some_and(|(_, _, peer)| self.held.remove(&peer).is_some())
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::id::PublicKey;
    use crate::invite::VeilTicket;
    use crate::veil::VeilSecret;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn card(n: u16, addr: [u8; 4]) -> (Card, Signed<Card>) {
        made(n, addr, NOW)
    }

    fn made(n: u16, addr: [u8; 4], made_at: UnixTime) -> (Card, Signed<Card>) {
        let mut secret = [1; 32];
        secret[..2].copy_from_slice(&n.to_be_bytes());
        let key = SigningKey::from_bytes(&secret);
        let addrs = vec![format!("{}:443", std::net::Ipv4Addr::from(addr))];
        let veil = VeilTicket { addrs, secret: VeilSecret([5; 32]) };
        let card = Card { v: 1, peer: PeerId(PublicKey::from(&key).0), veil, made_at };
        let signed = Signed::sign(&card, &key);
        (card, signed)
    }

    fn cards() -> Cards {
        Cards::new(PeerId([0; 32]), [9; 32])
    }

    fn teller(n: u8) -> Source {
        Source::Told(PeerId([n; 32]))
    }

    /// An address in a network of its own.
    fn apart(n: u16) -> [u8; 4] {
        let [a, b] = n.to_be_bytes();
        [20 + a, b, 0, 1]
    }

    #[test]
    fn one_liar_has_a_share_of_the_table_whatever_it_tells() {
        let mut cards = cards();
        for n in 0..100 {
            let (card, signed) = card(n, apart(n));
            let _ = cards.heard(card, signed, teller(1));
        }
        assert_eq!(cards.len(), MAX_SOURCE);
        let (card, signed) = card(200, apart(200));
        assert_eq!(cards.heard(card, signed, teller(2)), Ok(()));
    }

    #[test]
    fn one_network_has_a_share_whoever_tells() {
        let mut cards = cards();
        for n in 0..100u16 {
            let [_, low] = n.to_be_bytes();
            let (card, signed) = card(n, [20, 1, 2, low]);
            let _ = cards.heard(card, signed, teller(low));
        }
        assert_eq!(cards.len(), MAX_GROUP);
    }

    #[test]
    fn only_who_was_seen_to_work_is_told_of() {
        let mut cards = cards();
        let (good, signed) = card(1, apart(1));
        let (bad, bad_signed) = card(2, apart(2));
        cards.heard(good.clone(), signed.clone(), teller(1)).unwrap();
        cards.heard(bad.clone(), bad_signed, teller(1)).unwrap();
        let asker = PeerId([7; 32]);
        assert!(cards.told(&asker, NOW).is_empty());
        cards.tried(&good.peer, true, NOW);
        cards.tried(&bad.peer, false, NOW);
        assert_eq!(cards.told(&asker, NOW), std::slice::from_ref(&signed));
        assert!(cards.told(&good.peer, NOW).is_empty(), "nobody is told of itself");
        assert_eq!(cards.len(), 1, "who was never there is forgotten");
        let later = UnixTime(NOW.0 + FRESH.as_secs() + 1);
        assert!(cards.told(&asker, later).is_empty());
        assert_eq!(cards.heard(good, signed, teller(1)), Err(Refused::Known));
    }

    #[test]
    fn what_is_told_is_bounded_and_changes_by_the_hour_only() {
        let mut cards = cards();
        for n in 0..60 {
            let (card, signed) = card(n, apart(n));
            let peer = card.peer;
            cards.heard(card, signed, Source::Itself).unwrap();
            cards.tried(&peer, true, NOW);
        }
        let [one, other] = [PeerId([7; 32]), PeerId([8; 32])];
        let told = cards.told(&one, NOW);
        assert_eq!(told.len(), MAX_TOLD);
        assert_eq!(told, cards.told(&other, UnixTime(NOW.0 / HOUR * HOUR + HOUR - 1)));
        assert_ne!(told, cards.told(&one, UnixTime(NOW.0 + HOUR)));
    }

    #[test]
    fn the_table_is_bounded_and_those_that_work_stay() {
        let mut cards = cards();
        for n in 0..MAX_GROUP_GOOD + 9 {
            let n = u16::try_from(n).unwrap();
            let (card, signed) = card(5000 + n, [99, 1, 0, 1]);
            let peer = card.peer;
            cards.heard(card, signed, Source::Itself).unwrap();
            cards.tried(&peer, true, UnixTime(NOW.0 + u64::from(n)));
        }
        assert_eq!(cards.len(), MAX_GROUP_GOOD, "of one network the last ones");
        for n in 0..u16::try_from(MAX).unwrap() + 50 {
            let (card, signed) = card(n, apart(n));
            cards.heard(card, signed, Source::Itself).unwrap();
        }
        assert_eq!(cards.len(), MAX);
        let good = cards.told(&PeerId([7; 32]), NOW);
        assert_eq!(good.len(), MAX_TOLD.min(MAX_GROUP_GOOD), "none of them was driven out");
    }

    #[test]
    fn a_newer_card_replaces_an_older_one() {
        let mut cards = cards();
        let (old, signed) = card(1, apart(1));
        cards.heard(old.clone(), signed, teller(1)).unwrap();
        cards.tried(&old.peer, true, NOW);
        let (new, signed) = made(1, apart(2), UnixTime(NOW.0 + 60));
        cards.heard(new, signed.clone(), teller(3)).unwrap();
        assert_eq!(cards.told(&PeerId([7; 32]), NOW), [signed]);
    }
}
