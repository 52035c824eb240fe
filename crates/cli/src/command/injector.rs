//! `busel injector`: a node that fetches pages for others and signs what it saw.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use busel_injector::keys::{CertRequest, Keys, Subkey, VALIDITY_SECS};
use busel_injector::renewal::Certify;
use busel_injector::{Config as InjectorConfig, Injector as Running};
use busel_node::config::{Config, Exit, Exposure, GiveQuota, Lan, SiteConfig};
use busel_node::control::Control;
use busel_node::{Node, clock};
use busel_proto::cert::SubkeyCert;
use busel_proto::invite::is_label;
use busel_proto::page::PageUrl;
use busel_proto::signed::Signed;
use busel_store::Store;

use super::root::{create, decode, load};
use super::up::{serve, start};
use super::{config_over, data_dir, told_to_end, unlock};
use crate::args::{Injector, Setup};
use crate::screen::line;

/// Names of settings in the store.
const SUBKEY: &str = "injector-subkey";

pub(crate) async fn run(setup: &Setup, injector: Injector) -> anyhow::Result<ExitCode> {
    let wide = injector.hosts.iter().find(|hosts| hosts.is_wide());
    if let Some(wide) = wide {
        anyhow::bail!("--hosts {wide} is more than any publisher's hosts: nobody could be invited");
    }
    let hosts = |feed: &PageUrl| injector.hosts.iter().any(|hosts| hosts.matches(&feed.host()));
    if let Some(feed) = injector.feeds.iter().find(|feed| !hosts(feed)) {
        anyhow::bail!("--feed {feed} is on a host that --hosts does not name");
    }
    let label = &injector.label;
    anyhow::ensure!(is_label(label), "--label is too long, or can't be seen as it is");
    let end = told_to_end();
    let config = config(setup, &injector)?;
    let (node, control) = start(setup, config, unlock(setup)?).await?;
    let subkey = subkey(node.store())?;
    if injector.request {
        line(&subkey.request().to_line());
        control.close().await;
        node.stop().await;
        return Ok(ExitCode::SUCCESS);
    }
    let (keys, certify) = keys(setup, &injector, subkey)?;
    let until = keys.cert().not_after;
    let settings = InjectorConfig {
        label: injector.label.clone(),
        hosts: injector.hosts.clone(),
        max_body: injector.max_body.saturating_mul(1 << 20),
        requests_per_second: injector.rate,
        ports: [80..=80, 443..=443].into_iter().chain(injector.ports.iter().cloned()).collect(),
        feeds: injector.feeds.clone(),
        feeds_every: Duration::from_secs(60 * u64::from(injector.feeds_every)),
        ..InjectorConfig::default()
    };
    let running = Running::start(&node, keys, settings);
    running.keep_certified(certify);
    greet(&node, until.since(clock::now()).as_secs() / 86_400).await;
    serve(node, control, end).await;
    Ok(ExitCode::SUCCESS)
}

/// An injector is open and an exit to the web, unless its operator says otherwise. Where servers
/// stand, neighbours are no readers.
fn config(setup: &Setup, injector: &Injector) -> anyhow::Result<Config> {
    let defaults = Config {
        exposure: Exposure::Open,
        exit: Exit::Web,
        give_quota: GiveQuota::Unlimited,
        lan: Some(Lan::Off),
        ..Config::default()
    };
    let mut config = config_over(defaults, setup, &injector.node)?;
    let why = "an injector can't be quiet: invites name it, so it keeps its id and can be found";
    anyhow::ensure!(config.exposure == Exposure::Open, why);
    // It connects for others: what its operator allows it by name is meant for that.
    config.allow_net_for_others.extend(injector.node.allow_net.iter().cloned());
    list(&mut config, injector);
    Ok(config)
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

/// The subkey with its certificate, the one given or one made now by a root key that is at hand, and
/// where the next one comes from.
fn keys(
    setup: &Setup,
    injector: &Injector,
    subkey: Subkey,
) -> anyhow::Result<(Keys, Arc<dyn Certify>)> {
    let certify: Arc<dyn Certify> = match &injector.cert {
        Some(file) => {
            let file = file.clone();
            Arc::new(move |_: &CertRequest| read_cert(&file).map_err(|e| format!("{e:#}")))
        }
        None => {
            let file = root_file(setup, injector)?;
            Arc::new(move |request: &CertRequest| {
                certify_by(&file, request).map_err(|e| format!("{e:#}"))
            })
        }
    };
    let cert = certify.certify(&subkey.request()).map_err(anyhow::Error::msg)?;
    Ok((Keys::new(subkey, cert)?, certify))
}

fn read_cert(file: &Path) -> anyhow::Result<Signed<SubkeyCert>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    Ok(Signed::<SubkeyCert>::from_bytes(&decode(&text)?)?)
}

fn certify_by(root: &Path, request: &CertRequest) -> anyhow::Result<Signed<SubkeyCert>> {
    Ok(load(root)?.certify(request, clock::now(), VALIDITY_SECS)?)
}

/// Where the root key is; made, if there is none.
fn root_file(setup: &Setup, injector: &Injector) -> anyhow::Result<PathBuf> {
    let file = match &injector.root {
        Some(file) => file.clone(),
        None => data_dir(setup)?.join("root.key"),
    };
    if !file.exists() {
        create(&file)?;
        line(&format!("A root key was made in {}.", file.display()));
        line("Whoever has it can speak for this injector: better keep it offline (busel root).");
    }
    Ok(file)
}

async fn greet(node: &Node, days: u64) {
    line(&format!("The injector is up; its certificate is valid for {days} days."));
    if node.joined().left_to_hand_on().values().any(|left| *left > 0) {
        line("Its ways into relays are counted. Make an invite for each reader: busel invite");
        return;
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    /// The configuration of an injector with this file and these flags.
    fn configured(file: &str, flags: &[&str]) -> anyhow::Result<Config> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("config.toml"), file)?;
        let data = dir.path().to_str().context("a name in UTF-8")?;
        let args = ["busel", "injector", "--hosts", "news.example", "--data", data];
        let args = Args::try_parse_from(args.iter().chain(flags))?;
        let Command::Injector(injector) = args.command else { anyhow::bail!("no injector") };
        config(&args.setup, &injector)
    }

    #[test]
    fn what_its_operator_wrote_stands_and_defaults_only_where_nothing_was() {
        let config = configured("", &[]).unwrap();
        assert_eq!((config.exit, config.exposure), (Exit::Web, Exposure::Open));
        assert_eq!(config.give_quota, GiveQuota::Unlimited);
        assert_eq!(config.sites[0].hosts, "news.example");

        let config = configured("exit = 'off'\ndir = '/srv/x'\ngive-quota = 9\n", &[]).unwrap();
        assert_eq!((config.exit, config.give_quota), (Exit::Off, GiveQuota::Bytes(9)));
        assert_eq!(config.dir, PathBuf::from("/srv/x"));
        let config = configured("exit = 'off'", &["--exit", "sites"]).unwrap();
        assert_eq!(config.exit, Exit::Sites);

        let config = configured("allow-net = ['10.0.0.0/8']", &["--allow-net", "127.0.0.0/8"]);
        assert_eq!(config.unwrap().allow_net_for_others, ["127.0.0.0/8"]);

        for flags in [&["--exposure", "quiet"][..], &[]] {
            let error = configured("exposure = 'quiet'", flags).unwrap_err().to_string();
            assert!(error.contains("can't be quiet"), "{error}");
        }
    }

    #[test]
    fn a_new_certificate_put_into_the_file_is_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cert");
        let root = busel_injector::keys::RootKey::from_random(&[1; 32]);
        let subkey = || Subkey::from_random(&[2; 32], [3; 32]);
        let put = |days: u64| {
            let cert = root.certify(&subkey().request(), clock::now(), days * 86_400).unwrap();
            std::fs::write(&file, crate::command::root::encode(&cert.to_bytes())).unwrap();
            cert
        };
        put(20);
        let args = ["busel", "injector", "--hosts", "a.example", "--cert", file.to_str().unwrap()];
        let args = Args::try_parse_from(args).unwrap();
        let Command::Injector(injector) = args.command else { panic!("no injector") };
        let (_, certify) = keys(&args.setup, &injector, subkey()).unwrap();
        let next = put(30);
        assert_eq!(certify.certify(&subkey().request()).unwrap(), next);
        std::fs::remove_file(&file).unwrap();
        assert!(certify.certify(&subkey().request()).unwrap_err().contains("cert"));
    }
}
