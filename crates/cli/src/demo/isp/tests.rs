//! The provider at work, seen from a reader's side through real sockets.

use std::collections::BTreeMap;
use std::io;

use fast_socks5::client::{Config, Socks5Stream};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, split};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsConnector;

use super::*;
use crate::demo::site::{DemoCa, Site, SiteServer};

const HOST: &str = "news.example";
const SITE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
const BLOCK_PAGE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);

/// A site, a provider in this process, and a reader's trust.
struct Street {
    isp: IspHandle,
    site: SiteServer,
    ca: DemoCa,
    /// Echoes what it gets, at `OTHER:7`.
    _echo: Owner,
}

async fn config() -> (IspConfig, SiteServer, DemoCa, Owner) {
    let ca = DemoCa::new().expect("a CA");
    let site = Arc::new(Site::generated(1));
    let site = SiteServer::start(site, HOST, &ca).await.expect("a site");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("bound");
    let echo_at = listener.local_addr().expect("an address");
    let owner = Owner::default();
    owner.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.ok();
            });
        }
    });
    let world = World {
        zone: BTreeMap::from([(HOST.to_owned(), SITE), ("echo.example".to_owned(), OTHER)]),
        routes: BTreeMap::from([
            ((SITE, 443).into(), site.https_addr()),
            ((SITE, 80).into(), site.http_addr()),
            ((OTHER, 7).into(), echo_at),
        ]),
    };
    let config = IspConfig { world, block_page: BLOCK_PAGE, policy: Policy::default() };
    (config, site, ca, owner)
}

async fn street() -> Street {
    let (config, site, ca, _echo) = config().await;
    let (near, far) = tokio::io::duplex(64 << 10);
    let (from, to) = split(far);
    _echo.spawn(async move {
        let mut control = BufReader::new(from);
        let first = line::read(&mut control).await.expect("read").expect("a line");
        let config = serde_json::from_slice(&first).expect("a configuration");
        run(config, control, to).await.expect("runs to its end");
    });
    let (from, to) = split(near);
    let isp = IspHandle::join(&config, to, from).await.expect("ready");
    Street { isp, site, ca, _echo }
}

impl Street {
    async fn dial(&self, to: &str, port: u16) -> Result<TcpStream, fast_socks5::SocksError> {
        let config = Config::default();
        let stream = Socks5Stream::connect(self.isp.socks(), to.to_owned(), port, config).await?;
        Ok(stream.get_socket())
    }

    async fn tls(&self, to: Ipv4Addr) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let tcp = self.dial(&to.to_string(), 443).await.expect("dialled");
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.cert_der()).expect("a good root");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = HOST.try_into().expect("a name");
        TlsConnector::from(Arc::new(config)).connect(host, tcp).await
    }

    async fn ask(&self, name: &str, kind: RecordType, tcp: bool) -> Message {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        let query = query.to_vec().expect("encoded");
        let mut answer = vec![0; 4096];
        if tcp {
            let mut stream = TcpStream::connect(self.isp.dns()).await.expect("connected");
            stream.write_u16(query.len() as u16).await.expect("sent");
            stream.write_all(&query).await.expect("sent");
            let len = stream.read_u16().await.expect("an answer");
            answer.truncate(len.into());
            stream.read_exact(&mut answer).await.expect("an answer");
        } else {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
            socket.send_to(&query, self.isp.dns()).await.expect("sent");
            let len = timeout(Duration::from_secs(5), socket.recv(&mut answer)).await;
            answer.truncate(len.expect("in time").expect("an answer"));
        }
        Message::from_vec(&answer).expect("a message")
    }

    async fn set(&self, policy: Policy) {
        self.isp.set(policy).await.expect("set");
    }

    /// Whether the provider saw this; waits for a little while.
    async fn has_seen(&self, kind: Kind, name_or_addr: &str, verdict: Verdict) -> bool {
        let wanted = Saw { kind, name_or_addr: name_or_addr.to_owned(), verdict };
        for _ in 0..200 {
            if self.isp.saw().contains(&wanted) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

fn addresses(answer: &Message) -> Vec<Ipv4Addr> {
    let address = |data: &RData| match data {
        RData::A(a) => Some(a.0),
        _ => None,
    };
    answer.answers.iter().filter_map(|r| address(&r.data)).collect()
}

#[tokio::test]
async fn names_are_answered_truly_until_they_are_poisoned() {
    let street = street().await;
    for tcp in [false, true] {
        assert_eq!(addresses(&street.ask("News.example.", RecordType::A, tcp).await), [SITE]);
        let aaaa = street.ask(HOST, RecordType::AAAA, tcp).await;
        assert_eq!(aaaa.metadata.response_code, ResponseCode::NoError);
        assert!(aaaa.answers.is_empty());
        let none = street.ask("no.example", RecordType::A, tcp).await;
        assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
    }
    street.set(Policy { poison: vec![HOST.into()], ..Policy::default() }).await;
    for tcp in [false, true] {
        assert_eq!(addresses(&street.ask(HOST, RecordType::A, tcp).await), [BLOCK_PAGE]);
    }
    assert!(street.has_seen(Kind::Dns, HOST, Verdict::Poisoned).await);
    assert!(street.has_seen(Kind::Dns, "no.example", Verdict::Refused).await);
}

#[tokio::test]
async fn a_site_is_reached_until_its_name_is_reset() {
    let street = street().await;
    street.tls(SITE).await.expect("open at first");
    assert!(street.has_seen(Kind::Sni, HOST, Verdict::Passed).await);
    street.set(Policy { reset_sni: vec![HOST.into()], ..Policy::default() }).await;
    let error = street.tls(SITE).await.expect_err("reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let mut plain = street.dial(HOST, 80).await.expect("dialled");
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    plain.write_all(request.as_bytes()).await.expect("sent");
    let error = plain.read_u8().await.expect_err("reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(street.has_seen(Kind::Sni, HOST, Verdict::Reset).await);
    assert!(street.has_seen(Kind::Host, HOST, Verdict::Reset).await);
    assert_eq!(street.site.requests(), 0, "nothing forbidden reached the site");
}

#[tokio::test]
async fn a_dropped_name_meets_silence() {
    let street = street().await;
    street.set(Policy { drop_sni: vec!["example".into()], ..Policy::default() }).await;
    let silence = timeout(Duration::from_millis(300), street.tls(SITE)).await;
    assert!(silence.is_err(), "neither a handshake nor an end");
    assert!(street.has_seen(Kind::Sni, HOST, Verdict::Dropped).await);
}

#[tokio::test]
async fn a_poisoned_reader_meets_the_block_page_and_a_forged_certificate() {
    let street = street().await;
    let poison = vec![HOST.to_owned()];
    let policy = Policy { reset_sni: poison.clone(), poison, ..Policy::default() };
    street.set(policy).await;
    let mut plain = street.dial(HOST, 80).await.expect("dialled");
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    plain.write_all(request.as_bytes()).await.expect("sent");
    let mut page = String::new();
    plain.read_to_string(&mut page).await.expect("a page");
    assert!(page.contains("is blocked"));
    let error = street.tls(BLOCK_PAGE).await.expect_err("not verified");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn a_cut_ends_open_connections_before_it_is_reported() {
    let street = street().await;
    let mut echo = street.dial("echo.example", 7).await.expect("dialled");
    let mut spared = street.tls(SITE).await.expect("open");
    echo.write_all(b"a").await.expect("sent");
    assert_eq!(echo.read_u8().await.expect("echoed"), b'a');
    let only = Some(vec![IpAddr::V4(SITE).into()]);
    street.set(Policy { only, ..Policy::default() }).await;
    let mut echo = echo.into_std().expect("a plain socket that does not block");
    let error = std::io::Read::read(&mut echo, &mut [0]).expect_err("cut already");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let request = format!("GET /style.css HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    spared.write_all(request.as_bytes()).await.expect("sent");
    assert_eq!(spared.read_u8().await.expect("answered"), b'H');
    let refused = street.dial("echo.example", 7).await.expect_err("refused");
    assert!(refused.to_string().to_lowercase().contains("refused"), "{refused}");
    // A name that becomes forbidden cuts what is already encrypted.
    street.set(Policy { reset_sni: vec![HOST.into()], ..Policy::default() }).await;
    let mut rest = Vec::new();
    let error = spared.read_to_end(&mut rest).await.expect_err("cut");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn addresses_are_refused_or_swallowed() {
    let street = street().await;
    let block_addr = vec!["203.0.113.20:7".parse().expect("a rule")];
    street.set(Policy { block_addr: block_addr.clone(), ..Policy::default() }).await;
    assert!(street.dial("203.0.113.20", 7).await.is_err());
    street.dial("203.0.113.10", 443).await.expect("not blocked");
    let nowhere = street.dial("198.51.100.1", 80).await.expect_err("no such host");
    assert!(nowhere.to_string().to_lowercase().contains("unreachable"), "{nowhere}");
    assert!(street.dial("127.0.0.1", street.site.http_addr().port()).await.is_err());
    street.set(Policy { block_addr, blackhole: true, ..Policy::default() }).await;
    let silence = street.dial("203.0.113.20", 7);
    assert!(timeout(Duration::from_millis(300), silence).await.is_err());
    assert!(street.has_seen(Kind::Dial, "203.0.113.20:7", Verdict::Dropped).await);
}

#[tokio::test]
async fn a_world_can_grow_and_bad_orders_are_refused() {
    let street = street().await;
    let world = World {
        zone: BTreeMap::from([("new.example".to_owned(), OTHER)]),
        routes: BTreeMap::from([((OTHER, 80).into(), street.site.http_addr())]),
    };
    street.isp.add(world).await.expect("added");
    street.dial("new.example", 80).await.expect("dialled");
    let zone = (0..=MAX_WORLD).map(|n| (format!("{n}.example"), OTHER)).collect();
    let world = World { zone, ..World::default() };
    assert!(street.isp.add(world).await.is_err());
    street.set(Policy::default()).await;
    street.isp.stop().await.expect("stopped");
}

#[test]
fn the_wire_is_as_documented() {
    let order = r#"{"set":{"poison":["a"],"block_addr":["203.0.113.1:443"],"only":null}}"#;
    assert!(matches!(serde_json::from_str(order), Ok(Order::Set(_))));
    let saw =
        Event::Saw(Saw { kind: Kind::Sni, name_or_addr: "a".into(), verdict: Verdict::Reset });
    let line = serde_json::to_string(&saw).expect("JSON");
    assert_eq!(line, r#"{"saw":{"kind":"sni","name_or_addr":"a","verdict":"reset"}}"#);
    let line = serde_json::to_string(&Event::Policy(orders::Took::Set)).expect("JSON");
    assert_eq!(line, r#"{"policy":"set"}"#);
}

/// Not a test: the child of the one below.
#[tokio::test]
#[ignore = "started by another test as a process of its own"]
async fn isp_child() {
    // The harness may have begun a line.
    println!();
    run_stdio().await.expect("runs to its end");
}

#[tokio::test]
async fn it_runs_as_a_process_of_its_own() {
    let (config, site, ca, _echo) = config().await;
    let mut command = tokio::process::Command::new(std::env::current_exe().expect("a path"));
    command.args(["demo::isp::tests::isp_child", "--exact", "--ignored", "--nocapture"]);
    let isp = IspHandle::spawn(command, &config).await.expect("spawned");
    let street = Street { isp, site, ca, _echo };
    street.tls(SITE).await.expect("open at first");
    street.set(Policy { reset_sni: vec![HOST.into()], ..Policy::default() }).await;
    let error = street.tls(SITE).await.expect_err("reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(street.isp.lost(), 0);
    street.isp.forget();
    assert!(street.isp.saw().is_empty());
    street.isp.stop().await.expect("ended well");
}
