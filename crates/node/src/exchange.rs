//! The finder `Exchange`: open nodes tell each other of open nodes, by cards.
//!
//! Only an open node takes part. It gives its own card, if it is reached by the veil, and those of
//! others whose nodes it has connected to itself; what it is told is hearsay until it has. A quiet node
//! neither asks nor answers: who asked would go on to speak to strangers, and its guards are to be all
//! that it speaks to. In the LAN nothing is exchanged, since a card says who a neighbour is elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use busel_net::endpoint::Stream;
use busel_net::finder::Finder;
use busel_net::wire::Contact;
use busel_proto::card::Card;
use busel_proto::exchange::{Cards, MAX_TOLD, Source};
use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask};
use busel_proto::signed::Signed;
use busel_proto::time::UnixTime;
use ed25519_dalek::SigningKey;
use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::{Notify, mpsc};
use tracing::debug;

use crate::clock;
use crate::node::Node;
use crate::say;
use crate::wires::OwnVeil;

/// Cards of the DHT that wait to be judged.
const QUEUE: usize = 64;
/// Between two rounds: so long, and up to as long again. Shorter while few nodes are known.
const ROUND: Duration = Duration::from_secs(60);
const EAGER_ROUND: Duration = Duration::from_secs(3);
/// With fewer nodes than this it is eager, and asks those that it is not connected to, too.
const FEW: usize = 4;
/// Nodes that are asked in one round, and new ones that are tried.
const ASKED: usize = 2;
const TRIED: usize = 4;
/// One node is asked again after this long; sooner while few are known.
const REST: Duration = Duration::from_secs(600);
const EAGER_REST: Duration = Duration::from_secs(20);
/// Nodes that are remembered as asked.
const MAX_RESTING: usize = 4096;
/// New ones that wait to be tried.
const MAX_UNTRIED: usize = 256;
/// One exchange takes at most this long.
const LIMIT: Duration = Duration::from_secs(10);
/// A card is made anew each day.
const DAY: u64 = 86_400;
/// For others, so many nodes of which nothing but a card is known are connected to, and for one of them …
const MAX_STRANGERS: usize = 16;
const MAX_ASKERS_STRANGERS: usize = 6;
/// … within this time.
const STRANGERS_WITHIN: Duration = Duration::from_secs(4);
/// What is new waits so long, so that nobody makes it set out all the time.
const NEWS_PAUSE: Duration = Duration::from_secs(1);

/// What an open node knows of others, and says of itself.
pub(crate) struct Exchange {
    key: SigningKey,
    veil: Arc<OwnVeil>,
    cards: Mutex<Cards>,
    asked: Mutex<BTreeMap<PeerId, Instant>>,
    /// Cards that came but are not judged yet.
    pub(crate) come: mpsc::Sender<Signed<Card>>,
    coming: tokio::sync::Mutex<mpsc::Receiver<Signed<Card>>>,
    untried: Mutex<Vec<PeerId>>,
    /// Told when there is more to do than waits for the next round: one of them spoke for itself, or the owner
    /// has joined others.
    news: Notify,
    /// When it last set out to which strangers, and for whom.
    strangers: Mutex<Vec<(Instant, PeerId, PeerId)>>,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchange")
    }
}

impl Exchange {
    /// That of the node with this identity, which is reached so.
    pub(crate) fn new(identity: &[u8; 32], veil: Arc<OwnVeil>) -> Self {
        let key = SigningKey::from_bytes(identity);
        let own = PeerId(key.verifying_key().to_bytes());
        let (come, coming) = mpsc::channel(QUEUE);
        Self {
            key,
            veil,
            cards: Mutex::new(Cards::new(own, rand::random())),
            asked: Mutex::default(),
            come,
            coming: coming.into(),
            untried: Mutex::default(),
            news: Notify::new(),
            strangers: Mutex::default(),
        }
    }

    /// This node's card; none if nobody can reach it by the veil.
    pub(crate) fn card(&self) -> Option<Signed<Card>> {
        let veil = self.veil.ticket()?;
        let made_at = UnixTime(clock::now().0 / DAY * DAY);
        let peer = PeerId(self.key.verifying_key().to_bytes());
        Some(Signed::sign(&Card { v: 1, peer, veil, made_at }, &self.key))
    }

    /// Whether it is one that others are told of.
    pub(crate) fn works(&self, peer: &PeerId) -> bool {
        lock(&self.cards).works(peer, clock::now())
    }

    /// All open nodes that others are told of.
    pub(crate) fn working(&self) -> Vec<PeerId> {
        lock(&self.cards).working(clock::now())
    }

    /// What others are told of one.
    pub(crate) fn card_of(&self, peer: &PeerId) -> Option<Signed<Card>> {
        lock(&self.cards).card(peer)
    }

    /// Whether a node was there when it was connected to. One that never was is forgotten.
    pub(crate) fn tried(&self, node: &Node, peer: &PeerId, worked: bool) {
        lock(&self.untried).retain(|untried| untried != peer);
        lock(&self.cards).tried(peer, worked, clock::now());
        if !worked && self.card_of(peer).is_none() {
            node.endpoint.forget(peer);
        }
    }

    /// Whether there is room to set out to a stranger for somebody. Those under way take no more of it.
    fn may_set_out(&self, to: PeerId, asker: PeerId) -> bool {
        let mut strangers = lock(&self.strangers);
        strangers.retain(|(at, ..)| at.elapsed() < STRANGERS_WITHIN);
        if strangers.iter().any(|(_, stranger, _)| *stranger == to) {
            return true;
        }
        let askers = strangers.iter().filter(|(.., other)| *other == asker).count();
        let room = strangers.len() < MAX_STRANGERS && askers < MAX_ASKERS_STRANGERS;
        if room {
            strangers.push((Instant::now(), to, asker));
        }
        room
    }

    /// What a peer that asked is told.
    fn told(&self, asker: &PeerId) -> Vec<Signed<Card>> {
        let mut told: Vec<_> = self.card().into_iter().collect();
        told.extend(lock(&self.cards).told(asker, clock::now()));
        told.truncate(MAX_TOLD);
        told
    }

    /// There are others now whom it may ask.
    pub(crate) fn joined(&self) {
        self.news.notify_one();
    }

    /// Notes a new one to try; of too many, none.
    fn will_try(&self, peer: PeerId) {
        let mut untried = lock(&self.untried);
        if untried.len() < MAX_UNTRIED && !untried.contains(&peer) {
            untried.push(peer);
        }
    }

    /// Up to so many new ones to try.
    fn to_try(&self) -> Vec<PeerId> {
        let mut untried = lock(&self.untried);
        let at = untried.len().saturating_sub(TRIED);
        untried.split_off(at)
    }

    /// Up to so many of `peers` that were not asked lately.
    fn to_ask(&self, peers: Vec<PeerId>, rest: Duration) -> Vec<PeerId> {
        let mut asked = lock(&self.asked);
        asked.retain(|_, at| at.elapsed() < rest);
        let mut chosen = peers;
        chosen.retain(|peer| !asked.contains_key(peer));
        chosen.truncate(ASKED.min(MAX_RESTING.saturating_sub(asked.len())));
        asked.extend(chosen.iter().map(|peer| (*peer, Instant::now())));
        chosen
    }
}

impl Finder for Exchange {
    fn name(&self) -> &'static str {
        "exchange"
    }

    fn find(&self) -> BoxFuture<'_, Vec<Contact>> {
        // What it hears goes to the endpoint as it is judged.
        async { Vec::new() }.boxed()
    }

    fn known(&self) -> usize {
        lock(&self.cards).len()
    }
}

/// Exchanges until it is dropped.
pub(crate) async fn run(node: &Node, exchange: &Exchange) {
    let mut coming = exchange.coming.lock().await;
    loop {
        let contacts = node.endpoint.contacts();
        let few = node.endpoint.connected().len() < FEW;
        let round = if few && !contacts.is_empty() { EAGER_ROUND } else { ROUND };
        let pause = round.mul_f64(1.0 + rand::random::<f64>());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = exchange.news.notified() => tokio::time::sleep(NEWS_PAUSE).await,
            Some(card) = coming.recv() => drop(judge(node, exchange, card, Source::Dht).await),
        }
        try_new(node, exchange).await;
        let mut peers = node.endpoint.connected();
        // Neighbours in the LAN are none of them.
        peers.retain(|peer| contacts.iter().any(|contact| contact.peer == *peer));
        if few {
            peers.extend(contacts.iter().map(|contact| contact.peer));
        }
        let rest = if few { EAGER_REST } else { REST };
        for peer in exchange.to_ask(peers, rest) {
            match tokio::time::timeout(LIMIT, ask(node, exchange, peer)).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => debug!(%failure, "a node told nothing of others"),
                Err(_) => debug!("a node was silent when asked for others"),
            }
        }
    }
}

/// Sees whether nodes that it was told of are there.
async fn try_new(node: &Node, exchange: &Exchange) {
    let tries = exchange.to_try().into_iter().map(|peer| async move {
        let opened = tokio::time::timeout(LIMIT, node.endpoint.open(&peer)).await;
        exchange.tried(node, &peer, matches!(opened, Ok(Ok(_))));
    });
    futures_util::future::join_all(tries).await;
}

async fn ask(node: &Node, exchange: &Exchange, peer: PeerId) -> Result<(), Failure> {
    let stream = node.endpoint.open(&peer).await?;
    if stream.is_near() {
        return Ok(());
    }
    let (answer, _) = say::on(stream, &Ask::Nodes { card: exchange.card() }).await?;
    let Answer::Nodes { cards } = answer else { return Ok(()) };
    exchange.tried(node, &peer, true);
    for card in cards.into_iter().take(MAX_TOLD) {
        judge(node, exchange, card, Source::Told(peer)).await;
    }
    Ok(())
}

/// Answers a peer that asked; `card` is what it said of itself.
pub(crate) async fn answer(
    node: &Node,
    stream: &Stream,
    peer: PeerId,
    card: Option<Signed<Card>>,
) -> Answer {
    let Some(exchange) = node.exchange.as_ref().filter(|_| !stream.is_near()) else {
        return Answer::Nothing;
    };
    // What another says of itself counts; what it says of others in its own name does not.
    if let Some(card) = card.filter(|card| card.peek().is_ok_and(|card| card.peer == peer)) {
        judge(node, exchange, card, Source::Itself).await;
    }
    Answer::Nodes { cards: exchange.told(&peer) }
}

/// Hears of a node from another one. Returns who it is, if it can be set out to: its card is sound, that other one
/// has not told of too many who were not there, and if it is for an asker, there is room for that.
pub(crate) async fn told_of(
    node: &Node,
    teller: PeerId,
    asker: Option<PeerId>,
    card: Signed<Card>,
) -> Option<PeerId> {
    let exchange = node.exchange.as_ref()?;
    let peer = judge(node, exchange, card, Source::Told(teller)).await?;
    node.endpoint.contact(&peer)?;
    let may = exchange.works(&peer) || asker.is_none_or(|asker| exchange.may_set_out(peer, asker));
    may.then_some(peer)
}

/// Takes a card, if it is sound and there is room for one of its kind. It is hearsay. Returns whose it is, if it is
/// sound.
async fn judge(
    node: &Node,
    exchange: &Exchange,
    signed: Signed<Card>,
    source: Source,
) -> Option<PeerId> {
    let card = match Card::check(&signed, &node.own.reach, clock::now()) {
        Ok(card) => card,
        Err(error) => {
            debug!(%error, "a card was not taken");
            return None;
        }
    };
    let (peer, veil) = (card.peer, card.veil.clone());
    let heard = lock(&exchange.cards).heard(card, signed, source);
    match heard {
        Ok(()) => {
            exchange.will_try(peer);
            if source == Source::Itself {
                exchange.news.notify_one();
            }
            let known = node.endpoint.contact(&peer);
            let (relay, addrs) = known.map(|known| (known.relay, known.addrs)).unwrap_or_default();
            node.endpoint.hear_of(Contact { peer, relay, addrs, veil: Some(veil) }).await;
        }
        Err(error) => debug!(%error, "a card was not kept"),
    }
    Some(peer)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
