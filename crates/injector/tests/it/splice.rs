//! A body that breaks in the middle is continued at the byte reached, or cut; never are two
//! versions put together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use busel_node::config::Exposure;
use busel_node::{Body, Node, Request, Response, clock};
use busel_proto::failure::{Failure, Route};
use busel_proto::message::{Answer, Ask};
use busel_proto::race::{Event, What};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::HeaderMap;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::Notify;

use crate::support::copy::noise;
use crate::support::origin::{page_in_parts, page_tagged};
use crate::support::servers::{Act, Server, broken_answer};
use crate::support::world::{connected, seen};
use crate::support::{Peer, World, body, get, kept, url};

const LEN: usize = 3 << 20;
const BROKEN_AT: usize = 2_100_001;

/// A reader for whom the site breaks off after [`BROKEN_AT`] bytes of `whole`.
async fn reader_of_broken(world: &World, etag: &str, whole: &Bytes) -> (Node, Server) {
    let answer = broken_answer(etag, &whole[..BROKEN_AT], whole.len());
    let breaking = Server::start(world, Act::Say(answer)).await;
    let reader = world.join(world.reader_sent_to(breaking.addr)).await;
    connected(reader.endpoint(), world.injector_node.id()).await;
    (reader, breaking)
}

async fn begun_directly(reader: &Node) -> Response {
    let response = get(reader, "/film").await.expect("the site begins");
    assert_eq!(response.route, Route::Direct);
    response
}

async fn get_privately(reader: &Node) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("cookie", "name=value".parse().unwrap());
    let response = reader.fetch(Request { headers, ..Request::get(url("/film")) }).await;
    let response = response.expect("the site begins");
    assert_eq!(response.route, Route::Direct);
    response
}

/// Reads a body that must be cut: what came is the beginning of what was begun.
async fn is_cut(response: Response, whole: &Bytes) {
    let (bytes, failure) = seen(response.body).await;
    assert!(failure.is_some(), "it is cut");
    assert!(bytes.len() <= BROKEN_AT && whole.starts_with(&bytes), "{} bytes", bytes.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_the_site_breaks_off_is_continued_by_injector_under_the_same_etag() {
    let world = World::start().await;
    let whole = noise(LEN);
    let own = whole.clone();
    world.origin.answer(move |_| page_tagged("\"v1\"", own.clone()));
    let (reader, breaking) = reader_of_broken(&world, "\"v1\"", &whole).await;

    let response = begun_directly(&reader).await;
    let timeline = response.timeline.clone();
    assert!(body(response).await == whole, "byte for byte");
    assert!(breaking.requests() >= 1);
    assert_eq!(world.injector.fetches(), 1);
    let resumed = |e: &Event| e.route == Route::Injector && e.what == What::Won;
    assert!(timeline.events().iter().any(resumed), "{:?}", timeline.events());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_body_that_breaks_off_is_continued_by_tunnel_under_the_same_etag() {
    let world = World::start().await;
    let whole = noise(LEN);
    let own = whole.clone();
    world.origin.answer(move |request| page_in_parts(request.headers(), "\"v1\"", &own));
    let (reader, _breaking) = reader_of_broken(&world, "\"v1\"", &whole).await;

    let response = get_privately(&reader).await;
    assert!(body(response).await == whole, "byte for byte");
    let seen = world.origin.seen();
    assert_eq!(seen.len(), 1);
    let range = format!("bytes={BROKEN_AT}-");
    assert_eq!(seen[0].headers["range"], range.as_str());
    assert_eq!(seen[0].headers["if-range"], "\"v1\"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_changed_in_between_is_cut_and_never_spliced() {
    let world = World::start().await;
    let (whole, other) = (noise(LEN), noise(LEN));
    let own = other.clone();
    world.origin.answer(move |request| page_in_parts(request.headers(), "\"v2\"", &own));
    // One reader each: who saw it break asks by another way the next time.
    let (reader, _breaking) = reader_of_broken(&world, "\"v1\"", &whole).await;
    is_cut(begun_directly(&reader).await, &whole).await;
    let (reader, _breaking) = reader_of_broken(&world, "\"v1\"", &whole).await;
    is_cut(get_privately(&reader).await, &whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_another_length_or_with_no_strong_etag_is_cut_and_never_spliced() {
    let world = World::start().await;
    for (etag, length) in [("\"v1\"", LEN + 1), ("W/\"v1\"", LEN), ("v1", LEN)] {
        let (whole, other) = (noise(LEN), noise(length));
        let own = other.clone();
        // This origin says that it continues, whatever it is asked to continue.
        world.origin.answer(move |request| {
            let mut headers = request.headers().clone();
            headers.remove("if-range");
            page_in_parts(&headers, etag, &own)
        });
        let (reader, _breaking) = reader_of_broken(&world, etag, &whole).await;
        is_cut(begun_directly(&reader).await, &whole).await;
        let (reader, _breaking) = reader_of_broken(&world, etag, &whole).await;
        is_cut(get_privately(&reader).await, &whole).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_from_the_wrong_place_is_not_taken() {
    let world = World::start().await;
    let whole = noise(LEN);
    let own = whole.clone();
    world.origin.answer(move |request| {
        let mut headers = request.headers().clone();
        headers.insert("range", format!("bytes={}-", BROKEN_AT + 1).parse().unwrap());
        page_in_parts(&headers, "\"v1\"", &own)
    });
    let (reader, _breaking) = reader_of_broken(&world, "\"v1\"", &whole).await;
    is_cut(get_privately(&reader).await, &whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_whose_giver_dies_is_continued_from_another_peer_by_its_root() {
    let world = World::start().await;
    let copy = world.copy("/film", noise(LEN));
    let b = world.reader(Exposure::Open).await;
    copy.put_into(&b, clock::now()).await;
    let die = Arc::new(Notify::new());
    let (asks, own, dies) = (AtomicUsize::new(0), copy.clone(), die.clone());
    let a = Peer::start(&world, move |ask, mut stream| {
        let first = asks.fetch_add(1, Ordering::SeqCst) == 0;
        let (copy, die) = (own.clone(), dies.clone());
        async move {
            if !first {
                let _ = stream.send.write_all(&Answer::Nothing.to_frame()).await;
                let _ = stream.send.finish();
                return;
            }
            assert!(matches!(ask, Ask::Fetch { from: Some(0), root: None, .. }));
            let begun = [copy.found(None), copy.windows(0)[..3].concat()].concat();
            stream.send.write_all(&begun).await.unwrap();
            die.notified().await;
        }
    })
    .await;
    let reader = world.lonely_reader().await;
    world.acquaint(&reader, a.id()).await;

    let mut response = get(&reader, "/film").await.expect("from A");
    assert_eq!(response.route, Route::Swarm);
    let first = response.body.frame().await.unwrap().unwrap().into_data().unwrap();
    world.acquaint(&reader, b.id()).await;
    die.notify_one();
    let (rest, failure) = seen(response.body).await;
    assert_eq!(failure, None);
    assert!([&first[..], &rest].concat() == copy.body, "byte for byte");
    assert!(a.asked() >= 1);
    kept(&reader, "/film").await;
}

/// A body whose second half never comes.
fn breaking_off(whole: &Bytes) -> Body {
    let half: Vec<_> = whole[..BROKEN_AT]
        .chunks(100_000)
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .chain([Err(Failure::CutOff)])
        .collect();
    StreamBody::new(stream::iter(half)).boxed_unsync()
}

/// An origin that breaks off its first answer and gives the next ones under `etag`.
fn breaks_once(world: &World, whole: &Bytes, etag: &'static str, next: &Bytes) {
    let (whole, next, times) = (whole.clone(), next.clone(), AtomicUsize::new(0));
    world.origin.answer(move |request| match times.fetch_add(1, Ordering::SeqCst) {
        0 => {
            let mut response = page_tagged("\"v1\"", "");
            let len = whole.len().into();
            response.headers_mut().insert("content-length", len);
            *response.body_mut() = breaking_off(&whole);
            response
        }
        _ => page_in_parts(request.headers(), etag, &next),
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_behind_the_injector_is_continued_under_the_same_etag() {
    let world = World::start().await;
    let whole = noise(LEN);
    breaks_once(&world, &whole, "\"v1\"", &whole);
    let reader = world.reader(Exposure::Quiet).await;
    let response = get(&reader, "/film").await.expect("by injector");
    assert_eq!(response.route, Route::Injector);
    assert!(body(response).await == whole, "byte for byte");
    assert!(world.origin.count() >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_behind_the_injector_and_changed_is_cut_and_not_kept() {
    let world = World::start().await;
    let (whole, other) = (noise(LEN), noise(LEN));
    breaks_once(&world, &whole, "\"v2\"", &other);
    let reader = world.reader(Exposure::Quiet).await;
    let response = get(&reader, "/film").await.expect("by injector");
    assert_eq!(response.route, Route::Injector);
    is_cut(response, &whole).await;
    reader.stop().await;
    assert!(reader.store().keys().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_unknown_length_that_the_node_stops_carrying_is_cut_and_does_not_look_whole() {
    let world = World::start().await;
    world.origin.answer(|_| {
        let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"the first part")))]);
        let endless = first.chain(stream::pending());
        page_tagged("\"v1\"", "").map(|_| StreamBody::new(endless).boxed_unsync())
    });
    let reader = world.reader(Exposure::Quiet).await;
    let mut response = get(&reader, "/film").await.expect("by injector");
    let first = response.body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "the first part");
    reader.stop().await;
    let (rest, failure) = seen(response.body).await;
    assert_eq!((rest.len(), failure), (0, Some(Failure::CutOff)));
}
