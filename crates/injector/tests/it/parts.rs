//! Parts of long bodies: who looks into the middle of a film has that, by every way, and not all that
//! is before it.

use std::sync::Arc;

use busel_node::config::Exposure;
use busel_node::{Body, Node, Request, Response, clock};
use busel_proto::failure::{Failure, Route};
use busel_proto::message::Ask;
use busel_proto::race::What;
use busel_proto::time::UnixTime;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::Notify;

use crate::support::copy::{fields, noise};
use crate::support::origin::{page_in_parts, page_tagged};
use crate::support::servers::{Act, Server};
use crate::support::world::{connected, has};
use crate::support::{Peer, World, body, get, kept, url};

const LEN: usize = 8 << 20;
const MIDDLE: usize = 5 << 20;

async fn part(node: &Node, fields: &[(&'static str, &str)]) -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    let asked = node.fetch(Request { headers, ..Request::get(url("/film")) }).await;
    asked.expect("an answer")
}

/// What the answer says of the part, and its bytes.
async fn said(response: Response) -> (StatusCode, String, Bytes) {
    let range = response.headers.get("content-range").map(|range| range.to_str().unwrap());
    (response.status, range.unwrap_or_default().to_owned(), body(response).await)
}

/// The next bytes of a body, at least so many; whether it ends well after them is left open.
async fn taken(body: &mut Body, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        bytes.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    bytes
}

fn of_film(from: usize, to: usize) -> String {
    format!("bytes {from}-{}/{LEN}", to - 1)
}

/// A film whose site sends the beginning, and all that is asked for as a part, at once, and the rest
/// only after a word.
fn slow_film(world: &World, begins: usize) -> (Bytes, Arc<Notify>) {
    let (whole, go_on) = (noise(LEN), Arc::new(Notify::new()));
    let (own, gate) = (whole.clone(), go_on.clone());
    world.origin.answer(move |request| {
        if request.headers().contains_key("range") {
            return page_in_parts(request.headers(), "\"v1\"", &own);
        }
        let (first, rest) = (own.slice(..begins), own.slice(begins..));
        let gate = gate.clone();
        let first = stream::iter([Ok::<_, Failure>(Frame::data(first))]);
        let rest = stream::once(async move {
            gate.notified().await;
            Ok(Frame::data(rest))
        });
        let mut response = page_tagged("\"v1\"", "");
        response.headers_mut().insert("content-length", LEN.into());
        *response.body_mut() = StreamBody::new(first.chain(rest)).boxed_unsync();
        response
    });
    (whole, go_on)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_middle_of_a_film_is_there_before_its_first_half_was_fetched() {
    let world = World::start().await;
    let (whole, go_on) = slow_film(&world, 100_000);
    let reader = world.reader(Exposure::Quiet).await;

    let response = part(&reader, &[("range", &format!("bytes={MIDDLE}-"))]).await;
    assert_eq!(response.route, Route::Injector);
    let (status, range, bytes) = said(response).await;
    assert_eq!((status, range), (StatusCode::PARTIAL_CONTENT, of_film(MIDDLE, LEN)));
    assert!(bytes == whole.slice(MIDDLE..), "byte for byte");
    let seen = world.origin.seen();
    let asked =
        seen.iter().find_map(|seen| seen.headers.get("range")).expect("a part was asked for");
    assert_eq!(asked, format!("bytes={MIDDLE}-").as_str());
    assert!(!has(&world.injector_node, "/film"), "the whole is still on its way");

    let (_, range, bytes) = said(part(&reader, &[("range", "bytes=-1000")]).await).await;
    assert_eq!(range, of_film(LEN - 1000, LEN));
    assert!(bytes == whole.slice(LEN - 1000..), "the end is there as soon");
    go_on.notify_one();
    kept(&world.injector_node, "/film").await;
    assert!(!has(&reader, "/film"), "a part is not kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_late_does_not_wait_for_who_takes_their_time() {
    let world = World::start().await;
    let (whole, go_on) = slow_film(&world, MIDDLE);
    let (first, late) = (world.reader(Exposure::Quiet).await, world.reader(Exposure::Quiet).await);
    let Response { timeline, body: mut watching, .. } =
        get(&first, "/film").await.expect("by injector");
    taken(&mut watching, MIDDLE).await;
    let mut all = get(&late, "/film").await.expect("by injector").body;
    assert!(taken(&mut all, LEN).await == whole, "byte for byte");
    assert!(!has(&world.injector_node, "/film"), "the first one's is still on its way");
    go_on.notify_one();
    let rest = watching.collect().await.expect("it ends well, too").to_bytes();
    assert!(rest.ends_with(&whole[LEN - 1000..]), "to its last byte");
    assert!(all.frame().await.is_none(), "it ends well, with the signature");
    // Where all is slow the first one may have gone on with a part, which is not kept.
    if !timeline.events().iter().any(|event| event.what == What::Stalled) {
        kept(&first, "/film").await;
    }
    kept(&late, "/film").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_late_holds_nothing_up_once_the_first_one_has_left() {
    let world = World::start().await;
    let (whole, go_on) = slow_film(&world, MIDDLE);
    let (first, late) = (world.reader(Exposure::Quiet).await, world.reader(Exposure::Quiet).await);
    let mut watching = get(&first, "/film").await.expect("by injector").body;
    taken(&mut watching, MIDDLE).await;
    drop(watching);
    let mut all = get(&late, "/film").await.expect("by injector").body;
    assert!(taken(&mut all, LEN).await == whole, "byte for byte");
    go_on.notify_one();
    kept(&world.injector_node, "/film").await;
    kept(&late, "/film").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_old_copy_is_shown_where_nothing_else_is_to_be_had() {
    let world = World::start().await;
    let hour_ago = UnixTime(clock::now().0 - 3600);
    let old = world.copy_with("/film", noise(LEN), |head| {
        head.fetched_at = hour_ago;
        head.headers = fields("max-age=60");
    });
    let reader = world.lonely_reader().await;
    old.put_into(&reader, hour_ago).await;
    let response = part(&reader, &[("range", "bytes=-1000")]).await;
    assert!(response.stale && response.route == Route::Local);
    let (status, range, bytes) = said(response).await;
    assert_eq!((status, range), (StatusCode::PARTIAL_CONTENT, of_film(LEN - 1000, LEN)));
    assert!(bytes == old.body.slice(LEN - 1000..), "byte for byte");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_is_all_of_a_film_is_kept_as_a_film_is() {
    let world = World::start().await;
    let whole = noise(LEN);
    let own = whole.clone();
    world.origin.answer(move |_| page_tagged("\"v1\"", own.clone()));
    let reader = world.reader(Exposure::Quiet).await;
    let (status, range, bytes) = said(part(&reader, &[("range", "bytes=0-")]).await).await;
    assert_eq!((status, range), (StatusCode::PARTIAL_CONTENT, of_film(0, LEN)));
    assert!(bytes == whole, "byte for byte");
    kept(&reader, "/film").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_peers_copy_only_the_part_is_asked_for() {
    let world = World::start().await;
    let copy = world.copy("/film", noise(LEN));
    let own = copy.clone();
    let peer = Peer::start(&world, move |ask, mut stream| {
        let copy = own.clone();
        async move {
            if let Ask::Fetch { from: Some(from), .. } | Ask::Blob { from, .. } = ask {
                assert!(from >= MIDDLE as u64, "{ask:?}");
            }
            let _ = stream.send.write_all(&copy.answer(&ask).concat()).await;
            let _ = stream.send.finish();
        }
    })
    .await;
    let reader = world.lonely_reader().await;
    world.acquaint(&reader, peer.id()).await;

    for asked in
        [format!("bytes={MIDDLE}-{}", MIDDLE + 999_999), format!("bytes=-{}", LEN - MIDDLE)]
    {
        let response = part(&reader, &[("range", &asked)]).await;
        assert_eq!(response.route, Route::Swarm);
        let (status, range, bytes) = said(response).await;
        assert_eq!(status, StatusCode::PARTIAL_CONTENT);
        let end = if asked.contains("=-") { LEN } else { MIDDLE + 1_000_000 };
        assert_eq!(range, of_film(MIDDLE, end));
        assert!(bytes == copy.body.slice(MIDDLE..end), "byte for byte");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_film_that_changed_since_is_the_whole_new_one() {
    let world = World::start().await;
    let copy = world.copy("/film", noise(LEN));
    let holder = world.reader(Exposure::Open).await;
    copy.put_into(&holder, clock::now()).await;
    let reader = world.lonely_reader().await;
    world.introduce(&reader, &holder).await;
    let asked = [("range", "bytes=5242880-"), ("if-range", "\"another\"")];
    let (status, range, bytes) = said(part(&reader, &asked).await).await;
    assert_eq!((status, range.as_str()), (StatusCode::OK, ""));
    assert!(bytes == copy.body, "byte for byte");

    let beyond = [("range", &*format!("bytes={LEN}-"))];
    let (status, range, bytes) = said(part(&reader, &beyond).await).await;
    assert_eq!((status, range), (StatusCode::RANGE_NOT_SATISFIABLE, format!("bytes */{LEN}")));
    assert!(bytes.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_the_site_breaks_off_is_continued_by_injector() {
    let world = World::start().await;
    let whole = noise(LEN);
    let own = whole.clone();
    world.origin.answer(move |request| page_in_parts(request.headers(), "\"v1\"", &own));
    let said_first = MIDDLE + (1 << 20);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\netag: \"v1\"\r\ncontent-type: video/webm\r\n\
         content-length: {}\r\ncontent-range: {}\r\n\r\n",
        LEN - MIDDLE,
        of_film(MIDDLE, LEN)
    );
    let broken = [head.as_bytes(), &whole[MIDDLE..said_first]].concat().into();
    let breaking = Server::start(&world, Act::Say(broken)).await;
    let reader = world.join(world.reader_sent_to(breaking.addr)).await;
    connected(reader.endpoint(), world.injector_node.id()).await;

    let response = part(&reader, &[("range", &format!("bytes={MIDDLE}-"))]).await;
    assert_eq!(response.route, Route::Direct);
    let (status, range, bytes) = said(response).await;
    assert_eq!((status, range), (StatusCode::PARTIAL_CONTENT, of_film(MIDDLE, LEN)));
    assert!(bytes == whole.slice(MIDDLE..), "byte for byte");
}
