//! What one peer may hold of a node that serves many: the others are still served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use busel_node::Body;
use busel_node::config::GiveQuota;
use busel_proto::failure::Failure;
use busel_proto::message::{Answer, Ask};
use futures_util::stream::{self, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::Semaphore;

use crate::support::origin::page;
use crate::support::peer::{Said, request};
use crate::support::servers::{Act, Server};
use crate::support::world::until;
use crate::support::{HOST, Peer, World, url};

async fn asker_of(world: &World) -> Peer {
    let asker = Peer::asker(world).await;
    asker.meet(world, world.injector_node.id()).await;
    asker
}

fn tunnel() -> Ask {
    Ask::Tunnel { host: url("/").host(), port: 443 }
}

/// Tells when it is dropped.
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A body that begins, and ends only when the gate opens.
fn slow_body(gate: Arc<Semaphore>, held: Held) -> Body {
    let begin = stream::iter([Ok::<_, Failure>(Frame::data("begin ".into()))]);
    let end = stream::once(async move {
        let _held = held;
        let _ = gate.acquire().await;
        Ok(Frame::data("end".into()))
    });
    StreamBody::new(begin.chain(end)).boxed_unsync()
}

/// A world whose origin sends slow bodies below `/slow`; the gate; whether one was dropped.
async fn slow_world(
    change: impl FnOnce(&mut busel_injector::Config),
) -> (World, Arc<Semaphore>, Arc<AtomicBool>) {
    let world = World::with(|_| {}, change).await;
    let (gate, dropped) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
    let (own, told) = (gate.clone(), dropped.clone());
    world.origin.answer(move |asked| match asked.uri().path().starts_with("/slow") {
        true => page("").map(|_| slow_body(own.clone(), Held(told.clone()))),
        false => page("quick"),
    });
    (world, gate, dropped)
}

/// Asks for a page and waits until its fetch has begun.
async fn begin(world: &World, asker: &Peer, path: &str) -> crate::support::peer::Sealed {
    let mut answer = asker.inject(world, &request(&url(path))).await;
    let mut said = Said::default();
    while said.preview.is_none() {
        assert!(answer.next(&mut said).await, "{said:?}");
    }
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_does_not_occupy_all_fetches() {
    let (world, gate, _) = slow_world(|config| config.fetches_per_client = 2).await;
    let (greedy, modest) = (asker_of(&world).await, asker_of(&world).await);
    let held = (begin(&world, &greedy, "/slow/1").await, begin(&world, &greedy, "/slow/2").await);
    let ask = async |asker: &Peer, path: &str| {
        asker.inject(&world, &request(&url(path))).await.all().await
    };
    let said = ask(&greedy, "/quick/1").await;
    assert!(matches!(said.declined, Some(Failure::Busy(_))), "{said:?}");
    assert_eq!(ask(&modest, "/quick/2").await.data, b"quick");
    // Reading along with what is under way costs no fetch.
    let along = begin(&world, &greedy, "/slow/1").await;

    gate.add_permits(1000);
    for mut answer in [held.0, held.1, along] {
        let mut said = Said::default();
        while answer.next(&mut said).await {}
        assert!(said.signed.is_some());
    }
    until(|| world.injector_node.store().keys().unwrap().len() == 3).await;
    let mut said = ask(&greedy, "/quick/1").await;
    for _ in 0..100 {
        // Its places are given back a moment after its readers have all they want.
        if said.declined.is_none() {
            break;
        }
        said = ask(&greedy, "/quick/1").await;
    }
    assert_eq!(said.data, b"quick");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_clients_together_begin_only_so_many_fetches() {
    let (world, gate, _) = slow_world(|config| config.fetches = 1).await;
    let (one, other) = (asker_of(&world).await, asker_of(&world).await);
    let _held = begin(&world, &one, "/slow").await;
    let said = other.inject(&world, &request(&url("/quick"))).await.all().await;
    assert!(matches!(said.declined, Some(Failure::Busy(_))), "{said:?}");
    gate.add_permits(1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_under_way_ends_with_the_node() {
    let (world, _gate, dropped) = slow_world(|_| {}).await;
    let asker = asker_of(&world).await;
    let _answer = begin(&world, &asker, "/slow").await;
    assert!(!dropped.load(Ordering::SeqCst));
    // Left to itself, it would wait for the origin for 30 seconds.
    let stopping = tokio::time::timeout(Duration::from_secs(20), world.injector_node.stop());
    stopping.await.expect("the node waits for nobody");
    until(|| dropped.load(Ordering::SeqCst)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_does_not_occupy_all_streams() {
    let world = World::start().await;
    let (greedy, modest) = (asker_of(&world).await, asker_of(&world).await);
    let node = world.injector_node.id();
    let mut begun = Vec::new();
    for _ in 0..128 {
        begun.push(greedy.send(node, &[0, 0]).await);
    }
    let ask = Ask::Tunnel { host: url("/").host(), port: 22 };
    let said = greedy.ask(node, &ask).await;
    assert!(matches!(said, Answer::Declined { failure: Failure::Busy(_) }), "{said:?}");
    let said = modest.ask(node, &ask).await;
    assert!(matches!(said, Answer::Declined { failure: Failure::NotAllowed(_) }), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_does_not_occupy_all_tunnels() {
    let world = World::start().await;
    let (greedy, modest) = (asker_of(&world).await, asker_of(&world).await);
    let node = world.injector_node.id();
    let mut open = Vec::new();
    for n in 0..64 {
        let (said, stream) = greedy.ask_on(node, &tunnel()).await;
        assert_eq!(said, Answer::Open, "{n}");
        open.push(stream);
    }
    let said = greedy.ask(node, &tunnel()).await;
    assert!(matches!(said, Answer::Declined { failure: Failure::Busy(_) }), "{said:?}");
    assert_eq!(modest.ask(node, &tunnel()).await, Answer::Open);
    drop(open);
    for _ in 0..100 {
        if greedy.ask(node, &tunnel()).await == Answer::Open {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a place that was given back was never free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_whose_bytes_are_used_up_says_so() {
    let behind = tokio::net::TcpListener::bind(crate::support::LOOPBACK).await.unwrap();
    let addr = behind.local_addr().unwrap();
    let limited = move |config: &mut busel_node::Config| {
        config.give_quota = GiveQuota::Bytes(1000);
        config.connect_to.retain(|to| to.port != 443);
        config.connect_to.push(busel_node::config::ConnectTo {
            host: HOST.into(),
            port: 443,
            addr,
        });
    };
    let world = World::with(limited, |_| {}).await;
    let asker = asker_of(&world).await;
    let node = world.injector_node.id();
    let (said, mut stream) = asker.ask_on(node, &tunnel()).await;
    assert_eq!(said, Answer::Open);
    stream.send.write_all(&[1; 1001]).await.unwrap();
    let rest = stream.recv.read_to_end(1000).await;
    assert!(rest.is_err(), "it was cut, and does not look whole: {rest:?}");
    let said = asker.ask(node, &tunnel()).await;
    assert_eq!(said, Answer::Declined { failure: Failure::UsedUp });

    // A restart does not bring the day's bytes back, nor does a crash.
    let store = world.injector_node.store();
    until(|| store.setting("given").unwrap().is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_ends_with_the_node_that_carries_it() {
    let world = World::start().await;
    let silent = Server::start(&world, Act::Nothing).await;
    assert_eq!(silent.connections(), 0);
    let asker = asker_of(&world).await;
    let (said, mut stream) = asker.ask_on(world.injector_node.id(), &tunnel()).await;
    assert_eq!(said, Answer::Open);
    world.injector_node.stop().await;
    assert!(stream.recv.read_to_end(10).await.unwrap_or_default().is_empty());
}
