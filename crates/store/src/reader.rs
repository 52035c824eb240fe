//! Blobs on their way out of the store. What a reader of pages gets is verified against the root on
//! every read: neither disk nor cipher shows that bytes were changed. What peers get is windows,
//! which carry their own proof and are checked by who takes them.

use std::ops::Range;
use std::sync::Arc;

use busel_proto::blob::{BlobError, GROUP, MAX_WINDOW, decode_window, encode_window};
use busel_proto::id::Hash;
use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use crate::cipher::blob_stream;
use crate::disk::DiskFile;
use crate::error::{Fault, ReadError};

/// Reads one blob. It stays readable while this lives, even if the store drops the blob.
#[derive(Clone)]
pub struct BlobReader(Arc<Inner>);

struct Inner {
    root: Hash,
    len: u64,
    body: Body,
}

/// Where a blob's bytes are.
pub(crate) enum Body {
    /// Here, verified.
    Inline(Bytes),
    /// In an encrypted file.
    File { file: Arc<dyn DiskFile>, key: Zeroizing<[u8; 32]>, outboard: Arc<[u8]> },
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader").field("len", &self.0.len).finish_non_exhaustive()
    }
}

impl BlobReader {
    pub(crate) fn new(root: Hash, len: u64, body: Body) -> Self {
        Self(Arc::new(Inner { root, len, body }))
    }

    /// The root that names the blob.
    pub fn root(&self) -> Hash {
        self.0.root
    }

    /// The blob's length in bytes.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether the blob has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Reads up to `len` verified bytes from `offset`; fewer only at the end, none beyond it. The
    /// groups that the range touches are read whole, so reading by aligned 64 KiB or more is best.
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, ReadError> {
        let end = offset.saturating_add(len as u64).min(self.0.len);
        if offset >= end {
            return Ok(Bytes::new());
        }
        if let Body::Inline(bytes) = &self.0.body {
            return Ok(bytes.slice(to_usize(offset)..to_usize(end)));
        }
        let first = self.groups(offset / GROUP * GROUP, end)?;
        let skip = to_usize(offset % GROUP);
        if (first.len() - skip) as u64 >= end - offset {
            return Ok(first.slice(skip..skip + to_usize(end - offset)));
        }
        let mut whole = BytesMut::with_capacity(to_usize(end - offset));
        whole.extend_from_slice(&first[skip..]);
        while (whole.len() as u64) < end - offset {
            let next = self.groups(offset + whole.len() as u64, end)?;
            let missing = to_usize(end - offset) - whole.len();
            whole.extend_from_slice(&next[..next.len().min(missing)]);
        }
        Ok(whole.freeze())
    }

    /// A window with what proves it, to send ([`encode_window`]). `range` is of whole groups, at
    /// most [`MAX_WINDOW`] long. Not verified here: whoever takes it does.
    pub fn window(&self, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
        let sized = range.start < range.end && range.end - range.start <= MAX_WINDOW;
        if !sized || range.end > self.0.len || !range.start.is_multiple_of(GROUP) {
            return Err(ReadError::Range);
        }
        let content = self.content(&range)?;
        let encoded = encode_window(self.0.root, self.0.len, self.outboard(), range, &content);
        encoded.map_err(blob_error)
    }

    pub(crate) fn body(&self) -> &Body {
        &self.0.body
    }

    /// Verified groups from `start`, which begins one, to beyond `end` or as many as one window has.
    fn groups(&self, start: u64, end: u64) -> Result<Bytes, ReadError> {
        let stop = end.next_multiple_of(GROUP).min(start + MAX_WINDOW).min(self.0.len);
        let encoded = self.window(start..stop)?;
        decode_window(self.0.root, self.0.len, start..stop, &encoded).map_err(blob_error)
    }

    /// The bytes of a range within the blob, unverified.
    fn content(&self, range: &Range<u64>) -> Result<Bytes, ReadError> {
        match &self.0.body {
            Body::Inline(bytes) => Ok(bytes.slice(to_usize(range.start)..to_usize(range.end))),
            Body::File { file, key, .. } => {
                let mut content = vec![0; to_usize(range.end - range.start)];
                file.read_at(range.start, &mut content).map_err(Fault::from)?;
                blob_stream(key, range.start, &mut content);
                Ok(content.into())
            }
        }
    }

    fn outboard(&self) -> &[u8] {
        match &self.0.body {
            Body::Inline(_) => &[],
            Body::File { outboard, .. } => outboard,
        }
    }
}

fn blob_error(error: BlobError) -> ReadError {
    match error {
        BlobError::Range => ReadError::Range,
        BlobError::Mismatch | BlobError::Length => {
            ReadError::Damaged("a blob does not match its root".into())
        }
    }
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).expect("what is read at once fits into memory")
}
