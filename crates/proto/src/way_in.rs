//! Ways in: the secrets by which nodes enter a relay, given out in batches and taken back one by one.
//!
//! A relay derives them all from one root secret, so that what it keeps is short: the root, how many it
//! gave out when, and which it took back. To whoever lacks the root each is 16 bytes of chance: two of
//! them show neither that they are of one relay, nor of one batch, nor which came first. The relay sees
//! a place in a batch, and not who holds it.
//!
//! What a reader hands on to a friend is a way in of its own, from the spare ones that came with the
//! reader's invite. So neither the relay nor who takes a device can tell by them who invited whom, and
//! one that is taken back ends for nobody else.

use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::cbor::{self, CborError};
use crate::time::UnixTime;

/// The most ways in of a relay that are good at once: it holds them all in memory.
pub const MAX_WAYS: u32 = 1 << 16;
/// The most batches that are kept.
pub const MAX_BATCHES: usize = 1024;
/// The longest book, in bytes: all revoked.
pub const MAX_BOOK: usize = 1 << 20;
const DAY: u64 = 86_400;

/// A way into a relay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct WayIn(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

impl std::fmt::Debug for WayIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WayIn(…)")
    }
}

/// What a relay's ways in are derived from: 32 random bytes that stay with it.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct WayRoot(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl std::fmt::Debug for WayRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WayRoot(…)")
    }
}

impl WayRoot {
    /// The way in at this place.
    pub fn way(&self, place: Place) -> WayIn {
        let mut hasher = blake3::Hasher::new_derive_key("busel 1 way in");
        hasher.update(&self.0).update(&place.batch.to_be_bytes());
        let hash = hasher.update(&place.number.to_be_bytes()).finalize();
        let mut way = [0; 16];
        way.copy_from_slice(&hash.as_bytes()[..16]);
        WayIn(way)
    }
}

/// Which of a relay's ways in it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The number of its batch.
    pub batch: u32,
    /// Its number in the batch, from 0 on.
    pub number: u32,
}

/// Ways in that were made together.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Batch {
    /// Its number, which no other batch gets.
    #[n(0)]
    pub number: u32,
    /// How many there are.
    #[n(1)]
    pub count: u32,
    /// The day it was made on.
    #[n(2)]
    pub made: UnixTime,
    /// The last second of their validity.
    #[n(3)]
    pub until: UnixTime,
    /// Those that were taken back, ascending.
    #[n(4)]
    pub revoked: Vec<u32>,
    /// Whether all were taken back.
    #[n(5)]
    pub closed: bool,
}

/// What a relay keeps of its ways in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Book {
    /// 1.
    #[n(0)]
    v: u32,
    #[n(1)]
    root: WayRoot,
    /// The number of the next batch.
    #[n(2)]
    next: u32,
    #[n(3)]
    batches: Vec<Batch>,
    /// Whether the way in that all holders of the relay's first invite share was taken back.
    #[n(4)]
    shared_closed: bool,
}

/// Why a book could not be read, or a batch not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// It is no book.
    #[error("the book of ways in can't be read: {0}")]
    Malformed(#[from] CborError),
    /// It contradicts itself.
    #[error("the book of ways in is damaged")]
    Damaged,
    /// There would be too many at once.
    #[error("at most {MAX_WAYS} ways in, in {MAX_BATCHES} batches, are good at once")]
    Full,
    /// A batch of none, or for no time.
    #[error("a batch has at least one way in, for at least one day")]
    Empty,
}

impl Batch {
    fn is_good(&self, now: UnixTime) -> bool {
        !self.closed && now <= self.until
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        let batch = self.number;
        (0..self.count).map(move |number| Place { batch, number })
    }

    fn is_revoked(&self, number: u32) -> bool {
        self.closed || self.revoked.binary_search(&number).is_ok()
    }

    fn is_sound(&self, next: u32) -> bool {
        self.number < next
            && self.revoked.is_sorted_by(|a, b| a < b)
            && self.revoked.last().is_none_or(|last| *last < self.count)
    }
}

impl Book {
    /// A new book.
    pub fn new(root: WayRoot) -> Self {
        Self { v: 1, root, next: 1, batches: Vec::new(), shared_closed: false }
    }

    /// Reads what [`Book::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BookError> {
        let book: Self = cbor::from_slice(bytes, MAX_BOOK)?;
        let sound = book.v == 1
            && book.batches.iter().all(|batch| batch.is_sound(book.next))
            && book.batches.is_sorted_by(|a, b| a.number < b.number)
            && book.fits(0, 0);
        if sound { Ok(book) } else { Err(BookError::Damaged) }
    }

    /// Its bytes, to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    /// The batches, oldest first.
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// Whether the shared way in still counts.
    pub fn shared(&self) -> bool {
        !self.shared_closed
    }

    /// Makes `count` ways in that are good for `days`, and gives them in the order of their places:
    /// who gives them out should mix them. Batches that have run out make room.
    pub fn make(&mut self, count: u32, days: u32, now: UnixTime) -> Result<Vec<WayIn>, BookError> {
        if count == 0 || days == 0 {
            return Err(BookError::Empty);
        }
        self.batches.retain(|batch| now <= batch.until);
        if !self.fits(count, 1) {
            return Err(BookError::Full);
        }
        // The hour is nobody's business.
        let made = UnixTime(now.0 / DAY * DAY);
        let until = UnixTime(made.0.saturating_add((u64::from(days) + 1) * DAY - 1));
        let number = self.next;
        self.next = number.checked_add(1).ok_or(BookError::Full)?;
        let batch = Batch { number, count, made, until, revoked: Vec::new(), closed: false };
        let ways = batch.places().map(|place| self.root.way(place)).collect();
        self.batches.push(batch);
        Ok(ways)
    }

    fn fits(&self, more: u32, batches: usize) -> bool {
        let all = self.batches.iter().map(|batch| batch.count);
        let sum = all.chain([more]).try_fold(0u32, u32::checked_add);
        sum.is_some_and(|sum| sum <= MAX_WAYS) && self.batches.len() + batches <= MAX_BATCHES
    }

    /// Which of the relay's it is, whether it is still good or not.
    pub fn find(&self, way: &WayIn) -> Option<Place> {
        let mut places = self.batches.iter().flat_map(Batch::places);
        places.find(|place| self.root.way(*place) == *way)
    }

    /// Takes one back; `false` if there is no such, or it was taken back before.
    pub fn revoke(&mut self, place: Place) -> bool {
        let batch = self.batches.iter_mut().find(|batch| batch.number == place.batch);
        let Some(batch) = batch.filter(|batch| place.number < batch.count) else { return false };
        match batch.revoked.binary_search(&place.number) {
            Ok(_) => false,
            Err(at) => {
                batch.revoked.insert(at, place.number);
                !batch.closed
            }
        }
    }

    /// Takes a batch back; `false` if there is no such, or it was taken back before.
    pub fn close(&mut self, number: u32) -> bool {
        let batch = self.batches.iter_mut().find(|batch| batch.number == number);
        batch.is_some_and(|batch| !std::mem::replace(&mut batch.closed, true))
    }

    /// Takes the shared way in back.
    pub fn close_shared(&mut self) {
        self.shared_closed = true;
    }

    /// All that are good now.
    pub fn good(&self, now: UnixTime) -> impl Iterator<Item = (WayIn, Place)> {
        let batches = self.batches.iter().filter(move |batch| batch.is_good(now));
        let places = batches
            .flat_map(|batch| batch.places().filter(|place| !batch.is_revoked(place.number)));
        places.map(|place| (self.root.way(place), place))
    }

    /// How long until one of them runs out.
    pub fn next_end(&self, now: UnixTime) -> Option<Duration> {
        let good = self.batches.iter().filter(|batch| batch.is_good(now));
        good.map(|batch| UnixTime(batch.until.0.saturating_add(1)).since(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NOW: UnixTime = UnixTime(20_000 * DAY + 50_000);

    fn book() -> Book {
        Book::new(WayRoot([7; 32]))
    }

    fn good(book: &Book, now: UnixTime) -> BTreeSet<WayIn> {
        book.good(now).map(|(way, _)| way).collect()
    }

    #[test]
    fn one_that_is_taken_back_ends_and_the_others_go_on() {
        let mut book = book();
        let first = book.make(10, 30, NOW).unwrap();
        let second = book.make(5, 30, NOW).unwrap();
        assert_eq!(good(&book, NOW).len(), 15);
        let leaked = book.find(&first[3]).unwrap();
        assert_eq!(leaked, Place { batch: 1, number: 3 });
        assert!(book.revoke(leaked) && !book.revoke(leaked));
        let left = good(&book, NOW);
        assert_eq!(left.len(), 14);
        assert!(!left.contains(&first[3]) && left.contains(&first[4]));
        assert!(book.close(2) && !book.close(2) && !book.close(9));
        assert!(second.iter().all(|way| !good(&book, NOW).contains(way)));
        assert!(!book.revoke(Place { batch: 1, number: 10 }));

        let again = Book::from_bytes(&book.to_bytes()).unwrap();
        assert_eq!(again, book);
        assert_eq!(good(&again, NOW).len(), 9);
        assert_eq!(again.find(&WayIn([0; 16])), None);
    }

    #[test]
    fn they_run_out_at_the_end_of_a_day_and_make_room() {
        let mut book = book();
        book.make(MAX_WAYS, 1, NOW).unwrap();
        assert_eq!(book.make(1, 1, NOW), Err(BookError::Full));
        let end = NOW.0 / DAY * DAY + 2 * DAY;
        assert_eq!(book.next_end(NOW), Some(Duration::from_secs(end - NOW.0)));
        assert_eq!(book.good(UnixTime(end - 1)).count(), 1 << 16);
        assert_eq!(book.good(UnixTime(end)).count(), 0);
        assert_eq!(book.next_end(UnixTime(end)), None);
        let new = book.make(3, 1, UnixTime(end)).unwrap();
        assert_eq!(book.batches().len(), 1);
        assert_eq!(
            book.find(&new[0]),
            Some(Place { batch: 2, number: 0 }),
            "no number comes twice"
        );
        assert_eq!(book.make(0, 1, NOW), Err(BookError::Empty));
        assert_eq!(book.make(1, 0, NOW), Err(BookError::Empty));
    }

    #[test]
    fn nothing_in_them_tells_of_their_place() {
        let root = WayRoot([7; 32]);
        let mut all = BTreeSet::new();
        let mut ones = [0u32; 128];
        for batch in 1..=8 {
            for number in 0..256 {
                let way = root.way(Place { batch, number });
                for (bit, count) in ones.iter_mut().enumerate() {
                    *count += u32::from(way.0[bit / 8] >> (bit % 8) & 1);
                }
                all.insert(way);
            }
        }
        assert_eq!(all.len(), 2048, "none is like another");
        // Each bit is as often set as a coin would have it.
        assert!(ones.iter().all(|count| (880..1170).contains(count)), "{ones:?}");
        let other = WayRoot([8; 32]).way(Place { batch: 1, number: 0 });
        assert!(!all.contains(&other));
        assert!(!format!("{root:?} {other:?}").contains('7'), "they are in no log");
    }

    #[test]
    fn a_damaged_book_is_refused() {
        let mut book = book();
        book.make(4, 30, NOW).unwrap();
        let bytes = book.to_bytes();
        assert!(matches!(Book::from_bytes(&bytes[1..]), Err(BookError::Malformed(_))));
        let mut odd = book.clone();
        odd.batches[0].revoked = vec![3, 1];
        assert_eq!(Book::from_bytes(&odd.to_bytes()), Err(BookError::Damaged));
        odd.batches[0].revoked = vec![4];
        assert_eq!(Book::from_bytes(&odd.to_bytes()), Err(BookError::Damaged));
        let mut twice = book.clone();
        twice.batches.push(book.batches[0].clone());
        assert_eq!(Book::from_bytes(&twice.to_bytes()), Err(BookError::Damaged));
        let mut vast = book;
        vast.batches[0].count = MAX_WAYS + 1;
        assert_eq!(Book::from_bytes(&vast.to_bytes()), Err(BookError::Damaged));
    }
}
