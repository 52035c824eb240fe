//! The file that says which format the directory has: the first that is written, the first that is
//! read, and plain text, so that a person can tell what the directory is. And how an earlier one becomes this one.

use std::path::Path;

use busel_proto::id::{Hash, SnapshotKey};
use redb::{ReadableTable, TableDefinition, TableHandle, WriteTransaction};

use crate::disk::{self, Disk};
use crate::error::{Fault, OpenError};
use crate::index::Index;
use crate::rows::{self, Keyed, Tags};

/// The file's name in the store's directory.
pub(crate) const FILE: &str = "format";

/// The format that this version writes. A later one is refused.
const CURRENT: u32 = 2;

/// Heads and short bodies of format 1.
const HEADS: Keyed = TableDefinition::new("heads");
const BODIES: Keyed = TableDefinition::new("bodies");

/// Reads the format, or writes it into a directory that has no store yet, or an earlier one: from then on no earlier
/// version opens it, though its index may still be to be migrated.
pub(crate) fn check(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    let Some(bytes) = disk::read_whole(disk, &dir.join(FILE), 64)? else {
        return Ok(write(disk, dir)?);
    };
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let number = text.strip_prefix("busel-store ").and_then(|rest| rest.trim_end().parse().ok());
    match number {
        Some(CURRENT) => Ok(()),
        Some(1) => Ok(write(disk, dir)?),
        Some(other) => Err(OpenError::UnknownFormat(other)),
        None => Err(OpenError::Damaged("its format file can't be read".into())),
    }
}

fn write(disk: &dyn Disk, dir: &Path) -> std::io::Result<()> {
    disk::write_whole(disk, dir, FILE, format!("busel-store {CURRENT}\n").as_bytes())
}

/// Brings the index to the current format, in one transaction.
pub(crate) fn migrate(index: &Index) -> Result<(), Fault> {
    let is_old = index.read(|transaction| {
        Ok(transaction.list_tables()?.any(|table| table.name() == HEADS.name()))
    })?;
    if is_old {
        index.write(|transaction| number(transaction, &index.tags))?;
    }
    Ok(())
}

/// Format 1 had heads and short bodies under the hashes that they are known by.
fn number(transaction: &WriteTransaction, tags: &Tags) -> Result<(), Fault> {
    {
        let old = transaction.open_table(HEADS)?;
        let mut metas = transaction.open_table(rows::METAS)?;
        let mut heads = transaction.open_table(rows::HEADS)?;
        for entry in old.iter()? {
            let (key, head) = entry?;
            let key = SnapshotKey(*key.value());
            // One that can't be read is as good as none.
            let row = metas.get(key.as_bytes())?;
            let meta = row.and_then(|row| tags.meta(&key, row.value()).ok());
            if let Some(mut meta) = meta {
                meta.place = rows::append(&mut heads, head.value())?;
                let row = tags.seal_record("snapshots", key.as_bytes(), &meta);
                metas.insert(key.as_bytes(), &row[..])?;
            }
        }
    }
    {
        let old = transaction.open_table(BODIES)?;
        let mut blobs = transaction.open_table(rows::BLOBS)?;
        let mut bodies = transaction.open_table(rows::BODIES)?;
        for entry in old.iter()? {
            let (root, body) = entry?;
            let root = Hash(*root.value());
            let row = blobs.get(root.as_bytes())?;
            let blob = row.and_then(|row| tags.blob(&root, row.value()).ok());
            if let Some(mut blob) = blob {
                blob.place = rows::append(&mut bodies, body.value())?;
                let row = tags.seal_record("blobs", root.as_bytes(), &blob);
                blobs.insert(root.as_bytes(), &row[..])?;
            }
        }
    }
    transaction.delete_table(HEADS)?;
    transaction.delete_table(BODIES)?;
    Ok(())
}
