//! Where a world lives: namespaces of its own for network, mounts and processes, so that the kernel
//! ends all of it, whatever happens to us. A test calls [`inside`]; the process then replaces itself
//! by `unshare`, which runs this one test again within, as the first process of its namespace.
//!
//! It cleans nothing up, because there is nothing to clean: no name is entered anywhere outside. It
//! doesn't work without root; such a test fails and says why, and `cargo xtask test`, which looks
//! first, leaves the lab out aloud.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use nix::mount::{MsFlags, mount};

/// Set within the sandbox.
const MARK: &str = "BUSEL_LAB_INSIDE";
/// Covered by a file system of the world's own, in memory.
pub(crate) const OWN: &str = "/dev/shm";

/// Runs a test in a sandbox of its own. It must be the first and only call of the test.
///
/// # Panics
/// When the test fails, and when there is no root or no namespaces.
pub fn inside(test: impl FnOnce() -> anyhow::Result<()>) {
    let done = match std::env::var_os(MARK) {
        Some(_) => prepare().and_then(|()| test()),
        None => enter(),
    };
    if let Err(error) = done {
        panic!("{error:#}");
    }
}

/// As [`inside`], for a program that has nothing else to do: it is replaced by itself within, with the
/// same arguments.
pub fn inside_wholly(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    match std::env::var_os(MARK) {
        Some(_) => prepare().and_then(|()| work()),
        None => {
            Err(command()?.args(std::env::args_os().skip(1)).exec()).context("setpriv and unshare")
        }
    }
}

/// Runs this test again within. Under nextest, where a process has one test only, it never returns.
fn enter() -> anyhow::Result<()> {
    let mut command = command()?;
    if std::env::var_os("NEXTEST").is_some() {
        return Err(command.args(std::env::args_os().skip(1)).exec())
            .context("setpriv and unshare of util-linux are needed");
    }
    let thread = std::thread::current();
    let Some(name) = thread.name().filter(|name| *name != "main") else {
        bail!("the test's name is not known; run it with `cargo nextest run`");
    };
    command.args([name, "--exact", "--nocapture", "--include-ignored"]);
    let status = command.status().context("setpriv and unshare of util-linux are needed")?;
    ensure!(status.success(), "the test failed in its sandbox: {status}");
    Ok(())
}

/// Our own program in new namespaces; its arguments are to be added.
fn command() -> anyhow::Result<Command> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the lab's worlds need root and namespaces; `cargo xtask test` leaves them out where these \
         are missing, and says so"
    );
    // The kernel's promise of an end goes from our parent to us, from us to the first process
    // within, and from that one to all the others.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc", "--"])
        .arg(std::env::current_exe().context("our own program")?)
        .env(MARK, "1");
    Ok(command)
}

/// Gives the sandbox a place for its files.
fn prepare() -> anyhow::Result<()> {
    ensure!(std::process::id() == 1, "{MARK} is set, but this is no sandbox");
    mount(Some("lab"), Path::new(OWN), Some("tmpfs"), MsFlags::empty(), Some("size=8g"))
        .context("a file system in memory")
}
