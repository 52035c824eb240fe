//! What changes each day, and whoever runs Busel can compute: where nodes that know nothing of each
//! other look for one another, and under which keys they speak first.
//!
//! It keeps a box that knows no more than last week's bytes from knowing ours, and yesterday's
//! captures from being read by a rule made today. It is no secret: a censor who runs Busel computes
//! the same. So nothing may be said under these keys that such a one must not hear.
//!
//! A **box** is a nonce and ciphertext, all of which looks random, of a length that varies.

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};

use crate::time::UnixTime;

/// The longest box.
pub const MAX_BOX: usize = 1200;
/// What a box has beside the padded record: nonce and tag.
const OVERHEAD: usize = 12 + 16;
/// Random bytes that sealing takes.
pub const CHANCE: usize = 13;

/// A day: whole days since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub u64);

/// How long a quiet node keeps an id: about a day, by chance, so that no hour is that of new ids.
pub fn id_lasts(random: u64) -> std::time::Duration {
    const LEAST: u64 = 18 * 3600;
    const MORE: u64 = 12 * 3600;
    std::time::Duration::from_secs(LEAST + random % (MORE + 1))
}

impl Day {
    /// The day of a moment.
    pub fn of(time: UnixTime) -> Self {
        Self(time.0 / 86_400)
    }

    /// This day and its neighbours, this one first: clocks differ, and so do moments of midnight.
    pub fn around(self) -> [Self; 3] {
        [self, Self(self.0.saturating_sub(1)), Self(self.0.saturating_add(1))]
    }

    fn derive(self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, &self.0.to_be_bytes())
    }

    /// The topic of the DHT under which open nodes meet on this day: 20 bytes, as BitTorrent has it.
    pub fn topic(self) -> [u8; 20] {
        let mut topic = [0; 20];
        topic.copy_from_slice(&self.derive("busel 1 dht topic")[..20]);
        topic
    }
}

/// What boxes are about. Each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Beacons in the LAN.
    Beacon,
    /// A question to an address that the DHT gave.
    Hello,
    /// The answer to it.
    Card,
}

impl Purpose {
    fn context(self) -> &'static str {
        match self {
            Self::Beacon => "busel 1 lan beacon",
            Self::Hello => "busel 1 meeting hello",
            Self::Card => "busel 1 meeting card",
        }
    }

    fn cipher(self, day: Day) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&Key::from(day.derive(self.context())))
    }
}

/// Seals `record`, padded to at least `least` bytes and up to 255 more, by chance. `None` if that is
/// longer than a box may be.
pub fn seal(
    purpose: Purpose,
    day: Day,
    record: &[u8],
    least: usize,
    chance: &[u8; CHANCE],
) -> Option<Vec<u8>> {
    let mut padded = u16::try_from(record.len()).ok()?.to_be_bytes().to_vec();
    padded.extend_from_slice(record);
    let size = padded.len().max(least) + usize::from(chance[0]);
    if size + OVERHEAD > MAX_BOX {
        return None;
    }
    padded.resize(size, 0);
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&chance[1..]);
    let sealed = purpose.cipher(day).encrypt(&Nonce::from(nonce), &padded[..]).ok()?;
    Some([&nonce[..], &sealed].concat())
}

/// Opens a box of today, yesterday or tomorrow: the record in it, and its day.
pub fn open(purpose: Purpose, today: Day, sealed: &[u8]) -> Option<(Vec<u8>, Day)> {
    if sealed.len() > MAX_BOX {
        return None;
    }
    let (nonce, sealed) = sealed.split_first_chunk::<12>()?;
    let nonce = Nonce::from(*nonce);
    let (padded, day) = today
        .around()
        .into_iter()
        .find_map(|day| Some((purpose.cipher(day).decrypt(&nonce, sealed).ok()?, day)))?;
    let (len, rest) = padded.split_first_chunk::<2>()?;
    let record = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
    Some((record.to_vec(), day))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Day = Day(20_500);

    fn chance(n: u8) -> [u8; CHANCE] {
        let mut chance = [n; CHANCE];
        chance[5] = n.wrapping_mul(31);
        chance
    }

    #[test]
    fn ids_last_about_a_day() {
        for random in [0, 1, 43_199, 43_200, 43_201, u64::MAX] {
            let hours = id_lasts(random).as_secs_f64() / 3600.0;
            assert!((18.0..=30.0).contains(&hours), "{hours}");
        }
        assert_ne!(id_lasts(5), id_lasts(6));
    }

    #[test]
    fn a_box_is_opened_near_its_day_and_only_for_its_purpose() {
        let sealed = seal(Purpose::Beacon, TODAY, b"stork", 100, &chance(3)).unwrap();
        for today in [TODAY, Day(TODAY.0 - 1), Day(TODAY.0 + 1)] {
            let opened = open(Purpose::Beacon, today, &sealed);
            assert_eq!(opened, Some((b"stork".to_vec(), TODAY)));
        }
        assert_eq!(open(Purpose::Beacon, Day(TODAY.0 + 2), &sealed), None);
        assert_eq!(open(Purpose::Hello, TODAY, &sealed), None);
        let mut bad = sealed;
        bad[20] ^= 1;
        assert_eq!(open(Purpose::Beacon, TODAY, &bad), None);
    }

    #[test]
    fn boxes_of_one_record_have_no_byte_and_no_length_in_common() {
        let boxes: Vec<_> = (1..=40)
            .map(|n| seal(Purpose::Beacon, TODAY, b"stork", 100, &chance(n)).unwrap())
            .collect();
        for at in 0..100 {
            assert!(boxes.iter().any(|one| one[at] != boxes[0][at]), "byte {at} is constant");
        }
        let mut lengths: Vec<_> = boxes.iter().map(Vec::len).collect();
        lengths.dedup();
        assert_eq!(lengths.len(), boxes.len());
    }

    #[test]
    fn junk_and_lying_lengths_are_refused() {
        for junk in [&[][..], &[7; 11], &[7; 28], &[7; 400], &[7; MAX_BOX + 1]] {
            assert_eq!(open(Purpose::Beacon, TODAY, junk), None);
        }
        let cipher = Purpose::Beacon.cipher(TODAY);
        let lying = cipher.encrypt(&Nonce::from([9; 12]), &[0xff, 0xff, 1][..]).unwrap();
        assert_eq!(open(Purpose::Beacon, TODAY, &[&[9; 12][..], &lying].concat()), None);
        assert_eq!(seal(Purpose::Beacon, TODAY, &[0; 1190], 0, &chance(1)), None);
    }

    #[test]
    fn the_topic_is_another_each_day() {
        assert_eq!(Day::of(UnixTime(86_399)), Day(0));
        assert_ne!(Day(1).topic(), Day(2).topic());
    }
}
