//! Sealed requests through a hop of another operator: the injector never meets the reader, and the hop
//! can't read what it passes. Who passes nothing on says so, and the reader goes by itself.

use busel_node::Node;
use busel_node::config::{Exit, Exposure, GiveQuota};
use busel_node::request::Authority;
use busel_proto::failure::{Failure, Route};
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask};

use crate::support::peer::{Peer, request, seal};
use crate::support::world::{connected, has, url};
use crate::support::{World, body, get, kept};

/// A world without an exit, so that no tunnel takes the place of a request that has to ask twice.
async fn without_exit() -> World {
    World::with(|config| config.exit = Exit::Off, |_| {}).await
}

/// Whether a node has connected to the injector.
fn has_met(world: &World, node: &Node) -> bool {
    node.endpoint().connected().contains(&world.injector_node.id())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_injector_does_not_meet_the_reader() {
    let world = World::start().await;
    let helper = world.reader(Exposure::Open).await;
    let reader = world.reader(Exposure::Quiet).await;
    world.introduce(&reader, &helper).await;
    connected(helper.endpoint(), world.injector_node.id()).await;
    for path in ["/one", "/two"] {
        let response = get(&reader, path).await.expect("by injector");
        let newsroom = Authority::Injector { label: "Newsroom".into(), tls: true };
        assert_eq!((response.route, response.authority.clone()), (Route::Injector, newsroom));
        assert_eq!(body(response).await, format!("the page {path}"));
        kept(&reader, path).await;
    }
    assert!(!has_met(&world, &reader));
    assert!(has_met(&world, &helper));
    assert!(!has(&helper, "/one"), "the hop keeps nothing of what it can't read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hop_that_knows_no_injector_is_passed_by() {
    let world = without_exit().await;
    let mut config = world.reader_config();
    config.exposure = Exposure::Open;
    let helper = Node::start(config).await.unwrap();
    let reader = world.reader(Exposure::Quiet).await;
    helper.learn(world.contact(reader.id())).await;
    world.introduce(&reader, &helper).await;
    for path in ["/one", "/two"] {
        let response = get(&reader, path).await.expect("by injector");
        assert_eq!(response.route, Route::Injector, "{:?}", response.timeline.events());
        assert_eq!(body(response).await, format!("the page {path}"));
    }
    assert!(has_met(&world, &reader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hop_whose_day_is_used_up_is_passed_by() {
    let world = without_exit().await;
    let mut config = world.reader_config();
    (config.exposure, config.give_quota) = (Exposure::Open, GiveQuota::Bytes(10));
    let helper = world.join(config).await;
    let reader = world.reader(Exposure::Quiet).await;
    world.introduce(&reader, &helper).await;
    let response = get(&reader, "/one").await.expect("by injector");
    assert_eq!(body(response).await, "the page /one");
    assert!(has_met(&world, &reader));
}

async fn pass(world: &World, by: &Node, to: PeerId) -> Answer {
    let asker = Peer::asker(world).await;
    asker.meet(world, by.id()).await;
    let (envelope, _) = seal(world, &request(&url("/one")));
    asker.ask(by.id(), &Ask::Pass { to, envelope }).await
}

fn refused(answer: &Answer) -> bool {
    matches!(answer, Answer::Declined { failure: Failure::NotAllowed(_) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_open_nodes_pass_on_and_only_to_injectors_they_know() {
    let world = World::start().await;
    let injector = world.injector_node.id();
    let quiet = world.reader(Exposure::Quiet).await;
    connected(quiet.endpoint(), injector).await;
    assert!(refused(&pass(&world, &quiet, injector).await));

    let open = world.reader(Exposure::Open).await;
    connected(open.endpoint(), injector).await;
    assert!(refused(&pass(&world, &open, quiet.id()).await), "nobody is told of, or reached, so");
    assert_eq!(pass(&world, &open, injector).await, Answer::Open);
}
