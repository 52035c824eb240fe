//! What many ask for is held by open nodes: the injector has them load it, says who they are, and sends the
//! body to few.

use std::time::Duration;

use busel_node::config::Exposure;
use busel_node::request::Timeline;
use busel_node::{Node, clock};
use busel_proto::card::Card;
use busel_proto::failure::{Failure, Route};
use busel_proto::holders::NAMED;
use busel_proto::id::PeerId;
use busel_proto::invite::{PeerTicket, VeilTicket};
use busel_proto::message::{Answer, Ask};
use busel_proto::question::seal_question;
use busel_proto::race::What;
use busel_proto::signed::Signed;
use busel_proto::snapshot::Wanted;
use busel_proto::veil::VeilSecret;
use ed25519_dalek::SigningKey;

use crate::support::copy::noise;
use crate::support::peer::{Said, request};
use crate::support::world::{connected, has, until};
use crate::support::{Copy, LOOPBACK, Peer, World, body, get, url};

const FILM: &str = "/film";
const LEN: usize = 3 << 20;

/// A world whose injector has a page, and knows so many open nodes.
async fn with_helpers(count: usize) -> (World, Copy, Vec<Node>) {
    let world = World::with(|config| config.veil_addr = Some(LOOPBACK), |_| {}).await;
    let copy = world.copy(FILM, noise(LEN));
    copy.put_into(&world.injector_node, clock::now()).await;
    let mut helpers = Vec::new();
    for _ in 0..count {
        helpers.push(open(&world, true).await);
    }
    until(|| world.injector_node.open_nodes().len() == count).await;
    (world, copy, helpers)
}

/// An open node. Where it is reached others can be told, or not.
async fn open(world: &World, has_card: bool) -> Node {
    let mut config = world.reader_config();
    config.exposure = Exposure::Open;
    config.veil_addr = has_card.then_some(LOOPBACK);
    config.allow_net = vec!["127.0.0.0/8".into()];
    let node = world.join(config).await;
    connected(node.endpoint(), world.injector_node.id()).await;
    node
}

/// A quiet reader with this guard.
async fn quiet(world: &World, guard: &Node) -> Node {
    let mut config = world.reader_config();
    config.allow_net = vec!["127.0.0.0/8".into()];
    let node = Node::start(config).await.unwrap();
    let mut invite = world.invite();
    invite.peers.push(PeerTicket { peer: guard.id(), relay: Some(0), addrs: vec![], veil: None });
    node.join(&invite, true).await.unwrap();
    connected(node.endpoint(), guard.id()).await;
    node
}

/// Whether the injector named some who held it, and who did not send it.
fn was_told(timeline: &Timeline) -> bool {
    timeline.events().into_iter().any(|event| {
        event.route == Route::Injector && event.what == What::Failed(Failure::NobodyHasIt)
    })
}

/// Asks the injector as a reader would who can ask others.
async fn ask(world: &World, asker: &Peer) -> Said {
    let mut request = request(&url(FILM));
    request.held = Some(0);
    asker.inject(world, &request).await.all().await
}

/// Has so many ask for it that it is held, and returns who is named then.
async fn crowd(world: &World, helpers: &[Node]) -> Vec<Signed<Card>> {
    let mut askers = Vec::new();
    for nth in 0..helpers.len().max(3) {
        let asker = Peer::asker(world).await;
        asker.meet(world, world.injector_node.id()).await;
        // Who asks again and again is no crowd.
        for _ in 0..3 {
            let said = ask(world, &asker).await;
            assert!(nth > 1 || said.held.is_empty() && said.data.len() == LEN, "few ask for it");
        }
        askers.push(asker);
    }
    until(|| helpers.iter().all(|helper| has(helper, FILM))).await;
    let mut said = ask(world, &askers[0]).await;
    for _ in 0..200 {
        if !said.held.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        said = ask(world, &askers[0]).await;
    }
    assert!(said.signed.is_some() && said.data.is_empty());
    said.held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_in_a_crowd_is_told_who_holds_it() {
    let (world, copy, helpers) = with_helpers(4).await;
    let named = crowd(&world, &helpers).await;
    let named: Vec<_> = named.iter().map(|card| card.peek().unwrap().peer).collect();
    assert_eq!(named.len(), NAMED);
    assert!(named.iter().all(|peer| helpers.iter().any(|helper| helper.id() == *peer)));

    let guard = open(&world, false).await;
    let reader = quiet(&world, &guard).await;
    let sent = world.injector.bodies();
    let response = get(&reader, FILM).await.expect("it is there");
    assert_eq!(response.route, Route::Injector);
    assert!(body(response).await == copy.body, "byte for byte");
    assert_eq!(world.injector.bodies(), sent, "others sent it");
    let met = reader.endpoint().connected();
    assert!(!helpers.iter().any(|helper| met.contains(&helper.id())), "it meets its guard alone");

    let other = open(&world, false).await;
    let response = get(&other, FILM).await.expect("it is there");
    assert!(body(response).await == copy.body, "byte for byte");
    assert_eq!(world.injector.bodies(), sent, "others sent it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_all_who_were_named_are_gone_the_injector_sends_it() {
    let (world, copy, helpers) = with_helpers(2).await;
    crowd(&world, &helpers).await;
    let guard = open(&world, false).await;
    let reader = quiet(&world, &guard).await;
    for helper in &helpers {
        helper.stop().await;
    }
    let sent = world.injector.bodies();
    let response = get(&reader, FILM).await.expect("it is there");
    assert!(body(response).await == copy.body, "byte for byte");
    assert!(world.injector.bodies() > sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_the_guard_passes_nothing_on_to_them_the_injector_sends_it() {
    let (world, copy, helpers) = with_helpers(2).await;
    crowd(&world, &helpers).await;
    // It passes requests on to the injector, and can reach none of the holders.
    let mut config = world.reader_config();
    (config.exposure, config.veil) = (Exposure::Open, false);
    let guard = world.join(config).await;
    connected(guard.endpoint(), world.injector_node.id()).await;
    let reader = quiet(&world, &guard).await;
    let sent = world.injector.bodies();
    let response = get(&reader, FILM).await.expect("it is there");
    let timeline = response.timeline.clone();
    assert!(body(response).await == copy.body, "byte for byte");
    assert!(was_told(&timeline), "{:?}", timeline.events());
    assert_eq!(world.injector.bodies(), sent + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_all_who_were_named_lie_the_injector_sends_it() {
    let world = World::with(|config| config.veil_addr = Some(LOOPBACK), |_| {}).await;
    let copy = world.copy(FILM, noise(LEN));
    copy.put_into(&world.injector_node, clock::now()).await;
    let mut liars = Vec::new();
    for n in 0..2 {
        let identity = [n + 1; 32];
        let copy = copy.clone();
        let liar = Peer::hearing(&world, identity, move |_, ask, mut stream| {
            let copy = copy.clone();
            async move {
                let mut said = match ask {
                    Ask::Hold { .. } => Answer::Open.to_frame(),
                    Ask::Question { .. } => return,
                    ask => copy.answer(&ask).concat(),
                };
                if said.len() > 10_000 {
                    *said.last_mut().unwrap() ^= 1;
                    said[5000] ^= 1;
                }
                let _ = stream.send.write_all(&said).await;
                let _ = stream.send.finish();
                let _ = stream.send.stopped().await;
            }
        })
        .await;
        let key = SigningKey::from_bytes(&identity);
        let veil = liar.veil.clone().unwrap();
        let card = Card { v: 1, peer: liar.id(), veil, made_at: clock::now() };
        liar.meet(&world, world.injector_node.id()).await;
        let nodes = Ask::Nodes { card: Some(Signed::sign(&card, &key)) };
        liar.ask(world.injector_node.id(), &nodes).await;
        liars.push(liar);
    }
    until(|| world.injector_node.open_nodes().len() == 2).await;
    crowd(&world, &[]).await;

    let reader = open(&world, false).await;
    let response = get(&reader, FILM).await.expect("it is there");
    let timeline = response.timeline.clone();
    assert!(body(response).await == copy.body, "byte for byte");
    assert!(was_told(&timeline), "{:?}", timeline.events());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_injector_can_have_something_be_held_and_only_by_who_is_open() {
    let world = World::start().await;
    let copy = world.copy(FILM, noise(LEN));
    let (helper, quiet) = (open(&world, false).await, world.reader(Exposure::Quiet).await);
    let asker = Peer::asker(&world).await;
    asker.meet(&world, helper.id()).await;
    let hold = Ask::Hold { snapshot: copy.signed.clone(), holders: vec![] };
    let answer = asker.ask(helper.id(), &hold).await;
    let Answer::Declined { failure: Failure::NotAllowed(_) } = answer else { panic!("{answer:?}") };
    asker.meet(&world, quiet.id()).await;
    assert_eq!(asker.ask(quiet.id(), &hold).await, Answer::Nothing);

    world.injector_node.learn(world.contact(helper.id())).await;
    // Nor can the injector itself have it hold what it did not sign, …
    let forged =
        world.copy_with(FILM, noise(LEN), |head| head.url = "https://other.example/".into());
    let hold = world.injector_node.ask_to_hold(helper.id(), forged.signed, vec![]).await;
    assert!(hold.is_err(), "{hold:?}");
    // … or what there is no room for.
    let long = world.copy_with(FILM, "", |head| head.len = 1 << 40);
    let hold = world.injector_node.ask_to_hold(helper.id(), long.signed, vec![]).await;
    assert!(hold.is_err(), "{hold:?}");
    assert!(!has(&helper, FILM));
    copy.put_into(&world.injector_node, clock::now()).await;
    world.injector_node.ask_to_hold(helper.id(), copy.signed, vec![]).await.unwrap();
    assert!(has(&helper, FILM));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_sets_out_to_a_stranger_by_its_card_and_to_few_in_a_while() {
    let (world, copy, helpers) = with_helpers(1).await;
    copy.put_into(&helpers[0], clock::now()).await;
    let guard = open(&world, false).await;
    let asker = Peer::asker(&world).await;
    asker.meet(&world, guard.id()).await;
    let card = world.injector_node.card_of(&helpers[0].id()).unwrap();
    let question = Ask::Fetch { key: Wanted::page(url(FILM)).key(), from: None, root: None };
    let forward = |to: PeerId, card: Option<Signed<Card>>| {
        let (envelope, _) = seal_question(&question, &to, rand::random()).unwrap();
        Ask::Forward { to, envelope, card }
    };
    let to = helpers[0].id();
    let known_by_nothing = asker.ask(guard.id(), &forward(to, None)).await;
    assert!(matches!(known_by_nothing, Answer::Declined { .. }), "{known_by_nothing:?}");
    let another = Peer::asker(&world).await;
    let not_its_own = asker.ask(guard.id(), &forward(another.id(), Some(card.clone()))).await;
    assert!(matches!(not_its_own, Answer::Declined { .. }), "{not_its_own:?}");
    assert_eq!(asker.ask(guard.id(), &forward(to, Some(card))).await, Answer::Open);

    // Cards that lead nowhere.
    let asks = (0..40).map(|n| {
        let key = SigningKey::from_bytes(&[n; 32]);
        let peer = PeerId(key.verifying_key().to_bytes());
        let secret = VeilSecret([n; 32]);
        let veil =
            VeilTicket { addrs: vec![format!("127.0.0.1:{}", 20_000 + u16::from(n))], secret };
        let card = Card { v: 1, peer, veil, made_at: clock::now() };
        forward(peer, Some(Signed::sign(&card, &key)))
    });
    let asked = asks.map(|ask| async { asker.ask(guard.id(), &{ ask }).await });
    let answers = futures_util::future::join_all(asked).await;
    let not_tried = answers.iter().filter(|answer| match answer {
        Answer::Declined { failure } => {
            matches!(failure, Failure::NotAllowed(_) | Failure::Busy(_))
        }
        _ => false,
    });
    let not_tried = not_tried.count();
    assert!((20..40).contains(&not_tried), "{not_tried} of 40 at once");
}
