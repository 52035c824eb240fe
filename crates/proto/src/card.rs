//! Cards: an open node's own word of where it is reached, signed by its key.
//!
//! Nodes pass on cards of others, unchanged, so nobody can say of a node where it is but that node.
//! Who shows nothing of itself makes no card, so there is nothing of it to pass on; and what somebody
//! merely observed, an address that a packet came from, is never made one. A card names no relay: who
//! dialled a relay that a stranger names would show itself to that stranger.

use minicbor::{Decode, Encode};

use crate::id::{PeerId, PublicKey};
use crate::invite::VeilTicket;
use crate::network::Reach;
use crate::signed::{Record, Signed};
use crate::time::UnixTime;

/// Addresses that one card may name.
pub const MAX_ADDRS: usize = 4;
/// A card counts for so long, in seconds: 30 days.
pub const MAX_AGE_SECS: u64 = 30 * 86_400;
/// Clocks may differ by so much, in seconds.
const SKEW_SECS: u64 = 86_400;

/// Where an open node is reached.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Card {
    /// Format, 1.
    #[n(0)]
    pub v: u8,
    /// The node, whose key signs.
    #[n(1)]
    pub peer: PeerId,
    /// Where it listens for the veil wire.
    #[n(2)]
    pub veil: VeilTicket,
    /// When it was made; of two the newer one stands.
    #[n(3)]
    pub made_at: UnixTime,
}

impl Record for Card {
    const CONTEXT: &'static str = "busel/1/card";
    const MAX: usize = 512;
    fn signer(&self) -> PublicKey {
        PublicKey(self.peer.0)
    }
}

/// Why a card was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// It is malformed, or its signature does not fit.
    #[error("it is no card")]
    NoCard,
    /// Too old, or of the future.
    #[error("it is out of date")]
    Stale,
    /// It names no address, too many, or one that a node of the network can't have.
    #[error("it names an address that nobody can reach")]
    Unreachable,
}

impl Card {
    /// Reads and checks a card: its signature, its age, and that each of its addresses is one that may
    /// be connected to.
    pub fn check(signed: &Signed<Self>, reach: &Reach, now: UnixTime) -> Result<Self, CardError> {
        let card = signed.clone().verify().map_err(|_| CardError::NoCard)?;
        if card.v != 1 {
            return Err(CardError::NoCard);
        }
        let made = card.made_at.0;
        if made > now.0.saturating_add(SKEW_SECS) || now.0.saturating_sub(made) > MAX_AGE_SECS {
            return Err(CardError::Stale);
        }
        let addrs: Vec<_> = card.veil.addrs().collect();
        let all = addrs.len() == card.veil.addrs.len() && (1..=MAX_ADDRS).contains(&addrs.len());
        let reached = addrs.iter().all(|addr| addr.port() != 0 && reach.allows(addr.ip()));
        if all && reached { Ok((*card).clone()) } else { Err(CardError::Unreachable) }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::veil::VeilSecret;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn signed(addrs: &[&str], made_at: UnixTime) -> Signed<Card> {
        let key = SigningKey::from_bytes(&[4; 32]);
        let addrs = addrs.iter().map(|addr| (*addr).to_owned()).collect();
        let veil = VeilTicket { addrs, secret: VeilSecret([5; 32]) };
        let card = Card { v: 1, peer: PeerId(PublicKey::from(&key).0), veil, made_at };
        Signed::sign(&card, &key)
    }

    fn check(addrs: &[&str], made_at: UnixTime) -> Result<Card, CardError> {
        Card::check(&signed(addrs, made_at), &Reach::default(), NOW)
    }

    #[test]
    fn a_card_is_taken_if_it_is_signed_recent_and_public() {
        let good = check(&["1.2.3.4:443", "[2606:4700::1]:443"], NOW).unwrap();
        assert_eq!(good.veil.addrs().count(), 2);
        let lan = "10.0.0.0/8".parse().unwrap();
        let reach = Reach { allowed: vec![lan] };
        assert!(Card::check(&signed(&["10.1.2.3:5"], NOW), &reach, NOW).is_ok());
    }

    #[test]
    fn others_are_not() {
        for addrs in [
            &[][..],
            &["10.1.2.3:5"],
            &["127.0.0.1:5"],
            &["1.2.3.4:0"],
            &["1.2.3.4:5", "192.168.0.1:5"],
            &["1.2.3.4:5"; MAX_ADDRS + 1],
            &["news.example:443"],
        ] {
            assert_eq!(check(addrs, NOW), Err(CardError::Unreachable), "{addrs:?}");
        }
        for made in [NOW.0 + SKEW_SECS + 1, NOW.0 - MAX_AGE_SECS - 1] {
            assert_eq!(check(&["1.2.3.4:5"], UnixTime(made)), Err(CardError::Stale));
        }
        let mut bytes = signed(&["1.2.3.4:5"], NOW).to_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let forged = Signed::from_bytes(&bytes).unwrap();
        let checked = Card::check(&forged, &Reach::default(), NOW);
        assert_eq!(checked, Err(CardError::NoCard));
    }
}
