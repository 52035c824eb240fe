//! The world: an HTTPS origin, a relay, an injector and readers.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use busel_injector::keys::{Keys, RootKey, Subkey, VALIDITY_SECS};
use busel_injector::{Config as InjectorConfig, Injector};
use busel_net::relay::{Identity, RelayConfig, RelayServer};
use busel_net::wire::Contact;
use busel_node::config::{ConnectTo, Dns, Exit, Exposure, Lan};
use busel_node::{Body, Config, Node, Request, Response, Unanswered, clock};
use busel_proto::cert::SubkeyCert;
use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::invite::{Invite, PeerTicket};
use busel_proto::page::{HostName, HostPattern, PageUrl};
use busel_proto::signed::Signed;
use busel_proto::sites::Site;
use busel_proto::snapshot::Wanted;
use busel_proto::time::UnixTime;
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use http_body_util::BodyExt;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

use super::Origin;

pub(crate) const HOST: &str = "news.example";
pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The world. Its parts stop when it is dropped.
pub(crate) struct World {
    pub(crate) origin: Origin,
    pub(crate) relay: RelayServer,
    pub(crate) injector: Injector,
    pub(crate) injector_node: Node,
    pub(crate) root: RootKey,
    /// The key that signs heads, and its certificate: what a thief would have.
    pub(crate) signing: SigningKey,
    pub(crate) cert: Signed<SubkeyCert>,
    /// What a server shows as [`HOST`], and what its visitors trust.
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) authority: CertificateDer<'static>,
    hosts: Vec<HostPattern>,
    dir: TempDir,
    ca: PathBuf,
    nodes: AtomicUsize,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    /// A world whose injector is set up otherwise: its node, and itself.
    pub(crate) async fn with(
        change_node: impl FnOnce(&mut Config),
        change: impl FnOnce(&mut InjectorConfig),
    ) -> Self {
        // In use for some days, so that there can be old copies.
        let since = UnixTime(clock::now().0 - 5 * 24 * 3600);
        Self::certified(since, change_node, change).await
    }

    /// As [`World::with`], with a certificate made at `since`.
    pub(crate) async fn certified(
        since: UnixTime,
        change_node: impl FnOnce(&mut Config),
        change: impl FnOnce(&mut InjectorConfig),
    ) -> Self {
        // `RUST_LOG=busel=trace` shows what a failing test did.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let dir = tempfile::tempdir().unwrap();
        let (tls, authority, pem) = tls();
        let origin = Origin::start(tls.clone(), LOOPBACK).await;
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, pem).unwrap();
        let relay = RelayServer::start(RelayConfig {
            listen: LOOPBACK,
            public: None,
            identity: Identity::generate(&HostName::parse("www.example.org").unwrap()).unwrap(),
            secret: rand::random(),
            site: None,
            site_proxy: None,
            also: Vec::new(),
            bytes_per_second: None,
        })
        .await
        .unwrap();
        let mut config = base(dir.path().join("injector"), &ca, origin.addr);
        config.exposure = Exposure::Open;
        // What its owner may is not what others may.
        config.allow_net = vec!["127.0.0.0/8".into()];
        config.allow_net_for_others = vec!["127.0.0.0/8".into()];
        config.exit = Exit::Web;
        change_node(&mut config);
        let injector_node = Node::start(config).await.unwrap();
        let mut config = InjectorConfig {
            label: "Newsroom".into(),
            hosts: vec![HostPattern::parse(HOST).unwrap()],
            ..InjectorConfig::default()
        };
        change(&mut config);
        let hosts = config.hosts.clone();
        let root = RootKey::from_random(&rand::random());
        let signing: [u8; 32] = rand::random();
        let subkey = Subkey::from_random(&signing, rand::random());
        let cert = root.certify(&subkey.request(), since, VALIDITY_SECS).unwrap();
        let keys = Keys::new(subkey, cert.clone()).unwrap();
        let injector = Injector::start(&injector_node, keys, config);
        let world = Self {
            origin,
            relay,
            injector,
            injector_node,
            root,
            signing: SigningKey::from_bytes(&signing),
            cert,
            tls,
            authority,
            hosts,
            dir,
            ca,
            nodes: AtomicUsize::new(0),
        };
        // The injector's node is told of the relay by a contact that nobody is.
        world.injector_node.learn(world.contact(PeerId(rand::random()))).await;
        world
    }

    /// What the newsroom gives to readers.
    pub(crate) fn invite(&self) -> Invite {
        Invite {
            peers: vec![PeerTicket {
                peer: self.injector_node.id(),
                relay: Some(0),
                addrs: vec![],
                veil: None,
            }],
            injectors: vec![self.injector.ticket()],
            ..self.invite_without_injector()
        }
    }

    /// The newsroom's roots and sites, and no way to it.
    pub(crate) fn invite_without_injector(&self) -> Invite {
        Invite {
            relays: vec![self.relay.ticket().clone()],
            peers: vec![],
            roots: vec![self.injector.trusted_root()],
            injectors: vec![],
            sites: self.hosts.iter().cloned().map(Site::new).collect(),
        }
    }

    /// The configuration of a reader who can't reach the origin.
    pub(crate) fn reader_config(&self) -> Config {
        let n = self.nodes.fetch_add(1, Ordering::SeqCst);
        let dir = self.dir.path().join(format!("reader-{n}"));
        let mut config = base(dir, &self.ca, self.origin.addr);
        config.direct = false;
        config
    }

    /// The configuration of a reader whose connections to the origin end up at `addr`.
    pub(crate) fn reader_sent_to(&self, addr: SocketAddr) -> Config {
        let mut config = self.reader_config();
        config.direct = true;
        config.allow_net = vec!["127.0.0.0/8".into()];
        for to in &mut config.connect_to {
            to.addr = addr;
        }
        config
    }

    /// A reader who joined, and can't reach the origin.
    pub(crate) async fn reader(&self, exposure: Exposure) -> Node {
        let mut config = self.reader_config();
        config.exposure = exposure;
        self.join(config).await
    }

    /// A reader who can reach neither the origin nor an injector.
    pub(crate) async fn lonely_reader(&self) -> Node {
        self.lonely(Exposure::Quiet).await
    }

    /// The same, who shows so much of themselves.
    pub(crate) async fn lonely(&self, exposure: Exposure) -> Node {
        let config = Config { exposure, ..self.reader_config() };
        let node = Node::start(config).await.unwrap();
        node.join(&self.invite_without_injector(), true).await.unwrap();
        node
    }

    pub(crate) async fn join(&self, config: Config) -> Node {
        let node = Node::start(config).await.unwrap();
        node.join(&self.invite(), true).await.unwrap();
        node
    }

    /// Lets `a` know where `b` is.
    pub(crate) async fn introduce(&self, a: &Node, b: &Node) {
        a.learn(self.contact(b.id())).await;
    }

    /// Lets `a` know where `b` is, and connects them, so that `b` is asked without delay.
    pub(crate) async fn acquaint(&self, a: &Node, b: PeerId) {
        a.learn(self.contact(b)).await;
        connected(a.endpoint(), b).await;
    }

    /// Where anybody is: at the relay.
    pub(crate) fn contact(&self, peer: PeerId) -> Contact {
        Contact { peer, relay: Some(self.relay.ticket().clone()), addrs: vec![], veil: None }
    }

    /// What a visitor of [`HOST`] trusts.
    pub(crate) fn tls_client(&self) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// The store of a node that does not run.
pub(crate) fn store_of(config: &Config) -> busel_store::Store {
    let options = busel_store::Options {
        dir: config.dir.clone(),
        unlock: busel_store::Unlock::Open,
        quota: config.quota,
    };
    busel_store::Store::open(options).unwrap()
}

/// The same node once more, after it was stopped and dropped.
pub(crate) async fn again(config: &Config) -> Node {
    for _ in 0..200 {
        if let Ok(node) = Node::start(config.clone()).await {
            return node;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the store never became free");
}

/// Waits until `from` has a connection to `to`.
pub(crate) async fn connected(from: &busel_net::Endpoint, to: PeerId) {
    let mut last = None;
    for _ in 0..200 {
        match from.open(&to).await {
            Ok(_) => return,
            // It may not be at the relay yet; then it is not tried again at once.
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no connection: {last:?}");
}

fn base(dir: PathBuf, ca: &std::path::Path, origin: SocketAddr) -> Config {
    Config {
        dir,
        extra_ca: vec![ca.to_owned()],
        connect_to: [443, 80]
            .map(|port| ConnectTo { host: HOST.into(), port, addr: origin })
            .into(),
        dns: vec![Dns::Plain(SocketAddr::from(([127, 0, 0, 1], 9)))],
        // Tests are nobody's neighbours.
        lan: Some(Lan::Off),
        ..Config::default()
    }
}

/// What a server shows as [`HOST`], and who trusts it: nobody who was not told.
pub(crate) fn tls() -> (Arc<rustls::ServerConfig>, CertificateDer<'static>, String) {
    let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Arc::new(tls), made.cert.der().clone(), made.cert.pem())
}

pub(crate) fn url(path: &str) -> PageUrl {
    PageUrl::parse(&format!("https://{HOST}{path}")).unwrap()
}

pub(crate) async fn get(node: &Node, path: &str) -> Result<Response, Unanswered> {
    node.fetch(Request::get(url(path))).await
}

/// The whole body.
pub(crate) async fn body(response: Response) -> Bytes {
    response.body.collect().await.expect("a whole body").to_bytes()
}

/// What a reader sees of a body: the bytes, and why it ended early.
pub(crate) async fn seen(mut body: Body) -> (Vec<u8>, Option<Failure>) {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(failure) => return (bytes, Some(failure)),
        }
    }
    (bytes, None)
}

/// Whether `node` keeps a copy of the page.
pub(crate) fn has(node: &Node, path: &str) -> bool {
    node.store().find(&Wanted::page(url(path)).key()).unwrap().is_some()
}

/// Waits until `node` keeps a copy of the page.
pub(crate) async fn kept(node: &Node, path: &str) {
    until(|| has(node, path)).await;
}

/// Waits until something is so, at most half a minute.
pub(crate) async fn until(so: impl Fn() -> bool) {
    for _ in 0..3000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be");
}
