//! Of several injectors one that says nothing costs a moment, and the next time not even that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use busel_net::Endpoint;
use busel_net::dial::Dialer;
use busel_net::wire::relay::Relay;
use busel_node::Node;
use busel_proto::failure::Route;
use busel_proto::invite::{InjectorTicket, PeerTicket};

use crate::support::world::connected;
use crate::support::{World, body, get};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injector_that_says_nothing_is_not_waited_for() {
    let world = World::start().await;
    let wire = Relay::start(Dialer::default(), &[world.relay.ticket().clone()]).await.unwrap();
    let silent = Endpoint::bind(rand::random(), vec![Arc::new(wire)], vec![]).await.unwrap();
    let mut invite = world.invite();
    let cert = world.cert.clone();
    invite
        .peers
        .insert(0, PeerTicket { peer: silent.id(), relay: Some(0), addrs: vec![], veil: None });
    invite.injectors.insert(0, InjectorTicket { peer: silent.id(), cert });
    let reader = Node::start(world.reader_config()).await.unwrap();
    reader.join(&invite, true).await.unwrap();
    connected(reader.endpoint(), silent.id()).await;
    connected(reader.endpoint(), world.injector_node.id()).await;

    // How often it was asked, and how much the other one had done when it was let go.
    let (asked, let_go) = (Arc::<AtomicUsize>::default(), Arc::new(AtomicU64::new(u64::MAX)));
    let listening = tokio::spawn({
        let (injector, asked, let_go) = (world.injector.clone(), asked.clone(), let_go.clone());
        async move {
            while let Some(connection) = silent.accept().await {
                while let Some(mut stream) = connection.accept().await {
                    let mut first = [0; 8];
                    if stream.recv.read_exact(&mut first).await.is_err() {
                        continue;
                    }
                    asked.fetch_add(1, Ordering::SeqCst);
                    // Never an answer.
                    let _ = stream.send.stopped().await;
                    let_go.fetch_min(injector.fetches(), Ordering::SeqCst);
                }
            }
        }
    });
    let response = get(&reader, "/one").await.expect("by the one that answers");
    assert_eq!(response.route, Route::Injector);
    body(response).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1, "it was asked first");
    crate::support::world::until(|| let_go.load(Ordering::SeqCst) != u64::MAX).await;
    assert_eq!(let_go.load(Ordering::SeqCst), 1, "the other was asked beside it");

    let response = get(&reader, "/two").await.expect("by the one that answers");
    assert_eq!(response.route, Route::Injector);
    body(response).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1, "it was not asked again");
    listening.abort();
}
