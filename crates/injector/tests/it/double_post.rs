//! A request that changes something is made once: tried again only if no byte of it was sent.

use busel_node::request::full;
use busel_node::{Body, Node, Request, RequestBody, Response, Unanswered};
use busel_proto::failure::{Failure, Route};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use crate::support::copy::noise;
use crate::support::servers::{Act, Server, closed};
use crate::support::world::connected;
use crate::support::{World, body, url};

/// An origin that answers with what it was sent.
fn echo(world: &World) {
    world.origin.answer_later(|request| async {
        let sent = request.into_body().collect().await.expect("a whole body").to_bytes();
        http::Response::new(full(sent))
    });
}

/// A reader whose own connections end up at `server`, and who has an exit.
async fn reader(world: &World, server: std::net::SocketAddr) -> Node {
    let reader = world.join(world.reader_sent_to(server)).await;
    connected(reader.endpoint(), world.injector_node.id()).await;
    reader
}

async fn send(node: &Node, method: Method, body: Body) -> Result<Response, Unanswered> {
    let mut headers = HeaderMap::new();
    // Personal, so that a GET too can only go to the site itself.
    headers.insert("cookie", "name=value".parse().unwrap());
    let body = RequestBody::new(body);
    node.fetch(Request { method, headers, body, ..Request::get(url("/post")) }).await
}

/// A body that comes piece by piece, of unknown length.
fn streamed(whole: &Bytes) -> Body {
    let pieces: Vec<_> = whole.chunks(10_000).map(Bytes::copy_from_slice).collect();
    StreamBody::new(stream::iter(pieces.into_iter().map(|p| Ok(Frame::data(p))))).boxed_unsync()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_whose_connection_breaks_after_bytes_were_sent_is_not_sent_again() {
    let world = World::start().await;
    echo(&world);
    for body in [full("pay 100"), streamed(&noise(500_000)), full("")] {
        let breaking = Server::start(&world, Act::BreakAfterRequest).await;
        let reader = reader(&world, breaking.addr).await;
        let unanswered = send(&reader, Method::POST, body).await.expect_err("it broke");
        assert_eq!(breaking.requests(), 1);
        let routes: Vec<_> = unanswered.tried.iter().map(|(route, _)| *route).collect();
        assert!(!routes.contains(&Route::Tunnel), "{unanswered:?}");
    }
    assert_eq!(world.origin.count(), 0, "nobody made it a second time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_on_a_kept_connection_that_breaks_is_not_sent_again() {
    let world = World::start().await;
    let breaking = Server::start(&world, Act::BreakAfterSecondRequest).await;
    let reader = reader(&world, breaking.addr).await;
    let first = send(&reader, Method::GET, full("")).await.expect("the first is answered");
    assert_eq!(first.route, Route::Direct);
    assert_eq!(body(first).await, "ok");
    // The connection is kept a moment after its last byte was read.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;

    send(&reader, Method::POST, full("pay 100")).await.expect_err("it broke");
    assert_eq!((breaking.requests(), breaking.connections()), (2, 1));
    assert_eq!(world.origin.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_whose_connect_was_refused_goes_by_tunnel_once_and_whole() {
    let world = World::start().await;
    echo(&world);
    let reader = reader(&world, closed().await).await;
    let small = Bytes::from_static(b"pay 100");
    let large = noise(5 << 20);
    for (n, (sent, given)) in
        [(full(small.clone()), &small), (streamed(&large), &large)].into_iter().enumerate()
    {
        let response = send(&reader, Method::POST, sent).await.expect("by tunnel");
        assert_eq!(response.route, Route::Tunnel);
        assert!(body(response).await == *given, "the body came whole");
        assert_eq!(world.origin.count(), n + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_whose_handshake_was_reset_goes_by_tunnel_once() {
    let world = World::start().await;
    echo(&world);
    let resetting = Server::start(&world, Act::Reset).await;
    let reader = reader(&world, resetting.addr).await;
    let response = send(&reader, Method::POST, full("pay 100")).await.expect("by tunnel");
    assert_eq!(response.route, Route::Tunnel);
    assert_eq!(body(response).await, "pay 100");
    assert_eq!((resetting.connections(), world.origin.count()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_whose_connection_breaks_is_made_again_by_another_way() {
    let world = World::start().await;
    let breaking = Server::start(&world, Act::BreakAfterRequest).await;
    let reader = reader(&world, breaking.addr).await;
    let response = send(&reader, Method::GET, full("")).await.expect("by tunnel");
    assert_eq!(response.route, Route::Tunnel);
    assert_eq!(body(response).await, "the page /post");
    assert_eq!((breaking.requests(), world.origin.count()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_nobody_can_carry_says_why_and_reaches_nobody() {
    let world = World::start().await;
    let node = Node::start(world.reader_sent_to(closed().await)).await.unwrap();
    node.join(&world.invite_without_injector(), true).await.unwrap();
    let unanswered = send(&node, Method::POST, full("pay 100")).await.expect_err("no way");
    assert_eq!(unanswered.tried[0], (Route::Direct, Failure::Refused));
    assert_eq!(unanswered.tried[1], (Route::Tunnel, Failure::NobodyKnown));
    assert_eq!(world.origin.count(), 0);
}
