//! The stage: who is there before the story begins, and how they are wired.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use busel_injector::keys::{Keys, RootKey, Subkey, VALIDITY_SECS};
use busel_injector::{Config as InjectorConfig, Injector};
use busel_net::relay::{Identity, RelayConfig, RelayServer};
use busel_node::config::{ConnectTo, Dns, Exit, Exposure, Lan};
use busel_node::{Config, Node, clock};
use busel_proto::invite::{Invite, PeerTicket, RelayTicket};
use busel_proto::page::{HostName, HostPattern};
use busel_proto::sites::Site as ListedSite;
use tempfile::TempDir;

use super::isp::{IspConfig, IspHandle, Policy, World};
use super::site::{DemoCa, Site, SiteServer};

/// The site's name, its address and the relay's, as the readers' provider knows them. The addresses
/// are from ranges for documentation (RFC 5737); the provider carries them to loopback.
pub(crate) const HOST: &str = "news.example";
const SITE_ADDR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const RELAY_ADDR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
const BLOCK_PAGE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// The name that the relay shows.
const RELAY_NAME: &str = "www.example.org";
/// What the readers call whom they trust.
pub(crate) const NEWSROOM: &str = "Newsroom abroad";
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Who is there.
pub(crate) struct Stage {
    pub(crate) site: Arc<Site>,
    pub(crate) origin: SiteServer,
    pub(crate) isp: IspHandle,
    pub(crate) relay: RelayServer,
    pub(crate) injector: Injector,
    pub(crate) injector_node: Node,
    pub(crate) a: Node,
    pub(crate) b: Node,
    pub(crate) c: Node,
    /// Removed with all stores at the end.
    _dir: TempDir,
}

impl Stage {
    /// Sets it.
    pub(crate) async fn set(files: Option<&Path>) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("no place for the demo's stores")?;
        let site = Arc::new(match files {
            Some(files) => Site::from_dir(files)?,
            None => Site::generated(1),
        });
        let count = site.paths().count();
        anyhow::ensure!(count >= 4, "the story needs a site of at least four pages, not {count}");
        let ca = DemoCa::new()?;
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, ca.cert_pem())?;
        let origin = SiteServer::start(site.clone(), HOST, &ca).await?;
        let relay = relay().await?;
        let isp = provider(&origin, &relay).await?;
        let abroad = injector_config(dir.path(), &ca_file, &origin);
        let injector_node = Node::start(abroad).await?;
        injector_node.endpoint().add_relay(&at_home(&relay)).await;
        let root = RootKey::from_random(&rand::random());
        let injector = injector(&injector_node, &root)?;
        let reader = |name: &str, exposure: Exposure, door: bool| {
            Node::start(reader_config(dir.path(), name, &ca_file, &isp, exposure, door))
        };
        let a = reader("a", Exposure::Open, false).await?;
        let b = reader("b", Exposure::Quiet, true).await?;
        let c = reader("c", Exposure::Quiet, false).await?;
        let stage = Self { site, origin, isp, relay, injector, injector_node, a, b, c, _dir: dir };
        let invite = Invite::from_line(&stage.invite().to_line())?;
        for reader in [&stage.a, &stage.b, &stage.c] {
            reader.join(&invite, true).await?;
        }
        Ok(stage)
    }

    /// What the newsroom gives to readers, by hand.
    fn invite(&self) -> Invite {
        let pattern = HostPattern::parse(HOST).expect("a fixed host name");
        Invite {
            relays: vec![self.relay_as_seen()],
            peers: vec![PeerTicket {
                peer: self.injector_node.id(),
                relay: Some(0),
                addrs: vec![],
                veil: None,
            }],
            roots: vec![self.injector.trusted_root()],
            injectors: vec![self.injector.ticket()],
            sites: vec![ListedSite::new(pattern)],
        }
    }

    /// The relay as the readers see it.
    pub(crate) fn relay_as_seen(&self) -> RelayTicket {
        self.relay.ticket().clone()
    }

    /// Where this very process reaches the relay.
    pub(crate) fn relay_at_home(&self) -> RelayTicket {
        at_home(&self.relay)
    }

    /// Ends everybody.
    pub(crate) async fn clear(self) {
        for node in [&self.a, &self.b, &self.c, &self.injector_node] {
            node.stop().await;
        }
        self.relay.stop().await;
        self.origin.stop().await;
        // Its process ends with the handle, whatever it says.
        let _ = self.isp.stop().await;
    }
}

fn at_home(relay: &RelayServer) -> RelayTicket {
    RelayTicket { addr: relay.addr().to_string(), ..relay.ticket().clone() }
}

async fn relay() -> anyhow::Result<RelayServer> {
    Ok(RelayServer::start(RelayConfig {
        listen: LOOPBACK,
        public: Some(SocketAddr::from((RELAY_ADDR, 443)).to_string()),
        identity: Identity::generate(&HostName::parse(RELAY_NAME)?)?,
        secret: rand::random(),
        site: None,
        site_proxy: None,
        also: Vec::new(),
        bytes_per_second: None,
    })
    .await?)
}

async fn provider(origin: &SiteServer, relay: &RelayServer) -> anyhow::Result<IspHandle> {
    let mut world = World::default();
    world.zone.insert(HOST.to_owned(), SITE_ADDR);
    world.routes.insert(SocketAddr::from((SITE_ADDR, 443)), origin.https_addr());
    world.routes.insert(SocketAddr::from((SITE_ADDR, 80)), origin.http_addr());
    world.routes.insert(SocketAddr::from((RELAY_ADDR, 443)), relay.addr());
    let config = IspConfig { world, block_page: BLOCK_PAGE, policy: Policy::default() };
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.arg("demo-isp");
    IspHandle::spawn(command, &config).await
}

/// The injector is abroad: no provider stands between it and the site. Its operator lets it connect
/// to loopback, where the site is.
fn injector_config(dir: &Path, ca: &Path, origin: &SiteServer) -> Config {
    let to = |port, addr| ConnectTo { host: HOST.to_owned(), port, addr };
    Config {
        dir: dir.join("injector"),
        exposure: Exposure::Open,
        extra_ca: vec![ca.to_owned()],
        connect_to: vec![to(443, origin.https_addr()), to(80, origin.http_addr())],
        allow_net: vec!["127.0.0.0/8".to_owned()],
        allow_net_for_others: vec!["127.0.0.0/8".to_owned()],
        exit: Exit::Off,
        lan: Some(Lan::Off),
        ..Config::default()
    }
}

fn injector(node: &Node, root: &RootKey) -> anyhow::Result<Injector> {
    let subkey = Subkey::from_random(&rand::random(), rand::random());
    let cert = root.certify(&subkey.request(), clock::now(), VALIDITY_SECS)?;
    let config = InjectorConfig {
        label: NEWSROOM.to_owned(),
        hosts: vec![HostPattern::parse(HOST)?],
        requests_per_second: 1000,
        ..InjectorConfig::default()
    };
    Ok(Injector::start(node, Keys::new(subkey, cert)?, config))
}

/// Readers have only their provider: its resolver, and its lines.
fn reader_config(
    dir: &Path,
    name: &str,
    ca: &Path,
    isp: &IspHandle,
    exposure: Exposure,
    door: bool,
) -> Config {
    Config {
        dir: dir.join(name),
        exposure,
        http: door.then_some(LOOPBACK),
        dns: vec![Dns::Plain(isp.dns())],
        upstream: Some(isp.socks().into()),
        extra_ca: vec![ca.to_owned()],
        allow_net: vec![format!("{SITE_ADDR}/24")],
        lan: Some(Lan::Off),
        ..Config::default()
    }
}
