//! A small world for tests: an HTTPS origin, a relay, an injector and readers, all real, on
//! loopback.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busel_injector::keys::{Keys, RootKey, Subkey, VALIDITY_SECS};
use busel_injector::{Config as InjectorConfig, Injector};
use busel_net::relay::{Identity, RelayConfig, RelayServer};
use busel_net::wire::Contact;
use busel_node::config::{ConnectTo, Exit, Exposure, SiteConfig};
use busel_node::request::full;
use busel_node::{Body, Config, Node, Request, Response, Unanswered, clock};
use busel_proto::invite::{Invite, PeerTicket};
use busel_proto::page::{HostName, HostPattern, PageUrl};
use busel_proto::sites::Site;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub const HOST: &str = "news.example";
pub const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

type Handler = Arc<dyn Fn(http::Request<Incoming>) -> http::Response<Body> + Send + Sync>;

/// An HTTPS origin.
pub struct Origin {
    pub addr: SocketAddr,
    pub requests: Arc<AtomicUsize>,
    handler: Arc<Mutex<Handler>>,
    task: tokio::task::JoinHandle<()>,
}

impl Origin {
    /// Answers differently from now on.
    pub fn answer(
        &self,
        handler: impl Fn(http::Request<Incoming>) -> http::Response<Body> + Send + Sync + 'static,
    ) {
        *self.handler.lock().unwrap() = Arc::new(handler);
    }

    pub fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Cuts it off.
    pub fn cut(&self) {
        self.task.abort();
    }
}

/// The world. Its parts stop when it is dropped.
pub struct World {
    pub origin: Origin,
    pub relay: RelayServer,
    pub injector: Injector,
    pub injector_node: Node,
    pub root: RootKey,
    dir: TempDir,
    ca: PathBuf,
    nodes: AtomicUsize,
}

impl World {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A world whose injector node is set up otherwise.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        // `RUST_LOG=busel=trace` shows what a failing test did.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let dir = tempfile::tempdir().unwrap();
        let (origin, pem) = origin().await;
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, pem).unwrap();
        let relay = RelayServer::start(RelayConfig {
            listen: LOOPBACK,
            public: None,
            identity: Identity::generate(&HostName::parse("www.example.org").unwrap()).unwrap(),
            secret: rand::random(),
            site: None,
            bytes_per_second: None,
        })
        .await
        .unwrap();
        let mut config = base(dir.path().join("injector"), &ca, origin.addr);
        config.exposure = Exposure::Open;
        config.allow_net = vec!["127.0.0.0/8".into()];
        config.exit = Exit::Web;
        change(&mut config);
        let injector_node = Node::start(config).await.unwrap();
        let root = RootKey::from_random(&rand::random());
        let subkey = Subkey::from_random(&rand::random(), rand::random());
        let cert = root.certify(&subkey, clock::now(), VALIDITY_SECS).unwrap();
        let injector = Injector::start(
            &injector_node,
            Keys::new(subkey, cert).unwrap(),
            InjectorConfig {
                label: "Newsroom".into(),
                hosts: vec![HostPattern::parse(HOST).unwrap()],
                ..InjectorConfig::default()
            },
        );
        let world = Self {
            origin,
            relay,
            injector,
            injector_node,
            root,
            dir,
            ca,
            nodes: AtomicUsize::new(0),
        };
        world.meet(&world.injector_node).await;
        world
    }

    /// Tells `node` of the relay, by a contact that nobody is.
    async fn meet(&self, node: &Node) {
        let peer = busel_proto::id::PeerId(rand::random());
        let relay = Some(self.relay.ticket().clone());
        node.learn(Contact { peer, relay, addrs: vec![] }).await;
    }

    /// What the newsroom gives to readers.
    pub fn invite(&self) -> Invite {
        Invite {
            relays: vec![self.relay.ticket().clone()],
            peers: vec![PeerTicket {
                peer: self.injector_node.id(),
                relay: Some(0),
                addrs: vec![],
            }],
            roots: vec![self.injector.trusted_root()],
            injectors: vec![self.injector.ticket()],
            sites: vec![Site::new(HostPattern::parse(HOST).unwrap())],
        }
    }

    /// The configuration of a reader who can't reach the origin.
    pub fn reader_config(&self) -> Config {
        let n = self.nodes.fetch_add(1, Ordering::SeqCst);
        let mut config = base(self.dir.path().join(format!("reader-{n}")), &self.ca, self.origin.addr);
        config.direct = false;
        config
    }

    /// A reader who joined, and can't reach the origin.
    pub async fn reader(&self, exposure: Exposure) -> Node {
        let mut config = self.reader_config();
        config.exposure = exposure;
        self.join(config).await
    }

    pub async fn join(&self, config: Config) -> Node {
        let node = Node::start(config).await.unwrap();
        node.join(&self.invite(), true).await.unwrap();
        node
    }

    /// Lets `a` know where `b` is.
    pub async fn introduce(&self, a: &Node, b: &Node) {
        let relay = Some(self.relay.ticket().clone());
        a.learn(Contact { peer: b.id(), relay, addrs: vec![] }).await;
    }
}

fn base(dir: PathBuf, ca: &std::path::Path, origin: SocketAddr) -> Config {
    Config {
        dir,
        extra_ca: vec![ca.to_owned()],
        connect_to: [443, 80]
            .map(|port| ConnectTo { host: HOST.into(), port, addr: origin })
            .into(),
        dns: vec![busel_node::config::Dns::Plain(SocketAddr::from(([127, 0, 0, 1], 9)))],
        sites: Vec::<SiteConfig>::new(),
        ..Config::default()
    }
}

async fn origin() -> (Origin, String) {
    let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    let pem = made.cert.pem();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let handler: Arc<Mutex<Handler>> = Arc::new(Mutex::new(Arc::new(|request| {
        page(format!("the page {}", request.uri().path()))
    })));
    let (count, answers) = (requests.clone(), handler.clone());
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, count, answers) = (acceptor.clone(), count.clone(), answers.clone());
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| {
                    count.fetch_add(1, Ordering::SeqCst);
                    let answer = answers.lock().unwrap().clone();
                    async move { Ok::<_, Infallible>(answer(request)) }
                });
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (Origin { addr, requests, handler, task }, pem)
}

/// A cacheable page.
pub fn page(body: impl Into<Bytes>) -> http::Response<Body> {
    http::Response::builder()
        .header("content-type", "text/html")
        .header("cache-control", "max-age=600")
        .header("etag", "\"v1\"")
        .body(full(body))
        .unwrap()
}

pub fn url(path: &str) -> PageUrl {
    PageUrl::parse(&format!("https://{HOST}{path}")).unwrap()
}

pub async fn get(node: &Node, path: &str) -> Result<Response, Unanswered> {
    node.fetch(Request::get(url(path))).await
}

/// The whole body.
pub async fn body(response: Response) -> Bytes {
    response.body.collect().await.expect("a whole body").to_bytes()
}

/// Waits until `node` keeps a copy of the page, at most ten seconds.
pub async fn kept(node: &Node, path: &str) {
    let key = url(path).key(&busel_proto::page::Variant::default());
    for _ in 0..1000 {
        if node.store().find(&key).unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no copy was kept");
}
