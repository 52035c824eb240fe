//! Who begins many handshakes and ends none does not fill the endpoint: others connect meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use busel_net::Endpoint;
use busel_net::wire::Contact;
use busel_net::wire::plain::Plain;
use busel_proto::id::PeerId;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn endpoint() -> Endpoint {
    let wire = Arc::new(Plain::new(LOOPBACK));
    Endpoint::bind(rand::random(), vec![wire], vec![]).await.unwrap()
}

fn contact(peer: PeerId, addr: SocketAddr) -> Contact {
    Contact { peer, relay: None, addrs: vec![addr], veil: None }
}

/// A line that carries what comes to `to`, and nothing back.
async fn one_way(to: SocketAddr, tasks: &mut JoinSet<()>) -> SocketAddr {
    let (near, far) = (UdpSocket::bind(LOOPBACK).await, UdpSocket::bind(LOOPBACK).await);
    let (near, far) = (near.unwrap(), far.unwrap());
    let addr = near.local_addr().unwrap();
    tasks.spawn(async move {
        let mut packet = vec![0; 65_536];
        loop {
            let Ok(len) = near.recv(&mut packet).await else { continue };
            let _ = far.send_to(&packet[..len], to).await;
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_connect_while_many_handshakes_never_end() {
    let server = endpoint().await;
    let addr = *server.local_addrs().iter().find(|addr| addr.is_ipv4()).unwrap();
    let mut tasks = JoinSet::new();
    let line = one_way(addr, &mut tasks).await;
    let flood = endpoint().await;
    for _ in 0..150 {
        // To whom it says that it wants to talk does not matter: nobody answers.
        let anyone = PeerId(*iroh::SecretKey::generate().public().as_bytes());
        flood.learn(contact(anyone, line)).await;
        let flood = flood.clone();
        tasks.spawn(async move {
            let _ = flood.open(&anyone).await;
        });
    }
    // All of them have begun, and none is given up yet.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let honest = endpoint().await;
    honest.learn(contact(server.id(), addr)).await;
    honest.open(&server.id()).await.expect("one try is enough");
    assert!(tasks.try_join_next().is_none(), "the flood is under way");
    tasks.shutdown().await;
    flood.close().await;
    honest.close().await;
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_closes_though_nobody_takes_its_connections() {
    let server = endpoint().await;
    let addr = *server.local_addrs().iter().find(|addr| addr.is_ipv4()).unwrap();
    let mut peers = Vec::new();
    // More than wait to be taken.
    for _ in 0..70 {
        let peer = endpoint().await;
        peer.learn(contact(server.id(), addr)).await;
        peer.open(&server.id()).await.unwrap();
        peers.push(peer);
    }
    server.close().await;
}
