//! Another real browser: Firefox without a window.

use std::path::PathBuf;

use super::{Busel, Ca};
use crate::world::{Host, Running};

/// Nothing but the page is asked for.
const ALONE: &str = r#"
user_pref("app.normandy.enabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.safebrowsing.downloads.remote.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("media.autoplay.default", 0);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "data:,");
user_pref("toolkit.telemetry.enabled", false);
"#;

/// Firefox in a host, with one profile.
pub struct Firefox {
    host: Host,
    home: PathBuf,
    profile: PathBuf,
    prefs: String,
}

impl Firefox {
    /// One whose user trusts the authority. It goes straight to sites.
    pub fn new(host: &Host, ca: &Ca) -> anyhow::Result<Self> {
        let home = host.dir().join("firefox-home");
        let profile = home.join(format!(".mozilla/firefox/lab-{}", host.next_launch()));
        ca.put_into(&profile, host)?;
        Ok(Self { host: host.clone(), home, profile, prefs: ALONE.to_owned() })
    }

    /// The same behind the proxy at this address.
    #[must_use]
    pub fn through(mut self, host: &str, port: u16) -> Self {
        let prefs = [
            "\"network.proxy.type\", 1".to_owned(),
            format!("\"network.proxy.http\", \"{host}\""),
            format!("\"network.proxy.http_port\", {port}"),
            format!("\"network.proxy.ssl\", \"{host}\""),
            format!("\"network.proxy.ssl_port\", {port}"),
        ];
        for pref in prefs {
            self.prefs += &format!("user_pref({pref});\n");
        }
        self
    }

    /// Has its user believe the authority of a node on this device, as `busel ca install` does; what that said.
    pub fn believe(&self, busel: &Busel) -> anyhow::Result<String> {
        busel.tell_at_home(&["ca", "install"], &self.home)
    }

    /// Opens a page and leaves it open. It ends when what is returned is dropped.
    pub fn open(&self, url: &str) -> anyhow::Result<Running> {
        std::fs::write(self.profile.join("user.js"), &self.prefs)?;
        let firefox = self.host.command("firefox-esr").args(["--headless", "--no-remote"]);
        firefox.arg("--profile").arg(&self.profile).arg(url).env("HOME", &self.home).spawn()
    }
}
