//! A blocked page reaches a reader: by injector, then from another reader, then from nobody but
//! the own store.

use crate::support::{World, body, get, kept};
use busel_node::config::Exposure;
use busel_node::request::Authority;
use busel_proto::failure::{Failure, Route};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_comes_by_injector_then_from_a_reader_then_from_the_own_store() {
    let world = World::start().await;
    let a = world.reader(Exposure::Open).await;
    let b = world.reader(Exposure::Quiet).await;

    let response = get(&a, "/one").await.expect("by injector");
    assert_eq!(response.route, Route::Injector);
    assert_eq!(response.headers["content-type"], "text/html");
    let newsroom = Authority::Injector { label: "Newsroom".into(), tls: true };
    assert_eq!(response.authority, newsroom);
    assert_eq!(body(response).await, "the page /one");
    kept(&a, "/one").await;

    world.injector_node.stop().await;
    world.origin.cut().await;
    world.introduce(&b, &a).await;
    let response = get(&b, "/one").await.expect("from the other reader");
    assert_eq!((response.route, &response.authority), (Route::Swarm, &newsroom));
    assert_eq!(body(response).await, "the page /one");
    kept(&b, "/one").await;

    a.stop().await;
    let response = get(&b, "/one").await.expect("from the own store");
    assert_eq!(response.route, Route::Local);
    assert_eq!(body(response).await, "the page /one");
    assert_eq!(world.origin.count(), 1, "the origin was asked once");

    let nothing = get(&b, "/two").await.expect_err("nobody has it");
    let swarm = nothing.tried.iter().find(|(route, _)| *route == Route::Swarm);
    assert!(matches!(
        swarm,
        Some((_, Failure::Unreachable | Failure::NobodyHasIt | Failure::Silent))
    ));
    b.stop().await;
}
