//! A world: a small country with hosts that are network namespaces, and the line between them. It is
//! drawn by [`Drawing`], and lives in the sandbox of its test.
//!
//! It starts hosts and the line only. What runs in them is [`crate::program`]'s, and what is censored
//! is set on the [`Censor`]s of its points.

mod drawing;
mod host;
mod launch;
mod nat;
mod power;
mod wiring;

pub use drawing::Drawing;
pub(crate) use drawing::PCAP;
pub use host::Host;
pub use launch::{Launch, Ran, Running};
pub use nat::Nat;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Context as _;
use tokio::runtime::Runtime;

use crate::censor::Censor;
use crate::map::Point;
use crate::middlebox::{Counters, Middlebox, Shared};

/// A running world. When it is dropped its programs are killed and its line ends; the rest ends with
/// the sandbox.
pub struct World {
    names: Vec<(String, Vec<IpAddr>)>,
    resolvers: Vec<IpAddr>,
    tasks: Runtime,
    hosts: Vec<Host>,
    shared: Arc<Shared>,
    _middlebox: Middlebox,
    dir: PathBuf,
    began: Instant,
}

impl World {
    /// The host of this name.
    ///
    /// # Panics
    /// When there is none: that is a mistake in the test.
    pub fn host(&self, name: &str) -> &Host {
        let found = self.hosts.iter().find(|host| host.name() == name);
        found.unwrap_or_else(|| panic!("no host is called {name}"))
    }

    /// All hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Takes a home to the LAN behind another router: its cable is pulled here and plugged in there, with
    /// another address. Its programs go on, and [`Host::addrs`] still says what was drawn.
    pub fn move_home(&self, home: &str, router: &str) -> anyhow::Result<()> {
        wiring::move_home(self.host(home), self.host(router))
    }

    /// The censor at a point, which may be given other policies at any time.
    pub fn censor(&self, point: Point) -> &Censor {
        self.shared.censor(point)
    }

    /// Lets everything pass everywhere.
    pub fn uncensor(&self) {
        for point in Point::ALL {
            self.censor(point).clear();
        }
    }

    /// What the line did so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// The names of sites and their addresses, as they truly are.
    pub fn names(&self) -> &[(String, Vec<IpAddr>)] {
        &self.names
    }

    /// The addresses of the resolvers in `resolv.conf`.
    pub fn resolvers(&self) -> &[IpAddr] {
        &self.resolvers
    }

    /// Where the world's files are, in memory: each host has a directory of its name with the logs
    /// of its programs. Gone with the sandbox.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// When the world began: `Context::now` counts from here.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Where servers run that are part of the test's own process. Their sockets are made within a
    /// host, see [`Host::listen`] and [`Host::bind`].
    pub fn tasks(&self) -> &Runtime {
        &self.tasks
    }
}

/// The directory for the logs of a test that asks for them to be kept, if whoever runs it wants any.
const LOGS: &str = "BUSEL_LAB_LOGS";

impl World {
    /// Copies all logs to a directory of each host outside of the sandbox, if there is to be one.
    pub fn keep_logs(&self) -> anyhow::Result<()> {
        let Some(kept) = std::env::var_os(LOGS).map(PathBuf::from) else { return Ok(()) };
        for host in &self.hosts {
            let dir = kept.join(host.name());
            std::fs::create_dir_all(&dir)?;
            for (path, text) in host.logs()? {
                std::fs::write(dir.join(path.file_name().unwrap_or_default()), text)?;
            }
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        for host in &self.hosts {
            host.end();
        }
    }
}

impl World {
    /// Prints the end of each log, because all files go with a failed test's sandbox.
    #[allow(clippy::print_stderr, reason = "the output of a failed test")]
    fn show_logs(&self) {
        let counters = &self.shared.counters;
        eprintln!(
            "line: {} delivered, {} lost, {} to nowhere",
            counters.delivered.load(Ordering::Relaxed),
            counters.lost.load(Ordering::Relaxed),
            counters.unrouted.load(Ordering::Relaxed)
        );
        for host in &self.hosts {
            for (path, text) in host.logs().unwrap_or_default() {
                let lines: Vec<String> =
                    text.lines().map(|line| line.chars().take(400).collect()).collect();
                let tail = &lines[lines.len().saturating_sub(20)..];
                if !tail.is_empty() {
                    eprintln!("== {}\n{}", path.display(), tail.join("\n"));
                }
            }
        }
    }
}

/// Runs one of the system's programs, such as `ip`, in the calling thread's namespaces.
fn system(program: &str, args: &[&str], input: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} is needed"))?;
    child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
    let out = child.wait_with_output()?;
    let error = String::from_utf8_lossy(&out.stderr);
    anyhow::ensure!(out.status.success(), "{program} of\n{input}\nfailed: {error}");
    Ok(())
}
