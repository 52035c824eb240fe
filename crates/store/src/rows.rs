//! The index's tables and what their rows say. How they are changed is in `batch`.
//!
//! Every row but bodies and outboards, which their BLAKE3 root proves, ends with a tag over its
//! table, key and value: the cipher below would let noise through. A tag does not show that an
//! older row was put back.

use busel_proto::cbor;
use busel_proto::id::{Hash, SnapshotKey};
use busel_proto::time::UnixTime;
use minicbor::{Decode, Encode};
use redb::{ReadableTable, Table, TableDefinition};
use zeroize::Zeroizing;

use crate::error::Fault;

/// Rows under 32-byte keys.
pub(crate) type Keyed = TableDefinition<'static, &'static [u8; 32], &'static [u8]>;
/// Rows under numbers, of which a new row gets the next: so one page is filled after the other, and few are half
/// empty. That counts where rows are long.
pub(crate) type Numbered = TableDefinition<'static, u64, &'static [u8]>;
/// Rows under names.
pub(crate) type Named = TableDefinition<'static, &'static str, &'static [u8]>;

/// Snapshot key → [`Meta`].
pub(crate) const METAS: Keyed = TableDefinition::new("snapshots");
/// [`Meta::place`] → the signed snapshot, as it travels, with a tag under the snapshot's key.
pub(crate) const HEADS: Numbered = TableDefinition::new("numbered heads");
/// Root → [`BlobRow`].
pub(crate) const BLOBS: Keyed = TableDefinition::new("blobs");
/// [`BlobRow::place`] → the bytes of a blob that is no file. No tag.
pub(crate) const BODIES: Numbered = TableDefinition::new("numbered bodies");
/// Root → what proves the parts of a blob that is a file. No tag.
pub(crate) const OUTBOARDS: Keyed = TableDefinition::new("outboards");
/// Name → value.
pub(crate) const SETTINGS: Named = TableDefinition::new("settings");

/// What is known of a stored snapshot: small, since eviction reads all of them.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Meta {
    #[n(0)]
    pub(crate) root: Hash,
    #[n(1)]
    pub(crate) len: u64,
    #[n(2)]
    pub(crate) fetched_at: UnixTime,
    #[n(3)]
    pub(crate) received: UnixTime,
    #[n(4)]
    pub(crate) used: UnixTime,
    #[n(5)]
    pub(crate) pinned: bool,
    /// Bytes of the signed snapshot.
    #[n(6)]
    pub(crate) head_len: u64,
    /// Whether it may be given to others. One of which that is not known may not.
    #[cbor(n(7), default)]
    pub(crate) shared: bool,
    /// Where its head is in [`HEADS`]; nowhere, if it is 0.
    #[cbor(n(8), default)]
    pub(crate) place: u64,
}

/// What is known of a stored blob.
#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct BlobRow {
    #[n(0)]
    pub(crate) len: u64,
    /// Snapshots whose body it is; at 0 the row goes.
    #[n(1)]
    pub(crate) holders: u64,
    /// `None`: its bytes are in [`BODIES`].
    #[n(2)]
    pub(crate) file: Option<FileRow>,
    /// Whether it is, or was, the body of a snapshot that may be given to others.
    #[cbor(n(3), default)]
    pub(crate) shared: bool,
    /// Where its bytes are in [`BODIES`], if they are there.
    #[cbor(n(4), default)]
    pub(crate) place: u64,
}

/// Where the bytes of a blob lie, and under which key.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct FileRow {
    #[n(0)]
    pub(crate) name: FileName,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) key: [u8; 32],
}

impl std::fmt::Debug for FileRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileRow").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for FileRow {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

/// The random name of a blob's file; it says nothing of the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct FileName(#[cbor(n(0), with = "minicbor::bytes")] pub(crate) [u8; 16]);

impl Meta {
    /// Bytes that the head takes, with what the index adds, about.
    pub(crate) fn cost(&self) -> u64 {
        self.head_len + 512
    }
}

impl BlobRow {
    /// Bytes that the blob takes, with what proves it and what the index adds, about.
    pub(crate) fn cost(&self) -> u64 {
        let proof = busel_proto::blob::outboard_len(self.len) + 256;
        proof + if self.file.is_some() { self.file_bytes() } else { self.len }
    }

    /// Bytes of its file, in whole pages.
    pub(crate) fn file_bytes(&self) -> u64 {
        if self.file.is_some() { self.len.next_multiple_of(4096) } else { 0 }
    }
}

/// Puts a row behind all others; where it is, which is never 0.
pub(crate) fn append(table: &mut Table<'_, u64, &'static [u8]>, row: &[u8]) -> Result<u64, Fault> {
    let place = table.last()?.map_or(1, |(last, _)| last.value() + 1);
    table.insert(place, row)?;
    Ok(place)
}

/// Makes and checks the tags.
pub(crate) struct Tags(Zeroizing<[u8; 32]>);

const TAG: usize = 16;

impl Tags {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// `value` with its tag.
    pub(crate) fn seal(&self, table: &str, key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
        let tag = self.tag(table, key, &value);
        value.extend_from_slice(&tag);
        value
    }

    /// The value of a row whose tag fits.
    pub(crate) fn open<'a>(
        &self,
        table: &str,
        key: &[u8],
        row: &'a [u8],
    ) -> Result<&'a [u8], Fault> {
        let (value, tag) = row.split_last_chunk::<TAG>().ok_or_else(|| unreadable(table))?;
        // Hashes are compared in constant time by their type.
        let expected = self.tag(table, key, value);
        let differs = expected.iter().zip(tag).fold(0, |acc, (a, b)| acc | (a ^ b));
        if differs == 0 { Ok(value) } else { Err(unreadable(table)) }
    }

    fn tag(&self, table: &str, key: &[u8], value: &[u8]) -> [u8; TAG] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in [table.as_bytes(), key] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(value);
        *hasher.finalize().as_bytes().first_chunk().expect("32 bytes have 16")
    }

    pub(crate) fn seal_record<T: Encode<()>>(&self, table: &str, key: &[u8], row: &T) -> Vec<u8> {
        self.seal(table, key, cbor::to_vec(row))
    }

    pub(crate) fn open_record<T>(&self, table: &str, key: &[u8], row: &[u8]) -> Result<T, Fault>
    where
        T: for<'b> Decode<'b, ()>,
    {
        let value = self.open(table, key, row)?;
        minicbor::decode(value).map_err(|_| unreadable(table))
    }

    pub(crate) fn meta(&self, key: &SnapshotKey, row: &[u8]) -> Result<Meta, Fault> {
        self.open_record("snapshots", key.as_bytes(), row)
    }

    pub(crate) fn blob(&self, root: &Hash, row: &[u8]) -> Result<BlobRow, Fault> {
        self.open_record("blobs", root.as_bytes(), row)
    }
}

/// The fault of a row that can't be read.
pub(crate) fn unreadable(table: &str) -> Fault {
    Fault::Damaged(format!("a row of {table} can't be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_only_whole_and_in_its_place() {
        let tags = Tags::new(Zeroizing::new([4; 32]));
        let row = tags.seal("settings", b"name", b"value".to_vec());
        assert_eq!(tags.open("settings", b"name", &row), Ok(&b"value"[..]));
        assert!(tags.open("heads", b"name", &row).is_err());
        assert!(tags.open("settings", b"nam", &row).is_err());
        for at in 0..row.len() {
            let mut bad = row.clone();
            bad[at] ^= 1;
            assert!(tags.open("settings", b"name", &bad).is_err(), "byte {at}");
            assert!(tags.open("settings", b"name", &row[..at]).is_err(), "cut at {at}");
        }
    }
}
