//! What an open node gives to others: it relays for those who have its invite, and all that it gives is
//! counted, shown to its owner, and ends where its owner's limits are.

use std::sync::Arc;

use busel_net::endpoint::Stream;
use busel_node::config::{Exposure, GiveQuota};
use busel_node::control::{Control, Gives};
use busel_node::{Config, Node};
use busel_proto::failure::{Failure, Route};
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask};
use busel_proto::snapshot::Wanted;

use crate::support::peer::Peer;
use crate::support::world::{LOOPBACK, connected, url};
use crate::support::{World, body, get, kept};

/// How long the page is.
const PAGE: u64 = "the page /one".len() as u64;

fn relaying(world: &World) -> Config {
    Config {
        exposure: Exposure::Open,
        relay_addr: Some(LOOPBACK),
        relay_name: Some("www.example.org".into()),
        ..world.reader_config()
    }
}

async fn gives(node: &Node) -> Gives {
    node.status().await.unwrap().gives
}

/// Somebody open, who is at the relay of `relaying` and nowhere else.
async fn guest(world: &World, relaying: &Node) -> Node {
    let config = Config { exposure: Exposure::Open, ..world.reader_config() };
    let node = Node::start(config).await.unwrap();
    node.join(&relaying.invite().await.unwrap(), false).await.unwrap();
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_its_invite_is_relayed_and_that_is_counted() {
    let world = World::start().await;
    let config = relaying(&world);
    let node = Node::start(config.clone()).await.unwrap();
    let invite = node.invite().await.unwrap();
    let relay = invite.relays[0].clone();
    let own = invite.peers.iter().find(|peer| peer.peer == node.id()).unwrap();
    assert_eq!((invite.relays.len(), own.relay), (1, Some(0)), "it is reached by its own relay");
    assert_eq!(gives(&node).await.relay, Some(relay.addr.clone()));

    let (a, b) = (guest(&world, &node).await, guest(&world, &node).await);
    let way = a.invite().await.unwrap();
    assert_eq!(way.relays, std::slice::from_ref(&relay));
    b.join(&way, false).await.unwrap();
    connected(b.endpoint(), a.id()).await;
    connected(b.endpoint(), node.id()).await;
    let counted = gives(&node).await;
    assert!(counted.relayed > 1000 && counted.bytes >= counted.relayed, "{counted:?}");
    assert_eq!((counted.passed, counted.tunnelled, counted.copied), (0, 0, 0));

    // Its invites stay good over a restart.
    node.stop().await;
    drop(node);
    let addr = relay.addr.parse().unwrap();
    let node = crate::support::world::again(&Config { relay_addr: Some(addr), ..config }).await;
    assert_eq!(node.own_relay(), Some(&relay));
    assert!(gives(&node).await.relayed >= counted.relayed, "a restart gives nothing back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_whose_day_is_used_up_lets_nobody_in() {
    let world = World::start().await;
    let quota = GiveQuota::Bytes(600);
    let node = Node::start(Config { give_quota: quota, ..relaying(&world) }).await.unwrap();
    let ticket = node.own_relay().unwrap().clone();
    let guest = Node::start(world.reader_config()).await.unwrap();
    guest.endpoint().add_relay(&ticket).await;
    for _ in 0..400 {
        if gives(&node).await.rests.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let told = gives(&node).await;
    assert_eq!(told.rests.as_deref(), Some("what is given a day was given"), "{told:?}");
    assert_eq!((told.bytes, told.a_day), (600, Some(600)));
    assert!(told.relayed <= 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_count_and_end_with_the_days_bytes_and_a_metered_line_gives_none() {
    let world = World::start().await;
    let config = |quota, metered| Config {
        exposure: Exposure::Open,
        give_quota: GiveQuota::Bytes(quota),
        metered,
        ..world.reader_config()
    };
    let (thrifty, metered) =
        (world.join(config(PAGE, false)).await, world.join(config(1 << 30, true)).await);
    for node in [&thrifty, &metered] {
        let response = get(node, "/one").await.unwrap();
        assert_eq!(response.route, Route::Injector);
        let _ = body(response).await;
        kept(node, "/one").await;
    }
    let asker = Arc::new(Peer::asker(&world).await);
    let fetch = |of: PeerId| {
        let asker = asker.clone();
        async move {
            let key = Wanted::page(url("/one")).key();
            asker.ask_on(of, &Ask::Fetch { key, from: Some(0), root: None }).await
        }
    };
    for node in [&thrifty, &metered] {
        asker.meet(&world, node.id()).await;
    }
    let all = |mut stream: Stream| async move { stream.recv.read_to_end(1 << 20).await };
    let (said, stream) = fetch(thrifty.id()).await;
    assert!(matches!(said, Answer::Found { .. }), "{said:?}");
    let page = all(stream).await.unwrap();
    assert_eq!((page.len() as u64 - 4, gives(&thrifty).await.copied), (PAGE, PAGE));
    let (said, _) = fetch(thrifty.id()).await;
    assert_eq!(said, Answer::Declined { failure: Failure::UsedUp });
    let (said, _) = fetch(metered.id()).await;
    assert!(matches!(said, Answer::Declined { failure: Failure::Busy(_) }), "{said:?}");
    let told = gives(&metered).await;
    assert_eq!((told.copied, told.rests.as_deref()), (0, Some("the line is paid by the byte")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_node_relays_for_nobody() {
    let world = World::start().await;
    let config = Config { exposure: Exposure::Quiet, ..relaying(&world) };
    let refused = Node::start(config).await.unwrap_err().to_string();
    assert!(refused.contains("relay-addr"), "{refused}");
}
