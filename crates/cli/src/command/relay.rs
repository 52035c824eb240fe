//! `busel relay`: forwards between nodes, behind an ordinary web site.

mod ways;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use busel_net::relay::{Identity, RelayConfig, RelayServer};
use busel_proto::invite::Invite;
use busel_proto::page::HostName;
use serde::{Deserialize, Serialize};

use super::{data_dir, told_to_end};
use crate::args::{Relay, Setup};
use crate::screen::line;
use crate::secret_file;

/// What a relay keeps, so that its invites stay good.
#[derive(Serialize, Deserialize)]
struct Kept {
    cert: String,
    key: String,
    name: String,
    secret: String,
}

pub(crate) async fn run(setup: &Setup, relay: Relay) -> anyhow::Result<ExitCode> {
    let end = told_to_end();
    let dir = data_dir(setup)?;
    if let Some(ways) = relay.ways {
        return ways::run(&dir, ways);
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    let kept = kept(&dir.join("relay.json"), &relay)?;
    let secret = super::root::decode(&kept.secret)?;
    let server = RelayServer::start(RelayConfig {
        listen: relay.listen,
        public: relay.public,
        identity: Identity { name: HostName::parse(&kept.name)?, cert: kept.cert, key: kept.key },
        secret: secret.try_into().ok().context("relay.json is damaged")?,
        site: relay.site,
        site_proxy: relay.site_proxy,
        also: names(&relay.sni)?,
        bytes_per_second: relay.client_rate.map(|kib| kib.saturating_mul(KIB)),
    })
    .await?;
    let watch = ways::Watch::start(&dir, &server)?;
    line(&format!("The relay is up on {}.", server.addr()));
    if watch.shared() {
        line("Whoever has this invite can use it; to all others it is a web site:");
        let invite = Invite { relays: vec![server.ticket().clone()], ..Invite::default() };
        line(&invite.to_line());
    } else {
        line("Its shared way in was taken back; `busel relay give` makes invites.");
    }
    tokio::select! {
        () = end => {}
        () = watch.run(&server) => {}
    }
    server.stop().await;
    ways::forget_uses(&dir);
    Ok(ExitCode::SUCCESS)
}

fn names(given: &[String]) -> anyhow::Result<Vec<HostName>> {
    let most = busel_proto::invite::MAX_NAMES;
    anyhow::ensure!(given.len() <= most, "at most {most} other names");
    Ok(given.iter().map(|name| HostName::parse(name)).collect::<Result<_, _>>()?)
}

const KIB: std::num::NonZeroU32 = std::num::NonZeroU32::new(1024).expect("not zero");

fn kept(file: &Path, relay: &Relay) -> anyhow::Result<Kept> {
    let read =
        |path: &Path| std::fs::read_to_string(path).with_context(|| format!("{}", path.display()));
    let mut kept: Kept = if file.exists() {
        serde_json::from_str(&read(file)?).with_context(|| format!("{}", file.display()))?
    } else {
        let made = Identity::generate(&HostName::parse(&relay.name)?)?;
        let secret = super::root::encode(&rand::random::<[u8; 16]>());
        Kept { cert: made.cert, key: made.key, name: relay.name.clone(), secret }
    };
    if let (Some(cert), Some(key)) = (&relay.cert, &relay.key) {
        kept.cert = read(cert)?;
        kept.key = read(key)?;
        kept.name = relay.name.clone();
    }
    if !file.exists() {
        secret_file::create(file, &serde_json::to_string_pretty(&kept)?)?;
    }
    Ok(kept)
}
