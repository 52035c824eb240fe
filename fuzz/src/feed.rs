//! Input as a source of numbers: what is used up reads as zero, so that every input is a whole one.

/// Bytes that are taken from the front.
pub(crate) struct Feed<'a>(pub(crate) &'a [u8]);

impl<'a> Feed<'a> {
    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// A number below `below`.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        u64::from_be_bytes(self.array()) % below.max(1)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let (now, later) = self.0.split_at(N.min(self.0.len()));
        out[..now.len()].copy_from_slice(now);
        self.0 = later;
        out
    }

    /// The bytes up to the next `end`, which is dropped; all if there is none.
    pub(crate) fn until(&mut self, end: u8) -> &'a [u8] {
        let at = self.0.iter().position(|byte| *byte == end).unwrap_or(self.0.len());
        let (now, later) = self.0.split_at(at);
        self.0 = later.get(1..).unwrap_or_default();
        now
    }

    /// Whether all is used up.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
