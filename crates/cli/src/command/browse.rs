//! `busel browse`: an installed browser in a profile of its own, set up for the running node. Nothing is put into
//! the system's settings or the user's own profile, so that nothing is left behind by a crash but a directory.

use std::ffi::OsString;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use busel_node::control::Control;
use busel_node::control::client::Client;
use busel_proto::page::PageUrl;
use tokio::process::Command;

use super::ca::believers::Believer;
use super::{data_dir, told_to_end};
use crate::args::{Browse, Setup};
use crate::screen::note;

/// Browsers, in the order in which they are looked for.
const CHROMIUMS: [&str; 7] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "brave-browser",
    "microsoft-edge",
    "vivaldi",
];
const FIREFOXES: [&str; 3] = ["firefox", "firefox-esr", "librewolf"];
/// What keeps Chromium from asking anybody but the proxy, and for much that the reader did not ask for.
const CHROMIUM: [&str; 10] = [
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--disable-quic",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    // The first two look for screens in the LAN.
    "--disable-features=MediaRouter,DialMediaRouteProvider,OptimizationHints",
    "--disable-component-extensions-with-background-pages",
];
/// The same for Firefox.
const FIREFOX: [(&str, &str); 30] = [
    ("app.normandy.enabled", "false"),
    ("app.shield.optoutstudies.enabled", "false"),
    ("app.update.auto", "false"),
    ("browser.aboutwelcome.enabled", "false"),
    ("browser.newtabpage.activity-stream.feeds.topsites", "false"),
    ("browser.newtabpage.enabled", "false"),
    ("browser.safebrowsing.downloads.remote.enabled", "false"),
    ("browser.safebrowsing.malware.enabled", "false"),
    ("browser.safebrowsing.phishing.enabled", "false"),
    ("browser.search.suggest.enabled", "false"),
    ("browser.search.update", "false"),
    ("browser.shell.checkDefaultBrowser", "false"),
    ("browser.startup.homepage", "\"about:blank\""),
    ("browser.topsites.contile.enabled", "false"),
    ("browser.urlbar.suggest.searches", "false"),
    ("datareporting.healthreport.uploadEnabled", "false"),
    ("datareporting.policy.dataSubmissionEnabled", "false"),
    ("dom.push.enabled", "false"),
    ("extensions.update.enabled", "false"),
    ("media.peerconnection.enabled", "false"),
    ("network.captive-portal-service.enabled", "false"),
    ("network.connectivity-service.enabled", "false"),
    ("network.dns.disablePrefetch", "true"),
    ("network.http.http3.enable", "false"),
    ("network.predictor.enabled", "false"),
    ("network.prefetch-next", "false"),
    ("network.proxy.failover_direct", "false"),
    ("network.trr.mode", "5"),
    ("signon.rememberSignons", "false"),
    ("toolkit.telemetry.enabled", "false"),
];

/// A browser, by how it is set up.
enum Browser {
    Chromium(PathBuf),
    Firefox(PathBuf),
}

pub(crate) async fn run(setup: &Setup, asked: Browse) -> anyhow::Result<ExitCode> {
    let url = asked.url.as_deref().map(PageUrl::parse).transpose()?;
    let client = Client::of(&data_dir(setup)?);
    let status = client.status().await?;
    let door = status.http.context("the node that runs has no HTTP proxy")?;
    let vouches = client.authority().await?;
    if vouches.is_none() {
        note(
            "Listed sites are read end to end by `https`: a copy that others have is of no use to a browser. \
             `busel ca install` changes that.",
        );
    }
    let browser = Browser::find(asked.browser)?;
    // Whoever else uses this machine does not look into it.
    let private = || Permissions::from_mode(0o700);
    let own = || tempfile::Builder::new().permissions(private()).tempdir();
    let made = asked.profile.is_none().then(own).transpose()?;
    let profile = match (&asked.profile, &made) {
        (Some(dir), _) => std::path::absolute(dir)?,
        (None, Some(dir)) => dir.path().to_owned(),
        (None, None) => bail!("there is no profile"),
    };
    let create = DirBuilder::new().recursive(true).mode(0o700).create(&profile);
    create.with_context(|| format!("{}", profile.display()))?;
    let mut command = browser.command(&profile, door)?;
    let store = browser.trust(&profile);
    let trusts = store.forget().and_then(|_| vouches.map_or(Ok(()), |v| store.believe(&v.pem)));
    if let Err(error) = trusts {
        note(&format!("The browser does not believe this device's authority: {error:#}"));
    }
    command.args(&asked.arguments).args(url.iter().map(PageUrl::as_str));
    let went_well = until_closed(&mut command).await;
    if let Some(made) = made {
        let left = made.path().to_owned();
        made.close().with_context(|| format!("{} is left", left.display()))?;
    }
    let named = went_well.with_context(|| format!("{}", browser.program().display()));
    Ok(if named? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the browser until it is closed, or this program is told to end; whether it ended well.
async fn until_closed(command: &mut Command) -> std::io::Result<bool> {
    let told = told_to_end();
    let mut running = command.kill_on_drop(true).spawn()?;
    tokio::select! {
        ended = running.wait() => Ok(ended?.success()),
        () = told => running.kill().await.map(|()| true),
    }
}

impl Browser {
    /// This one, or the first that is installed.
    fn find(asked: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(program) = asked {
            let name = program.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            let is = |known: &[&str]| known.iter().any(|known| name.starts_with(known));
            return match () {
                () if is(&FIREFOXES) => Ok(Self::Firefox(program)),
                () if is(&CHROMIUMS) || is(&["brave", "chrome"]) => Ok(Self::Chromium(program)),
                () => bail!(
                    "{name} is none of the browsers that Busel knows how to set up ({}, {})",
                    CHROMIUMS.join(", "),
                    FIREFOXES.join(", "),
                ),
            };
        }
        let chromium = CHROMIUMS.into_iter().find_map(installed).map(Self::Chromium);
        let firefox = || FIREFOXES.into_iter().find_map(installed).map(Self::Firefox);
        chromium.or_else(firefox).context(
            "no browser was found; name one with --browser, or set its proxy by hand: see `busel up`",
        )
    }

    fn program(&self) -> &Path {
        match self {
            Self::Chromium(program) | Self::Firefox(program) => program,
        }
    }

    /// Where it keeps whom it believes, if it has this profile.
    fn trust(&self, profile: &Path) -> Believer {
        let dir = match self {
            Self::Chromium(_) => profile.join(".pki/nssdb"),
            Self::Firefox(_) => profile.to_owned(),
        };
        Believer::Nss { name: "The browser".into(), dir }
    }

    fn command(&self, profile: &Path, door: std::net::SocketAddr) -> anyhow::Result<Command> {
        let mut command = Command::new(self.program());
        match self {
            Self::Chromium(_) => {
                // It looks for whom its user believes in the home directory.
                command.env("HOME", profile).args(CHROMIUM);
                command.arg(format!("--proxy-server=http://{door}"));
                // The proxy looks names up.
                let rules = format!("MAP * ~NOTFOUND, EXCLUDE {}", door.ip());
                command.arg(format!("--host-resolver-rules={rules}"));
                keep_downloads(profile)?;
                let mut dir = OsString::from("--user-data-dir=");
                dir.push(profile.join("profile"));
                command.arg(dir);
            }
            Self::Firefox(_) => {
                std::fs::write(profile.join("user.js"), user_js(door))?;
                command.arg("--no-remote").arg("--profile").arg(profile);
            }
        }
        Ok(command)
    }
}

/// What a reader downloads stays when the profile goes.
fn keep_downloads(profile: &Path) -> anyhow::Result<()> {
    let dir = profile.join("profile/Default");
    let file = dir.join("Preferences");
    let Some(home) = std::env::home_dir().filter(|_| !file.exists()) else { return Ok(()) };
    let settings =
        serde_json::json!({ "download": { "default_directory": home.join("Downloads") } });
    std::fs::create_dir_all(dir)?;
    Ok(std::fs::write(file, settings.to_string())?)
}

fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}

/// The settings of a Firefox profile.
fn user_js(door: std::net::SocketAddr) -> String {
    let (host, port) = (format!("\"{}\"", door.ip()), door.port().to_string());
    let own = [
        ("network.proxy.type", "1"),
        ("network.proxy.http", &host),
        ("network.proxy.http_port", &port),
        ("network.proxy.ssl", &host),
        ("network.proxy.ssl_port", &port),
        ("network.proxy.no_proxies_on", "\"\""),
    ];
    let lines = own.into_iter().chain(FIREFOX);
    lines.map(|(name, value)| format!("user_pref(\"{name}\", {value});\n")).collect()
}
