//! Puts the beginning of one direction of a TCP connection together, from segments in any order,
//! repeated or overlapping, and QUIC's CRYPTO frames likewise. Of bytes that are sent twice it keeps the ones that came first.
//!
//! It keeps [`MAX_START`] bytes and a bounded number of pieces; what is beyond is ignored.

use std::collections::BTreeMap;

use super::MAX_START;
use crate::packet::Tcp;

/// Pieces that may wait for a gap to close.
const MAX_PIECES: usize = 64;

/// The bytes so far.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// The number of the first byte.
    base: Option<u32>,
    opened: bool,
    bytes: Vec<u8>,
    /// Pieces beyond a gap, by where they begin.
    pieces: BTreeMap<usize, Vec<u8>>,
}

impl Assembly {
    /// All bytes from the first on, without gaps.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it was opened by a packet with this number, so that such a packet is only repeated.
    pub(super) fn opened_at(&self, seq: u32) -> bool {
        self.opened && self.base == Some(seq.wrapping_add(1))
    }

    /// Takes a datagram, which is whole by itself.
    pub(super) fn whole(&mut self, data: &[u8]) {
        self.bytes = data[..data.len().min(MAX_START)].to_vec();
    }

    /// Takes a segment.
    pub(super) fn segment(&mut self, tcp: Tcp, data: &[u8]) {
        if tcp.syn {
            self.base = Some(tcp.seq.wrapping_add(1));
            self.opened = true;
        }
        if data.is_empty() || self.bytes.len() >= MAX_START {
            return;
        }
        let seq = tcp.seq.wrapping_add(u32::from(tcp.syn));
        let base = *self.base.get_or_insert(seq);
        // Numbers go round, so that a distance beyond the half means "before the beginning".
        let at = seq.wrapping_sub(base).cast_signed();
        let skip = usize::try_from(at.min(0).unsigned_abs()).unwrap_or(usize::MAX);
        let at = usize::try_from(at.max(0)).unwrap_or(usize::MAX);
        let Some(data) = data.get(skip..).filter(|data| !data.is_empty()) else { return };
        self.piece(at, data);
    }

    /// Takes bytes that begin so far behind the first one.
    pub(super) fn piece(&mut self, at: usize, data: &[u8]) {
        if at < MAX_START && self.pieces.len() < MAX_PIECES {
            let data = &data[..data.len().min(MAX_START - at)];
            let piece = self.pieces.entry(at).or_default();
            piece.extend_from_slice(data.get(piece.len()..).unwrap_or_default());
            self.join();
        }
    }

    /// Moves over what follows without a gap.
    fn join(&mut self) {
        while let Some(piece) = self.pieces.first_entry() {
            if *piece.key() > self.bytes.len() {
                return;
            }
            let (at, data) = piece.remove_entry();
            let known = self.bytes.len() - at;
            self.bytes.extend_from_slice(data.get(known..).unwrap_or_default());
        }
    }
}
