//! `busel join`: names what an invite brings and what it asks to trust, and asks before trusting.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use busel_node::control::client::Client;
use busel_node::control::{Control, Joined};
use busel_node::{Config, joined};
use busel_proto::invite::{Invite, PREFIX};
use busel_store::{Options, Store};

use super::{config, data_dir, unlock};
use crate::args::{Join, NodeFlags, Setup};
use crate::screen::line;

pub(crate) async fn run(setup: &Setup, join: Join) -> anyhow::Result<ExitCode> {
    let invite = read(&join.invite)?;
    let trust = if join.trust {
        true
    } else if join.no_trust || (invite.roots.is_empty() && invite.sites.is_empty()) {
        false
    } else {
        ask(&invite)?
    };
    let dir = data_dir(setup)?;
    let client = Client::of(&dir);
    let joined = if client.is_running().await {
        client.join(invite, trust).await?
    } else {
        std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
        into_store(setup, &config(setup, &NodeFlags::default())?, &invite, trust)?
    };
    line(&format!(
        "Joined: {} nodes, {} trusted, {} sites on the site list.",
        joined.peers, joined.roots, joined.sites
    ));
    if joined.unconfirmed > 0 {
        line("What it asks to trust was not confirmed, so its pages are not taken yet.");
    }
    Ok(ExitCode::SUCCESS)
}

/// The invite itself, or the file that holds it.
fn read(text: &str) -> anyhow::Result<Invite> {
    if text.trim_start().to_ascii_lowercase().starts_with(PREFIX) {
        return Ok(Invite::from_line(text)?);
    }
    let held = std::fs::read_to_string(text)
        .with_context(|| format!("{text} is neither an invite nor a file that can be read"))?;
    Ok(Invite::from_line(&held)?)
}

fn ask(invite: &Invite) -> anyhow::Result<bool> {
    line("This invite asks you to believe what is signed by:");
    for root in &invite.roots {
        let hosts: Vec<_> = root.hosts.iter().map(ToString::to_string).collect();
        line(&format!("  “{}” for {}", root.label, hosts.join(", ")));
        line(&format!("    root {}", root.key));
    }
    let sites: Vec<_> = invite.sites.iter().map(|site| site.hosts.to_string()).collect();
    line(&format!("and to ask other nodes for public pages of: {}", sites.join(", ")));
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

/// No node runs: the invite waits in the store for the next start.
fn into_store(
    setup: &Setup,
    config: &Config,
    invite: &Invite,
    trust: bool,
) -> anyhow::Result<Joined> {
    let options = Options { dir: config.dir.clone(), unlock: unlock(setup)?, quota: config.quota };
    let store = Store::open(options)?;
    let joined = joined::Joined::load(store, config.site_list()?)?;
    let report = joined.join(invite, trust)?;
    Ok(Joined {
        peers: report.peers,
        roots: report.roots,
        unconfirmed: report.unconfirmed,
        sites: report.sites,
    })
}
