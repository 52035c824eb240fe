//! What worked on this network is remembered over a restart, if the reader lets it, and names no site.

use busel_node::{Config, Node, Response};
use busel_proto::failure::Route;
use busel_proto::race::What;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::world::again;
use crate::support::{HOST, LOOPBACK, World, get};

/// A reader whose way to the site is cut at once, whenever it is tried.
async fn walled_in(world: &World) -> (Config, JoinHandle<()>) {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let config = world.reader_sent_to(listener.local_addr().unwrap());
    let wall = tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    (config, wall)
}

fn first_tried(response: &Response) -> Route {
    let events = response.timeline.events();
    events.iter().find(|event| event.what == What::Started).expect("something was tried").route
}

/// A node that has just learnt that the site is blocked, stopped.
async fn taught(world: &World, config: &Config) {
    let node = world.join(config.clone()).await;
    let response = get(&node, "/one").await.expect("by injector");
    assert_eq!((first_tried(&response), response.route), (Route::Direct, Route::Injector));
    drop(response);
    end(node).await;
}

async fn end(node: Node) {
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_again_goes_the_way_that_worked_first() {
    let world = World::start().await;
    let (config, _wall) = walled_in(&world).await;
    taught(&world, &config).await;
    let node = again(&config).await;
    let response = get(&node, "/two").await.expect("by injector");
    assert_ne!(first_tried(&response), Route::Direct);
    assert_eq!(response.route, Route::Injector);
    drop(response);
    end(node).await;
    drop(world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_refuses_is_not_remembered_and_what_was_before_is_removed() {
    let world = World::start().await;
    let (mut config, _wall) = walled_in(&world).await;
    taught(&world, &config).await;
    let rows = rows(&config).await;
    assert!(!rows.is_empty(), "it was kept");
    let named = |row: &[u8]| row.windows(HOST.len()).any(|part| part == HOST.as_bytes());
    assert!(!rows.iter().any(|row| named(row)), "a site is named");

    config.remember = false;
    let node = again(&config).await;
    let response = get(&node, "/two").await.expect("by injector");
    assert_eq!(first_tried(&response), Route::Direct);
    drop(response);
    end(node).await;
    assert_eq!(self::rows(&config).await, Vec::<Vec<u8>>::new());
}

/// What the store of a stopped node holds of networks.
async fn rows(config: &Config) -> Vec<Vec<u8>> {
    let node = again(config).await;
    node.stop().await;
    let rows = node.store().settings_with("network").unwrap();
    rows.into_iter().map(|(_, row)| row).collect()
}
