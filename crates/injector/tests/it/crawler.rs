//! No list of readers: a censor who runs sybil nodes, a relay and somebody's guard computes and asks all
//! that it can, and learns of no reader where it is or what it reads, of an open node only that it runs
//! Busel. That the censor has eyes is shown beside it: the same crawler catches who announces by page, who
//! serves what it read, and who goes where a peer says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use busel_node::config::Exposure;
use busel_node::{Config, Node, clock};
use busel_proto::assigned::Offer;
use busel_proto::id::PeerId;
use busel_proto::invite::{Invite, PeerTicket, RelayTicket, VeilTicket};
use busel_proto::message::{Answer, Ask};
use busel_proto::page::PageUrl;
use busel_proto::snapshot::Wanted;
use mainline::{Dht, Id, Testnet};

use crate::support::censor::{Censor, Learned, topics_of, under};
use crate::support::world::{connected, until};
use crate::support::{Copy, LOOPBACK, World, body, get, kept, url};

/// Pages that the censor tests for: both guards hold the first two, and the reader reads the second and
/// third.
const PAGES: [&str; 4] = ["/held", "/held-and-read", "/read", "/other"];

/// A world with a DHT, two open nodes in it that are a reader's guards, and a third who is the censor's.
struct Stage {
    world: World,
    censor: Censor,
    guards: Vec<Node>,
    dht: Dht,
    testnet: Testnet,
    /// What the open nodes hold.
    held: Vec<Copy>,
}

impl Stage {
    async fn start() -> Self {
        let world = World::start().await;
        let testnet = tokio::task::spawn_blocking(|| {
            Testnet::builder(4).bind_address(Ipv4Addr::LOCALHOST).build().unwrap()
        });
        let testnet = testnet.await.unwrap();
        let dht = Dht::builder().bootstrap(&testnet.bootstrap).build().unwrap();
        let held: Vec<_> = PAGES[..2].iter().map(|path| world.copy(path, *path)).collect();
        let lured = world.copy("/offered", "what the censor would have held");
        let censor = Censor::start(&world, vec![offer(&lured), offer(&held[0])]).await;
        let mut stage = Self { world, censor, guards: vec![], dht, testnet, held };
        for _ in 0..2 {
            let guard = stage.open().await;
            stage.guards.push(guard);
        }
        let [one, other] = &stage.guards[..] else { unreachable!() };
        stage.world.introduce(one, other).await;
        stage.world.introduce(other, one).await;
        for guard in &stage.guards {
            guard.learn(stage.world.contact(stage.censor.guard.id())).await;
            connected(guard.endpoint(), stage.world.injector_node.id()).await;
        }
        stage
    }

    /// An open node, which meets others in the DHT and holds some pages.
    async fn open(&self) -> Node {
        let node = self.world.join(self.open_config()).await;
        for copy in &self.held {
            copy.put_into(&node, clock::now()).await;
        }
        node
    }

    fn open_config(&self) -> Config {
        let mut config = self.world.reader_config();
        config.exposure = Exposure::Open;
        config.veil_addr = Some(LOOPBACK);
        config.allow_net = vec!["127.0.0.0/8".into()];
        config.dht = true;
        config.dht_addr = Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
        config.dht_bootstrap.clone_from(&self.testnet.bootstrap);
        config
    }

    fn invite(&self) -> Invite {
        let mut invite = self.world.invite();
        let guards = self.guards.iter().map(Node::id).chain([self.censor.guard.id()]);
        invite.peers.extend(guards.map(|peer| PeerTicket {
            peer,
            relay: Some(0),
            addrs: vec![],
            veil: None,
        }));
        invite
    }

    async fn quiet(&self) -> Node {
        let node = Node::start(self.world.reader_config()).await.unwrap();
        node.join(&self.invite(), true).await.unwrap();
        for guard in &self.guards {
            connected(node.endpoint(), guard.id()).await;
        }
        connected(node.endpoint(), self.censor.guard.id()).await;
        node
    }

    /// Waits until the open nodes are in the DHT.
    async fn has_met(&self) {
        let today = busel_proto::daily::Day::of(clock::now());
        for _ in 0..60 {
            if under(&self.dht, today.topic()).await.len() >= self.guards.len() {
                return;
            }
        }
        panic!("the open nodes are not in the DHT");
    }

    async fn crawl(&self, node: &Node) -> Learned {
        let nodes: Vec<_> = self.guards.iter().map(Node::id).chain([node.id()]).collect();
        self.censor.crawl(&self.world, &self.dht, &pages(), &nodes).await
    }

    /// What is wrong with what the censor learned of `reader`, before it read and afterwards.
    fn verdict(&self, reader: PeerId, before: &Learned, after: &Learned) -> Result<(), String> {
        let open: BTreeMap<PeerId, Vec<SocketAddr>> = self
            .guards
            .iter()
            .map(|guard| (guard.id(), guard.veil_ticket().unwrap().addrs().collect()))
            .collect();
        let of_open: BTreeSet<_> = open.values().flatten().copied().collect();
        for (addr, page) in &after.found {
            if let Some(page) = page {
                return Err(format!("{addr} is where {page} is read"));
            }
        }
        if after.found.len() > open.len() {
            return Err(format!("more than the open nodes are found: {:?}", after.found));
        }
        let own =
            |peer: &PeerId| self.censor.cards.iter().any(|card| card.peek().unwrap().peer == *peer);
        let others = |(peer, addrs): &(&PeerId, &Vec<SocketAddr>)| {
            !own(peer) && open.get(*peer) != Some(*addrs)
        };
        if let Some((peer, addrs)) = after.told.iter().find(others) {
            return Err(format!("{peer:?} is said to be at {addrs:?}"));
        }
        if let Some(addr) = after.lured.iter().find(|addr| !of_open.contains(addr)) {
            return Err(format!("{addr} went where a peer said"));
        }
        if after.at_relay > 0 {
            return Err("somebody went to the censor's relay".into());
        }
        if after.met.contains(&reader) {
            return Err("the reader met the censor without a relay between".into());
        }
        let offered: Vec<_> =
            self.censor.offers.iter().map(|offer| offer.key.to_string()).collect();
        if let Some((_, key)) =
            after.overheard.iter().find(|(who, key)| *who == reader && !offered.contains(key))
        {
            return Err(format!("the reader asked the censor for {key}"));
        }
        for (ask, answer) in &before.answers {
            if after.answers.get(ask) != Some(answer) {
                return Err(format!("{:?}: another answer to {}", ask.0, ask.1));
            }
        }
        Ok(())
    }
}

fn pages() -> Vec<PageUrl> {
    PAGES.iter().map(|path| url(path)).collect()
}

fn offer(copy: &Copy) -> Offer {
    let key = Wanted::page(PageUrl::parse(&copy.head.url).unwrap()).key();
    Offer { key, fetched_at: copy.head.fetched_at, len: copy.head.len }
}

async fn reads(node: &Node) {
    for path in &PAGES[1..3] {
        let response = get(node, path).await.expect("it can be read");
        body(response).await;
        kept(node, path).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crawler_finds_open_nodes_and_of_a_reader_nothing() {
    let stage = Stage::start().await;
    let reader = stage.quiet().await;
    stage.has_met().await;
    reader.tend().await;
    let before = stage.crawl(&reader).await;
    assert!(!before.told.is_empty() && before.found.len() == 2, "the crawler sees: {before:?}");
    let key = Wanted::page(url("/held")).key();
    let held = Ask::Fetch { key, from: None, root: None };
    let answer = &before.answers[&(reader.id(), format!("{held:?}"))];
    assert!(matches!(answer, Answer::Found { .. }), "it holds what it was given: {answer:?}");

    reads(&reader).await;
    stage.world.origin.cut().await;
    assert!(get(&reader, "/other").await.is_err(), "all are asked for it, and nobody has it");
    reader.tend().await;
    let after = stage.crawl(&reader).await;
    assert_eq!(stage.verdict(reader.id(), &before, &after), Ok(()));
    let asked = after.overheard.iter().any(|(who, _)| stage.guards.iter().any(|g| g.id() == *who));
    assert!(asked, "the censor's guard was asked by others for the reader");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crawler_catches_who_announces_by_page() {
    let stage = Stage::start().await;
    let reader = stage.quiet().await;
    let before = stage.crawl(&reader).await;
    assert_eq!(stage.verdict(reader.id(), &before, &before), Ok(()));
    reads(&reader).await;
    // What a build would do that has readers of a page find each other.
    let dht = Dht::builder().bootstrap(&stage.testnet.bootstrap).build().unwrap().as_async();
    dht.announce_peer(Id::from(topics_of(&url("/read"))[0]), Some(4433)).await.unwrap();
    let after = stage.crawl(&reader).await;
    let said = stage.verdict(reader.id(), &before, &after).unwrap_err();
    assert!(said.contains(":4433 is where") && said.contains("/read"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crawler_catches_who_serves_what_it_read() {
    let stage = Stage::start().await;
    let open = stage.world.reader(Exposure::Open).await;
    let before = stage.crawl(&open).await;
    reads(&open).await;
    let after = stage.crawl(&open).await;
    let said = stage.verdict(open.id(), &before, &after).unwrap_err();
    assert!(said.contains("another answer"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crawler_catches_who_goes_where_a_peer_says() {
    let stage = Stage::start().await;
    // Open nodes try whom they are told of: to the censor they are no secret, but it sees them come.
    while stage.censor.heard().lured.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // Who has the censor for a friend goes where that one's invite says.
    let at_censor = |veil: Option<VeilTicket>, relay: Option<u32>| Invite {
        peers: vec![PeerTicket { peer: stage.censor.guard.id(), relay, addrs: vec![], veil }],
        ..Invite::default()
    };
    let befriended = stage.world.lonely_reader().await;
    let before = stage.crawl(&befriended).await;
    assert_eq!(stage.verdict(befriended.id(), &before, &before), Ok(()));
    let invite = at_censor(stage.censor.guard.veil.clone(), None);
    befriended.join(&invite, false).await.unwrap();
    connected(befriended.endpoint(), stage.censor.guard.id()).await;
    let _ = get(&befriended, "/read").await;
    let after = stage.crawl(&befriended).await;
    let said = stage.verdict(befriended.id(), &before, &after).unwrap_err();
    assert!(said.contains("without a relay"), "{said}");

    let lured = stage.world.lonely_reader().await;
    let own = stage.world.relay.ticket().clone();
    let relay = RelayTicket { addr: stage.censor.relay_at.to_string(), ..own };
    let invite = Invite { relays: vec![relay], ..at_censor(None, Some(0)) };
    lured.join(&invite, false).await.unwrap();
    let _ = get(&lured, "/read").await;
    until(|| stage.censor.heard().at_relay > 0).await;
}
