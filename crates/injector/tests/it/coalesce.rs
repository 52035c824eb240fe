//! A crowd costs one fetch and one signature; bodies stream through, and memory stays flat.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use busel_node::config::Exposure;
use busel_node::{Body, clock};
use busel_proto::failure::{Failure, Route};
use busel_proto::time::UnixTime;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::Notify;

use crate::support::copy::{fields, noise};
use crate::support::origin::page_tagged;
use crate::support::peer::{Said, request};
use crate::support::{Peer, World, get, kept, url};

/// A body whose second half comes only after a word from the test.
fn in_halves(whole: &Bytes, go_on: Arc<Notify>) -> Body {
    let half = whole.len() / 2;
    let (first, second) = (whole.slice(..half), whole.slice(half..));
    let first = stream::iter([Ok::<_, Failure>(Frame::data(first))]);
    let second = stream::once(async move {
        go_on.notified().await;
        Ok(Frame::data(second))
    });
    StreamBody::new(first.chain(second)).boxed_unsync()
}

async fn asker_of(world: &World) -> Peer {
    let asker = Peer::asker(world).await;
    asker.meet(world, world.injector_node.id()).await;
    asker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_requests_at_once_cost_one_fetch_and_one_signature() {
    let world = World::start().await;
    let (whole, go_on) = (noise(200_000), Arc::new(Notify::new()));
    let (own, gate) = (whole.clone(), go_on.clone());
    world.origin.answer(move |_| page_tagged("\"v1\"", "").map(|_| in_halves(&own, gate.clone())));
    let askers = join_all((0..5).map(|_| asker_of(&world))).await;

    let page = url("/crowd");
    let asking = (0..50).map(|n| {
        let (asker, page, world) = (&askers[n % 5], &page, &world);
        async move {
            let mut answer = asker.inject(world, &request(page)).await;
            let mut said = Said::default();
            while said.preview.is_none() {
                assert!(answer.next(&mut said).await, "{said:?}");
            }
            (answer, said)
        }
    });
    // All fifty have a head before the origin sends the rest.
    let begun = join_all(asking).await;
    go_on.notify_one();
    let all = join_all(begun.into_iter().map(async |(mut answer, mut said)| {
        while answer.next(&mut said).await {}
        said
    }))
    .await;

    let signed = all[0].signed.clone().expect("a signature");
    for said in &all {
        assert!(said.data == whole, "byte for byte");
        assert_eq!(said.signed.as_ref(), Some(&signed), "one signature");
    }
    assert_eq!((world.origin.count(), world.injector.fetches()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_snapshot_comes_from_the_store_and_a_stale_one_is_fetched_again() {
    let world = World::start().await;
    let asker = asker_of(&world).await;
    let fresh = world.copy("/page", "fresh");
    fresh.put_into(&world.injector_node, clock::now()).await;
    let said = asker.inject(&world, &request(&url("/page"))).await.all().await;
    assert_eq!(said.signed.as_ref(), Some(&fresh.signed));
    assert_eq!((&said.data[..], said.preview), (&b"fresh"[..], None));
    assert_eq!(world.origin.count(), 0);

    let mut insisting = request(&url("/page"));
    insisting.new = true;
    let said = asker.inject(&world, &insisting).await.all().await;
    assert_eq!(&said.data[..], b"the page /page");
    assert_eq!(world.origin.count(), 1);

    let hour_ago = UnixTime(clock::now().0 - 3600);
    let stale = world.copy_with("/old", "stale", |head| {
        head.fetched_at = hour_ago;
        head.headers = fields("max-age=60");
    });
    stale.put_into(&world.injector_node, hour_ago).await;
    let said = asker.inject(&world, &request(&url("/old"))).await.all().await;
    assert_eq!(&said.data[..], b"the page /old");
    assert_eq!(world.origin.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_what_it_was_is_not_sent_again_by_its_site() {
    let world = World::start().await;
    let (page, sent) = (noise(700_000), Arc::new(AtomicUsize::new(0)));
    let (own, count) = (page.clone(), sent.clone());
    let (tags, tag) = tokio::sync::watch::channel("\"v1\"");
    world.origin.answer(move |request| {
        let now = *tag.borrow();
        let known = request.headers().get("if-none-match").is_some_and(|known| known == now);
        if known {
            let mut answer = page_tagged(now, "");
            *answer.status_mut() = http::StatusCode::NOT_MODIFIED;
            return answer;
        }
        count.fetch_add(1, Ordering::SeqCst);
        page_tagged(now, own.clone())
    });
    let asker = asker_of(&world).await;
    let insisting = || {
        let mut request = request(&url("/film"));
        request.new = true;
        request
    };
    let first = asker.inject(&world, &insisting()).await.all().await;
    assert!(first.data == page, "byte for byte");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let second = asker.inject(&world, &insisting()).await.all().await;
    assert!(second.data == page, "byte for byte, from the store");
    assert_eq!((world.origin.count(), sent.load(Ordering::SeqCst)), (2, 1));
    let (first, second) = (first.signed.expect("signed"), second.signed.expect("signed anew"));
    assert_ne!(first, second, "it says when it was seen last");

    tags.send_replace("\"v2\"");
    let third = asker.inject(&world, &insisting()).await.all().await;
    assert!(third.data == page && third.signed.is_some());
    assert_eq!((world.origin.count(), sent.load(Ordering::SeqCst)), (3, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_bytes_are_there_before_the_origin_has_sent_the_last() {
    let world = World::start().await;
    let (whole, go_on) = (noise(400_000), Arc::new(Notify::new()));
    let (own, gate) = (whole.clone(), go_on.clone());
    world.origin.answer(move |_| page_tagged("\"v1\"", "").map(|_| in_halves(&own, gate.clone())));
    let reader = world.reader(Exposure::Quiet).await;

    let response = get(&reader, "/film").await.expect("by injector");
    assert_eq!(response.route, Route::Injector);
    let (mut body, mut bytes) = (response.body, Vec::new());
    // The rest is sent only once the first half was seen here.
    while bytes.len() < whole.len() / 2 {
        bytes.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    assert_eq!(bytes.len(), whole.len() / 2);
    go_on.notify_one();
    bytes.extend(body.collect().await.unwrap().to_bytes());
    assert!(bytes == whole, "byte for byte");
    kept(&reader, "/film").await;
}

fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_body_streams_through_in_flat_memory() {
    const PIECE: usize = 64 * 1024;
    const MIB: usize = 1 << 20;
    let world = World::start().await;
    let (piece, pulled) = (noise(PIECE), Arc::new(AtomicUsize::new(0)));
    let (own, count) = (piece.clone(), pulled.clone());
    world.origin.answer(move |request| {
        let len: usize = request.uri().path()[1..].parse().unwrap();
        let (piece, count) = (own.clone(), count.clone());
        let pieces = stream::iter(0..len / PIECE).map(move |_| {
            count.fetch_add(PIECE, Ordering::SeqCst);
            Ok::<_, Failure>(Frame::data(piece.clone()))
        });
        page_tagged("\"v1\"", "").map(|_| StreamBody::new(pieces).boxed_unsync())
    });
    let reader = world.reader(Exposure::Quiet).await;
    let mut seen = Vec::new();
    // The first one warms up what is allocated once.
    for len in [8 * MIB, 64 * MIB] {
        let (before, mut most, mut got) = (memory(), 0, 0);
        let mut body = get(&reader, &format!("/{len}")).await.expect("by injector").body;
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            got += data.len();
            most = most.max(memory());
        }
        assert_eq!(got, len);
        seen.push((before / MIB, most / MIB));
        kept(&reader, &format!("/{len}")).await;
    }
    let (before, most) = seen[1];
    assert!(most < before + 24, "MiB before and at most: {seen:?}");
}
