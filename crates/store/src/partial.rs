//! A body of which parts are there, in any order: what was verified so far can be read, and given to others,
//! before the rest has come. It lies in a file of its own under a key that only this process has, so a cut
//! leaves noise, which the next open removes.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use busel_proto::blob::{GROUP, MAX_WINDOW, Window, encode_window, outboard_len};
use busel_proto::id::Hash;

use crate::blob::{BlobDir, Draft};
use crate::cipher::blob_stream;
use crate::error::{Fault, ReadError, WriteError};

/// The longest body that can be there in part: what proves it is held in memory, 16 MiB of this.
pub const MAX_PARTIAL: u64 = 4 << 30;

/// Parts of a body. Clones are one; the last one to go takes the file along.
#[derive(Debug, Clone)]
pub struct PartialBlob(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: Hash,
    len: u64,
    draft: Draft,
    parts: Mutex<Parts>,
}

#[derive(Debug)]
struct Parts {
    /// What proves the parts that are there, at its place in the whole.
    outboard: Vec<u8>,
    /// A bit for each group that is there.
    groups: Vec<u64>,
}

impl PartialBlob {
    pub(crate) fn new(blobs: Arc<BlobDir>, root: Hash, len: u64) -> Result<Self, WriteError> {
        if len > MAX_PARTIAL {
            return Err(WriteError::TooLong { max: MAX_PARTIAL });
        }
        let draft = Draft::new(blobs)?;
        let size =
            |n: u64| usize::try_from(n).map_err(|_| WriteError::TooLong { max: MAX_PARTIAL });
        let outboard = vec![0; size(outboard_len(len))?];
        let groups = vec![0; size(len.div_ceil(GROUP).div_ceil(64))?];
        let parts = Mutex::new(Parts { outboard, groups });
        Ok(Self(Arc::new(Inner { root, len, draft, parts })))
    }

    /// The root that names the whole.
    pub fn root(&self) -> Hash {
        self.0.root
    }

    /// The length of the whole in bytes.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether the whole has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a part, which was verified under this root and length.
    pub fn put(&self, window: &Window) -> Result<(), WriteError> {
        let Inner { len, draft, .. } = &*self.0;
        let fits = window.range.end <= *len && window.range.start.is_multiple_of(GROUP);
        if !fits || window.content.len() as u64 != window.range.end - window.range.start {
            return Err(WriteError::TooLong { max: *len });
        }
        let mut sealed = window.content.to_vec();
        blob_stream(&draft.row.key, window.range.start, &mut sealed);
        draft.file.write_at(window.range.start, &sealed).map_err(Fault::from)?;
        let mut parts = self.parts();
        for (place, node) in &window.nodes {
            let at = usize::try_from(*place).ok();
            let there = at.and_then(|at| parts.outboard.get_mut(at..at + node.len()));
            if let Some(there) = there {
                there.copy_from_slice(node);
            }
        }
        for group in groups(&window.range) {
            parts.groups[word(group)] |= 1 << (group % 64);
        }
        Ok(())
    }

    /// Whether all of a range is there.
    pub fn has(&self, range: &Range<u64>) -> bool {
        let parts = self.parts();
        range.end <= self.0.len && groups(range).all(|group| parts.has(group))
    }

    /// A window with what proves it, to send; `None` if not all of it is there.
    pub fn window(&self, range: Range<u64>) -> Result<Option<Vec<u8>>, ReadError> {
        let sized = range.start < range.end && range.end - range.start <= MAX_WINDOW;
        if !sized || !range.start.is_multiple_of(GROUP) {
            return Err(ReadError::Range);
        }
        if !self.has(&range) {
            return Ok(None);
        }
        let Inner { root, len, draft, .. } = &*self.0;
        let size = usize::try_from(range.end - range.start).map_err(|_| ReadError::Range)?;
        let mut content = vec![0; size];
        draft.file.read_at(range.start, &mut content).map_err(Fault::from)?;
        blob_stream(&draft.row.key, range.start, &mut content);
        let encoded = encode_window(*root, *len, &self.parts().outboard, range, &content);
        encoded.map(Some).map_err(|_| ReadError::Damaged("a part does not match its root".into()))
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Parts> {
        self.0.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Parts {
    fn has(&self, group: u64) -> bool {
        self.groups.get(word(group)).is_some_and(|word| word >> (group % 64) & 1 == 1)
    }
}

fn groups(range: &Range<u64>) -> Range<u64> {
    range.start / GROUP..range.end.div_ceil(GROUP)
}

fn word(group: u64) -> usize {
    usize::try_from(group / 64).unwrap_or(usize::MAX)
}
