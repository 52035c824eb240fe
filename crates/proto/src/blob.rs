//! Blobs: bytes named by their BLAKE3 root and moved in verified windows.
//!
//! The tree is BLAKE3's own, cut off at chunk groups of 16 KiB, as the crate `bao-tree` has it. The
//! *outboard* is its inner nodes in pre-order, 64 bytes each. A *window* is a range of whole groups
//! with the nodes that prove it, so any window can come from any node, in any order. Only the last
//! window proves the length; a body is whole when that one was verified too.

use std::io;
use std::ops::Range;

use bao_tree::io::BaoContentItem;
use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::{DecodeResponseIter, ReadAt, Size, encode_ranges};
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges};
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use bytes::{Bytes, BytesMut};

use crate::id::Hash;

/// Bytes in a chunk group, the unit of verification.
pub const GROUP: u64 = 16 * 1024;
/// The largest window, in bytes of content.
pub const MAX_WINDOW: u64 = 256 * 1024;
/// The most bytes that one encoded window takes: its content and the nodes that prove it.
pub const MAX_ENCODED_WINDOW: usize = MAX_WINDOW as usize + 64 * (16 + 64);
/// The longest blob.
pub const MAX_LEN: u64 = 1 << 40;

/// If no more than this is left of a body, all of it comes with the answer to `fetch/1` …
const SHORT: u64 = 1 << 20;
/// … and else about so much. The rest is asked for by `blobs/1`, of all who have it: who was asked besides, and was not the
/// first to answer, has sent little for nothing, and many who load it at once have it from each other.
const LEAD: u64 = 1 << 16;

const BLOCK: BlockSize = BlockSize::from_chunk_log(4);

/// Why a window was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// What came is not what the root names.
    #[error("the bytes do not match the signed root")]
    Mismatch,
    /// More or fewer bytes than the window needs.
    #[error("the window has a wrong length")]
    Length,
    /// A range that is empty, not aligned, or beyond the end.
    #[error("no such range")]
    Range,
}

/// The window after `offset` in a transfer that began at `from`: 16 KiB first, so that the first
/// bytes are verified soon on a slow line, then doubling up to [`MAX_WINDOW`]. `None` at the end.
/// `from` and `offset` are rounded down to a group.
pub fn window_after(from: u64, offset: u64, end: u64) -> Option<Range<u64>> {
    if offset >= end {
        return None;
    }
    let from = from / GROUP * GROUP;
    let start = offset / GROUP * GROUP;
    let sent = start.saturating_sub(from);
    let size = (sent + GROUP).next_power_of_two().min(MAX_WINDOW) / GROUP * GROUP;
    let size = if sent == 0 { GROUP } else { size.max(GROUP) };
    Some(start..(start + size).min(end))
}

/// Where the part of a body ends that comes with the answer to `fetch/1` from this byte on.
pub fn lead(from: u64, len: u64) -> u64 {
    if len.saturating_sub(from) <= SHORT {
        return len;
    }
    from.saturating_add(LEAD).checked_next_multiple_of(2 * LEAD).unwrap_or(len).min(len)
}

/// Hashes a body as it comes and keeps what proves its parts.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    hasher: blake3::Hasher,
    in_group: u64,
    len: u64,
    groups: Vec<ChainingValue>,
}

impl TreeBuilder {
    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.in_group == GROUP {
                // Closed only when more follows: a last group that is the only one is the root.
                self.groups.push(self.hasher.finalize_non_root());
                self.hasher = blake3::Hasher::new();
                self.hasher.set_input_offset(self.len);
                self.in_group = 0;
            }
            let room = usize::try_from(GROUP - self.in_group).expect("a group fits");
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(now);
            self.in_group += now.len() as u64;
            self.len += now.len() as u64;
            bytes = later;
        }
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was taken yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The root and the outboard.
    pub fn finish(mut self) -> (Hash, Vec<u8>) {
        if self.groups.is_empty() {
            return (self.hasher.finalize().into(), Vec::new());
        }
        self.groups.push(self.hasher.finalize_non_root());
        let mut outboard = vec![0; (self.groups.len() - 1) * 64];
        let (left, right) = parts(&self.groups, &mut outboard);
        (merge_subtrees_root(&left, &right, Mode::Hash).into(), outboard)
    }
}

/// Writes the node over `groups` and all below it, in pre-order, and returns its two children.
fn parts(groups: &[ChainingValue], outboard: &mut [u8]) -> (ChainingValue, ChainingValue) {
    let (left, right) = groups.split_at(groups.len().next_power_of_two() / 2);
    let (node, below) = outboard.split_at_mut(64);
    let (below_left, below_right) = below.split_at_mut((left.len() - 1) * 64);
    let pair = (subtree(left, below_left), subtree(right, below_right));
    node[..32].copy_from_slice(&pair.0);
    node[32..].copy_from_slice(&pair.1);
    pair
}

fn subtree(groups: &[ChainingValue], outboard: &mut [u8]) -> ChainingValue {
    if let [only] = groups {
        return *only;
    }
    let (left, right) = parts(groups, outboard);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

/// Bytes of the outboard of a blob of `len` bytes.
pub fn outboard_len(len: u64) -> u64 {
    len.div_ceil(GROUP).saturating_sub(1) * 64
}

/// Encodes the window `range` of a blob: `data` is exactly the bytes of that range.
pub fn encode_window(
    root: Hash,
    len: u64,
    outboard: &[u8],
    range: Range<u64>,
    data: &[u8],
) -> Result<Vec<u8>, BlobError> {
    check_range(&range, len)?;
    if data.len() as u64 != range.end - range.start {
        return Err(BlobError::Length);
    }
    let tree = BaoTree::new(len, BLOCK);
    let outboard = PreOrderOutboard { root: root.into(), tree, data: outboard };
    let mut encoded = Vec::with_capacity(data.len() + 2048);
    let content = Placed { start: range.start, data, len };
    encode_ranges(content, outboard, &chunks(&range), &mut encoded)
        .map_err(|_| BlobError::Length)?;
    Ok(encoded)
}

/// A window that was verified.
#[derive(Debug, Clone)]
pub struct Window {
    /// Its place in the blob.
    pub range: Range<u64>,
    /// Exactly the bytes of that.
    pub content: Bytes,
    /// The nodes that prove it, with their places in the outboard.
    pub nodes: Vec<(u64, [u8; 64])>,
}

/// Verifies an encoded window and returns its content, exactly the bytes of `range`.
pub fn decode_window(
    root: Hash,
    len: u64,
    range: Range<u64>,
    encoded: &[u8],
) -> Result<Bytes, BlobError> {
    verify_window(root, len, range, encoded).map(|window| window.content)
}

/// Verifies an encoded window and returns its content and its proof.
pub fn verify_window(
    root: Hash,
    len: u64,
    range: Range<u64>,
    encoded: &[u8],
) -> Result<Window, BlobError> {
    check_range(&range, len)?;
    let tree = BaoTree::new(len, BLOCK);
    let size = usize::try_from(range.end - range.start).map_err(|_| BlobError::Range)?;
    let mut rest = encoded;
    let (mut content, mut nodes) = (BytesMut::with_capacity(size), Vec::new());
    let ranges = chunks(&range);
    for item in DecodeResponseIter::new(root.into(), tree, &mut rest, &ranges) {
        match item.map_err(decode_error)? {
            BaoContentItem::Parent(parent) => {
                let mut pair = [0; 64];
                pair[..32].copy_from_slice(parent.pair.0.as_bytes());
                pair[32..].copy_from_slice(parent.pair.1.as_bytes());
                nodes.extend(tree.pre_order_offset(parent.node).map(|at| (at * 64, pair)));
            }
            BaoContentItem::Leaf(leaf) => content.extend_from_slice(&leaf.data),
        }
    }
    if content.len() != size || !rest.is_empty() {
        return Err(BlobError::Length);
    }
    Ok(Window { range, content: content.freeze(), nodes })
}

fn decode_error(error: bao_tree::io::DecodeError) -> BlobError {
    use bao_tree::io::DecodeError as E;
    match error {
        E::ParentHashMismatch(_) | E::LeafHashMismatch(_) => BlobError::Mismatch,
        E::ParentNotFound(_) | E::LeafNotFound(_) | E::Io(_) => BlobError::Length,
    }
}

fn check_range(range: &Range<u64>, len: u64) -> Result<(), BlobError> {
    let aligned =
        range.start.is_multiple_of(GROUP) && (range.end.is_multiple_of(GROUP) || range.end == len);
    let fits = range.end <= len && len <= MAX_LEN;
    let sized = range.start < range.end && range.end - range.start <= MAX_WINDOW;
    if aligned && fits && sized { Ok(()) } else { Err(BlobError::Range) }
}

fn chunks(range: &Range<u64>) -> ChunkRanges {
    ChunkRanges::from(ChunkNum::full_chunks(range.start)..ChunkNum::chunks(range.end))
}

/// The bytes of one window, standing at their place in a blob of `len` bytes.
struct Placed<'a> {
    start: u64,
    data: &'a [u8],
    len: u64,
}

impl ReadAt for Placed<'_> {
    fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        let at = pos.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let from = at.and_then(|at| self.data.get(at..)).unwrap_or_default();
        let n = from.len().min(buf.len());
        buf[..n].copy_from_slice(&from[..n]);
        Ok(n)
    }
}

impl Size for Placed<'_> {
    fn size(&self) -> io::Result<Option<u64>> {
        Ok(Some(self.len))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(len: usize) -> Vec<u8> {
        (0..len).map(|n| u8::try_from((n * 7 + n / 251) % 256).unwrap()).collect()
    }

    fn built(data: &[u8]) -> (Hash, Vec<u8>) {
        let mut builder = TreeBuilder::default();
        for piece in data.chunks(1000) {
            builder.push(piece);
        }
        assert_eq!(builder.len(), data.len() as u64);
        builder.finish()
    }

    fn transfer(data: &[u8], from: u64) -> Vec<u8> {
        let (root, outboard) = built(data);
        let len = data.len() as u64;
        let (mut offset, mut got) = (from / GROUP * GROUP, Vec::new());
        while let Some(range) = window_after(from, offset, len) {
            let part = &data[range.start as usize..range.end as usize];
            let encoded = encode_window(root, len, &outboard, range.clone(), part).unwrap();
            assert!(encoded.len() <= MAX_ENCODED_WINDOW);
            got.extend(decode_window(root, len, range.clone(), &encoded).unwrap());
            offset = range.end;
        }
        got
    }

    #[test]
    fn roots_are_plain_blake3() {
        for len in [0, 1, 16_384, 16_385, 32_768, 32_769, 49_153, 300_000] {
            let data = body(len);
            let (root, outboard) = built(&data);
            assert_eq!(root, Hash::of(&data), "{len}");
            assert_eq!(outboard.len() as u64, outboard_len(len as u64), "{len}");
        }
    }

    #[test]
    fn windows_carry_a_body_from_any_offset() {
        let data = body(1_200_000);
        for from in [0, 16_384, 20_000, 700_000, 1_199_999] {
            let aligned = from as usize / 16_384 * 16_384;
            assert_eq!(transfer(&data, from), &data[aligned..]);
        }
        assert_eq!(transfer(&data[..5], 0), &data[..5]);
    }

    #[test]
    fn the_proofs_of_all_windows_are_the_outboard() {
        for len in [5, 16_385, 49_153, 300_000, 1_200_000] {
            let data = body(len);
            let ((root, outboard), len) = (built(&data), len as u64);
            let (mut gathered, mut at) = (vec![0; outboard.len()], 0);
            while let Some(range) = window_after(0, at, len) {
                let part = &data[range.start as usize..range.end as usize];
                let encoded = encode_window(root, len, &outboard, range.clone(), part).unwrap();
                let window = verify_window(root, len, range, &encoded).unwrap();
                for (place, node) in window.nodes {
                    gathered[place as usize..][..64].copy_from_slice(&node);
                }
                at = window.range.end;
            }
            assert_eq!(gathered, outboard, "{len}");
        }
    }

    #[test]
    fn windows_grow() {
        let sizes: Vec<_> =
            std::iter::successors(window_after(0, 0, 1 << 20), |w| window_after(0, w.end, 1 << 20))
                .map(|w| (w.end - w.start) / GROUP)
                .collect();
        assert_eq!(sizes[..6], [1, 2, 4, 8, 16, 16]);
        assert_eq!(window_after(0, 10, 10), None);
    }

    #[test]
    fn a_lie_is_noticed_wherever_it_is() {
        let data = body(100_000);
        let (root, outboard) = built(&data);
        let range = 32_768..65_536;
        let part = &data[32_768..65_536];
        let good = encode_window(root, 100_000, &outboard, range.clone(), part).unwrap();
        for at in (0..good.len()).step_by(97) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let got = decode_window(root, 100_000, range.clone(), &bad);
            assert_eq!(got, Err(BlobError::Mismatch), "byte {at}");
        }
        let short = decode_window(root, 100_000, range.clone(), &good[..good.len() - 1]);
        assert_eq!(short, Err(BlobError::Length));
        let long = [&good[..], &[0]].concat();
        assert_eq!(decode_window(root, 100_000, range, &long), Err(BlobError::Length));
    }

    #[test]
    fn a_length_that_lies_is_noticed_at_the_end_at_the_latest() {
        let data = body(100_000);
        let (root, outboard) = built(&data);
        let last = 98_304..100_000;
        let part = &data[98_304..];
        let good = encode_window(root, 100_000, &outboard, last, part).unwrap();
        for (len, end) in [(99_999, 99_999), (100_001, 100_001), (90_000, 90_000)] {
            let start = (end - 1) / GROUP * GROUP;
            assert!(decode_window(root, len, start..end, &good).is_err(), "{len}");
        }
    }

    #[test]
    fn impossible_ranges_are_refused() {
        for range in [0..0, 5..20_000, 0..5, 0..200_000] {
            let got = decode_window(Hash([0; 32]), 100_000, range, &[]);
            assert_eq!(got, Err(BlobError::Range));
        }
    }

    proptest! {
        #[test]
        fn junk_never_panics(junk: Vec<u8>, len in 1u64..400_000, start in 0u64..8) {
            let range = start * GROUP..(start * GROUP + GROUP).min(len);
            prop_assert!(decode_window(Hash([1; 32]), len, range, &junk).is_err());
        }
    }
}
