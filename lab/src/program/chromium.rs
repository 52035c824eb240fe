//! A real browser: Chromium without a window, which shows what a page became.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;

use super::{Busel, Ca};
use crate::world::{Host, Launch, Running};

/// It starts slowly.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing but the page is asked for.
const ALONE: [&str; 10] = [
    "--autoplay-policy=no-user-gesture-required",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
];
/// What it became is written down, and that is all.
const DUMP: &str = "--dump-dom";
/// Time runs on whenever nothing is waited for.
const REST: &str = "--virtual-time-budget=20000";

/// Chromium in a host, with a fresh profile for each page.
#[derive(Clone)]
pub struct Chromium {
    host: Host,
    home: PathBuf,
    args: Vec<String>,
}

impl Chromium {
    /// One whose user trusts the authority. It goes straight to sites.
    pub fn new(host: &Host, ca: &Ca) -> anyhow::Result<Self> {
        let home = host.dir().join("chromium-home");
        ca.put_into(&home.join(".pki/nssdb"), host)?;
        Ok(Self { host: host.clone(), home, args: Vec::new() })
    }

    /// The same behind a proxy.
    #[must_use]
    pub fn through(mut self, proxy: &str) -> Self {
        self.args.push(format!("--proxy-server={proxy}"));
        self
    }

    /// The same, which waits until the scripts of a page have nothing left to do.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.args.push(REST.into());
        self
    }

    /// Has its user believe the authority of a node on this device, as `busel ca install` does; what that said.
    pub fn believe(&self, busel: &Busel) -> anyhow::Result<String> {
        busel.tell_at_home(&["ca", "install"], &self.home)
    }

    /// What a page became: its elements as text. Of one that does not load, nothing.
    pub fn show(&self, url: &str) -> anyhow::Result<String> {
        let ran = self.launch().arg(DUMP).arg(url).within(PATIENCE).run()?;
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }

    /// Writes a picture of a page, once it has come to rest.
    pub fn picture(&self, url: &str, to: &Path) -> anyhow::Result<()> {
        let mut to_file = OsString::from("--screenshot=");
        to_file.push(to);
        let size = "--window-size=900,760";
        let ran = self.launch().arg(REST).arg(size).arg(to_file).arg(url).within(PATIENCE).run()?;
        ensure!(to.exists(), "no picture: {}", ran.stderr);
        Ok(())
    }

    /// Opens a page and leaves it open. It ends when what is returned is dropped.
    pub fn open(&self, url: &str) -> anyhow::Result<Running> {
        self.launch().arg(url).spawn()
    }

    fn launch(&self) -> Launch<'_> {
        let profile = self.host.dir().join(format!("chromium-{}", self.host.next_launch()));
        let launch = self.host.command("chromium").args(ALONE).env("HOME", &self.home);
        launch.arg(format!("--user-data-dir={}", profile.display())).args(&self.args)
    }
}
