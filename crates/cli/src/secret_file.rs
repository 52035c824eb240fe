//! Files with secrets: made new, and for their owner's eyes only. Reading them is the commands'.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

/// Writes a file that must not be there yet; once this returns, it is on the disk.
pub(crate) fn create(file: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("{}", file.display());
    let mut open = OpenOptions::new();
    let mut out = open.write(true).create_new(true).mode(0o600).open(file).with_context(context)?;
    out.write_all(text.as_bytes()).with_context(context)?;
    out.sync_all().with_context(context)
}
