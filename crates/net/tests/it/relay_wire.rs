//! Two nodes that share nothing but a relay talk through it; everyone else sees a web site.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use busel_net::dial::Dialer;
use busel_net::relay::{Identity, RelayConfig, RelayServer};
use busel_net::wire::relay::Relay;
use busel_net::wire::{Contact, Wire};
use busel_net::{Endpoint, frame};
use busel_proto::guards::GUARDS;
use busel_proto::id::Hash;
use busel_proto::invite::RelayTicket;
use busel_proto::message;
use busel_proto::page::HostName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::probe::probe;

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

async fn relay() -> RelayServer {
    relay_before(None).await
}

async fn relay_before(site_proxy: Option<String>) -> RelayServer {
    let name = HostName::parse("www.example.org").unwrap();
    RelayServer::start(RelayConfig {
        listen: LOOPBACK,
        public: None,
        identity: Identity::generate(&name).unwrap(),
        secret: [7; 16],
        site: None,
        site_proxy,
        also: Vec::new(),
        bytes_per_second: None,
    })
    .await
    .unwrap()
}

async fn node(seed: u8, ticket: &RelayTicket) -> Endpoint {
    let wire = Relay::start(Dialer::default(), std::slice::from_ref(ticket)).await.unwrap();
    let wires: Vec<Arc<dyn Wire>> = vec![Arc::new(wire)];
    Endpoint::bind([seed; 32], wires, vec![]).await.unwrap()
}

fn contact(node: &Endpoint, ticket: &RelayTicket) -> Contact {
    Contact { peer: node.id(), relay: Some(ticket.clone()), addrs: vec![], veil: None }
}

/// Echoes one frame of each stream of each connection.
async fn echo(node: Endpoint) {
    while let Some(connection) = node.accept().await {
        tokio::spawn(async move {
            while let Some(mut stream) = connection.accept().await {
                let body = frame::read(&mut stream.recv, 1 << 20).await.unwrap();
                stream.send.write_all(&message::frame(&body)).await.unwrap();
                stream.send.finish().unwrap();
            }
        });
    }
}

async fn ask(from: &Endpoint, to: &Endpoint, body: &[u8]) -> Vec<u8> {
    let mut stream = from.open(&to.id()).await.unwrap();
    stream.send.write_all(&message::frame(body)).await.unwrap();
    frame::read(&mut stream.recv, 1 << 20).await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_talk_through_a_relay_both_ways_on_one_connection() {
    let relay = relay().await;
    let ticket = relay.ticket().clone();
    let (a, b) = (node(1, &ticket).await, node(2, &ticket).await);
    tokio::spawn(echo(a.clone()));
    tokio::spawn(echo(b.clone()));
    a.learn(contact(&b, &ticket)).await;
    let big = vec![5; 900_000];
    assert_eq!(ask(&a, &b, b"hello").await, b"hello");
    assert_eq!(ask(&a, &b, &big).await, big);
    assert_eq!(a.connected(), [b.id()]);
    b.learn(contact(&a, &ticket)).await;
    assert_eq!(ask(&b, &a, b"back").await, b"back");
    a.close().await;
    b.close().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_pin_or_secret_leads_nowhere() {
    let relay = relay().await;
    let mut wrong_pin = relay.ticket().clone();
    wrong_pin.pin.0[0] ^= 1;
    let mut wrong_secret = relay.ticket().clone();
    wrong_secret.secret[0] ^= 1;
    let b = node(2, relay.ticket()).await;
    for ticket in [wrong_pin, wrong_secret] {
        let a = node(1, &ticket).await;
        a.learn(contact(&b, &ticket)).await;
        let opened = tokio::time::timeout(std::time::Duration::from_secs(2), a.open(&b.id())).await;
        assert!(!matches!(opened, Ok(Ok(_))), "a node came through without the way in");
        a.close().await;
    }
}

#[tokio::test]
async fn a_prober_sees_a_web_site() {
    let relay = relay().await;
    for path in ["/", "/relay", "/ping", "/generate_204", "/07070707/relay"] {
        let answer = probe(relay.addr(), path).await;
        let status = if path == "/" { "200" } else { "404" };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(!answer.to_lowercase().contains("iroh"), "{path}: {answer}");
        assert!(!answer.to_lowercase().contains("busel"), "{path}: {answer}");
    }
}

/// A site of an operator's own: it says what it was asked.
async fn own_site() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Site: own\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&asked[..read]).await.unwrap();
        }
    });
    addr
}

#[tokio::test]
async fn an_operators_own_site_answers_in_front_and_never_learns_the_way_in() {
    let site = own_site().await;
    let relay = relay_before(Some(format!("http://{site}"))).await;
    let secret = "07".repeat(16);
    let answer = probe(relay.addr(), "/news?a=b").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-site: own"), "{answer}");
    assert!(answer.contains("GET /news?a=b HTTP/1.1"), "{answer}");
    assert!(!answer.to_lowercase().contains("upgrade"), "{answer}");
    for path in [format!("/{secret}/x"), format!("/{secret}/{}/next", "ab".repeat(16))] {
        let answer = probe(relay.addr(), &path).await;
        assert!(answer.contains("x-site: own") && !answer.contains(&secret), "{answer}");
    }
    let closed = relay_before(Some("http://127.0.0.1:1".into())).await;
    assert!(probe(closed.addr(), "/").await.starts_with("HTTP/1.1 502"));
}

/// Who knows the secret but no session of it sees the site too, to the byte.
#[tokio::test]
async fn without_a_token_of_ours_the_way_in_is_not_there() {
    let relay = relay().await;
    let secret = "07".repeat(16);
    let missing = probe(relay.addr(), "/missing").await;
    let token = "ab".repeat(16);
    for path in [
        format!("/{secret}/{token}/next"),
        format!("/{secret}/{token}/other"),
        format!("/{secret}/{}/first", "ab".repeat(15)),
        format!("/{}/{token}/first", "08".repeat(16)),
        format!("/{secret}"),
        format!("/{secret}/relay"),
    ] {
        let answer = probe(relay.addr(), &path).await;
        let dateless = |answer: &str| {
            let lines = answer.lines().filter(|line| !line.to_lowercase().starts_with("date:"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(dateless(&answer), dateless(&missing), "{path}");
    }
    let entered = probe(relay.addr(), &format!("/{secret}/{token}/first")).await;
    assert!(entered.starts_with("HTTP/1.1 101"), "{entered}");
}

/// How many of `many` relays that answer nothing are met by a node in ten seconds, if all may be or a few.
async fn met(many: usize, few: bool) -> usize {
    let (mut tickets, mut doors) = (Vec::new(), Vec::new());
    let real = relay().await;
    for n in 0..many {
        let door = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
        let addr = door.local_addr().unwrap().to_string();
        let pin = Hash([u8::try_from(n).unwrap(); 32]);
        tickets.push(RelayTicket { addr, pin, ..real.ticket().clone() });
        doors.push(door);
    }
    let wire = Relay::start(Dialer::default(), &tickets).await.unwrap();
    if few {
        wire.keep_to_few(None);
    }
    let node = Endpoint::bind([1; 32], vec![Arc::new(wire)], vec![]).await.unwrap();
    let comes =
        doors.iter().map(|door| tokio::time::timeout(Duration::from_secs(10), door.accept()));
    let came = futures_util::future::join_all(comes).await;
    node.close().await;
    real.stop().await;
    came.iter().filter(|came| came.is_ok()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_relays_a_few_are_met() {
    let (all, few) = tokio::join!(met(7, false), met(7, true));
    assert_eq!((all, few), (7, GUARDS));
}
