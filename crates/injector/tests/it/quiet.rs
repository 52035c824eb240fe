//! How a quiet node shows little of itself: it keeps to few guards, holds for others what it was given to
//! hold, and is somebody else each day.

use std::sync::Arc;
use std::time::Duration;

use busel_node::config::Exposure;
use busel_node::control::Control;
use busel_node::{Node, clock};
use busel_proto::failure::Route;
use busel_proto::id::PeerId;
use busel_proto::invite::{Invite, PeerTicket};
use busel_proto::message::{Answer, Ask};
use busel_proto::snapshot::Wanted;
use http_body_util::BodyExt;
use tokio::sync::Notify;

use crate::support::copy::noise;
use crate::support::world::{again, connected, has, store_of};
use crate::support::{LOOPBACK, Peer, World, body, get, kept, url};

fn at_relay(peer: PeerId) -> PeerTicket {
    PeerTicket { peer, relay: Some(0), addrs: vec![], veil: None }
}

fn fetch(path: &str) -> Ask {
    Ask::Fetch { key: Wanted::page(url(path)).key(), from: Some(0), root: None }
}

/// A friend of a reader's, with pages.
async fn friend(world: &World, paths: &[&'static str]) -> Node {
    let friend = world.reader(Exposure::Open).await;
    for path in paths {
        world.copy(path, *path).put_into(&friend, clock::now()).await;
    }
    friend
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_friends_it_speaks_to_three_also_after_a_restart() {
    let world = World::start().await;
    let mut friends = Vec::new();
    for _ in 0..7 {
        let nothing = Answer::Nothing.to_frame();
        friends.push(Peer::saying(&world, nothing).await);
    }
    let mut invite = world.invite_without_injector();
    invite.peers = friends.iter().map(|friend| at_relay(friend.id())).collect();
    let config = world.reader_config();
    let mut reader = Node::start(config.clone()).await.unwrap();
    reader.join(&invite, true).await.unwrap();
    let mut spoken = Vec::new();
    for run in 0..3 {
        for n in 0..8 {
            assert!(get(&reader, &format!("/{run}-{n}")).await.is_err(), "nobody has it");
        }
        let asked = friends.iter().filter(|friend| friend.asked() > 0);
        let asked: Vec<_> = asked.map(Peer::id).collect();
        let status = Control::status(&reader).await.unwrap();
        assert_eq!(status.guards.map(|guards| guards.known), Some(3));
        spoken.push(asked);
        reader.stop().await;
        drop(reader);
        reader = again(&config).await;
    }
    assert!(!spoken[0].is_empty() && spoken[2].len() <= 3, "{spoken:?}");
    reader.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_gives_is_what_it_was_given_to_hold_whatever_its_owner_reads() {
    let world = World::start().await;
    let friend = friend(&world, &["/held", "/read"]).await;
    let config = world.reader_config();
    let reader = Node::start(config.clone()).await.unwrap();
    let mut invite = world.invite();
    invite.peers.push(at_relay(friend.id()));
    reader.join(&invite, true).await.unwrap();
    connected(reader.endpoint(), friend.id()).await;
    let asker = Peer::asker(&world).await;
    asker.meet(&world, reader.id()).await;
    assert_eq!(asker.ask(reader.id(), &fetch("/held")).await, Answer::Nothing);

    // Its owner read one of them, in a newer version, and one that nobody gave it.
    let newer = world.copy_with("/read", "a newer one", |head| head.fetched_at.0 += 5);
    newer.put_into(&reader, clock::now()).await;
    world.copy("/own", "its own").put_into(&reader, clock::now()).await;
    reader.tend().await;
    for path in ["/held", "/read"] {
        let (answer, mut stream) = asker.ask_on(reader.id(), &fetch(path)).await;
        let theirs = asker_of(&friend, &world, path).await;
        assert_eq!(answer, theirs, "{path}: as it was given");
        let rest = stream.recv.read_to_end(1 << 20).await.unwrap();
        assert!(rest.ends_with(path.as_bytes()), "with its body");
    }
    assert_eq!(asker.ask(reader.id(), &fetch("/own")).await, Answer::Nothing);
    let blob =
        Ask::Blob { root: newer.head.root, len: newer.head.len, from: 0, to: newer.head.len };
    assert_eq!(asker.ask(reader.id(), &blob).await, Answer::Nothing);
    let held = Control::status(&reader).await.unwrap().assigned.unwrap();
    assert_eq!((held.copies, held.bytes), (2, 10));
    assert_eq!(body(get(&reader, "/read").await.unwrap()).await, "a newer one");
    reader.stop().await;
    drop(reader);
    assert!(!config.dir.join("assigned").exists(), "nothing of it is left on the disk");
    assert_eq!(store_of(&config).keys().unwrap().len(), 2, "nor among what its owner read");
}

async fn asker_of(node: &Node, world: &World, path: &str) -> Answer {
    let asker = Peer::asker(world).await;
    asker.meet(world, node.id()).await;
    asker.ask(node.id(), &fetch(path)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_holds_nothing_for_others_if_its_owner_turns_that_off() {
    let world = World::start().await;
    let friend = friend(&world, &["/held"]).await;
    let mut config = world.reader_config();
    config.assigned_quota = 0;
    let reader = Node::start(config).await.unwrap();
    let invite = Invite { peers: vec![at_relay(friend.id())], ..world.invite_without_injector() };
    reader.join(&invite, true).await.unwrap();
    connected(reader.endpoint(), friend.id()).await;
    reader.tend().await;
    assert_eq!(asker_of(&reader, &world, "/held").await, Answer::Nothing);
    let held = Control::status(&reader).await.unwrap().assigned.unwrap();
    assert_eq!((held.copies, held.quota), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_becomes_somebody_else_while_a_page_loads_and_nothing_is_cut() {
    let world = World::start().await;
    let copy = world.copy("/film", noise(400_000));
    let go_on = Arc::new(Notify::new());
    let (film, wait) = (copy.clone(), go_on.clone());
    let slow = Peer::start(&world, move |_, mut stream| {
        let (film, wait) = (film.clone(), wait.clone());
        async move {
            let windows = film.windows(0);
            let begun = [film.found(None), windows[..2].concat()].concat();
            stream.send.write_all(&begun).await.unwrap();
            wait.notified().await;
            stream.send.write_all(&windows[2..].concat()).await.unwrap();
            let _ = stream.send.finish();
            let _ = stream.send.stopped().await;
        }
    })
    .await;
    let friend = friend(&world, &["/held"]).await;
    let reader = Node::start(world.reader_config()).await.unwrap();
    let mut invite = world.invite_without_injector();
    invite.peers = vec![at_relay(slow.id()), at_relay(friend.id())];
    reader.join(&invite, true).await.unwrap();
    connected(reader.endpoint(), slow.id()).await;
    connected(reader.endpoint(), friend.id()).await;
    reader.tend().await;
    let first = reader.id();
    assert!(matches!(asker_of(&reader, &world, "/held").await, Answer::Found { .. }));
    let asker = Peer::asker(&world).await;
    asker.meet(&world, first).await;

    let mut response = get(&reader, "/film").await.expect("it begins");
    let begun = response.body.frame().await.unwrap().unwrap().into_data().unwrap();
    reader.renew_id().await.unwrap();
    assert_ne!(reader.id(), first);
    let open = friend.id();
    friend.renew_id().await.unwrap();
    assert_eq!(friend.id(), open, "who is open keeps its id");
    assert_eq!(asker.ask(first, &fetch("/held")).await, Answer::Nothing, "that one is going");
    assert_eq!(asker_of(&reader, &world, "/held").await, Answer::Nothing, "this one is new");
    go_on.notify_one();
    let rest = response.body.collect().await.expect("nothing is cut").to_bytes();
    assert!([&begun[..], &rest].concat() == copy.body);
    assert_eq!(slow.asked(), 1, "in one go");
    kept(&reader, "/film").await;

    // What begins now goes by the new id, and it is asked to hold things anew.
    world.copy("/more", "more").put_into(&friend, clock::now()).await;
    assert_eq!(body(get(&reader, "/more").await.expect("from its friend")).await, "more");
    reader.tend().await;
    assert!(matches!(asker_of(&reader, &world, "/held").await, Answer::Found { .. }));
    reader.stop().await;
}

/// An open node that tells others of itself, and knows of `other` from its start.
async fn announced(world: &World, other: Option<&Node>) -> Node {
    let mut config = world.reader_config();
    config.exposure = Exposure::Open;
    config.veil_addr = Some(LOOPBACK);
    config.allow_net = vec!["127.0.0.0/8".into()];
    let node = Node::start(config.clone()).await.unwrap();
    let mut invite = world.invite_without_injector();
    let known = other.map(|other| PeerTicket { veil: other.veil_ticket(), ..at_relay(other.id()) });
    invite.peers.extend(known);
    node.join(&invite, true).await.unwrap();
    node.stop().await;
    drop(node);
    again(&config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_guards_ask_for_it_whom_they_tell_of_and_it_meets_nobody_else() {
    let world = World::start().await;
    let far = announced(&world, None).await;
    let guards = [announced(&world, Some(&far)).await, announced(&world, Some(&far)).await];
    let copy = world.copy("/far", noise(300_000));
    copy.put_into(&far, clock::now()).await;
    let peers = guards.iter().map(|guard| at_relay(guard.id())).collect();
    let invite = Invite { peers, ..world.invite_without_injector() };
    let mut config = world.reader_config();
    config.allow_net = vec!["127.0.0.0/8".into()];
    let reader = Node::start(config).await.unwrap();
    reader.join(&invite, true).await.unwrap();
    for guard in &guards {
        connected(reader.endpoint(), guard.id()).await;
    }
    assert!(get(&reader, "/far").await.is_err(), "no guard has such a page");

    let asker = Peer::asker(&world).await;
    for guard in &guards {
        asker.meet(&world, guard.id()).await;
    }
    let mut tries = 0;
    let response = loop {
        reader.tend().await;
        match get(&reader, "/far").await {
            Ok(response) => break response,
            // The guards have to meet it first.
            Err(_) if tries < 100 => tokio::time::sleep(Duration::from_millis(200)).await,
            Err(why) => {
                let told = asker.ask(guards[0].id(), &Ask::Nodes { card: None }).await;
                panic!("{why:?}; the first guard tells {told:?}");
            }
        }
        tries += 1;
    };
    assert_eq!(response.route, Route::Swarm);
    assert!(body(response).await == copy.body, "byte for byte");
    let met = reader.endpoint().connected();
    assert!(met.iter().all(|met| guards.iter().any(|guard| guard.id() == *met)), "{met:?}");
    for guard in &guards {
        assert!(!has(guard, "/far"), "a guard keeps nothing of what it can't read");
    }
}
