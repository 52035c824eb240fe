//! The real `busel` in a host, used as a person would: by its commands, one data directory each. It
//! is the program that was built beside this one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::world::{Host, Ran, Running};

/// How long a thing that must happen is waited for, on a machine that is busy with other worlds.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often a running node is asked how it stands.
const LOOK: Duration = Duration::from_millis(50);
/// What begins an invite.
const INVITE: &str = "busel1";
/// What it logs, if whoever runs the tests wants to know.
const LOG: &str = "BUSEL_LOG";

/// A node, or a relay, with its data directory; it is killed when this is dropped.
pub struct Busel {
    host: Host,
    program: PathBuf,
    data: PathBuf,
    running: Option<Running>,
}

impl Busel {
    /// One in a host that keeps its things under this name. Nothing runs yet.
    pub fn new(host: &Host, name: &str) -> anyhow::Result<Self> {
        let data = host.dir().join(name);
        Ok(Self { host: host.clone(), program: program()?, data, running: None })
    }

    /// Starts a command that stays, such as `up`.
    pub fn start(&mut self, args: &[String]) -> anyhow::Result<()> {
        let log = std::env::var(LOG).unwrap_or_else(|_| "error,iroh=off".to_owned());
        let launch = self.host.command(&self.program).env(LOG, log);
        self.running = Some(launch.arg("--data").arg(&self.data).args(args).spawn()?);
        Ok(())
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Ran> {
        self.host.command(&self.program).arg("--data").arg(&self.data).args(args).run()
    }

    /// The same, where it may take this long.
    pub fn run_within(&self, args: &[&str], patience: Duration) -> anyhow::Result<Ran> {
        let launch = self.host.command(&self.program).arg("--data").arg(&self.data);
        launch.args(args).within(patience).run()
    }

    /// The same, where it must go well; gives what it said.
    pub fn tell(&self, args: &[&str]) -> anyhow::Result<String> {
        let ran = self.run(args)?;
        let verb = args.first().copied().unwrap_or_default();
        ensure!(ran.status.success(), "busel {verb} failed: {}", ran.stderr);
        Ok(String::from_utf8(ran.stdout)?)
    }

    /// The same, where this is the user's home directory.
    pub fn tell_at_home(&self, args: &[&str], home: &Path) -> anyhow::Result<String> {
        let launch = self.host.command(&self.program).env("HOME", home);
        let ran = launch.arg("--data").arg(&self.data).args(args).run()?;
        ensure!(ran.status.success(), "busel {} failed: {}", args.join(" "), ran.stderr);
        Ok(String::from_utf8(ran.stdout)?)
    }

    /// Waits until it says a whole line that begins so.
    pub fn line(&mut self, begin: &str) -> anyhow::Result<String> {
        self.running.as_mut().context("it does not run")?.line(begin, PATIENCE)
    }

    /// The invite that it prints by itself, as relays and injectors do.
    pub fn printed_invite(&mut self) -> anyhow::Result<String> {
        self.line(INVITE)
    }

    /// An invite that its owner makes for a friend.
    pub fn invite(&self) -> anyhow::Result<String> {
        let said = self.tell(&["invite"])?;
        let line = said.lines().find(|line| line.starts_with(INVITE));
        Ok(line.context("no invite")?.to_owned())
    }

    /// Joins an invite, and takes its word for whom to trust.
    pub fn join(&self, invite: &str) -> anyhow::Result<()> {
        self.tell(&["join", "--trust", invite]).map(drop)
    }

    /// Joins an invite for its ways only.
    pub fn join_ways(&self, invite: &str) -> anyhow::Result<()> {
        self.tell(&["join", "--no-trust", invite]).map(drop)
    }

    /// How it stands.
    pub fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.tell(&["status", "--json"])?)?)
    }

    /// Waits until it stands so.
    pub fn until(&self, what: &str, so: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status()?;
            if so(&status) {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("it never came to be that {what}: {status}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until it is connected to a relay.
    pub fn at_its_relay(&self) -> anyhow::Result<()> {
        self.until("it is at its relay", |status| status["relay_connected"] == true)
    }

    /// Whether one that stands so hears a neighbour in its LAN.
    pub fn hears(status: &Value) -> bool {
        Self::found(status, "lan") > 0
    }

    /// How many nodes a finder of one that stands so knows.
    pub fn found(status: &Value, finder: &str) -> u64 {
        let finders = status["finders"].as_array().into_iter().flatten();
        finders.filter(|one| one["name"] == finder).filter_map(|one| one["known"].as_u64()).sum()
    }

    /// Ends it, as a power cut would.
    pub fn kill(&mut self) {
        self.running = None;
    }
}

/// The program: in the directory of our own, or for a test in the one above.
fn program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("our own program")?;
    let beside = own.ancestors().skip(1).take(2).map(|dir| dir.join("busel"));
    let found = beside.into_iter().find(|path| path.is_file());
    found.with_context(|| {
        let dir = own.parent().unwrap_or(Path::new(".")).display();
        format!("no busel in or above {dir}: build the whole workspace (cargo xtask lab does)")
    })
}
