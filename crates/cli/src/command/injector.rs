//! `busel injector`: a node that fetches pages for others and signs what it saw.

use std::process::ExitCode;

use anyhow::Context;
use busel_injector::keys::{Keys, Subkey, VALIDITY_SECS};
use busel_injector::{Config as InjectorConfig, Injector as Running};
use busel_node::config::{Config, Exit, Exposure, SiteConfig};
use busel_node::control::Control;
use busel_node::{Node, clock};
use busel_proto::cert::SubkeyCert;
use busel_proto::invite::is_label;
use busel_proto::signed::Signed;
use busel_store::Store;

use super::root::{create, decode, load};
use super::up::{serve, start};
use super::{config, data_dir, told_to_end, unlock};
use crate::args::{Injector, Setup};
use crate::screen::line;

/// Names of settings in the store.
const SUBKEY: &str = "injector-subkey";

pub(crate) async fn run(setup: &Setup, injector: Injector) -> anyhow::Result<ExitCode> {
    let wide = injector.hosts.iter().find(|hosts| hosts.is_wide());
    if let Some(wide) = wide {
        anyhow::bail!("--hosts {wide} is more than any publisher's hosts: nobody could be invited");
    }
    let label = &injector.label;
    anyhow::ensure!(is_label(label), "--label is too long, or can't be seen as it is");
    let end = told_to_end();
    let mut config = config(setup, &injector.node)?;
    config.exposure = Exposure::Open;
    if injector.node.exit.is_none() {
        config.exit = Exit::Web;
    }
    list(&mut config, &injector);
    let (node, control) = start(setup, config, unlock(setup)?).await?;
    let subkey = subkey(node.store())?;
    if injector.request {
        line(&subkey.request().to_line());
        control.close().await;
        node.stop().await;
        return Ok(ExitCode::SUCCESS);
    }
    let keys = keys(setup, &injector, subkey)?;
    let until = keys.cert().not_after;
    let settings = InjectorConfig {
        label: injector.label.clone(),
        hosts: injector.hosts.clone(),
        max_body: injector.max_body.saturating_mul(1 << 20),
        requests_per_second: injector.rate,
    };
    let _running = Running::start(&node, keys, settings);
    greet(&node, until.since(clock::now()).as_secs() / 86_400).await;
    serve(node, control, end).await;
    Ok(ExitCode::SUCCESS)
}

/// What it fetches for others is on its site list, and so on that of those who join its invite.
fn list(config: &mut Config, injector: &Injector) {
    for hosts in injector.hosts.iter().map(ToString::to_string) {
        if !config.sites.iter().any(|site| site.hosts == hosts) {
            config.sites.push(SiteConfig { hosts, query: Vec::new(), guarded: false, https: true });
        }
    }
}

/// The subkey, made at the first start.
fn subkey(store: &Store) -> anyhow::Result<Subkey> {
    if let Some(kept) = store.setting(SUBKEY)? {
        return Ok(Subkey::from_secret(&kept)?);
    }
    let subkey = Subkey::from_random(&rand::random(), rand::random());
    store.set(SUBKEY, &subkey.secret())?;
    Ok(subkey)
}

/// The subkey with its certificate: the one given, or one made now by a root key that is at hand.
fn keys(setup: &Setup, injector: &Injector, subkey: Subkey) -> anyhow::Result<Keys> {
    if let Some(file) = &injector.cert {
        let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        let cert = Signed::<SubkeyCert>::from_bytes(&decode(&text)?)?;
        return Ok(Keys::new(subkey, cert)?);
    }
    let file = match &injector.root {
        Some(file) => file.clone(),
        None => data_dir(setup)?.join("root.key"),
    };
    let root = if file.exists() {
        load(&file)?
    } else {
        line(&format!("A root key was made in {}.", file.display()));
        line("Whoever has it can speak for this injector: better keep it offline (busel root).");
        create(&file)?
    };
    let cert = root.certify(&subkey.request(), clock::now(), VALIDITY_SECS)?;
    Ok(Keys::new(subkey, cert)?)
}

async fn greet(node: &Node, days: u64) {
    line(&format!("The injector is up; its certificate is valid for {days} days."));
    match node.invite().await {
        Ok(invite) if invite.peers.iter().any(|peer| peer.peer == node.id()) => {
            line("Give this invite to readers:");
            line(&invite.to_line());
        }
        Ok(invite) if !invite.relays.is_empty() => {
            line("Its relay does not answer yet. Once `busel status` says that it is connected,");
            line("`busel invite` prints an invite for readers.");
        }
        Ok(_) | Err(_) => {
            line("Nobody can reach it yet: join a relay's invite (busel join) and start it again.");
        }
    }
}
