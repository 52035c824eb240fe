//! A real browser: Chromium without a window, which shows what a page became.

use std::time::Duration;

use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

use super::Ca;
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
    args: Vec<String>,
}

impl Chromium {
    /// One that trusts the authority, and goes straight to sites.
    pub fn new(host: &Host, ca: &Ca) -> anyhow::Result<Self> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(ca.pem().as_bytes())?;
        let key = Sha256::digest(pem.parse_x509()?.public_key().raw);
        let trusted = format!("--ignore-certificate-errors-spki-list={}", BASE64.encode(&key));
        Ok(Self { host: host.clone(), args: vec![trusted] })
    }

    /// The same behind a proxy.
    #[must_use]
    pub fn through(mut self, proxy: &str) -> Self {
        self.args.push(format!("--proxy-server={proxy}"));
        self
    }

    /// What a page became: its elements as text. Of one that does not load, the browser's own page.
    pub fn show(&self, url: &str) -> anyhow::Result<String> {
        let profile = self.host.dir().join(format!("chromium-{}", self.host.next_launch()));
        let ran = self
            .host
            .command("chromium")
            .args(ALONE)
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(&self.args)
            .arg(url)
            .within(PATIENCE)
            .run()?;
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }
}
