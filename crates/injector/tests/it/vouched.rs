//! A browser that speaks TLS to a listed site, which the reader's own authority vouches for: its pages come by
//! every way, and what the authority does not cover stays between browser and site.

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use busel_node::Node;
use busel_node::config::ConnectTo;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::servers::{Act, Server};
use crate::support::world::{connected, has};
use crate::support::{HOST, LOOPBACK, World, kept};

/// A reader whose own line to sites ends at a filter, and its authority's certificate.
struct Reader {
    node: Node,
    pem: String,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Reader {
    async fn start(world: &World, server: &Server, vouch: bool) -> Self {
        let mut config = world.reader_sent_to(server.addr);
        config.http = Some(LOOPBACK);
        config.http_tells = true;
        config.connect_to.push(ConnectTo { host: OTHER.into(), port: 443, addr: server.addr });
        let node = world.join(config).await;
        connected(node.endpoint(), world.injector_node.id()).await;
        let made = node.make_authority().await.unwrap();
        if !vouch {
            node.forget_authority().await.unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, &made.pem).unwrap();
        Self { node, pem: made.pem, file, _dir: dir }
    }

    /// The real curl behind the door, which believes this reader's authority and nobody else.
    async fn curl(&self, args: &[&str]) -> Output {
        let proxy = format!("http://{}", self.node.http_addr().unwrap());
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
            .arg(&self.file)
            .args(["--proxy", &proxy])
            .args(args)
            .output()
            .await
            .unwrap()
    }

    /// TLS of a browser that believes this reader's authority and nobody else, as far as the door lets it.
    async fn tls(&self, host: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        for cert in rustls::pki_types::CertificateDer::pem_slice_iter(self.pem.as_bytes()) {
            roots.add(cert.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        self.tls_of(Arc::new(config), host).await
    }

    async fn tls_of(
        &self,
        browser: Arc<rustls::ClientConfig>,
        host: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut stream = TcpStream::connect(self.node.http_addr().unwrap()).await?;
        let ask = format!("CONNECT {host}:443 HTTP/1.1\r\nhost: {host}:443\r\n\r\n");
        stream.write_all(ask.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        let name = ServerName::try_from(host.to_owned()).unwrap();
        TlsConnector::from(browser).connect(name, stream).await
    }
}

/// A host on no list.
const OTHER: &str = "other.example";

fn told(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_site_comes_by_every_way_though_the_browser_speaks_tls() {
    let world = World::start().await;
    let filter = Server::start(&world, Act::Reset).await;
    let reader = Reader::start(&world, &filter, true).await;
    let one = format!("https://{HOST}/one");
    for (version, http) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let args = [version, "--include", "--write-out", "\n%{http_version}", &one];
        let said = told(&reader.curl(&args).await);
        assert!(said.contains("the page /one") && said.ends_with(http), "{said}");
        assert!(said.contains("busel-route: "), "{said}");
        kept(&reader.node, "/one").await;
        // What is on the device is shown with nobody else there.
        world.origin.cut().await;
    }
    assert_eq!(world.origin.count(), 1, "it was fetched once, by the injector");
    reader.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_a_cookie_goes_to_the_site_and_is_kept_nowhere() {
    let world = World::start().await;
    world.origin.answer(|request| {
        let cookie = request.headers().get("cookie").cloned();
        let mut answer = http::Response::new(busel_node::request::full(format!("{cookie:?}")));
        answer.headers_mut().insert("set-cookie", "a=2".parse().unwrap());
        answer
    });
    let reset = Server::start(&world, Act::Reset).await;
    let reader = Reader::start(&world, &reset, true).await;
    let page = format!("https://{HOST}/mine");
    let said = told(&reader.curl(&["--include", "--cookie", "a=1", &page]).await);
    assert!(said.contains("a=1") && said.contains("set-cookie: a=2"), "{said}");
    assert!(said.contains("busel-route: tunnel"), "{said}");
    assert!(!has(&reader.node, "/mine") && !has(&world.injector_node, "/mine"));
    reader.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_covered_stays_between_browser_and_site() {
    let world = World::start().await;
    let site = Server::start(&world, Act::Echo).await;
    let reader = Reader::start(&world, &site, true).await;
    // The site's own certificate is shown, which this browser does not believe.
    let refused = reader.tls(OTHER).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    reader.node.stop().await;

    let reader = Reader::start(&world, &site, false).await;
    assert_eq!(reader.node.vouches(), None);
    let refused = reader.tls(HOST).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    reader.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_one_site_asks_no_other() {
    let world = World::start().await;
    let filter = Server::start(&world, Act::Reset).await;
    let reader = Reader::start(&world, &filter, true).await;
    let page = format!("https://{HOST}/one");
    for version in ["--http2", "--http1.1"] {
        let args =
            [version, "--header", "host: other.example", "--write-out", "%{http_code}", &page];
        let said = told(&reader.curl(&args).await);
        assert!(said.ends_with("421"), "{said}");
    }
    assert_eq!(world.origin.count(), 0);
    reader.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_is_left_to_browser_and_site() {
    let world = World::start().await;
    let site = Server::start(&world, Act::Echo).await;
    let reader = Reader::start(&world, &site, true).await;
    let mut stream = reader.tls(HOST).await.unwrap();
    let ask = format!(
        "GET /chat HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    for text in ["one", "and another"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, text.as_bytes());
    }
    assert_eq!(site.requests(), 1);
    reader.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_kept_over_a_restart_and_destroyed_for_good() {
    let world = World::start().await;
    let config = world.reader_config();
    let node = world.join(config.clone()).await;
    let made = node.make_authority().await.unwrap();
    assert_eq!((made.sites.as_slice(), made.left_out.len()), ([HOST.to_owned()].as_slice(), 0));
    node.stop().await;
    drop(node);
    let node = crate::support::world::again(&config).await;
    assert_eq!(node.vouches(), Some(made.clone()));
    let anew = node.make_authority().await.unwrap();
    assert_ne!(anew.pem, made.pem);
    node.forget_authority().await.unwrap();
    node.stop().await;
    drop(node);
    let node = crate::support::world::again(&config).await;
    assert_eq!(node.vouches(), None);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_believe_it_fails_once_and_then_speaks_to_the_site() {
    let world = World::start().await;
    let filter = Server::start(&world, Act::Reset).await;
    let reader = Reader::start(&world, &filter, true).await;
    let refused = reader.tls_of(world.tls_client(), HOST).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    let mut shown = reader.tls_of(world.tls_client(), HOST).await;
    for _ in 0..100 {
        // The door may still be hearing of it.
        if shown.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        shown = reader.tls_of(world.tls_client(), HOST).await;
    }
    shown.expect("the site's own certificate");
    reader.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_that_come_one_by_one_reach_the_site_together() {
    let world = World::start().await;
    world.origin.answer(|request| {
        let cookies: Vec<_> = request.headers().get_all("cookie").iter().cloned().collect();
        http::Response::new(busel_node::request::full(format!("{cookies:?}")))
    });
    let filter = Server::start(&world, Act::Reset).await;
    let reader = Reader::start(&world, &filter, true).await;
    let page = format!("https://{HOST}/mine");
    let cookies = ["--http2", "--header", "cookie: a=1", "--header", "cookie: b=2", &page];
    let said = told(&reader.curl(&cookies).await);
    assert_eq!(said, "[\"a=1; b=2\"]");
    reader.node.stop().await;
}
