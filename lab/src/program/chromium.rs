//! A real browser: Chromium without a window, which shows what a page became.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;

use super::{Busel, Ca};
use crate::world::Host;

/// It starts slowly.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing but the page is asked for.
const ALONE: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--dump-dom",
];

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
        let trust = home.join(".pki/nssdb");
        std::fs::create_dir_all(&trust)?;
        let trust = format!("sql:{}", trust.display());
        let ca = ca.path().display().to_string();
        for args in [&["-N", "--empty-password"][..], &["-A", "-t", "C,,", "-n", "lab", "-i", &ca]]
        {
            let ran = host.command("certutil").args(["-d", &trust]).args(args).run()?;
            ensure!(ran.status.success(), "certutil: {}", ran.stderr);
        }
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
        self.args.push("--virtual-time-budget=20000".into());
        self
    }

    /// Has its user believe the authority of a node on this device, as `busel ca install` does; what that said.
    pub fn believe(&self, busel: &Busel) -> anyhow::Result<String> {
        busel.tell_at_home(&["ca", "install"], &self.home)
    }

    /// What a page became: its elements as text. Of one that does not load, nothing.
    pub fn show(&self, url: &str) -> anyhow::Result<String> {
        let profile = self.host.dir().join(format!("chromium-{}", self.host.next_launch()));
        let ran = self
            .host
            .command("chromium")
            .args(ALONE)
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(&self.args)
            .arg(url)
            .env("HOME", &self.home)
            .within(PATIENCE)
            .run()?;
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }
}
