//! The veil wire on loopback: two nodes talk, and who has no secret gets no answer to anything.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::net::SocketAddr;
use std::sync::Arc;

use busel_net::wire::veil::{Listen, Veil};
use busel_net::wire::{Contact, Wire};
use busel_net::{Endpoint, frame};
use busel_proto::invite::VeilTicket;
use busel_proto::message;
use busel_proto::veil::VeilSecret;

const SECRET: VeilSecret = VeilSecret([9; 32]);

/// A node that listens on `addr`, and where.
async fn listener(seed: u8, addr: &str) -> (Endpoint, SocketAddr) {
    let listen = Listen { addr: addr.parse().unwrap(), secret: SECRET };
    let wire = Arc::new(Veil::new(Some(listen)));
    let wires: Vec<Arc<dyn Wire>> = vec![wire.clone()];
    let node = Endpoint::bind([seed; 32], wires, vec![]).await.unwrap();
    (node, wire.listens().unwrap())
}

async fn dialler(seed: u8) -> Endpoint {
    let wires: Vec<Arc<dyn Wire>> = vec![Arc::new(Veil::new(None))];
    Endpoint::bind([seed; 32], wires, vec![]).await.unwrap()
}

fn contact(node: &Endpoint, addr: SocketAddr) -> Contact {
    let veil = Some(VeilTicket { addrs: vec![addr.to_string()], secret: SECRET });
    Contact { peer: node.id(), relay: None, addrs: vec![], veil }
}

/// Echoes one frame of each stream of each connection.
async fn echo(node: Endpoint) {
    while let Some(connection) = node.accept().await {
        tokio::spawn(async move {
            while let Some(mut stream) = connection.accept().await {
                let body = frame::read(&mut stream.recv, 8 << 20).await.unwrap();
                stream.send.write_all(&message::frame(&body)).await.unwrap();
                stream.send.finish().unwrap();
            }
        });
    }
}

async fn ask(from: &Endpoint, to: &Endpoint, body: &[u8]) -> Vec<u8> {
    let mut stream = from.open(&to.id()).await.unwrap();
    stream.send.write_all(&message::frame(body)).await.unwrap();
    frame::read(&mut stream.recv, 8 << 20).await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_talk_over_ipv4_and_ipv6() {
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let (a, (b, at)) = (dialler(1).await, listener(2, addr).await);
        tokio::spawn(echo(b.clone()));
        a.learn(contact(&b, at)).await;
        assert_eq!(ask(&a, &b, b"hello").await, b"hello");
        let big = vec![5; 6_000_000];
        assert_eq!(ask(&a, &b, &big).await, big);
        assert_eq!(Vec::from_iter(a.wires_in_use()), ["veil"]);
        a.close().await;
        b.close().await;
    }
}
