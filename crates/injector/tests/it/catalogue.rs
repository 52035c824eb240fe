//! The catalogue: what many ask an injector for, or its feeds name, is known to all who trust it, before they ask; and
//! what one reader asks for is not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use busel_node::Node;
use busel_node::clock;
use busel_node::config::Exposure;
use busel_node::control::Control;
use busel_proto::catalogue::{ASKERS, Catalogue, Compare, Listed, SignedListed};
use busel_proto::failure::{Failure, Route};
use busel_proto::message::{Answer, Ask};
use busel_proto::snapshot::Head;
use ed25519_dalek::SigningKey;

use crate::support::copy::{Copy, fields};
use crate::support::peer::request;
use crate::support::world::again;
use crate::support::{Peer, World, body, get, kept, url};

/// The pages that a node knows to be had.
async fn known(node: &Node) -> Vec<String> {
    let found = Control::find(node, String::new()).await.unwrap();
    found.into_iter().map(|page| page.url).collect()
}

/// So many readers, each by a way of its own, ask the injector for a page.
async fn ask_injector(world: &World, path: &str, askers: usize) {
    for _ in 0..askers {
        let asker = Peer::asker(world).await;
        asker.meet(world, world.injector_node.id()).await;
        let said = asker.inject(world, &request(&url(path))).await.all().await;
        assert!(said.signed.is_some(), "{said:?}");
    }
}

/// Has `one` compare with whom it knows, each time with one by lot, until `node` knows these pages.
async fn compares_until(one: &Node, node: &Node, pages: &[&str]) {
    let mut pages: Vec<_> = pages.iter().map(|path| url(path).to_string()).collect();
    pages.sort();
    let mut last = Vec::new();
    for _ in 0..300 {
        one.compare().await;
        last = known(node).await;
        last.sort();
        if last == pages {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it knows {last:?}");
}

fn list(world: &World, copy: &Copy, key: &SigningKey) -> SignedListed {
    let trust = world.injector_node.joined().view();
    Listed::sign(copy.signed.clone().verify_page(&trust.trust).unwrap(), key).to_signed()
}

/// A listed page, told to an open node by somebody.
async fn tell(world: &World, node: &Node, pages: Vec<SignedListed>) -> Answer {
    let teller = Peer::asker(world).await;
    teller.meet(world, node.id()).await;
    teller.ask(node.id(), &Ask::Tell { root: world.root.public(), pages }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_ask_for_is_known_to_all_and_what_one_asks_for_to_nobody() {
    let world = World::start().await;
    let a = world.reader(Exposure::Open).await;
    world.acquaint(&world.injector_node, a.id()).await;
    ask_injector(&world, "/many", ASKERS).await;
    ask_injector(&world, "/few", ASKERS - 1).await;
    // The injector tells one open node, that another one, and a quiet one asks.
    compares_until(&world.injector_node, &a, &["/many"]).await;
    let (b, quiet) = (world.lonely(Exposure::Open).await, world.lonely_reader().await);
    world.introduce(&b, &a).await;
    compares_until(&b, &b, &["/many"]).await;
    world.introduce(&quiet, &b).await;
    compares_until(&quiet, &quiet, &["/many"]).await;

    let found = Control::find(&quiet, "MANY".into()).await.unwrap();
    assert!(found.len() == 1 && !found[0].here && found[0].len > 0, "{found:?}");
    assert!(Control::find(&quiet, "/few".into()).await.unwrap().is_empty());
    assert_eq!(Control::status(&quiet).await.unwrap().listed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_there_after_a_restart() {
    let world = World::start().await;
    let config = world.reader_config();
    let node = Node::start(config.clone()).await.unwrap();
    node.join(&world.invite_without_injector(), true).await.unwrap();
    let open = world.lonely(Exposure::Open).await;
    let page = list(&world, &world.copy("/page", "the page"), &world.signing);
    assert_eq!(tell(&world, &open, vec![page]).await, Answer::Open);
    world.introduce(&node, &open).await;
    compares_until(&node, &node, &["/page"]).await;
    node.stop().await;
    drop(node);
    open.stop().await;
    let node = again(&config).await;
    for _ in 0..100 {
        if known(&node).await == [url("/page").to_string()] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it is forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_an_injector_lists_a_page() {
    let world = World::start().await;
    let node = world.lonely(Exposure::Open).await;
    let mine = SigningKey::from_bytes(&rand::random());
    let copy = world.copy("/read", "what a reader has read");
    let forged = list(&world, &copy, &mine);
    let stolen = SignedListed {
        listing: list(&world, &world.copy("/other", "another"), &world.signing).listing,
        ..forged.clone()
    };
    let good = list(&world, &world.copy("/good", "a page"), &world.signing);
    for pages in [vec![forged], vec![good.clone(), stolen]] {
        let answer = tell(&world, &node, pages).await;
        let lie = matches!(answer, Answer::Declined { failure: Failure::NotAuthentic(_) });
        assert!(lie, "{answer:?}");
        assert!(known(&node).await.is_empty());
    }
    assert_eq!(tell(&world, &node, vec![good]).await, Answer::Open);
    assert_eq!(known(&node).await, [url("/good").to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_node_shows_no_catalogue_and_an_open_one_none_of_a_root_that_it_does_not_trust() {
    let world = World::start().await;
    let (open, quiet) = (world.lonely(Exposure::Open).await, world.lonely_reader().await);
    let (_, message) = Compare::begin(Catalogue::default().sketch()).unwrap();
    let (own, other) = (world.root.public(), busel_proto::id::PublicKey([7; 32]));
    let asker = Peer::asker(&world).await;
    for (node, root, shown) in [(&open, own, true), (&open, other, false), (&quiet, own, false)] {
        asker.meet(&world, node.id()).await;
        let compared = asker.ask(node.id(), &Ask::Compare { root, message: message.clone() }).await;
        assert_eq!(matches!(compared, Answer::Compared { .. }), shown, "{compared:?}");
        let listed = asker.ask(node.id(), &Ask::Listed { root, heads: vec![] }).await;
        assert_eq!(listed == Answer::Listed { pages: vec![] }, shown, "{listed:?}");
        let told = asker.ask(node.id(), &Ask::Tell { root, pages: vec![] }).await;
        assert_eq!(told == Answer::Open, shown, "{told:?}");
    }
    let bad = Ask::Compare { root: own, message: vec![0xff; 100] };
    let refused = asker.ask(open.id(), &bad).await;
    let protocol = matches!(refused, Answer::Declined { failure: Failure::Protocol(_) });
    assert!(protocol, "{refused:?}");
}

fn old(head: &mut Head) {
    head.fetched_at.0 -= 3600;
    head.headers = fields("max-age=60");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_is_as_good_as_new_if_the_page_has_not_changed() {
    let world = World::start().await;
    let reader = world.lonely(Exposure::Open).await;
    let before = world.copy_with("/page", "the same", old);
    before.put_into(&reader, clock::now()).await;
    let now = world.copy("/page", "the same");
    let page = list(&world, &now, &world.signing);
    assert_eq!(tell(&world, &reader, vec![page]).await, Answer::Open);
    let response = get(&reader, "/page").await.expect("nobody need be asked");
    assert!(response.route == Route::Local && !response.stale);
    assert!(response.age.unwrap() < Duration::from_secs(60), "it is as old as the newest head");
    assert_eq!(body(response).await, "the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_copies_the_one_that_is_listed_is_taken() {
    let world = World::start().await;
    let (first, second) = (world.lonely(Exposure::Open).await, world.lonely(Exposure::Open).await);
    // Both may be shown by what the site says of how long.
    let before = world.copy_with("/page", "a false report", |head| head.fetched_at.0 -= 60);
    let after = world.copy("/page", "its correction");
    before.put_into(&first, clock::now()).await;
    let reader = world.lonely(Exposure::Open).await;
    world.acquaint(&reader, first.id()).await;
    let page = list(&world, &after, &world.signing);
    assert_eq!(tell(&world, &reader, vec![page]).await, Answer::Open);
    let response = get(&reader, "/page").await.expect("there is no other");
    assert!(response.stale, "a newer one is known");
    assert_eq!(body(response).await, "a false report");

    after.put_into(&second, clock::now()).await;
    world.acquaint(&reader, second.id()).await;
    let response = get(&reader, "/page").await.expect("from the other one");
    assert!(response.route == Route::Swarm && !response.stale);
    assert_eq!(body(response).await, "its correction");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injector_is_spared_where_others_have_what_is_listed() {
    let world = World::start().await;
    let slow = world.copy("/page", "what many read");
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let (own, count) = (slow.clone(), asked.clone());
    // It has the page, and takes longer than an injector would.
    let holder = Peer::start(&world, move |ask, mut stream| {
        let (copy, count) = (own.clone(), count.clone());
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(500)).await;
            for frame in copy.answer(&ask) {
                let _ = stream.send.write_all(&frame).await;
            }
            let _ = stream.send.finish();
            let _ = stream.send.stopped().await;
        }
    })
    .await;
    let reader = world.reader(Exposure::Open).await;
    // An injector that has answered quickly is asked first.
    for path in ["/one", "/two", "/three"] {
        let response = get(&reader, path).await.unwrap();
        assert_eq!(response.route, Route::Injector);
        body(response).await;
        kept(&reader, path).await;
    }
    world.acquaint(&reader, holder.id()).await;
    let page = list(&world, &slow, &world.signing);
    assert_eq!(tell(&world, &reader, vec![page]).await, Answer::Open);
    let before = world.injector.bodies();
    let response = get(&reader, "/page").await.unwrap();
    assert_eq!(response.route, Route::Swarm, "{:?}", response.timeline.events());
    assert_eq!(body(response).await, "what many read");
    assert_eq!(world.injector.bodies(), before);
    assert!(asked.load(Ordering::SeqCst) > 0);
}
