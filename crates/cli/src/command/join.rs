//! `busel join`: names what an invite brings and what it asks to trust, and asks before trusting.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use busel_node::control::client::Client;
use busel_node::control::{Control, Joined};
use busel_node::joined;
use busel_proto::cert::TrustedRoot;
use busel_proto::invite::{Invite, PREFIX};
use busel_store::{Options, Store};

use super::{config, data_dir, unlock};
use crate::args::{Join, NodeFlags, Setup};
use crate::qr::read as picture;
use crate::screen::line;

pub(crate) async fn run(setup: &Setup, join: Join) -> anyhow::Result<ExitCode> {
    let invite = read(&join.invite)?;
    let place = Place::of(setup).await?;
    let asks = !(invite.roots.is_empty() && invite.sites.is_empty());
    if asks {
        name(&invite, &place.trusted().await?);
    }
    let trust = join.trust || (asks && !join.no_trust && ask()?);
    let joined = place.join(invite, trust).await?;
    line(&format!(
        "Joined: {} nodes, {} trusted, {} sites on the site list.",
        joined.peers, joined.roots, joined.sites
    ));
    if joined.unconfirmed > 0 {
        line("What it asks to trust was not confirmed, so its pages are not taken yet.");
    }
    Ok(ExitCode::SUCCESS)
}

/// The invite itself, or the file or the stream that holds it.
pub(super) fn read(text: &str) -> anyhow::Result<Invite> {
    if text.trim_start().to_ascii_lowercase().starts_with(PREFIX) {
        return Ok(Invite::from_line(text)?);
    }
    let held = if text == "-" {
        held(std::io::stdin().lock()).context("standard input")?
    } else {
        let file = std::fs::File::open(Path::new(text));
        file.map_err(anyhow::Error::from)
            .and_then(held)
            .with_context(|| format!("{text} is neither an invite nor a file that can be read"))?
    };
    if picture::is_picture(&held) {
        return Ok(picture::invite(&held)?);
    }
    let held = String::from_utf8(held).ok();
    let held = held.with_context(|| format!("{text} holds neither text nor a picture"))?;
    Ok(Invite::from_line(&held)?)
}

fn held(from: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut held = Vec::new();
    let most = u64::try_from(picture::MAX_FILE)?.saturating_add(1);
    from.take(most).read_to_end(&mut held)?;
    Ok(held)
}

/// Says what it asks for, root by root.
fn name(invite: &Invite, trusted: &[(String, Vec<String>)]) {
    if !invite.roots.is_empty() {
        line("This invite asks you to believe what is signed by:");
    }
    for root in &invite.roots {
        line(&format!("  “{}” for {}", root.label, hosts(root).join(", ")));
        line(&format!("    root {}", fingerprint(root)));
        for (label, theirs) in trusted {
            let same: Vec<_> = hosts(root).into_iter().filter(|h| theirs.contains(h)).collect();
            if !same.is_empty() {
                line(&format!("    beside “{label}”, which you trust for {}", same.join(", ")));
            }
        }
    }
    if !invite.sites.is_empty() {
        let sites: Vec<_> = invite.sites.iter().map(|site| site.hosts.to_string()).collect();
        let and = if invite.roots.is_empty() { "This invite asks you" } else { "and" };
        line(&format!("{and} to ask other nodes for public pages of: {}", sites.join(", ")));
    }
}

fn hosts(root: &TrustedRoot) -> Vec<String> {
    root.hosts.iter().map(ToString::to_string).collect()
}

/// A root's key in fours, as one reads it to somebody.
fn fingerprint(root: &TrustedRoot) -> String {
    let key: Vec<char> = root.key.to_string().chars().collect();
    key.chunks(4).map(String::from_iter).collect::<Vec<_>>().join(" ")
}

fn ask() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("say --trust or --no-trust: there is nobody to ask");
    }
    let mut out = std::io::stdout().lock();
    write!(out, "Did somebody you trust give it to you? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Where the invite goes: to the running node, or into the store, for the next start.
enum Place {
    Running(Client),
    Store(joined::Joined),
}

impl Place {
    async fn of(setup: &Setup) -> anyhow::Result<Self> {
        let dir = data_dir(setup)?;
        let client = Client::of(&dir);
        if client.is_running().await {
            return Ok(Self::Running(client));
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
        let config = config(setup, &NodeFlags::default())?;
        let options =
            Options { dir: config.dir.clone(), unlock: unlock(setup)?, quota: config.quota };
        let store = Store::open(options)?;
        Ok(Self::Store(joined::Joined::load(store, config.site_list()?)?))
    }

    /// Who is trusted already, and for which hosts.
    async fn trusted(&self) -> anyhow::Result<Vec<(String, Vec<String>)>> {
        Ok(match self {
            Self::Running(client) => {
                let trusted = client.status().await?.trusted.into_iter();
                trusted.map(|root| (root.label, root.hosts)).collect()
            }
            Self::Store(joined) => {
                let view = joined.view();
                view.trust.roots().map(|root| (root.label.clone(), hosts(root))).collect()
            }
        })
    }

    async fn join(&self, invite: Invite, trust: bool) -> anyhow::Result<Joined> {
        let joined = match self {
            Self::Running(client) => return Ok(client.join(invite, trust).await?),
            Self::Store(joined) => joined.join(&invite, trust)?,
        };
        Ok(Joined {
            peers: joined.peers,
            roots: joined.roots,
            unconfirmed: joined.unconfirmed,
            sites: joined.sites,
        })
    }
}
