//! A censor with sybil nodes, a relay and a guard of its own, who writes down all that it learns.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busel_net::endpoint::Stream;
use busel_net::finder::dht::meet;
use busel_node::clock;
use busel_proto::assigned::Offer;
use busel_proto::card::Card;
use busel_proto::catalogue::{Catalogue, Compare};
use busel_proto::daily::Day;
use busel_proto::id::{Hash, PeerId, PublicKey};
use busel_proto::invite::VeilTicket;
use busel_proto::message::{Answer, Ask};
use busel_proto::page::{HostName, PageUrl};
use busel_proto::question::QuestionKey;
use busel_proto::signed::Signed;
use busel_proto::snapshot::Wanted;
use busel_proto::veil::VeilSecret;
use ed25519_dalek::SigningKey;
use futures_util::StreamExt;
use mainline::{Dht, Id};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use super::{LOOPBACK, Peer, World};

/// What it learned.
#[derive(Debug, Default, Clone)]
pub(crate) struct Learned {
    /// Addresses, and the page for which each was found, if for one.
    pub(crate) found: BTreeSet<(SocketAddr, Option<String>)>,
    /// Nodes that cards name, and their addresses.
    pub(crate) told: BTreeMap<PeerId, Vec<SocketAddr>>,
    /// What each node answered to each question.
    pub(crate) answers: BTreeMap<(PeerId, String), Answer>,
    /// Nodes that reached the censor, or were reached by it, otherwise than by a relay of others.
    pub(crate) met: BTreeSet<PeerId>,
    /// Who asked the censor's guard, and for what.
    pub(crate) overheard: BTreeSet<(PeerId, String)>,
    /// From where datagrams came to an address that only the censor names.
    pub(crate) lured: BTreeSet<SocketAddr>,
    /// Connections to the relay that only the censor names.
    pub(crate) at_relay: usize,
}

impl Learned {
    fn told(&mut self, card: Signed<Card>) {
        let card = card.verify().unwrap();
        self.told.insert(card.peer, card.veil.addrs().collect());
    }
}

/// The censor.
pub(crate) struct Censor {
    /// Asks, under ids of its own.
    sybils: Vec<Peer>,
    /// Somebody's friend, who is with the censor.
    pub(crate) guard: Peer,
    heard: Arc<Mutex<Learned>>,
    traps: Vec<JoinHandle<()>>,
    /// Cards of nodes that are not there, at an address where the censor listens.
    pub(crate) cards: Vec<Signed<Card>>,
    /// What its guard offers to hold.
    pub(crate) offers: Vec<Offer>,
    /// Where a relay would be.
    pub(crate) relay_at: SocketAddr,
}

impl Drop for Censor {
    fn drop(&mut self) {
        self.traps.iter().for_each(JoinHandle::abort);
    }
}

/// Where the readers of a page, or of its site, would meet in a DHT, by whatever that may be computed
/// from.
pub(crate) fn topics_of(url: &PageUrl) -> Vec<[u8; 20]> {
    let texts = [url.as_str().to_owned(), url.host().as_str().to_owned()];
    let hashes = texts.iter().map(|text| Hash::of(text.as_bytes()).0);
    let key = Wanted::page(url.clone()).key();
    [key.0].into_iter().chain(hashes).map(|hash| *hash.first_chunk().unwrap()).collect()
}

impl Censor {
    /// Sets its traps. Its guard offers `offers`, and tells of nodes that are its own.
    pub(crate) async fn start(world: &World, offers: Vec<Offer>) -> Self {
        let heard = Arc::<Mutex<Learned>>::default();
        let trap = UdpSocket::bind(LOOPBACK).await.unwrap();
        let cards: Vec<_> = (0..16).map(|_| card(trap.local_addr().unwrap())).collect();
        let relay = TcpListener::bind(LOOPBACK).await.unwrap();
        let relay_at = relay.local_addr().unwrap();
        let (by_udp, by_tcp) = (heard.clone(), heard.clone());
        let traps = vec![
            tokio::spawn(async move {
                while let Ok((_, from)) = trap.recv_from(&mut [0; 2048]).await {
                    by_udp.lock().unwrap().lured.insert(from);
                }
            }),
            tokio::spawn(async move {
                while relay.accept().await.is_ok() {
                    by_tcp.lock().unwrap().at_relay += 1;
                }
            }),
        ];
        let (told, own, log) = (cards.clone(), offers.clone(), heard.clone());
        let identity: [u8; 32] = rand::random();
        let key = Arc::new(QuestionKey::new(&identity));
        let guard = Peer::hearing(world, identity, move |from, ask, stream| {
            let (told, offers, log) = (told.clone(), own.clone(), log.clone());
            let key = key.clone();
            async move {
                if from.wire() != "relay" {
                    log.lock().unwrap().met.insert(from.peer());
                }
                let ask = match ask {
                    Ask::Question { envelope } => key.open(&envelope).unwrap().0,
                    ask => ask,
                };
                answer(from.peer(), ask, stream, &told, &offers, &log).await;
            }
        })
        .await;
        let mut sybils = Vec::new();
        for _ in 0..3 {
            sybils.push(Peer::hearing(world, rand::random(), |_, _, _| async {}).await);
        }
        Self { sybils, guard, heard, traps, cards, offers, relay_at }
    }

    /// All that came to it by itself, until now.
    pub(crate) fn heard(&self) -> Learned {
        self.heard.lock().unwrap().clone()
    }

    /// Computes and asks all that it can: what is under each topic of each page, and what each node
    /// says to each question.
    pub(crate) async fn crawl(
        &self,
        world: &World,
        dht: &Dht,
        pages: &[PageUrl],
        nodes: &[PeerId],
    ) -> Learned {
        let mut learned = Learned::default();
        let today = Day::of(clock::now());
        let own = today.around().map(|day| (day.topic(), None));
        let of_pages = pages.iter().flat_map(|page| {
            topics_of(page).into_iter().map(|topic| (topic, Some(page.to_string())))
        });
        let looked = own
            .into_iter()
            .chain(of_pages)
            .map(|(topic, page)| async move { (under(dht, topic).await, page) });
        for (addrs, page) in futures_util::future::join_all(looked).await {
            for addr in addrs {
                if let Ok(card) = meet::ask(addr.into()).await {
                    learned.told(card);
                }
                learned.found.insert((addr.into(), page.clone()));
            }
        }
        for node in nodes {
            self.question(world, *node, pages, &mut learned).await;
        }
        let heard = self.heard();
        learned.overheard = heard.overheard;
        learned.met.extend(heard.met);
        (learned.lured, learned.at_relay) = (heard.lured, heard.at_relay);
        learned
    }

    async fn question(
        &self,
        world: &World,
        node: PeerId,
        pages: &[PageUrl],
        learned: &mut Learned,
    ) {
        for (at, sybil) in self.sybils.iter().enumerate() {
            sybil.meet(world, node).await;
            if sybil.endpoint.wires_in_use().keys().any(|wire| *wire != "relay") {
                learned.met.insert(node);
            }
            // With a card of its own, as one who wants to be called back.
            let hello = Ask::Nodes { card: Some(self.cards[at].clone()) };
            if let Answer::Nodes { cards } = sybil.ask(node, &hello).await {
                cards.into_iter().for_each(|card| learned.told(card));
            }
        }
        let sybil = &self.sybils[0];
        for ask in asks(world, pages) {
            let answer = sybil.ask(node, &ask).await;
            learned.answers.insert((node, format!("{ask:?}")), answer);
        }
    }
}

/// What anybody can ask anybody.
fn asks(world: &World, pages: &[PageUrl]) -> Vec<Ask> {
    let (_, message) = Compare::begin(Catalogue::default().sketch()).unwrap();
    let host = HostName::parse(super::HOST).unwrap();
    let mut asks = vec![
        Ask::Tunnel { host, port: 443 },
        Ask::Inject { envelope: vec![0; 600] },
        Ask::Question { envelope: vec![0; 600] },
        Ask::Pass { to: PeerId([1; 32]), envelope: vec![0; 600] },
        Ask::Forward { to: PeerId([1; 32]), envelope: vec![0; 600], card: None },
        Ask::Assign,
        Ask::Compare { root: world.root.public(), message },
        Ask::Listed { root: world.root.public(), heads: vec![] },
    ];
    for page in pages {
        let key = Wanted::page(page.clone()).key();
        asks.push(Ask::Fetch { key, from: None, root: None });
        asks.push(Ask::Fetch { key, from: Some(0), root: None });
    }
    asks
}

/// The censor's guard: says what leads to the censor, and writes down who asks what.
async fn answer(
    from: PeerId,
    ask: Ask,
    mut stream: Stream,
    told: &[Signed<Card>],
    offers: &[Offer],
    log: &Mutex<Learned>,
) {
    let answer = match ask {
        Ask::Nodes { .. } => Answer::Nodes { cards: told.to_vec() },
        Ask::Assign => Answer::Offers { offers: offers.to_vec() },
        Ask::Fetch { key, .. } => {
            log.lock().unwrap().overheard.insert((from, key.to_string()));
            Answer::Nothing
        }
        _ => Answer::Declined { failure: busel_proto::failure::Failure::NobodyKnown },
    };
    let _ = stream.send.write_all(&answer.to_frame()).await;
    let _ = stream.send.finish();
    let _ = stream.send.stopped().await;
}

/// A true card of nobody, who is said to be at `addr`.
fn card(addr: SocketAddr) -> Signed<Card> {
    let key = SigningKey::from_bytes(&rand::random());
    let addrs = vec![addr.to_string()];
    let veil = VeilTicket { addrs, secret: VeilSecret(rand::random()) };
    let peer = PeerId(PublicKey::from(&key).0);
    Signed::sign(&Card { v: 1, peer, veil, made_at: clock::now() }, &key)
}

/// Whom a DHT has under a topic.
pub(crate) async fn under(dht: &Dht, topic: [u8; 20]) -> Vec<SocketAddrV4> {
    let dht = dht.clone().as_async();
    let mut found = Vec::new();
    let looking = async {
        let mut answers = dht.get_peers(Id::from(topic));
        while let Some(some) = answers.next().await {
            found.extend(some);
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), looking).await;
    found
}
