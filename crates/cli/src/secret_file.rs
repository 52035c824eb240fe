//! Files with secrets: made new, and for their owner's eyes only. Reading them is the commands'.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

/// Writes a file that must not be there yet; once this returns, it is on the disk.
pub(crate) fn create(file: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("{}", file.display());
    let mut open = OpenOptions::new();
    let mut out = open.write(true).create_new(true).mode(0o600).open(file).with_context(context)?;
    let written = write(&mut out, file, text);
    if written.is_err() {
        // Half a key is none, and would stand in the way of the next try.
        let _ = std::fs::remove_file(file);
    }
    written.with_context(context)
}

fn write(out: &mut File, file: &Path, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
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
}
