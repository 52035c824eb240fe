//! What a policy remembers of each flow beyond what [`crate::flow`] does: a bounded table that forgets
//! the flow that was silent for longest. It holds nothing across flows; [`super::Residual`] does.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::flow::Flow;

/// As many as a point's own table holds.
const MAX: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");

/// A value for each flow.
#[derive(Debug)]
pub struct PerFlow<T> {
    known: LruCache<u64, T>,
}

impl<T: Default> PerFlow<T> {
    /// What is remembered of this flow; at first the default.
    pub fn of(&mut self, flow: &Flow) -> &mut T {
        self.known.get_or_insert_mut(flow.id(), T::default)
    }
}

impl<T> Default for PerFlow<T> {
    fn default() -> Self {
        Self { known: LruCache::new(MAX) }
    }
}
