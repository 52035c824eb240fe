//! A connection that somebody made to a node that listens, until it is known who that is.
//!
//! Who has the secret says hello and is let in. Everybody else is read from and never answered: what they
//! say is thrown away, until they go, or a number of bytes or a time is over that were drawn when they
//! came. How that looks is no mark of Busel: each node draws from ranges of its own, made from its
//! secret, and one that has said half a hello is treated like one that said something else.

use std::time::Duration;

use super::VeilSecret;
use super::hello::{HEAD_TEXT, Hello, HelloKey};

/// The ranges in which a node's patience lies.
const TIME: (u64, u64) = (15, 75);
const BYTES: (u64, u64) = (6_000, 60_000);

/// How long a stranger is read from, and how the connection then ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// So long …
    pub time: Duration,
    /// … or for so many bytes.
    pub bytes: usize,
    /// Whether it is reset then, rather than closed.
    pub reset: bool,
}

impl Patience {
    /// That of the node with this secret for one connection.
    pub fn of(secret: &VeilSecret, chance: [u8; 8]) -> Self {
        let own = blake3::derive_key("busel 1 veil tcp patience", &secret.0);
        let own = |at: usize| u64::from(own[at]) * 256 + u64::from(own[at + 1]);
        let chance = |at: usize| u64::from(chance[at]) * 256 + u64::from(chance[at + 1]);
        // The node's own middle, and a quarter more or less by chance.
        let draw = |(least, most): (u64, u64), at: usize| {
            let middle = least + (most - least) * own(at) / 0xffff;
            middle * 3 / 4 + middle / 2 * chance(at) / 0xffff
        };
        let time = Duration::from_millis(draw((TIME.0 * 1000, TIME.1 * 1000), 0));
        let bytes = usize::try_from(draw(BYTES, 2)).unwrap_or(usize::MAX);
        Self { time, bytes, reset: chance(4) % 256 < 64 + own(4) % 128 }
    }
}

/// What is known of who stands there.
#[derive(Debug)]
pub enum Seen {
    /// Nothing yet.
    Unclear,
    /// Nobody who has the secret.
    Stranger,
    /// Somebody who has it, if the hello is of now and new; and what they said after it.
    Guest(Box<Hello>, Vec<u8>),
}

/// Takes the first bytes of a connection.
#[derive(Debug, Default)]
pub struct Doorstep {
    said: Vec<u8>,
    len: Option<usize>,
    stranger: bool,
}

impl Doorstep {
    /// Takes what came next.
    pub fn hear(&mut self, bytes: &[u8], key: &HelloKey) -> Seen {
        if self.stranger {
            return Seen::Stranger;
        }
        self.said.extend_from_slice(bytes);
        let seen = self.look(key);
        if matches!(seen, Seen::Stranger) {
            self.turn_away();
        }
        seen
    }

    /// Whoever it is, their hello was not of now, or was heard before.
    pub fn turn_away(&mut self) {
        (self.stranger, self.said) = (true, Vec::new());
    }

    fn look(&mut self, key: &HelloKey) -> Seen {
        let Some(head) = self.said.first_chunk::<HEAD_TEXT>() else { return Seen::Unclear };
        let Some(len) = self.len.or_else(|| key.len(head)) else { return Seen::Stranger };
        self.len = Some(len);
        let Some(said) = self.said.get(..len) else { return Seen::Unclear };
        match key.open(said) {
            Some(hello) => Seen::Guest(Box::new(hello), self.said.split_off(len)),
            None => Seen::Stranger,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::time::UnixTime;
    use crate::veil::hello::HELLO_RANDOM;

    const SECRET: VeilSecret = VeilSecret([1; 32]);
    const BACK: VeilSecret = VeilSecret([2; 32]);

    #[test]
    fn a_guest_is_known_however_the_hello_comes_and_keeps_what_follows() {
        let key = HelloKey::of(&SECRET);
        let (said, _) = key.make(UnixTime(5), BACK, &[7; HELLO_RANDOM]).unwrap();
        let whole = [&said[..], b"more"].concat();
        for step in [1, 40, 2000] {
            let mut doorstep = Doorstep::default();
            let mut known = None;
            for part in whole.chunks(step) {
                match doorstep.hear(part, &key) {
                    Seen::Guest(hello, rest) => known = Some((hello.at, rest)),
                    Seen::Stranger => panic!("they have the secret"),
                    Seen::Unclear => {}
                }
                if known.is_some() {
                    break;
                }
            }
            let (at, rest) = known.unwrap();
            assert_eq!(at, UnixTime(5));
            assert!(b"more".starts_with(&rest));
        }
    }

    #[test]
    fn a_stranger_is_one_for_good_and_costs_no_memory() {
        let key = HelloKey::of(&SECRET);
        let (said, _) = HelloKey::of(&BACK).make(UnixTime(5), BACK, &[7; HELLO_RANDOM]).unwrap();
        for words in [&said[..], b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n", &[0x90; 100]] {
            let mut doorstep = Doorstep::default();
            assert!(matches!(doorstep.hear(words, &key), Seen::Stranger));
            let (mine, _) = key.make(UnixTime(5), BACK, &[7; HELLO_RANDOM]).unwrap();
            assert!(matches!(doorstep.hear(&mine, &key), Seen::Stranger));
            assert_eq!(doorstep.said.capacity(), 0);
        }
        assert!(matches!(Doorstep::default().hear(&said[..20], &key), Seen::Unclear));
    }

    #[test]
    fn patience_is_of_the_node_and_varies() {
        let of = |secret: u8| {
            let chance = |n: u8| blake3::hash(&[n]).as_bytes()[..8].try_into().unwrap();
            (0..200).map(move |n| Patience::of(&VeilSecret([secret; 32]), chance(n)))
        };
        let mut middles = BTreeSet::new();
        for secret in 0..20 {
            let all: Vec<Patience> = of(secret).collect();
            let times: BTreeSet<_> = all.iter().map(|p| p.time).collect();
            let bytes: BTreeSet<_> = all.iter().map(|p| p.bytes).collect();
            assert!(times.len() > 150 && bytes.len() > 150);
            assert!(times.iter().all(|time| (11..95).contains(&time.as_secs())), "{times:?}");
            assert!(bytes.iter().all(|bytes| (4_400..76_000).contains(bytes)));
            let resets = all.iter().filter(|p| p.reset).count();
            assert!((20..180).contains(&resets), "{resets}");
            middles.insert(times.iter().sum::<Duration>().as_secs() / 200 / 5);
        }
        assert!(middles.len() > 5, "nodes differ: {middles:?}");
    }
}
