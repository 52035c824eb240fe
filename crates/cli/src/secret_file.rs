//! Files with secrets: made new, and for their owner's eyes only. Reading them is the commands'.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

/// Writes a file that must not be there yet; once this returns, it is on the disk.
pub(crate) fn create(file: &Path, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let context = || format!("{}", file.display());
    let mut open = OpenOptions::new();
    let out = open.write(true).create_new(true).mode(0o600).open(file).with_context(context)?;
    let written = write(&out, file, text.as_ref());
    if written.is_err() {
        // Half a key is none, and would stand in the way of the next try.
        let _ = std::fs::remove_file(file);
    }
    written.with_context(context)
}

/// Writes a file in place of the one that is there, if there is one: whoever reads it sees the old one or
/// the new one.
pub(crate) fn replace(file: &Path, text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    let context = || format!("{}", file.display());
    // Made for its owner alone.
    let new =
        tempfile::NamedTempFile::new_in(dir.unwrap_or(Path::new("."))).with_context(context)?;
    write(new.as_file(), file, text.as_ref()).with_context(context)?;
    new.persist(file).map_err(|failed| failed.error).with_context(context)?;
    File::open(dir.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).with_context(context)
}

fn write(mut out: &File, file: &Path, text: &[u8]) -> io::Result<()> {
    out.write_all(text)?;
    out.sync_all()?;
    // A new file's name is on the disk once its directory is.
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_and_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        create(&file, "secret").unwrap();
        assert!(create(&file, "another").is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "secret");
    }

    #[test]
    fn what_is_replaced_is_for_its_owner_alone_too() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("book");
        for text in ["one", "two"] {
            replace(&file, text).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(replace(&dir.path().join("no/book"), "x").is_err());
    }
}
