//! Nodes talk through a relay behind a box on the line that freezes, cuts, or looks for a name.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use busel_net::dial::Dialer;
use busel_net::relay::{Identity, RelayConfig, RelayServer};
use busel_net::wire::relay::Relay;
use busel_net::wire::{Contact, Wire};
use busel_net::{Endpoint, frame};
use busel_proto::invite::RelayTicket;
use busel_proto::message;
use busel_proto::page::HostName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const NAME: &str = "www.example.org";

/// What a box does to connections.
#[derive(Clone, Copy)]
enum Filter {
    /// Swallows what comes down after so many bytes.
    Freeze(usize),
    /// Cuts after so many bytes down.
    Cut(usize),
    /// Cuts if this is in the first packet.
    Name(&'static str),
}

/// A box in front of a relay: where it listens, and how many connections it has cut or frozen.
async fn put(filter: Filter, relay: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let (addr, struck) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = struck.clone();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            near.set_nodelay(true).unwrap();
            let far = TcpStream::connect(relay).await.unwrap();
            tokio::spawn(pass(filter, near, far, count.clone()));
        }
    });
    (addr, struck)
}

async fn pass(filter: Filter, near: TcpStream, far: TcpStream, struck: Arc<AtomicUsize>) {
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    let up = async {
        let mut buffer = vec![0; 4096];
        let first = near_in.read(&mut buffer).await.unwrap_or(0);
        if let Filter::Name(name) = filter
            && buffer[..first].windows(name.len()).any(|part| part == name.as_bytes())
        {
            struck.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if far_out.write_all(&buffer[..first]).await.is_ok() {
            let _ = tokio::io::copy(&mut near_in, &mut far_out).await;
        }
        // A client that closes its direction still hears the rest.
        let _ = far_out.shutdown().await;
        std::future::pending::<()>().await;
    };
    let down = async {
        let (mut buffer, mut moved) = (vec![0; 1400], 0);
        while let Ok(read @ 1..) = far_in.read(&mut buffer).await {
            moved += read;
            match filter {
                Filter::Freeze(most) if moved > most => {
                    struck.fetch_add(usize::from(moved - read <= most), Ordering::Relaxed);
                    continue;
                }
                Filter::Cut(most) if moved > most => {
                    struck.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                _ => {}
            }
            if near_out.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn relay() -> RelayServer {
    RelayServer::start(RelayConfig {
        listen: LOOPBACK,
        public: None,
        identity: Identity::generate(&HostName::parse(NAME).unwrap()).unwrap(),
        secret: [7; 16],
        site: None,
        site_proxy: None,
        also: vec![HostName::parse("other.example.com").unwrap()],
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

/// Answers each question, one frame, with so many bytes.
async fn answer(node: Endpoint, len: usize) {
    while let Some(connection) = node.accept().await {
        tokio::spawn(async move {
            while let Some(mut stream) = connection.accept().await {
                frame::read(&mut stream.recv, 1 << 20).await.unwrap();
                stream.send.write_all(&message::frame(&vec![5; len])).await.unwrap();
                stream.send.finish().unwrap();
            }
        });
    }
}

/// A node behind the box asks one that is not; gives how many connections the box struck at.
async fn ask_behind(filter: Filter, len: usize) -> usize {
    let relay = relay().await;
    let far = node(2, relay.ticket()).await;
    tokio::spawn(answer(far.clone(), len));
    let (addr, struck) = put(filter, relay.addr()).await;
    let seen = RelayTicket { addr: addr.to_string(), ..relay.ticket().clone() };
    let near = node(1, &seen).await;
    near.learn(Contact { peer: far.id(), relay: Some(seen), addrs: vec![], veil: None }).await;
    let stream = async {
        loop {
            // A connection in the making has a limit of its own.
            if let Ok(stream) = near.open(&far.id()).await {
                break stream;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let mut stream = stream.await;
    stream.send.write_all(&message::frame(b"how much?")).await.unwrap();
    let got = frame::read(&mut stream.recv, 1 << 20).await.unwrap();
    assert!(got.len() == len && got.iter().all(|byte| *byte == 5));
    near.close().await;
    far.close().await;
    relay.stop().await;
    struck.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_freezes_each_connection_is_crossed() {
    let frozen = ask_behind(Filter::Freeze(16_000), 150_000).await;
    assert!((1..=3).contains(&frozen), "{frozen} were frozen: it learns from the first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_connections_that_are_cut() {
    assert!(ask_behind(Filter::Cut(60_000), 200_000).await >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_looked_for_is_split() {
    assert!(ask_behind(Filter::Name(NAME), 5_000).await >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_name_is_shown_where_the_first_is_known_by_half_of_it() {
    // Neither half of the split name may pass.
    assert!(ask_behind(Filter::Name("www.exa"), 5_000).await >= 2);
}
