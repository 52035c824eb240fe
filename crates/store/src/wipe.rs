//! The panic wipe: the key goes first, so that what is not yet removed is noise from then on.
//!
//! A flash disk may keep the old cells of an overwritten file. With a passphrase they hold only a
//! wrapped key; without one, nothing that a program can do is certain.

use std::io;
use std::path::Path;

use crate::disk::{self, Disk, Mode};
use crate::{format, index, key};

/// The lock's name in the store's directory.
pub(crate) const LOCK: &str = "lock";
/// The blob directory's name.
pub(crate) const BLOBS: &str = "blobs";

/// Destroys the key: overwritten, then removed, both durably.
pub(crate) fn key(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let mut first_error = Ok(());
    for name in [key::FILE.to_owned(), format!("{}.new", key::FILE)] {
        let path = dir.join(name);
        match disk.open(&path, Mode::Write) {
            Ok(file) => first_error = first_error.and(disk::overwrite(&*file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => first_error = first_error.and(Err(e)),
        }
        first_error = first_error.and(disk.remove(&path));
    }
    first_error.and(disk.sync_dir(dir))
}

/// Removes everything else that is the store's, and the directory if nothing else lies in it.
/// Goes on after errors, and returns the first.
pub(crate) fn rest(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let mut first_error = Ok(());
    let mut note = |done: io::Result<()>| {
        if first_error.is_ok() {
            first_error = done;
        }
    };
    for name in [index::FILE, index::DRAFT] {
        note(disk::remove_if_there(disk, &dir.join(name)));
    }
    let blobs = dir.join(BLOBS);
    for sub in disk.list(&blobs).unwrap_or_default() {
        let sub = blobs.join(sub);
        for name in disk.list(&sub).unwrap_or_default() {
            note(disk::remove_if_there(disk, &sub.join(name)));
        }
        note(disk.remove_dir(&sub));
    }
    match disk.remove_dir(&blobs) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        done => note(done),
    }
    for name in [format::FILE.to_owned(), format!("{}.new", format::FILE), LOCK.to_owned()] {
        note(disk::remove_if_there(disk, &dir.join(name)));
    }
    note(disk.sync_dir(dir));
    // Another program's files may lie here too; they are none of ours.
    let _ = disk.remove_dir(dir);
    first_error
}
