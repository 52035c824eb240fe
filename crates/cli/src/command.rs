//! The commands, one file each, and what they share: how a node is set up from flags and file.

pub(crate) mod browse;
pub(crate) mod ca;
pub(crate) mod doctor;
pub(crate) mod find;
pub(crate) mod generate;
pub(crate) mod get;
pub(crate) mod heed;
pub(crate) mod injector;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod relay;
pub(crate) mod root;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod up;

use std::path::PathBuf;

use anyhow::Context;
use busel_node::config::{Config, Dns, SiteConfig, UpstreamUse};
use busel_store::Unlock;
use etcetera::BaseStrategy;
use tokio::signal::unix::{Signal, SignalKind};
use zeroize::Zeroizing;

use crate::args::{NodeFlags, Setup};

/// The data directory.
pub(crate) fn data_dir(setup: &Setup) -> anyhow::Result<PathBuf> {
    if let Some(dir) = &setup.data {
        return Ok(dir.clone());
    }
    let base = etcetera::choose_base_strategy()
        .context("this user has no place for a program's data; use --data DIR")?;
    Ok(base.data_dir().join("busel"))
}

/// The configuration of a reader's or helper's node.
pub(crate) fn config(setup: &Setup, flags: &NodeFlags) -> anyhow::Result<Config> {
    config_over(Config::default(), setup, flags)
}

/// The configuration: `defaults`, with what the file says above them, and above that what was typed.
pub(crate) fn config_over(
    defaults: Config,
    setup: &Setup,
    flags: &NodeFlags,
) -> anyhow::Result<Config> {
    let dir = data_dir(setup)?;
    let named = setup.config.clone();
    let file = named.clone().unwrap_or_else(|| dir.join("config.toml"));
    let defaults = Config { dir: dir.join("store"), ..defaults };
    let mut config = match std::fs::read_to_string(&file) {
        Ok(text) => read_over(&defaults, &text).with_context(|| format!("{}", file.display()))?,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => defaults,
        Err(error) => return Err(error).with_context(|| format!("{}", file.display())),
    };
    apply(&mut config, flags)?;
    config.check()?;
    Ok(config)
}

const KIB: std::num::NonZeroU64 = std::num::NonZeroU64::new(1024).expect("not zero");

/// What `text` says; where it says nothing, `defaults`.
fn read_over(defaults: &Config, text: &str) -> anyhow::Result<Config> {
    // Read by itself first: its errors name the line.
    let _: Config = toml::from_str(text)?;
    let mut all = toml::Table::try_from(defaults)?;
    all.extend(toml::from_str::<toml::Table>(text)?);
    Ok(all.try_into()?)
}

fn apply(config: &mut Config, flags: &NodeFlags) -> anyhow::Result<()> {
    if let Some(exposure) = flags.exposure {
        config.exposure = exposure.into();
    }
    if let Some(exit) = flags.exit {
        config.exit = exit.into();
    }
    config.give_quota = flags.give_quota.unwrap_or(config.give_quota);
    let rate = flags.give_rate.map(|kib| kib.saturating_mul(KIB));
    config.give_rate = rate.or(config.give_rate);
    config.give_on_battery |= flags.give_on_battery;
    config.metered |= flags.metered;
    config.relay_addr = flags.relay_addr.or(config.relay_addr);
    config.relay_public = flags.relay_public.clone().or(config.relay_public.take());
    config.relay_name = flags.relay_name.clone().or(config.relay_name.take());
    config.relay_site = flags.relay_site.clone().or(config.relay_site.take());
    if let Some(quota) = flags.quota {
        config.quota = quota.saturating_mul(1 << 20);
    }
    if let Some(quota) = flags.assigned_quota {
        config.assigned_quota = quota.saturating_mul(1 << 20);
    }
    if !flags.dns.is_empty() {
        let dns = flags.dns.iter().cloned().map(Dns::try_from).collect::<Result<_, _>>();
        config.dns = dns.map_err(anyhow::Error::msg)?;
    }
    if let Some(upstream) = &flags.upstream {
        config.upstream = Some(upstream.clone());
    }
    if flags.upstream_also {
        config.upstream_use = UpstreamUse::Also;
    }
    config.upstream_find |= flags.upstream_find;
    config.plain_wire = flags.plain_wire.or(config.plain_wire);
    config.editions.extend(flags.keep_edition.iter().map(ToString::to_string));
    config.lan = flags.lan.map(Into::into).or(config.lan);
    config.lan_dial = flags.lan_dial.or(config.lan_dial);
    config.port_map = flags.port_map.or(config.port_map);
    config.relay &= !flags.no_relay;
    config.veil &= !flags.no_veil;
    config.veil_addr = flags.veil_addr.or(config.veil_addr);
    if !flags.veil_public.is_empty() {
        config.veil_public.clone_from(&flags.veil_public);
    }
    config.dht |= flags.dht;
    config.dht_addr = flags.dht_addr.or(config.dht_addr);
    if !flags.dht_bootstrap.is_empty() {
        config.dht_bootstrap.clone_from(&flags.dht_bootstrap);
    }
    config.direct &= !flags.no_direct;
    config.connect_to.extend(flags.connect_to.iter().cloned());
    config.allow_net.extend(flags.allow_net.iter().cloned());
    config.allow_net_for_others.extend(flags.allow_net_for_others.iter().cloned());
    config.extra_ca.extend(flags.extra_ca.iter().cloned());
    config.sites.extend(flags.site.iter().map(|hosts| SiteConfig {
        hosts: hosts.to_string(),
        query: Vec::new(),
        guarded: false,
        https: true,
    }));
    Ok(())
}

/// What opens the store.
pub(crate) fn unlock(setup: &Setup) -> anyhow::Result<Unlock> {
    let Some(file) = &setup.passphrase_file else { return Ok(Unlock::Open) };
    let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let text = Zeroizing::new(text);
    let passphrase = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    anyhow::ensure!(!passphrase.is_empty(), "{} holds no passphrase", file.display());
    Ok(Unlock::Passphrase(passphrase))
}

/// Listens from now on, and returns when the program is told to end: Ctrl-C, or TERM from whoever
/// started it. Asked for before anything is started, so that no such word is missed.
pub(crate) fn told_to_end() -> impl Future<Output = ()> {
    let listen = |kind| tokio::signal::unix::signal(kind).ok();
    let (mut ctrl_c, mut term) = (listen(SignalKind::interrupt()), listen(SignalKind::terminate()));
    async move {
        tokio::select! {
            () = heard(&mut ctrl_c) => {}
            () = heard(&mut term) => {}
        }
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use busel_node::config::{Exposure, GiveQuota};

    use super::*;

    #[test]
    fn what_is_in_the_file_stands_above_the_defaults_and_what_is_typed_above_both() {
        let dir = tempfile::tempdir().unwrap();
        let data = Some(dir.path().to_owned());
        let setup = Setup { config: None, data, passphrase_file: None };
        let none = NodeFlags::default();
        let plain = config(&setup, &none).unwrap();
        assert_eq!(plain.dir, dir.path().join("store"));
        assert_eq!(plain.give_quota, GiveQuota::Bytes(10 << 30));

        let text = "dir = '/srv/busel'\ngive-quota = 'unlimited'\nquota = 5\n\
                    exposure = 'open'\nhttp-credentials = 'reader:secret'\n";
        std::fs::write(dir.path().join("config.toml"), text).unwrap();
        let read = config(&setup, &none).unwrap();
        assert_eq!(read.dir, PathBuf::from("/srv/busel"));
        assert_eq!((read.give_quota, read.quota), (GiveQuota::Unlimited, 5));
        assert_eq!(read.exposure, Exposure::Open);
        assert_eq!(read.http_credentials.unwrap().0, "reader:secret");
        assert_eq!(read.dns, plain.dns, "where it says nothing, the defaults");

        let typed = NodeFlags { give_quota: Some(GiveQuota::Bytes(7)), ..none };
        assert_eq!(config(&setup, &typed).unwrap().give_quota, GiveQuota::Bytes(7));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let data = Some(dir.path().to_owned());
        let setup = Setup { config: None, data, passphrase_file: None };
        std::fs::write(dir.path().join("config.toml"), "quota = 5\nexot = 'off'\n").unwrap();
        let error = format!("{:#}", config(&setup, &NodeFlags::default()).unwrap_err());
        assert!(error.contains("exot") && error.contains("line 2"), "{error}");
    }
}
