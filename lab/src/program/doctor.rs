//! `busel doctor` in a host, as a person would call it, and its report as JSON. It has a data
//! directory of its own each time, so that nothing is remembered.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::network::reaching;
use super::{Busel, Scene};
use crate::world::Host;

/// How long an examination may take, on a machine that is busy with other worlds.
const PATIENCE: Duration = Duration::from_secs(100);

/// What an examination brought.
#[derive(Debug)]
pub struct Examined {
    /// The exit code.
    pub exit: i32,
    /// The report.
    pub report: Value,
    /// What was said while it went on.
    pub progress: String,
}

impl Examined {
    /// Examines from a host, with these arguments beside those by which a node finds its way here.
    pub fn from(scene: &Scene, host: &Host, args: &[&str]) -> anyhow::Result<Self> {
        let busel = Busel::new(host, &format!("doctor-{}", host.next_launch()))?;
        let reaching = reaching(scene);
        let mut all = vec!["doctor", "--json"];
        all.extend(args);
        all.extend(reaching.iter().map(String::as_str));
        let ran = busel.run_within(&all, PATIENCE)?;
        let report = serde_json::from_slice(&ran.stdout);
        let report = report.with_context(|| format!("no report: {}", ran.stderr))?;
        Ok(Self { exit: ran.status.code().unwrap_or(-1), report, progress: ran.stderr })
    }

    /// The verdict about the line.
    pub fn line(&self) -> &str {
        self.report["line"]["verdict"].as_str().unwrap_or_default()
    }

    /// The verdict about a page.
    pub fn of(&self, url: &str) -> &str {
        self.about(url)["verdict"].as_str().unwrap_or_default()
    }

    /// What else is at work there.
    pub fn also(&self, url: &str) -> usize {
        self.about(url)["also"].as_array().map_or(0, Vec::len)
    }

    /// Whether the evidence about a page says so.
    pub fn saw(&self, url: &str, text: &str) -> bool {
        let evidence = self.about(url)["evidence"].as_array();
        let said = |one: &Value| one.as_str().is_some_and(|one| one.contains(text));
        evidence.is_some_and(|all| all.iter().any(said))
    }

    fn about(&self, url: &str) -> &Value {
        let sites = self.report["sites"].as_array();
        let found = sites.and_then(|all| all.iter().find(|told| told["subject"] == url));
        found.unwrap_or(&Value::Null)
    }
}
