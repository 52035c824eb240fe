//! What this end sends: the bytes that the other end has not acknowledged yet, and which of them are
//! to be sent, for the first time or again.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::WINDOW;

/// Ranges of offsets, ascending, none of them empty, touching or overlapping.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range.
    pub(super) fn add(&mut self, new: Range<u64>) {
        if new.is_empty() {
            return;
        }
        let from = self.0.partition_point(|range| range.end < new.start);
        let to = self.0.partition_point(|range| range.start <= new.end);
        let touched = &self.0[from..to];
        let start = touched.first().map_or(new.start, |range| range.start.min(new.start));
        let end = touched.last().map_or(new.end, |range| range.end.max(new.end));
        self.0.splice(from..to, std::iter::once(start..end));
    }

    /// Drops all before `offset`.
    pub(super) fn forget(&mut self, offset: u64) {
        self.0.retain(|range| range.end > offset);
        if let Some(first) = self.0.first_mut() {
            first.start = first.start.max(offset);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The sending half of a stream.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// All before this is at the other end.
    acked: u64,
    /// The bytes from there on.
    held: VecDeque<u8>,
    /// What is to be sent.
    todo: Ranges,
    /// Nothing may be sent from here on.
    limit: u64,
    /// No more bytes come.
    pub(super) finished: bool,
}

impl Outbox {
    /// May go so far before the other end has said anything.
    pub(super) fn new() -> Self {
        Self { limit: WINDOW as u64, ..Self::default() }
    }

    /// The offset of the next byte that is put in.
    pub(super) fn end(&self) -> u64 {
        self.acked + self.held.len() as u64
    }

    /// How many bytes it takes.
    pub(super) fn room(&self) -> usize {
        if self.finished { 0 } else { WINDOW.saturating_sub(self.held.len()) }
    }

    /// Takes bytes to send, as many as there is room for.
    pub(super) fn put(&mut self, bytes: &[u8]) -> usize {
        let taken = &bytes[..bytes.len().min(self.room())];
        let start = self.end();
        self.held.extend(taken);
        self.todo.add(start..self.end());
        taken.len()
    }

    /// Whether there is anything that may be sent now.
    pub(super) fn is_due(&self) -> bool {
        self.todo.0.first().is_some_and(|range| range.start < self.limit)
    }

    /// Whether all was sent once and nothing is to be sent again.
    pub(super) fn is_sent(&self) -> bool {
        self.todo.is_empty()
    }

    /// The next bytes to send, at most `most`.
    pub(super) fn take(&mut self, most: usize) -> Option<(u64, Bytes)> {
        let first = self.todo.0.first_mut()?;
        let start = first.start;
        let end = first.end.min(self.limit).min(start + most as u64);
        if end <= start {
            return None;
        }
        first.start = end;
        if first.is_empty() {
            self.todo.0.remove(0);
        }
        let from = usize::try_from(start - self.acked).expect("held in memory");
        let to = usize::try_from(end - self.acked).expect("held in memory");
        let (front, back) = self.held.as_slices();
        let mut bytes = Vec::with_capacity(to - from);
        bytes.extend_from_slice(&front[from.min(front.len())..to.min(front.len())]);
        let shift = front.len();
        bytes.extend_from_slice(&back[from.saturating_sub(shift)..to.saturating_sub(shift)]);
        Some((start, bytes.into()))
    }

    /// Notes what the other end has; whether it can be true.
    pub(super) fn acked(&mut self, received: u64, limit: u64) -> bool {
        // What is past its own limit, or was never put in, can't have been received.
        if received > self.end() || limit < received {
            return false;
        }
        if let Some(new) = received.checked_sub(self.acked) {
            self.held.drain(..usize::try_from(new).expect("held in memory"));
            self.acked = received;
            self.todo.forget(received);
        }
        self.limit = self.limit.max(limit);
        true
    }

    /// All before this is at the other end.
    pub(super) fn base(&self) -> u64 {
        self.acked
    }

    /// These were lost on their way.
    pub(super) fn lost(&mut self, mut ranges: Ranges) {
        ranges.forget(self.acked);
        ranges.0.into_iter().for_each(|range| self.todo.add(range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(of: &[Range<u64>]) -> Ranges {
        let mut ranges = Ranges::default();
        of.iter().cloned().for_each(|range| ranges.add(range));
        ranges
    }

    #[test]
    fn ranges_that_touch_become_one() {
        assert_eq!(ranges(&[5..7, 0..2, 7..9, 2..3]).0, [0..3, 5..9]);
        assert_eq!(ranges(&[0..2, 4..6, 8..9, 1..8]), ranges(&[0..4, 4..9]));
        let mut cut = ranges(&[0..3, 5..9]);
        cut.forget(6);
        assert_eq!(cut, Ranges(std::iter::once(6..9).collect()));
    }

    #[test]
    fn what_is_lost_is_sent_again_but_not_what_arrived() {
        let mut out = Outbox::new();
        assert_eq!(out.put(b"abcdefgh"), 8);
        assert_eq!(out.take(5).unwrap(), (0, "abcde".into()));
        assert_eq!(out.take(5).unwrap(), (5, "fgh".into()));
        assert!(out.take(5).is_none());
        assert!(out.acked(3, 1000));
        let mut sent = Ranges::default();
        sent.add(0..5);
        out.lost(sent);
        assert_eq!(out.take(5).unwrap(), (3, "de".into()));
        assert!(out.is_sent());
        assert!(!out.acked(9, 1000), "more than was ever there");
    }

    #[test]
    fn neither_memory_nor_the_other_end_is_overrun() {
        let mut out = Outbox::new();
        assert_eq!(out.put(&vec![1; WINDOW + 5]), WINDOW);
        assert_eq!(out.room(), 0);
        while out.take(70_000).is_some() {}
        assert!(out.acked(1000, WINDOW as u64));
        assert_eq!(out.put(&[2; 5000]), 1000);
        assert!(!out.is_due() && out.take(1).is_none(), "beyond what the other end takes");
        assert!(out.acked(1000, WINDOW as u64 + 10));
        assert_eq!(out.take(99).unwrap().1.len(), 10);
    }
}
