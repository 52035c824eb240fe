//! What this end receives: in order for whoever reads, and held back where an earlier part is still
//! on its way by another leg.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::WINDOW;

/// The most parts that are held back: the other end cuts no finer than some hundred bytes.
const MAX_EARLY: usize = 4096;

/// The receiving half of a stream.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// All before this is here.
    next: u64,
    /// What is in order and was not taken yet.
    ready: VecDeque<Bytes>,
    /// All before this was taken.
    taken: u64,
    /// What came too early, by offset; no two overlap.
    early: BTreeMap<u64, Bytes>,
    /// Where the stream ends, if that was said.
    fin: Option<u64>,
}

impl Inbox {
    /// All before this is here.
    pub(super) fn received(&self) -> u64 {
        self.next
    }

    /// Nothing may come from here on.
    pub(super) fn limit(&self) -> u64 {
        self.taken + WINDOW as u64
    }

    /// Takes bytes of the stream, again or for the first time; whether the other end keeps to the
    /// limits.
    pub(super) fn put(&mut self, offset: u64, bytes: &Bytes) -> bool {
        let Some(end) = offset.checked_add(bytes.len() as u64) else { return false };
        if end > self.limit() || self.fin.is_some_and(|fin| end > fin) {
            return false;
        }
        let part = |from: u64, to: u64| {
            let at = |offset_in: u64| usize::try_from(offset_in - offset).expect("in the frame");
            let part = bytes.slice(at(from)..at(to));
            // A short part must not hold a long frame.
            if part.len() * 2 < bytes.len() { Bytes::copy_from_slice(&part) } else { part }
        };
        let mut at = offset.max(self.next);
        while at < end {
            let before = self.early.range(..=at).next_back();
            let covered = before.map(|(start, bytes)| start + bytes.len() as u64);
            if let Some(covered) = covered.filter(|covered| *covered > at) {
                at = covered;
                continue;
            }
            let stop = self.early.range(at..).next().map_or(end, |(start, _)| end.min(*start));
            self.early.insert(at, part(at, stop));
            at = stop;
        }
        self.order();
        self.early.len() <= MAX_EARLY
    }

    fn order(&mut self) {
        while let Some(first) = self.early.first_entry() {
            if *first.key() != self.next {
                return;
            }
            let bytes = first.remove();
            self.next += bytes.len() as u64;
            self.ready.push_back(bytes);
        }
    }

    /// Notes where the stream ends; whether that can be.
    pub(super) fn finish(&mut self, at: u64) -> bool {
        let furthest = self.early.last_key_value().map(|(start, bytes)| start + bytes.len() as u64);
        let sound = at >= furthest.unwrap_or(self.next) && self.fin.is_none_or(|fin| fin == at);
        self.fin = Some(at);
        sound
    }

    /// The next bytes in order.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        let bytes = self.ready.pop_front()?;
        self.taken += bytes.len() as u64;
        Some(bytes)
    }

    /// Whether all of the stream is here.
    pub(super) fn is_whole(&self) -> bool {
        self.fin == Some(self.next)
    }

    /// Whether the stream is over and all of it was taken.
    pub(super) fn is_over(&self) -> bool {
        self.fin == Some(self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(inbox: &mut Inbox) -> Vec<u8> {
        std::iter::from_fn(|| inbox.take()).flatten().collect()
    }

    #[test]
    fn parts_in_any_order_and_twice_are_put_together_once() {
        let mut inbox = Inbox::default();
        let of = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert!(inbox.put(5, &of("fgh")));
        assert!(inbox.put(10, &of("k")));
        assert!(inbox.put(3, &of("defghij")), "it fills a gap and overlaps on both sides");
        assert!(inbox.take().is_none());
        assert!(inbox.put(0, &of("abcd")));
        assert!(inbox.put(0, &of("abcd")));
        assert_eq!(inbox.received(), 11);
        assert!(inbox.finish(11) && !inbox.is_over() && inbox.is_whole());
        assert_eq!(all(&mut inbox), b"abcdefghijk");
        assert!(inbox.is_over());
        assert!(!inbox.put(11, &of("l")), "nothing comes after the end");
    }

    #[test]
    fn the_other_end_keeps_to_the_limits_or_is_found_out() {
        let mut inbox = Inbox::default();
        let one = Bytes::from_static(b"x");
        assert!(!inbox.put(WINDOW as u64, &one));
        assert!(!inbox.put(u64::MAX, &one));
        assert!(inbox.put(WINDOW as u64 - 1, &one));
        assert!(!inbox.finish(3));
        let mut inbox = Inbox::default();
        let sound = (1..=WINDOW as u64 / 2 - 1).all(|at| inbox.put(at * 2, &one));
        assert!(!sound, "crumbs without end");
    }
}
