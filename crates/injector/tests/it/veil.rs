//! The veil by invite: who listens says so, readers need no relay then, and a quiet node invites
//! nobody to itself.

use busel_node::Node;
use busel_node::config::Exposure;
use busel_node::control::Control;
use busel_proto::failure::Route;
use busel_proto::invite::Invite;

use crate::support::world::connected;
use crate::support::{LOOPBACK, World, body, get};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invite_leads_to_an_injector_that_no_relay_knows() {
    let world = World::with(|config| config.veil_addr = Some(LOOPBACK), |_| {}).await;
    let invite = Control::invite(&world.injector_node).await.unwrap();
    let own = invite.peers.iter().find(|peer| peer.peer == world.injector_node.id()).unwrap();
    let listens = own.veil.clone().unwrap();
    assert_eq!((listens.addrs().count(), own.relay), (1, None));
    // What the newsroom asks to be trusted with, and this way to it.
    let invite = Invite { relays: vec![], peers: vec![own.clone()], ..world.invite() };

    let mut config = world.reader_config();
    config.exposure = Exposure::Quiet;
    let reader = Node::start(config).await.unwrap();
    reader.join(&invite, true).await.unwrap();
    let response = get(&reader, "/one").await.expect("behind the veil");
    assert_eq!(response.route, Route::Injector);
    assert_eq!(body(response).await, "the page /one");
    let status = Control::status(&reader).await.unwrap();
    assert_eq!(status.wires, ["relay", "veil"]);
    assert_eq!(Vec::from_iter(status.wires_in_use.into_keys()), ["veil"]);

    // A friend of the reader's is told of the injector, and of nobody else.
    let friends = Control::invite(&reader).await.unwrap();
    let named: Vec<_> = friends.peers.iter().map(|peer| (peer.peer, peer.veil.clone())).collect();
    assert_eq!(named, [(world.injector_node.id(), Some(listens))]);

    let mut config = world.reader_config();
    config.veil = false;
    let other = Node::start(config).await.unwrap();
    other.join(&invite, true).await.unwrap();
    assert!(get(&other, "/two").await.is_err(), "who wants no veil has no way here");
    other.stop().await;
    reader.stop().await;
}

/// Where both ways lead to an injector, a quiet reader takes the one on which it does not show its
/// address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_reader_does_not_show_an_injector_its_address() {
    let world = World::with(|config| config.veil_addr = Some(LOOPBACK), |_| {}).await;
    let invite = Control::invite(&world.injector_node).await.unwrap();
    let mut own = invite.peers.into_iter().find(|p| p.peer == world.injector_node.id()).unwrap();
    own.relay = Some(0);
    assert!(own.veil.is_some());
    let invite = Invite { peers: vec![own], ..world.invite() };
    for exposure in [Exposure::Quiet, Exposure::Open] {
        let mut config = world.reader_config();
        config.exposure = exposure;
        let reader = Node::start(config).await.unwrap();
        reader.join(&invite, true).await.unwrap();
        connected(reader.endpoint(), world.injector_node.id()).await;
        let response = get(&reader, "/one").await.expect("by injector");
        assert_eq!(body(response).await, "the page /one");
        let status = Control::status(&reader).await.unwrap();
        let veiled = status.wires_in_use.contains_key("veil");
        assert_eq!(veiled, exposure == Exposure::Open, "{exposure:?}: {status:?}");
        reader.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_node_keeps_its_veil_secret_and_nothing_goes_around_a_proxy() {
    let world = World::start().await;
    let mut config = world.reader_config();
    config.exposure = Exposure::Open;
    config.veil_addr = Some(LOOPBACK);
    let node = Node::start(config.clone()).await.unwrap();
    let secret = node.veil_ticket().unwrap().secret;
    node.stop().await;
    drop(node);
    let node = Node::start(config.clone()).await.unwrap();
    assert_eq!(node.veil_ticket().unwrap().secret, secret);
    node.stop().await;

    config = world.reader_config();
    config.upstream = Some(LOOPBACK.into());
    let behind = Node::start(config).await.unwrap();
    assert_eq!(behind.wires(), ["relay"]);
    behind.stop().await;
}
