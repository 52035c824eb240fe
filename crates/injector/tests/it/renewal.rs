//! An injector's certificate is renewed while it runs, readers learn of the new one, and one that has
//! run out signs nothing.

use std::sync::Arc;

use busel_injector::keys::{CertRequest, KeyError, RootKey, VALIDITY_SECS};
use busel_injector::renewal::{Certify, RenewError};
use busel_node::clock;
use busel_node::config::Exposure;
use busel_proto::failure::{Failure, Route};
use busel_proto::id::PublicKey;
use busel_proto::time::UnixTime;

use crate::support::peer::request;
use crate::support::world::until;
use crate::support::{Peer, World, body, get, kept, url};

const DAY: u64 = 24 * 3600;

/// A root key at hand.
fn by(root: &RootKey) -> Arc<dyn Certify> {
    let root = RootKey::from_random(&root.secret());
    Arc::new(move |request: &CertRequest| {
        root.certify(request, clock::now(), VALIDITY_SECS).map_err(|e| e.to_string())
    })
}

fn epoch_known_to(node: &busel_node::Node, subkey: PublicKey) -> u64 {
    let view = node.joined().view();
    let known = view.injectors.iter().find(|injector| injector.cert.subkey == subkey);
    known.expect("it is in the invite").cert.epoch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_in_time_and_readers_learn_of_it_from_answers() {
    let world = World::start().await;
    let old = world.injector.ticket().cert.peek().unwrap();
    let mut config = world.reader_config();
    config.exposure = Exposure::Open;
    let reader = world.join(config.clone()).await;
    let (certify, soon) = (by(&world.root), UnixTime(old.not_after.0 - 3 * DAY));
    let renewed = world.injector.renew_if_due(certify.clone(), clock::now()).await;
    assert!(matches!(renewed, Ok(false)), "it is not time: {renewed:?}");
    let renewed = world.injector.renew_if_due(certify, soon).await;
    assert!(matches!(renewed, Ok(true)), "{renewed:?}");
    let new = world.injector.ticket().cert.peek().unwrap();
    assert!(new.epoch > old.epoch && new.subkey == old.subkey);

    assert_eq!(epoch_known_to(&reader, old.subkey), old.epoch);
    let response = get(&reader, "/one").await.unwrap();
    assert_eq!(response.route, Route::Injector);
    assert_eq!(body(response).await, "the page /one");
    until(|| epoch_known_to(&reader, old.subkey) == new.epoch).await;
    kept(&reader, "/one").await;
    // And from there to friends, by its invites, and over a restart.
    reader.stop().await;
    drop(reader);
    let again = busel_node::Node::start(config).await.unwrap();
    assert_eq!(epoch_known_to(&again, old.subkey), new.epoch);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_root_or_none_is_not_taken() {
    let world = World::start().await;
    let before = world.injector.ticket().cert;
    let soon = UnixTime(before.peek().unwrap().not_after.0 - 3 * DAY);
    let stranger = RootKey::from_random(&[9; 32]);
    let strange = world.injector.renew_if_due(by(&stranger), soon).await;
    assert!(matches!(strange, Err(RenewError::Key(KeyError::OtherKey))), "{strange:?}");
    let none = |_: &CertRequest| Err("the root is locked away".to_owned());
    let none = world.injector.renew_if_due(Arc::new(none), soon).await;
    assert!(matches!(none, Err(RenewError::NotHad(_))), "{none:?}");
    assert_eq!(world.injector.ticket().cert, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injector_whose_certificate_has_run_out_declines_and_fetches_nothing() {
    let since = UnixTime(clock::now().0 - VALIDITY_SECS - DAY);
    let world = World::certified(since, |_| {}, |_| {}).await;
    let asker = Peer::asker(&world).await;
    asker.meet(&world, world.injector_node.id()).await;
    let said = asker.inject(&world, &request(&url("/page"))).await.all().await;
    assert_eq!((said.declined, said.preview), (Some(Failure::NotCertified), None));
    assert_eq!(world.origin.count(), 0);

    world.injector.renew_if_due(by(&world.root), clock::now()).await.unwrap();
    let said = asker.inject(&world, &request(&url("/page"))).await.all().await;
    assert_eq!(said.data, b"the page /page");
}
