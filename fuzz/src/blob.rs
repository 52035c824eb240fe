//! Windows of blobs: junk, true ones, and true ones with one byte changed.

use std::sync::LazyLock;

use busel_proto::blob::{
    GROUP, MAX_ENCODED_WINDOW, TreeBuilder, decode_window, encode_window, outboard_len,
    window_after,
};
use busel_proto::id::Hash;

use crate::feed::Feed;

/// Lengths of bodies: about the ends of chunks, groups, windows, and of trees that are full.
const LENS: [usize; 12] =
    [0, 1, 1024, 16_383, 16_384, 16_385, 32_769, 40_000, 65_536, 262_144, 262_145, 600_000];

static BODY: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..600_256_u32).map(|n| (n * 31 + n / 251) as u8).collect());
static TREES: LazyLock<Vec<Tree>> =
    LazyLock::new(|| LENS.iter().map(|len| Tree::new(&BODY[..*len], 1000)).collect());

/// A body's length and what proves its parts.
struct Tree {
    len: usize,
    root: Hash,
    outboard: Vec<u8>,
}

impl Tree {
    fn new(body: &[u8], piece: usize) -> Self {
        let mut builder = TreeBuilder::default();
        for piece in body.chunks(piece) {
            builder.push(piece);
        }
        let (root, outboard) = builder.finish();
        assert_eq!(root, Hash::of(body), "the root is plain BLAKE3");
        assert_eq!(outboard.len() as u64, outboard_len(body.len() as u64));
        Self { len: body.len(), root, outboard }
    }
}

/// A window that is taken holds the very bytes that its root names.
pub fn blob_window(data: &[u8]) {
    let mut feed = Feed(data);
    match feed.byte() % 4 {
        0 => junk(feed),
        _ => changed(feed),
    }
}

/// Junk under a root that is the hash of something else.
fn junk(mut feed: Feed<'_>) {
    let (len, start, size) = (feed.below(1 << 41), feed.below(1 << 41), feed.below(1 << 19));
    let (start, len) = if feed.byte().is_multiple_of(2) { (start, len) } else { (0, size) };
    let range = start..start.saturating_add(size);
    assert!(decode_window(Hash([7; 32]), len, range, feed.0).is_err(), "junk was taken");
}

/// However a body comes in, its tree is the same.
fn built(feed: &mut Feed<'_>) {
    let begin = usize::from(feed.byte());
    let body = &BODY[begin..begin + feed.below(50_000) as usize];
    let piece = usize::from(feed.byte()) * 97 + 1;
    let (one, other) = (Tree::new(body, piece), Tree::new(body, body.len().max(1)));
    assert_eq!(one.outboard, other.outboard);
}

/// A true window, whole and with one byte changed, added or missing.
fn changed(mut feed: Feed<'_>) {
    if feed.byte() % 8 == 1 {
        built(&mut feed);
    }
    let tree = &TREES[usize::from(feed.byte()) % LENS.len()];
    let (root, outboard, body) = (tree.root, &tree.outboard, &BODY[..tree.len]);
    let len = tree.len as u64;
    let from = feed.below(len + 1);
    let at = from + feed.below(len + 1 - from);
    let Some(window) = window_after(from, at, len) else { return };
    let part = &body[window.start as usize..window.end as usize];
    let good = encode_window(root, len, outboard, window.clone(), part).expect("it is ours");
    assert!(good.len() <= MAX_ENCODED_WINDOW);
    assert_eq!(decode_window(root, len, window.clone(), &good).as_deref(), Ok(part));
    let mut bad = good.clone();
    let place = feed.below(good.len() as u64) as usize;
    match feed.byte() % 4 {
        0 => bad.truncate(place),
        1 => bad.insert(place, bad[place].wrapping_add(1)),
        2 => bad.extend_from_slice(feed.0.get(..1).unwrap_or(&[0])),
        _ => bad[place] ^= feed.byte() | 1,
    }
    assert!(decode_window(root, len, window.clone(), &bad).is_err(), "a changed window was taken");
    let other = feed.below(2 * len + 2);
    if window.end == len && other != len {
        let end = window.end.min(other).max(window.start + 1);
        let taken = decode_window(root, other, window.start..end, &good);
        assert!(taken.is_err() || end % GROUP == 0, "the last window proves the length");
    }
}
