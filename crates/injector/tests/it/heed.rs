//! What a root takes back by hand, and what it vouches for: heeded, remembered, and never weakened.

use busel_net::wire::Contact;
use busel_node::config::Exposure;
use busel_node::joined::{HeedError, Word};
use busel_node::{Config, Node, clock};
use busel_proto::cbor;
use busel_proto::cert::{Checkpoint, Revocation, Standing};
use busel_proto::failure::{Failure, Route};
use busel_proto::id::PublicKey;
use busel_proto::signed::Signed;
use busel_proto::time::UnixTime;
use ed25519_dalek::SigningKey;

use crate::support::world::{again, connected, store_of};
use crate::support::{Copy, Peer, World, body, get};

async fn joined(world: &World) -> (Config, Node) {
    // It asks whom it is told of, however many of those are gone.
    let config = Config { exposure: Exposure::Open, ..world.reader_config() };
    let node = Node::start(config.clone()).await.unwrap();
    node.join(&world.invite_without_injector(), true).await.unwrap();
    (config, node)
}

fn checkpoint(world: &World, copies: &[&Copy]) -> Vec<u8> {
    let mut heads: Vec<_> = copies.iter().map(|copy| copy.signed.head.hash()).collect();
    heads.sort();
    let checkpoint = Checkpoint { v: 1, root: world.root.public(), heads };
    Signed::sign(&checkpoint, &SigningKey::from_bytes(&world.root.secret())).to_bytes().to_vec()
}

fn taken_back(world: &World, seq: u64, keys: &[PublicKey]) -> Vec<u8> {
    world.root.revoke(seq, keys.to_vec()).to_bytes().to_vec()
}

fn of_format_2(world: &World, keys: &[PublicKey]) -> Signed<Revocation> {
    let list = Revocation { v: 2, root: world.root.public(), seq: 2, subkeys: keys.to_vec() };
    Signed::sign(&list, &SigningKey::from_bytes(&world.root.secret()))
}

async fn heed(node: &Node, word: &[u8]) -> Result<(), HeedError> {
    node.heed(Word::from_bytes(word)?).await.map(drop)
}

/// Gets the page from a node that serves this copy.
async fn from(world: &World, node: &Node, copy: &Copy, path: &str) -> Result<Route, Failure> {
    let peer = Peer::saying(world, [copy.found(None), copy.windows(0).concat()].concat()).await;
    let contact: Contact = world.contact(peer.id());
    node.learn(contact).await;
    connected(node.endpoint(), peer.id()).await;
    match get(node, path).await {
        Ok(response) => {
            let route = response.route;
            body(response).await;
            Ok(route)
        }
        Err(unanswered) => Err(unanswered
            .tried
            .into_iter()
            .find(|(route, _)| *route == Route::Swarm)
            .map(|(_, failure)| failure)
            .expect("the swarm was asked")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_from_before_stay_later_ones_are_refused_and_a_restart_forgets_nothing() {
    let world = World::start().await;
    let (config, node) = joined(&world).await;
    let before = world.copy("/before", "from before");
    before.put_into(&node, UnixTime(clock::now().0 - 10)).await;
    let (later, vouched) = (world.copy("/later", "later"), world.copy("/vouched", "vouched"));
    let revoked = Failure::NotAuthentic("the injector's key was revoked".into());

    let key = PublicKey::from(&world.signing);
    heed(&node, &taken_back(&world, 1, &[key])).await.expect("of a trusted root");
    assert_eq!(get(&node, "/before").await.expect("it stays").route, Route::Local);
    assert_eq!(from(&world, &node, &later, "/later").await, Err(revoked.clone()));
    node.stop().await;
    drop(node);

    let node = again(&config).await;
    assert_eq!(get(&node, "/before").await.expect("it stays").route, Route::Local);
    assert_eq!(from(&world, &node, &later, "/later").await, Err(revoked.clone()));
    heed(&node, &checkpoint(&world, &[&vouched])).await.expect("of a trusted root");
    assert_eq!(from(&world, &node, &later, "/later").await, Err(revoked));
    node.stop().await;
    drop(node);

    let node = again(&config).await;
    assert_eq!(from(&world, &node, &vouched, "/vouched").await, Ok(Route::Swarm));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_list_leaves_nothing_out_whoever_brings_it() {
    let world = World::start().await;
    let (config, node) = joined(&world).await;
    let (key, other) = (PublicKey::from(&world.signing), world.root.public());
    heed(&node, &taken_back(&world, 1, &[key])).await.expect("the first one");
    for weaker in [taken_back(&world, 2, &[]), taken_back(&world, 3, &[other])] {
        let refused = heed(&node, &weaker).await;
        assert!(matches!(refused, Err(HeedError::LeavesOut)), "{refused:?}");
        node.revoked(Signed::from_bytes(&weaker).unwrap()).await;
    }
    let refused = heed(&node, &taken_back(&world, 1, &[key, other])).await;
    assert!(matches!(refused, Err(HeedError::Old)), "{refused:?}");
    node.stop().await;
    drop(node);

    let node = again(&config).await;
    let refused = heed(&node, &taken_back(&world, 4, &[other])).await;
    assert!(matches!(refused, Err(HeedError::LeavesOut)), "{refused:?}");
    let copy = world.copy("/page", "by a thief");
    assert!(from(&world, &node, &copy, "/page").await.is_err());
    heed(&node, &taken_back(&world, 5, &[other, key])).await.expect("it leaves nothing out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_another_format_replaces_nothing() {
    let world = World::start().await;
    let (config, node) = joined(&world).await;
    let (root, key) = (world.root.public(), PublicKey::from(&world.signing));
    heed(&node, &taken_back(&world, 1, &[key])).await.expect("the first one");
    let known = node.joined().revocation(&root);
    let later = of_format_2(&world, &[key]);
    node.revoked(later.clone()).await;
    let stands = |node: &Node| {
        assert_eq!(node.joined().revocation(&root), known);
        let view = node.joined().view();
        assert!(matches!(view.trust.standing(&root, &key), Standing::Revoked(_)));
    };
    stands(&node);
    let word = Word::Revocation(Box::new(later.verify().unwrap()));
    assert!(matches!(node.heed(word).await, Err(HeedError::Unreadable)));
    node.stop().await;
    drop(node);
    stands(&again(&config).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_list_of_another_format_is_left_out() {
    let world = World::start().await;
    let config = world.reader_config();
    let (root, key) = (world.root.public(), PublicKey::from(&world.signing));
    // As it is kept: the list, and when it arrived.
    let row = [&[0xa2, 0][..], &cbor::to_vec(&of_format_2(&world, &[key])), &[1, 7]].concat();
    let store = store_of(&config);
    store.set(&format!("revocation/{root}"), &row).unwrap();
    drop(store);
    let node = again(&config).await;
    node.join(&world.invite_without_injector(), true).await.unwrap();
    assert_eq!(node.joined().revocation(&root), None);
    heed(&node, &taken_back(&world, 1, &[key])).await.expect("the first that is understood");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_trusted_roots_word_is_heeded() {
    let world = World::start().await;
    let (_, node) = joined(&world).await;
    let stranger = busel_injector::keys::RootKey::from_random(&[9; 32]);
    let word = stranger.revoke(1, vec![PublicKey::from(&world.signing)]).to_bytes();
    assert!(matches!(heed(&node, &word).await, Err(HeedError::Untrusted)));
    let mut forged = taken_back(&world, 1, &[PublicKey::from(&world.signing)]);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for junk in [&forged[..], b"", b"junk"] {
        assert!(matches!(heed(&node, junk).await, Err(HeedError::Unreadable)));
    }
}
