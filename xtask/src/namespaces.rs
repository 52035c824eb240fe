//! Whether this machine lets the lab make its worlds: root, namespaces and TUN devices. It only looks;
//! where something is missing, nextest leaves the lab's worlds out and counts them as skipped.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

/// Tries what each world starts with.
pub(crate) fn probe() -> anyhow::Result<()> {
    let id = Command::new("id").arg("-u").output().context("id")?;
    ensure!(id.stdout.trim_ascii() == b"0", "it needs root");
    ensure!(Path::new("/dev/net/tun").exists(), "it needs /dev/net/tun");
    let tried = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .args(["ip", "tuntap", "add", "probe", "mode", "tun"])
        .output()
        .context("unshare")?;
    if !tried.status.success() {
        bail!("it needs namespaces: {}", String::from_utf8_lossy(&tried.stderr).trim());
    }
    Ok(())
}
