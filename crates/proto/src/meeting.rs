//! Where open nodes that found each other's address in the DHT first speak: one question, one answer.
//!
//! The DHT gives addresses and nothing else. The question is a box of the day to such an address; the
//! answer is a box with the card of the node there, which says who it is and how it is spoken to. Both
//! are read by all of Busel, so whoever crawls the DHT learns the cards of open nodes: that is what
//! they announce themselves for. Who can't make such a box gets no answer, and an answer is never
//! longer than its question, so nobody is flooded through us.

use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::card::Card;
use crate::cbor;
use crate::daily::{self, CHANCE, Day, MAX_BOX, Purpose};
use crate::signed::Signed;
use crate::time::Tick;

/// A question is padded to at least this, so that an answer fits into its length.
const LEAST: usize = 520;
/// Questions that are answered at once, and one more in each of these spans.
const BURST: u32 = 64;
const SPAN: Duration = Duration::from_millis(20);

/// A question: sixteen random bytes, which the answer repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Hello(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

#[derive(Encode, Decode)]
struct Reply {
    #[n(0)]
    to: Hello,
    #[n(1)]
    card: Signed<Card>,
}

impl Hello {
    /// What is sent.
    pub fn seal(&self, today: Day, chance: &[u8; CHANCE]) -> Option<Vec<u8>> {
        daily::seal(Purpose::Hello, today, &cbor::to_vec(self), LEAST, chance)
    }

    /// The card that answers it, unverified; `None` if this is no answer to it.
    pub fn answered(&self, datagram: &[u8], today: Day) -> Option<Signed<Card>> {
        let (record, _) = daily::open(Purpose::Card, today, datagram)?;
        let reply: Reply = cbor::from_slice(&record, MAX_BOX).ok()?;
        (reply.to == *self).then_some(reply.card)
    }
}

/// Answers questions.
#[derive(Debug, Default)]
pub struct Porch {
    used: u32,
    at: Tick,
}

impl Porch {
    /// The answer to a datagram, if it gets one.
    pub fn answer(
        &mut self,
        datagram: &[u8],
        card: &Signed<Card>,
        now: Tick,
        today: Day,
        chance: [u8; CHANCE],
    ) -> Option<Vec<u8>> {
        if !self.take(now) {
            return None;
        }
        let (record, day) = daily::open(Purpose::Hello, today, datagram)?;
        let to = cbor::from_slice(&record, MAX_BOX).ok()?;
        let record = cbor::to_vec(&Reply { to, card: card.clone() });
        let mut bare = chance;
        bare[0] = 0;
        let room = datagram
            .len()
            .checked_sub(daily::seal(Purpose::Card, day, &record, 0, &bare)?.len())?;
        bare[0] = chance[0].min(u8::try_from(room).unwrap_or(u8::MAX));
        daily::seal(Purpose::Card, day, &record, 0, &bare)
    }

    fn take(&mut self, now: Tick) -> bool {
        let spans = (now - self.at).as_micros() / SPAN.as_micros();
        if spans > 0 {
            self.used = self.used.saturating_sub(u32::try_from(spans).unwrap_or(u32::MAX));
            self.at = now;
        }
        let allowed = self.used < BURST;
        self.used += u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::id::{PeerId, PublicKey};
    use crate::invite::VeilTicket;
    use crate::time::UnixTime;
    use crate::veil::VeilSecret;

    const TODAY: Day = Day(20_500);
    const NOW: Tick = Tick(1_000_000_000);

    fn card() -> Signed<Card> {
        let key = SigningKey::from_bytes(&[4; 32]);
        let addrs = vec!["[2606:4700:4700::1111]:44443".to_owned(); crate::card::MAX_ADDRS];
        let veil = VeilTicket { addrs, secret: VeilSecret([5; 32]) };
        let made_at = UnixTime(1_800_000_000);
        let card = Card { v: 1, peer: PeerId(PublicKey::from(&key).0), veil, made_at };
        Signed::sign(&card, &key)
    }

    #[test]
    fn a_question_brings_the_card_and_never_more_bytes_than_it_has() {
        for n in [0, 1, 77, 255] {
            let hello = Hello([n; 16]);
            let asked = hello.seal(TODAY, &[n; CHANCE]).unwrap();
            let answer = Porch::default().answer(&asked, &card(), NOW, TODAY, [255; CHANCE]);
            let answer = answer.expect("the largest card fits");
            assert!(answer.len() <= asked.len());
            assert_eq!(hello.answered(&answer, TODAY), Some(card()));
            assert_eq!(Hello([9; 16]).answered(&answer, TODAY), None, "it answers another");
        }
    }

    #[test]
    fn whoever_knows_not_the_day_gets_silence() {
        let mut porch = Porch::default();
        let asked = Hello([1; 16]).seal(Day(TODAY.0 + 9), &[3; CHANCE]).unwrap();
        for junk in
            [&asked[..], b"", b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:y1:qe", &[7; 900]]
        {
            assert_eq!(porch.answer(junk, &card(), NOW, TODAY, [1; CHANCE]), None);
        }
        let short =
            daily::seal(Purpose::Hello, TODAY, &cbor::to_vec(&Hello([1; 16])), 0, &[0; CHANCE]);
        let answer = porch.answer(&short.unwrap(), &card(), NOW, TODAY, [1; CHANCE]);
        assert_eq!(answer, None, "an answer would be longer than the question");
    }

    #[test]
    fn a_flood_is_answered_in_part() {
        let mut porch = Porch::default();
        let asked = Hello([1; 16]).seal(TODAY, &[3; CHANCE]).unwrap();
        let answered = (0..1000)
            .filter(|_| porch.answer(&asked, &card(), NOW, TODAY, [1; CHANCE]).is_some())
            .count();
        assert_eq!(answered, usize::try_from(BURST).unwrap());
    }
}
