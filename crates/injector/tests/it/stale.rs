//! Better an old page, marked with its age, than none; and a fresh one as soon as it can be had.

use busel_node::config::Exposure;
use busel_node::request::Authority;
use busel_node::{Node, Request, clock};
use busel_proto::failure::Route;
use busel_proto::snapshot::Wanted;
use busel_proto::time::UnixTime;
use http::HeaderMap;

use crate::support::copy::fields;
use crate::support::world::until;
use crate::support::{Copy, World, body, get, kept, url};

const HOUR: u64 = 3600;

/// A copy that was fetched some hours ago.
fn old_copy(world: &World, hours: u64, cache_control: &str) -> Copy {
    world.copy_with("/page", format!("{hours} hours old"), |head| {
        head.fetched_at = UnixTime(clock::now().0 - hours * HOUR);
        head.headers = fields(cache_control);
    })
}

async fn is_served_old(node: &Node, route: Route, hours: u64) {
    let response = get(node, "/page").await.expect("an old copy");
    assert_eq!((response.route, response.stale), (route, true));
    let age = response.age.unwrap().as_secs();
    assert!((hours * HOUR..(hours + 1) * HOUR).contains(&age), "{age} seconds");
    assert_eq!(response.authority, Authority::Injector { label: "Newsroom".into(), tls: true });
    assert_eq!(body(response).await, format!("{hours} hours old"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_the_own_is_served_with_its_age_when_nothing_else_can_be_had() {
    let world = World::start().await;
    for cache_control in ["max-age=0", "max-age=60", "no-cache", "max-age=60, must-revalidate"] {
        let reader = world.lonely_reader().await;
        let copy = old_copy(&world, 2, cache_control);
        copy.put_into(&reader, copy.head.fetched_at).await;
        is_served_old(&reader, Route::Local, 2).await;
        reader.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_a_peer_is_served_with_its_age_and_kept_as_old_as_it_is() {
    let world = World::start().await;
    let peer = world.reader(Exposure::Open).await;
    let copy = old_copy(&world, 5, "max-age=60");
    copy.put_into(&peer, copy.head.fetched_at).await;
    let reader = world.lonely_reader().await;
    world.acquaint(&reader, peer.id()).await;
    is_served_old(&reader, Route::Swarm, 5).await;
    kept(&reader, "/page").await;
    peer.stop().await;
    is_served_old(&reader, Route::Local, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_old_copies_the_newer_one_is_served() {
    let world = World::start().await;
    for (own, others, route) in [(9, 3, Route::Swarm), (3, 9, Route::Local)] {
        let peer = world.reader(Exposure::Open).await;
        let reader = world.lonely_reader().await;
        let copy = old_copy(&world, others, "max-age=60");
        copy.put_into(&peer, copy.head.fetched_at).await;
        let copy = old_copy(&world, own, "max-age=60");
        copy.put_into(&reader, copy.head.fetched_at).await;
        world.acquaint(&reader, peer.id()).await;
        is_served_old(&reader, route, 3).await;
        peer.stop().await;
        reader.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_page_replaces_the_old_one_when_it_can_be_had_again() {
    let world = World::start().await;
    let reader = world.reader(Exposure::Quiet).await;
    let copy = old_copy(&world, 2, "max-age=60");
    copy.put_into(&reader, copy.head.fetched_at).await;
    world.origin.cut().await;
    is_served_old(&reader, Route::Local, 2).await;

    world.origin.back().await;
    let response = get(&reader, "/page").await.expect("by injector");
    assert_eq!((response.route, response.stale), (Route::Injector, false));
    assert_eq!(body(response).await, "the page /page");
    let key = Wanted::page(url("/page")).key();
    let replaced = || {
        let stored = reader.store().find(&key).unwrap().unwrap();
        stored.signed.head.peek().unwrap().fetched_at > copy.head.fetched_at
    };
    until(replaced).await;
    world.origin.cut().await;
    // The hot copy is forgotten a moment after the new one is durable.
    loop {
        let response = get(&reader, "/page").await.expect("from the own store");
        if !response.stale {
            assert_eq!(response.route, Route::Local);
            assert_eq!(body(response).await, "the page /page");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_insists_gets_the_page_anew() {
    let world = World::start().await;
    let reader = world.reader(Exposure::Quiet).await;
    for (n, insisting) in ["no-cache", "max-age=0"].into_iter().enumerate() {
        let path = format!("/{insisting}");
        let copy = world.copy_with(&path, "a fresh copy", |head| {
            head.fetched_at = UnixTime(clock::now().0 - 100);
        });
        copy.put_into(&reader, clock::now()).await;
        copy.put_into(&world.injector_node, clock::now()).await;
        let response = get(&reader, &path).await.expect("from the own store");
        assert_eq!((response.route, response.stale), (Route::Local, false));
        assert_eq!(body(response).await, "a fresh copy");

        let mut headers = HeaderMap::new();
        headers.insert("cache-control", insisting.parse().unwrap());
        let response = reader.fetch(Request { headers, ..Request::get(url(&path)) }).await;
        let response = response.expect("by injector");
        assert_eq!((response.route, response.stale), (Route::Injector, false));
        assert_eq!(body(response).await, format!("the page {path}"));
        assert_eq!(world.origin.count(), n + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_without_any_word_of_its_publisher_is_old_after_a_while_and_not_lost() {
    let world = World::start().await;
    let reader = world.lonely_reader().await;
    let copy = world.copy_with("/page", "1 hours old", |head| {
        head.fetched_at = UnixTime(clock::now().0 - HOUR);
        head.headers.clear();
    });
    copy.put_into(&reader, copy.head.fetched_at).await;
    is_served_old(&reader, Route::Local, 1).await;
}
