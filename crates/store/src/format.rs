//! The file that says which format the directory has: the first that is written, the first that is
//! read, and plain text, so that a person can tell what the directory is.

use std::path::Path;

use crate::disk::{self, Disk};
use crate::error::OpenError;

/// The file's name in the store's directory.
pub(crate) const FILE: &str = "format";

/// The format that this version writes. A later one is refused; an earlier one, once there is one,
/// is migrated here, before anything else is read.
const CURRENT: u32 = 1;

/// Reads the format, or writes it into a directory that has no store yet.
pub(crate) fn check(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    let Some(bytes) = disk::read_whole(disk, &dir.join(FILE), 64)? else {
        let text = format!("busel-store {CURRENT}\n");
        return Ok(disk::write_whole(disk, dir, FILE, text.as_bytes())?);
    };
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let number = text.strip_prefix("busel-store ").and_then(|rest| rest.trim_end().parse().ok());
    match number {
        Some(CURRENT) => Ok(()),
        Some(other) => Err(OpenError::UnknownFormat(other)),
        None => Err(OpenError::Damaged("its format file can't be read".into())),
    }
}
