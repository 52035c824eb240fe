//! Hostile peers: nothing false is shown as whole, nor stored, and another way serves instead.

use std::sync::atomic::{AtomicUsize, Ordering};

use busel_injector::keys::{RootKey, Subkey};
use busel_node::config::Exposure;
use busel_node::request::Timeline;
use busel_node::{Node, Unanswered, clock};
use busel_proto::failure::{Failure, Route};
use busel_proto::id::PublicKey;
use busel_proto::message::{Answer, Ask};
use busel_proto::page::PageUrl;
use busel_proto::race::What;
use busel_proto::signed::Signed;
use busel_proto::snapshot::Head;
use busel_proto::time::UnixTime;
use ed25519_dalek::SigningKey;

use crate::support::copy::noise;
use crate::support::world::{has, seen};
use crate::support::{Copy, Peer, World, body, get, kept};

const DAY: u64 = 24 * 3600;

/// Why the swarm failed.
fn why(unanswered: &Unanswered) -> &Failure {
    let swarm = unanswered.tried.iter().find(|(route, _)| *route == Route::Swarm);
    &swarm.expect("the swarm was tried").1
}

fn swarm_failures(timeline: &Timeline) -> Vec<Failure> {
    let events = timeline.events().into_iter();
    let swarm = events.filter(|event| event.route == Route::Swarm);
    let failed = swarm.filter_map(|event| match event.what {
        What::Failed(failure) => Some(failure),
        _ => None,
    });
    failed.collect()
}

/// Sends a copy, windows and all, with or without a revocation.
fn told(copy: &Copy) -> Vec<u8> {
    [copy.found(None), copy.windows(0).concat()].concat()
}

/// A reader who knows only a peer that gives `copy` for `/page` refuses it and stores nothing.
/// Then it gets the page from an honest peer, though the hostile one is still asked.
async fn is_refused(world: &World, copy: &Copy, expected: &str) {
    let hostile = Peer::saying(world, told(copy)).await;
    let reader = world.lonely_reader().await;
    world.acquaint(&reader, hostile.id()).await;

    let unanswered = get(&reader, "/page").await.expect_err("nothing true is to be had");
    let Failure::NotAuthentic(said) = why(&unanswered) else { panic!("{unanswered:?}") };
    assert!(said.contains(expected), "{said}");
    assert_eq!(hostile.asked(), 1);
    assert!(reader.store().keys().unwrap().is_empty(), "nothing false is stored");

    let honest = Peer::saying(world, told(&world.copy("/page", "true"))).await;
    world.acquaint(&reader, honest.id()).await;
    let response = get(&reader, "/page").await.expect("from the honest peer");
    assert_eq!((response.route, response.stale), (Route::Swarm, false));
    assert_eq!(body(response).await, "true");
    reader.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truly_signed_copy_of_another_page_is_refused() {
    let world = World::start().await;
    let other = world.copy("/other", "another page");
    is_refused(&world, &other, "another page").await;

    let elsewhere = world.copy_with("/page", "another host", |head| {
        head.url = PageUrl::parse("https://evil.example/page").unwrap().as_str().to_owned();
    });
    is_refused(&world, &elsewhere, "no injector trusted for this site").await;
    let not_canonical = world.copy_with("/page", "another spelling", |head| {
        head.url = head.url.replace("https", "HTTPS");
    });
    is_refused(&world, &not_canonical, "canonical").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_another_page_is_refused_while_the_injector_serves_the_page() {
    let world = World::start().await;
    let hostile = Peer::saying(&world, told(&world.copy("/other", "another page"))).await;
    let reader = world.reader(Exposure::Quiet).await;
    world.acquaint(&reader, hostile.id()).await;

    let response = get(&reader, "/page").await.expect("by injector");
    assert_eq!(response.route, Route::Injector);
    let timeline = response.timeline.clone();
    assert_eq!(body(response).await, "the page /page");
    assert_eq!(hostile.asked(), 1);
    let failures = swarm_failures(&timeline);
    assert!(matches!(failures[..], [Failure::NotAuthentic(_)]), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_head_is_refused() {
    let world = World::start().await;
    let own = SigningKey::from_bytes(&rand::random());

    let with_the_real_certificate = Copy::signed_by(&own, &world.cert, "/page", "false", |_| {});
    is_refused(&world, &with_the_real_certificate, "for another key").await;

    let (root, seed) = (RootKey::from_random(&rand::random()), rand::random());
    let subkey = Subkey::from_random(&seed, rand::random());
    let cert = root.certify(&subkey.request(), clock::now(), DAY).unwrap();
    let own = SigningKey::from_bytes(&seed);
    let by_an_own_root = Copy::signed_by(&own, &cert, "/page", "false", |_| {});
    is_refused(&world, &by_an_own_root, "no injector trusted").await;

    // A true signature under other words.
    let mut altered = world.copy("/page", "false");
    let truth = world.copy("/page", "true").signed.head.to_bytes();
    let mut bytes = altered.signed.head.to_bytes().to_vec();
    let at = bytes.len() - 64;
    bytes[at..].copy_from_slice(&truth[truth.len() - 64..]);
    altered.signed.head = Signed::from_bytes(&bytes).unwrap();
    is_refused(&world, &altered, "signature does not fit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_fetched_outside_its_keys_validity_is_refused() {
    let world = World::start().await;
    let cert = world.cert.peek().unwrap();
    for at in [UnixTime(cert.not_before.0 - 1), UnixTime(cert.not_after.0 + 1)] {
        let copy = world.copy_with("/page", "backdated", |head| head.fetched_at = at);
        is_refused(&world, &copy, "outside the validity").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_fetched_within_an_old_keys_validity_is_good_whatever_today_is() {
    let world = World::start().await;
    let (seed, year_ago) = (rand::random(), UnixTime(clock::now().0 - 365 * DAY));
    let cert = world
        .root
        .certify(&Subkey::from_random(&seed, rand::random()).request(), year_ago, 30 * DAY)
        .unwrap();
    let copy =
        Copy::signed_by(&SigningKey::from_bytes(&seed), &cert, "/page", "a year old", |head| {
            head.fetched_at = UnixTime(year_ago.0 + DAY);
        });
    let peer = Peer::saying(&world, told(&copy)).await;
    let reader = world.lonely_reader().await;
    world.acquaint(&reader, peer.id()).await;

    let response = get(&reader, "/page").await.expect("an old copy");
    assert!(response.stale);
    assert!(response.age.unwrap().as_secs() >= 363 * DAY);
    assert_eq!(body(response).await, "a year old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_comes_with_a_copy_is_heeded_and_remembered() {
    let world = World::start().await;
    let config = world.reader_config();
    let mut reader = Node::start(config.clone()).await.unwrap();
    reader.join(&world.invite_without_injector(), true).await.unwrap();
    let before = world.copy("/before", "from before");
    before.put_into(&reader, UnixTime(clock::now().0 - 100)).await;

    // A new copy each time; only the first comes with the word that its key was taken back.
    let by_a_thief = world.copy("/page", "by a thief");
    let revocation = world.root.revoke(1, vec![PublicKey::from(&world.signing)]);
    let telling = AtomicUsize::new(0);
    let peer = Peer::start(&world, move |_, mut stream| {
        let first = telling.fetch_add(1, Ordering::SeqCst) == 0;
        let revocation = first.then(|| revocation.clone());
        let said = [by_a_thief.found(revocation), by_a_thief.windows(0).concat()].concat();
        async move {
            let _ = stream.send.write_all(&said).await;
            let _ = stream.send.finish();
            let _ = stream.send.stopped().await;
        }
    })
    .await;

    for asked in 1..=3 {
        if asked == 3 {
            reader.stop().await;
            drop(reader);
            reader = Node::start(config.clone()).await.unwrap();
        }
        world.acquaint(&reader, peer.id()).await;
        let unanswered = get(&reader, "/page").await.expect_err("by a revoked key");
        let revoked = Failure::NotAuthentic("the injector's key was revoked".into());
        assert_eq!((why(&unanswered), peer.asked()), (&revoked, asked));
        assert!(!has(&reader, "/page"));
        let response = get(&reader, "/before").await.expect("stored before");
        assert_eq!(response.route, Route::Local);
        assert_eq!(body(response).await, "from before");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_by_somebody_else_takes_nothing_back() {
    let world = World::start().await;
    let stranger = RootKey::from_random(&rand::random());
    let false_word = stranger.revoke(9, vec![PublicKey::from(&world.signing)]);
    let copy = world.copy("/page", "true");
    let said = [copy.found(Some(false_word)), copy.windows(0).concat()].concat();
    let peer = Peer::saying(&world, said).await;
    let reader = world.lonely_reader().await;
    world.acquaint(&reader, peer.id()).await;

    let response = get(&reader, "/page").await.expect("nothing was taken back");
    assert_eq!(body(response).await, "true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injector_whose_key_was_revoked_is_not_believed() {
    let world = World::start().await;
    let reader = world.reader(Exposure::Quiet).await;
    let revoked = PublicKey::from(&world.signing);
    reader.revoked(world.root.revoke(1, vec![revoked])).await;

    let answered = get(&reader, "/page").await;
    if let Ok(response) = answered {
        assert_eq!(response.route, Route::Tunnel, "only end to end");
    }
    assert_eq!(world.injector.fetches(), 0, "it is not even asked");
    assert!(!has(&reader, "/page"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_with_a_flipped_byte_is_cut_before_that_byte_and_not_stored() {
    let world = World::start().await;
    // One window alone, and the third window of several.
    for (len, window) in [(1000, 0), (200_000, 2)] {
        let copy = world.copy("/page", noise(len));
        let mut windows = copy.windows(0);
        let last = windows[window].len() - 1;
        windows[window][last] ^= 1;
        let hostile = Peer::saying(&world, [copy.found(None), windows.concat()].concat()).await;
        let reader = world.lonely_reader().await;
        world.acquaint(&reader, hostile.id()).await;

        match get(&reader, "/page").await {
            Ok(response) => {
                let (bytes, failure) = seen(response.body).await;
                assert!(window > 0 && failure.is_some(), "the body is not whole");
                assert!(bytes.len() < len && copy.body.starts_with(&bytes), "{}", bytes.len());
            }
            // A true head is no answer without a true beginning.
            Err(unanswered) => {
                let why = &unanswered.tried[0].1;
                assert!(window == 0 && matches!(why, Failure::NotAuthentic(_)), "{why}");
            }
        }
        assert!(!has(&reader, "/page"));
        assert!(hostile.asked() >= 1);
        reader.stop().await;
        assert!(reader.store().keys().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_that_lies_is_noticed() {
    let world = World::start().await;
    let len = 100_000;
    for said in [len - 5, len + 5, len - 20_000, len + 20_000] {
        let copy = world.copy_with("/page", noise(100_000), |head| head.len = said);
        let hostile = Peer::start(&world, {
            let copy = copy.clone();
            move |_, mut stream| {
                let copy = copy.clone();
                async move {
                    let said = [copy.found(None), lying_windows(&copy).concat()].concat();
                    let _ = stream.send.write_all(&said).await;
                    let _ = stream.send.finish();
                    let _ = stream.send.stopped().await;
                }
            }
        })
        .await;
        let reader = world.lonely_reader().await;
        world.acquaint(&reader, hostile.id()).await;

        let response = get(&reader, "/page").await.expect("a signed head");
        let (bytes, failure) = seen(response.body).await;
        assert!(failure.is_some(), "said {said}, and the body came as whole");
        assert!(copy.body.starts_with(&bytes));
        reader.stop().await;
        assert!(reader.store().keys().unwrap().is_empty());
    }
}

/// The windows of the true body, then what a liar makes up.
fn lying_windows(copy: &Copy) -> Vec<Vec<u8>> {
    let head = Head { len: 100_000, ..copy.head.clone() };
    Copy { head, ..copy.clone() }.windows(0)
}

/// How a peer breaks the protocol after a true head.
#[derive(Debug, Clone, Copy)]
enum Break {
    /// The stream ends in the middle of the second window.
    Truncated,
    /// A frame that says it is 4 GiB.
    Oversize,
    /// A frame of the right length full of junk.
    Junk,
    /// Nothing more comes.
    Silent,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_breaks_the_protocol_is_replaced_at_the_byte_reached() {
    let world = World::start().await;
    let copy = world.copy("/page", noise(150_000));
    copy.put_into(&world.injector_node, clock::now()).await;
    for how in [Break::Truncated, Break::Oversize, Break::Junk, Break::Silent] {
        let own = copy.clone();
        let hostile = Peer::start(&world, move |_, mut stream| {
            let copy = own.clone();
            async move {
                let windows = copy.windows(0);
                let _ = stream.send.write_all(&copy.found(None)).await;
                let _ = stream.send.write_all(&windows[0]).await;
                match how {
                    Break::Truncated => {
                        let _ = stream.send.write_all(&windows[1][..1000]).await;
                        let _ = stream.send.finish();
                    }
                    Break::Oversize => {
                        let _ = stream.send.write_all(&[255; 5000]).await;
                    }
                    Break::Junk => {
                        let mut junk = windows[1].clone();
                        junk[4..].fill(7);
                        let _ = stream.send.write_all(&junk).await;
                    }
                    Break::Silent => {}
                }
                let _ = stream.send.stopped().await;
            }
        })
        .await;
        let reader = world.reader(Exposure::Quiet).await;
        world.acquaint(&reader, hostile.id()).await;

        let response = get(&reader, "/page").await.expect("a true head");
        assert_eq!(response.route, Route::Swarm, "{how:?}");
        let timeline = response.timeline.clone();
        assert_eq!(body(response).await, copy.body, "{how:?}");
        let resumed =
            |e: &busel_proto::race::Event| e.route == Route::Injector && e.what == What::Won;
        kept(&reader, "/page").await;
        assert!(timeline.events().iter().any(resumed), "{how:?}: {:?}", timeline.events());
        reader.stop().await;
    }
    assert_eq!(world.origin.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_answers_junk_or_nothing_is_passed_over() {
    let world = World::start().await;
    world.copy("/page", "true").put_into(&world.injector_node, clock::now()).await;
    let answers: [Option<Vec<u8>>; 5] = [
        None,
        Some(vec![]),
        Some(vec![255; 8]),
        Some(busel_proto::message::frame(&[0xff; 300])),
        Some(Answer::Open.to_frame()),
    ];
    for answer in answers {
        let own = answer.clone();
        let hostile = Peer::start(&world, move |_, mut stream| {
            let answer = own.clone();
            async move {
                if let Some(answer) = answer {
                    let _ = stream.send.write_all(&answer).await;
                    let _ = stream.send.finish();
                }
                let _ = stream.send.stopped().await;
            }
        })
        .await;
        let reader = world.reader(Exposure::Quiet).await;
        world.acquaint(&reader, hostile.id()).await;

        let response = get(&reader, "/page").await.expect("by injector");
        assert_eq!(response.route, Route::Injector, "{answer:?}");
        assert_eq!(body(response).await, "true");
        assert_eq!(hostile.asked(), 1);
        reader.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_body_is_never_taken_from_another_truly_signed_version() {
    let world = World::start().await;
    let old = world.copy("/page", noise(150_000));
    let new = world.copy("/page", noise(150_000));
    let asks = AtomicUsize::new(0);
    let hostile = Peer::start(&world, move |ask, mut stream| {
        let first = asks.fetch_add(1, Ordering::SeqCst) == 0;
        let (old, new) = (old.clone(), new.clone());
        async move {
            let Ask::Fetch { from, .. } = ask else { return };
            let said = match first {
                true => [old.found(None), old.windows(0)[0].clone()].concat(),
                false => [new.found(None), new.windows(from.unwrap()).concat()].concat(),
            };
            let _ = stream.send.write_all(&said).await;
            let _ = stream.send.finish();
            let _ = stream.send.stopped().await;
        }
    })
    .await;
    let reader = world.lonely_reader().await;
    world.acquaint(&reader, hostile.id()).await;

    let response = get(&reader, "/page").await.expect("a true head");
    let (bytes, failure) = seen(response.body).await;
    assert_eq!((bytes.len(), failure.is_some()), (16 * 1024, true), "cut, never spliced");
    assert!(hostile.asked() > 1, "it was asked for the rest");
}
