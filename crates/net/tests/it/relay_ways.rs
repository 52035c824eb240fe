//! Ways into a relay are given out and taken back: whose is gone sees a web site, all others go on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use busel_net::dial::Dialer;
use busel_net::relay::{Identity, RelayConfig, RelayServer};
use busel_net::wire::relay::Relay;
use busel_net::wire::{Contact, Wire};
use busel_net::{Endpoint, frame};
use busel_proto::invite::RelayTicket;
use busel_proto::message;
use busel_proto::page::HostName;
use busel_proto::time::UnixTime;
use busel_proto::way_in::{Book, WayIn, WayRoot};
use data_encoding::HEXLOWER;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::probe::probe;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const NOW: UnixTime = UnixTime(1_767_225_600);

/// A relay, its book, and four ways in.
async fn relay(site_proxy: Option<String>) -> (RelayServer, Book, Vec<WayIn>) {
    let name = HostName::parse("www.example.org").unwrap();
    let relay = RelayServer::start(RelayConfig {
        listen: LOOPBACK,
        public: None,
        identity: Identity::generate(&name).unwrap(),
        secret: [7; 16],
        site: None,
        site_proxy,
        also: Vec::new(),
        bytes_per_second: None,
    });
    let (relay, mut book) = (relay.await.unwrap(), Book::new(WayRoot([3; 32])));
    let ways = book.make(4, 30, NOW).unwrap();
    relay.admit(book.shared(), book.good(NOW));
    (relay, book, ways)
}

fn ticket(relay: &RelayServer, way: WayIn) -> RelayTicket {
    RelayTicket { secret: way.0, ..relay.ticket().clone() }
}

/// A node that comes by these ways in, and says back one frame of each stream.
async fn node(seed: u8, tickets: &[RelayTicket]) -> (Endpoint, Arc<Relay>) {
    let wire = Arc::new(Relay::start(Dialer::default(), tickets).await.unwrap());
    let wires: Vec<Arc<dyn Wire>> = vec![wire.clone()];
    let node = Endpoint::bind([seed; 32], wires, vec![]).await.unwrap();
    let own = node.clone();
    tokio::spawn(async move {
        while let Some(connection) = own.accept().await {
            tokio::spawn(async move {
                while let Some(mut stream) = connection.accept().await {
                    let Ok(body) = frame::read(&mut stream.recv, 1 << 20).await else { return };
                    let _ = stream.send.write_all(&message::frame(&body)).await;
                    let _ = stream.send.finish();
                }
            });
        }
    });
    (node, wire)
}

async fn ask(from: &Endpoint, to: &Endpoint, by: &RelayTicket) -> Option<Vec<u8>> {
    let contact = Contact { peer: to.id(), relay: Some(by.clone()), addrs: vec![], veil: None };
    from.learn(contact).await;
    let asked = async {
        let mut stream = from.open(&to.id()).await.ok()?;
        stream.send.write_all(&message::frame(b"hello")).await.ok()?;
        Some(frame::read(&mut stream.recv, 1 << 20).await.ok()?.to_vec())
    };
    tokio::time::timeout(Duration::from_secs(3), asked).await.ok().flatten()
}

/// Waits until the relay counts so many ways in of the first batch in use.
async fn in_use(relay: &RelayServer, count: usize) {
    while relay.uses().get(&1).map_or(0, |of| of.now) != count {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_whose_way_in_leaked_is_shown_out_and_all_others_go_on() {
    let (relay, mut book, ways) = relay(None).await;
    let by: Vec<_> = ways.iter().map(|way| ticket(&relay, *way)).collect();
    let (a, wire) = node(1, &by[..1]).await;
    let (b, _) = node(2, &by[1..2]).await;
    let (c, _) = node(3, &by[2..3]).await;
    let hello = Some(b"hello".to_vec());
    assert_eq!(ask(&a, &c, &by[0]).await, hello, "each by a way in of its own");
    assert_eq!(ask(&b, &c, &by[1]).await, hello);
    in_use(&relay, 3).await;
    assert_eq!(relay.uses()[&1].used, 3);
    assert!(!wire.standing()[0].1);

    // Somebody found a's invite. Its session ends at once, and it does not come back.
    let leaked = book.find(&ways[0]).unwrap();
    assert!(book.revoke(leaked));
    relay.admit(book.shared(), book.good(NOW));
    in_use(&relay, 2).await;
    while !wire.standing()[0].1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ask(&a, &b, &by[0]).await, None);
    assert_eq!(relay.uses()[&1].now, 2);
    assert_eq!(ask(&b, &c, &by[1]).await, hello, "the same connection, or a new one");
    assert_eq!(ask(&c, &b, &by[2]).await, hello);
    let (d, _) = node(4, &by[3..]).await;
    assert_eq!(ask(&d, &c, &by[3]).await, hello, "of the same batch");
    for node in [a, b, c, d] {
        node.close().await;
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_another_way_in_takes_that() {
    let (relay, mut book, ways) = relay(None).await;
    let by: Vec<_> = ways.iter().map(|way| ticket(&relay, *way)).collect();
    let (c, _) = node(3, &by[2..3]).await;
    let (a, wire) = node(1, &by[..2]).await;
    assert_eq!(wire.standing().len(), 1, "both lead to one relay");
    for way in &ways[..2] {
        let place = book.find(way).unwrap();
        let (mut one_gone, mut told) = (book.clone(), None);
        one_gone.revoke(place);
        relay.admit(one_gone.shared(), one_gone.good(NOW));
        // The endpoint tries again by itself, with a growing pause.
        for _ in 0..20 {
            told = ask(&a, &c, &by[0]).await;
            if told.is_some() {
                break;
            }
        }
        assert_eq!(told, Some(b"hello".to_vec()));
        assert!(!wire.standing()[0].1);
    }
    book.close(1);
    a.close().await;
    c.close().await;
    relay.stop().await;
}

/// A site that repeats what it was asked for.
async fn echoing_site() -> SocketAddr {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            let head = "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&asked[..read]).await.unwrap();
        }
    });
    addr
}

/// What is told of the way in, and of the day, taken out.
fn but_for(answer: &str, way: &str) -> Vec<String> {
    let dateless = answer.lines().filter(|line| !line.to_lowercase().starts_with("date:"));
    dateless.map(|line| line.replace(way, "WAY")).collect()
}

/// To the byte, whoever holds a way in that was taken back or has run out is a stranger with a guess.
#[tokio::test]
async fn a_prober_learns_nothing_from_what_was_taken_back() {
    let site = echoing_site().await;
    for proxied in [None, Some(format!("http://{site}"))] {
        let (relay, mut book, ways) = relay(proxied).await;
        let way = HEXLOWER.encode(&ways[0].0);
        let token = "ab".repeat(16);
        let entered = probe(relay.addr(), &format!("/{way}/{token}/first")).await;
        assert!(entered.starts_with("HTTP/1.1 101"), "{entered}");
        let place = book.find(&ways[0]).unwrap();
        book.revoke(place);
        let guess = HEXLOWER.encode(&[0x5a; 16]);
        let out = HEXLOWER.encode(&ways[1].0);
        for (now, gone) in [(NOW, &way), (UnixTime(NOW.0 + 90 * 86_400), &out)] {
            relay.admit(true, book.good(now));
            let rest =
                [format!("{token}/first"), format!("{token}/next"), "ping".into(), "x".into()];
            for rest in &rest {
                let told = probe(relay.addr(), &format!("/{gone}/{rest}")).await;
                let guessed = probe(relay.addr(), &format!("/{guess}/{rest}")).await;
                assert_eq!(but_for(&told, gone), but_for(&guessed, &guess), "{rest}");
                assert!(told.starts_with("HTTP/1.1 404"), "{told}");
            }
        }
        let shared = HEXLOWER.encode(&[7; 16]);
        let path = format!("/{shared}/{}/first", "cd".repeat(16));
        assert!(probe(relay.addr(), &path).await.starts_with("HTTP/1.1 101"));
        relay.admit(false, book.good(NOW));
        assert!(probe(relay.addr(), &path).await.starts_with("HTTP/1.1 404"));
        relay.stop().await;
    }
}

#[tokio::test]
async fn one_way_in_opens_few_sessions() {
    let (relay, _, ways) = relay(None).await;
    let mut open = 0;
    for n in 0..24u8 {
        let token = HEXLOWER.encode(&[n; 16]);
        let path = format!("/{}/{token}/first", HEXLOWER.encode(&ways[0].0));
        open += usize::from(probe(relay.addr(), &path).await.starts_with("HTTP/1.1 101"));
    }
    assert_eq!(open, 16);
    let token = "ee".repeat(16);
    let path = format!("/{}/{token}/first", HEXLOWER.encode(&ways[1].0));
    assert!(probe(relay.addr(), &path).await.starts_with("HTTP/1.1 101"), "others have theirs");
    relay.stop().await;
}
