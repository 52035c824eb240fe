//! What an invite may change, and what it may not unless its reader confirmed it.

use busel_net::wire::Contact;
use busel_node::config::Exposure;
use busel_node::control::Control;
use busel_node::joined::JoinError;
use busel_node::{Node, clock};
use busel_proto::cbor;
use busel_proto::id::{Hash, PeerId};
use busel_proto::invite::{InjectorTicket, Invite, InviteError, PeerTicket, RelayTicket};
use busel_proto::page::{HostName, HostPattern};
use busel_proto::sites::Site;

use crate::support::world::{again, store_of};
use crate::support::{HOST, World};

fn of_site(hosts: &str, guarded: bool) -> Invite {
    let site = Site { guarded, ..Site::new(HostPattern::parse(hosts).unwrap()) };
    Invite { sites: vec![site], ..Invite::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invites_keep_their_order_and_sites_their_guard_over_a_restart() {
    let world = World::start().await;
    let config = world.reader_config();
    let node = Node::start(config.clone()).await.unwrap();
    // Of each pair the first stands, and which one has the smaller hash is chance.
    for n in 0..6 {
        let host = format!("site-{n}.example");
        node.join(&of_site(&host, n % 2 == 0), true).await.unwrap();
        node.join(&of_site(&host, n % 2 == 1), true).await.unwrap();
    }
    let said = |node: &Node| {
        let view = node.joined().view();
        let sites: Vec<_> = view.sites.iter().cloned().collect();
        let guarded = |n: i32| {
            let host = HostName::parse(&format!("site-{n}.example")).unwrap();
            view.sites.find(&host).unwrap().guarded
        };
        (node.joined().invites(), sites, (0..6).map(guarded).collect::<Vec<_>>())
    };
    let before = said(&node);
    assert_eq!(before.2, [true, false, true, false, true, false]);
    node.stop().await;
    drop(node);
    assert_eq!(said(&again(&config).await), before);
}

fn contact_of(node: &Node, peer: PeerId) -> Contact {
    node.endpoint().contacts().into_iter().find(|contact| contact.peer == peer).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unconfirmed_invite_replaces_nothing_that_was_confirmed() {
    let world = World::start().await;
    let config = world.reader_config();
    let node = world.join(config.clone()).await;
    let (injector, stranger) = (world.injector_node.id(), PeerId(rand::random()));
    let trap = RelayTicket { pin: Hash([9; 32]), ..world.relay.ticket().clone() };
    let invite = Invite {
        relays: vec![trap.clone()],
        peers: vec![PeerTicket { peer: injector, relay: Some(0), addrs: vec![], veil: None }],
        injectors: vec![InjectorTicket { peer: stranger, cert: world.cert.clone() }],
        ..Invite::default()
    };
    let stands = |node: &Node| {
        assert_eq!(contact_of(node, injector).relay.as_ref(), Some(world.relay.ticket()));
        let view = node.joined().view();
        let host = HostName::parse(HOST).unwrap();
        let injectors = view.injectors_for(&host, clock::now());
        assert!(injectors.iter().all(|other| other.peer == injector), "{injectors:?}");
    };
    node.join(&invite, false).await.unwrap();
    stands(&node);
    node.stop().await;
    drop(node);

    let node = again(&config).await;
    stands(&node);
    node.join(&invite, true).await.unwrap();
    assert_eq!(contact_of(&node, injector).relay, Some(trap), "confirmed, it does");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invite_to_trust_more_than_a_publishers_hosts_is_not_joined() {
    let world = World::start().await;
    let node = Node::start(world.reader_config()).await.unwrap();
    let mut wide = world.invite();
    wide.roots[0].hosts = vec![HostPattern::parse("*").unwrap()];
    for invite in [of_site("*", false), of_site("*.by", false), wide] {
        let refused = node.join(&invite, true).await;
        assert!(matches!(refused, Err(JoinError::Invite(InviteError::TooWide(_)))));
    }
    assert_eq!(node.joined().invites(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_node_s_invite_names_its_relay_from_the_start() {
    let world = World::start().await;
    let node = world.reader(Exposure::Open).await;
    let invite = Control::invite(&node).await.unwrap();
    let own = invite.peers.iter().find(|peer| peer.peer == node.id()).expect("it is named");
    assert_eq!(invite.relay_of(own), Some(world.relay.ticket()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injector_that_two_invites_name_is_one_injector() {
    let world = World::start().await;
    let config = world.reader_config();
    let node = world.join(config.clone()).await;
    let also = Invite { sites: vec![], ..world.invite() };
    assert_ne!(also, world.invite());
    node.join(&also, true).await.unwrap();
    let once = async |node: &Node| {
        assert_eq!(node.joined().invites().len(), 2);
        assert_eq!(node.joined().view().injectors.len(), 1);
        let invite = Control::invite(node).await.unwrap();
        assert_eq!(invite.injectors.len(), 1);
        assert_eq!(invite.peers.len(), 1);
    };
    once(&node).await;
    node.stop().await;
    drop(node);
    once(&again(&config).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_invite_that_none_would_join_today_is_left_out() {
    let world = World::start().await;
    let config = world.reader_config();
    // As they are kept: the invite, that it was confirmed, its place.
    let kept = |invite: &Invite, place: u8| {
        [&[0xa3, 0][..], &cbor::to_vec(invite), &[1, 0xf5, 2, place]].concat()
    };
    let sound = of_site("sound.example", false);
    let store = store_of(&config);
    store.set("joined/wide", &kept(&of_site("*", false), 1)).unwrap();
    store.set("joined/sound", &kept(&sound, 2)).unwrap();
    drop(store);
    let node = again(&config).await;
    assert_eq!(node.joined().invites(), [sound]);
    assert_eq!(node.joined().view().sites.iter().count(), 1);
}
