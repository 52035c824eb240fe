//! Small pages that were asked for lately, ready in memory: verified once, decrypted once.
//!
//! Only a cache of the store: losing it costs nothing but time.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use busel_proto::id::SnapshotKey;
use busel_proto::snapshot::Snapshot;
use bytes::Bytes;
use http::HeaderMap;
use lru::LruCache;

/// Pages kept at most.
const MAX_PAGES: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// Bytes of bodies kept at most.
const MAX_BYTES: usize = 32 << 20;
/// The largest body that is kept.
pub(crate) const MAX_BODY: u64 = 256 << 10;

/// A verified snapshot with what answering needs.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) snapshot: Snapshot,
    pub(crate) headers: HeaderMap,
    /// The whole body, if it is small.
    pub(crate) body: Option<Bytes>,
    /// The reader's name for the root that signed it.
    pub(crate) label: String,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Hot(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    pages: LruCache<SnapshotKey, Arc<Page>>,
    bytes: usize,
}

impl Default for Hot {
    fn default() -> Self {
        Self(Mutex::new(Inner { pages: LruCache::new(MAX_PAGES), bytes: 0 }))
    }
}

impl Hot {
    pub(crate) fn get(&self, key: &SnapshotKey) -> Option<Arc<Page>> {
        self.lock().pages.get(key).cloned()
    }

    pub(crate) fn put(&self, key: SnapshotKey, page: Arc<Page>) {
        let mut inner = self.lock();
        inner.bytes += size(&page);
        if let Some((_, old)) = inner.pages.push(key, page) {
            inner.bytes -= size(&old);
        }
        while inner.bytes > MAX_BYTES {
            let Some((_, old)) = inner.pages.pop_lru() else { break };
            inner.bytes -= size(&old);
        }
    }

    pub(crate) fn forget(&self, key: &SnapshotKey) {
        let mut inner = self.lock();
        if let Some(old) = inner.pages.pop(key) {
            inner.bytes -= size(&old);
        }
    }

    /// Forgets all: what is trusted has changed.
    pub(crate) fn clear(&self) {
        *self.lock() = Inner { pages: LruCache::new(MAX_PAGES), bytes: 0 };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(page: &Page) -> usize {
    page.body.as_ref().map_or(0, Bytes::len)
}
