//! The finder `Dht`: open nodes meet under a topic of BitTorrent's public DHT that is another each day.
//!
//! It is for open nodes alone: whoever asks the DHT for the topic shows that address to it, and who
//! announces puts it on a list for all. It brings addresses; [`meet`] asks there for a card, which goes
//! to whoever judges cards. It knows no name of a first node: names are resolved by the node's own
//! resolvers, and once it has spoken to the DHT it keeps addresses of the DHT's nodes and needs no name.
//! IPv4 only, as its library.

pub mod meet;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use busel_proto::card::Card;
use busel_proto::daily::Day;
use busel_proto::network::Reach;
use busel_proto::signed::Signed;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream;
use mainline::Id;
use mainline::async_dht::AsyncDht;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::lan::today;
use super::saved::Keep;
use super::{Finder, Found};
use crate::wire::Contact;

/// How often it looks, and announces: somewhere between these two.
const LEAST_GAP: Duration = Duration::from_secs(600);
const MOST_GAP: Duration = Duration::from_secs(1200);
/// While nobody was found it is this, and each time twice as long.
const EAGER_GAP: Duration = Duration::from_secs(4);
/// One look, or one announcement, takes at most this long.
const LOOK_LIMIT: Duration = Duration::from_secs(20);
/// Addresses that are asked in one look, and at once.
const MAX_ASKED: usize = 64;
const AT_ONCE: usize = 8;
/// An address that was asked is left alone for this long.
const REST: Duration = Duration::from_secs(3600);
/// Addresses that are remembered as asked.
const MAX_RESTING: usize = 1024;
/// Nodes of the DHT that are kept for the next start.
const MAX_KEPT: usize = 64;

/// Resolves the names of first nodes.
pub type FirstNodes = Arc<dyn Fn() -> BoxFuture<'static, Vec<SocketAddrV4>> + Send + Sync>;

/// How it is set up.
pub struct Setup {
    /// Names the first nodes, when those that were kept don't answer.
    pub first: FirstNodes,
    /// Nodes of the DHT that were kept, one in each line.
    pub kept: Vec<u8>,
    /// Keeps such.
    pub keep: Keep,
    /// The port that is announced; if there is none, it only looks.
    pub announce: Option<u16>,
    /// Addresses that may be asked for cards.
    pub reach: Reach,
    /// Where cards go.
    pub cards: mpsc::Sender<Signed<Card>>,
}

/// Looks for open nodes, and announces this one.
pub struct Dht {
    setup: Setup,
    resting: Mutex<BTreeMap<SocketAddrV4, Instant>>,
    met: AtomicUsize,
}

impl std::fmt::Debug for Dht {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dht")
    }
}

impl Dht {
    /// One that has looked for nobody yet.
    pub fn new(setup: Setup) -> Self {
        Self { setup, resting: Mutex::default(), met: AtomicUsize::new(0) }
    }

    async fn keep(&self) {
        let (mut dht, mut eager) = (None, EAGER_GAP);
        loop {
            if dht.is_none() {
                dht = self.join().await;
            }
            let met = match &dht {
                Some(dht) => self.look(dht).await,
                None => 0,
            };
            let gap = if met > 0 || self.met.load(Ordering::Relaxed) > 0 {
                LEAST_GAP + (MOST_GAP - LEAST_GAP).mul_f64(rand::random::<f64>())
            } else {
                let gap = eager.mul_f64(1.0 + rand::random::<f64>());
                eager = (eager * 2).min(LEAST_GAP);
                gap
            };
            tokio::time::sleep(gap).await;
        }
    }

    /// Joins the DHT: by the nodes that were kept, or else by those that are named.
    async fn join(&self) -> Option<AsyncDht> {
        let kept = parse(&self.setup.kept);
        if !kept.is_empty()
            && let Some(dht) = joined(&kept).await
        {
            return Some(dht);
        }
        let mut first = (self.setup.first)().await;
        first.retain(|addr| self.setup.reach.allows((*addr.ip()).into()));
        first.truncate(MAX_KEPT);
        if first.is_empty() { None } else { joined(&first).await }
    }

    /// Looks for others and announces this node. Returns how many were met.
    async fn look(&self, dht: &AsyncDht) -> usize {
        let today = today();
        let mut found = Vec::new();
        // Around midnight some are still under the other day's topic.
        for day in [today, Day(today.0.saturating_sub(1))] {
            let looking = async {
                let mut answers = dht.get_peers(Id::from(day.topic()));
                while let Some(some) = answers.next().await {
                    found.extend(some.into_iter().take(MAX_ASKED));
                    if found.len() >= MAX_ASKED {
                        break;
                    }
                }
            };
            // What has come until then counts.
            let _ = timeout(LOOK_LIMIT, looking).await;
        }
        let asked = self.to_ask(found);
        let met: usize = stream::iter(asked)
            .map(|addr| self.ask(addr.into()))
            .buffer_unordered(AT_ONCE)
            .map(usize::from)
            .fold(0, |sum, met| async move { sum + met })
            .await;
        self.met.fetch_add(met, Ordering::Relaxed);
        if let Some(port) = self.setup.announce {
            let announced = dht.announce_peer(Id::from(today.topic()), Some(port));
            if !matches!(timeout(LOOK_LIMIT, announced).await, Ok(Ok(_))) {
                debug!("this node could not be announced in the DHT");
            }
        }
        let nodes: Vec<String> = dht.to_bootstrap().await.into_iter().take(MAX_KEPT).collect();
        if !nodes.is_empty() {
            (self.setup.keep)(nodes.join("\n").into_bytes());
        }
        met
    }

    /// Of the addresses found, those to ask now, each once in a while.
    fn to_ask(&self, mut found: Vec<SocketAddrV4>) -> Vec<SocketAddrV4> {
        found.sort();
        found.dedup();
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|_, at| at.elapsed() < REST);
        found.retain(|addr| {
            let asks = addr.port() != 0
                && self.setup.reach.allows((*addr.ip()).into())
                && !resting.contains_key(addr)
                && resting.len() < MAX_RESTING;
            if asks {
                resting.insert(*addr, Instant::now());
            }
            asks
        });
        found.truncate(MAX_ASKED);
        found
    }

    async fn ask(&self, addr: SocketAddr) -> bool {
        match meet::ask(addr).await {
            Ok(card) => self.setup.cards.send(card).await.is_ok(),
            Err(error) => {
                debug!(%error, "nobody of ours is at an address of the DHT");
                false
            }
        }
    }
}

impl Finder for Dht {
    fn name(&self) -> &'static str {
        "dht"
    }

    fn find(&self) -> BoxFuture<'_, Vec<Contact>> {
        // What it finds is cards, which are judged elsewhere.
        async { Vec::new() }.boxed()
    }

    fn known(&self) -> usize {
        self.met.load(Ordering::Relaxed)
    }

    fn run(&self, _: Found) -> BoxFuture<'_, ()> {
        self.keep().boxed()
    }
}

/// A node of the DHT that has spoken to one of these.
async fn joined(first: &[SocketAddrV4]) -> Option<AsyncDht> {
    let dht = build(first).inspect_err(|error| debug!(%error, "no DHT")).ok()?.as_async();
    let spoken = timeout(LOOK_LIMIT, dht.bootstrapped()).await;
    (spoken == Ok(true)).then_some(dht)
}

fn build(first: &[SocketAddrV4]) -> io::Result<mainline::Dht> {
    let mut builder = mainline::Dht::builder();
    builder.bootstrap(first).port(0);
    builder.build()
}

fn parse(kept: &[u8]) -> Vec<SocketAddrV4> {
    let lines = String::from_utf8_lossy(kept);
    lines.lines().take(MAX_KEPT).filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dht() -> Dht {
        let (cards, _) = mpsc::channel(1);
        Dht::new(Setup {
            first: Arc::new(|| async { Vec::new() }.boxed()),
            kept: b"1.2.3.4:6881\njunk\n".to_vec(),
            keep: Arc::new(|_| {}),
            announce: None,
            reach: Reach::default(),
            cards,
        })
    }

    #[test]
    fn an_address_is_asked_once_and_no_private_one_ever() {
        let dht = dht();
        let found = ["1.2.3.4:5", "192.168.1.1:5", "127.0.0.1:5", "5.6.7.8:0", "1.2.3.4:5"];
        let found: Vec<SocketAddrV4> = found.iter().map(|addr| addr.parse().unwrap()).collect();
        assert_eq!(dht.to_ask(found.clone()), ["1.2.3.4:5".parse().unwrap()]);
        assert!(dht.to_ask(found).is_empty());
        let many = (0..5000u16).map(|n| SocketAddrV4::new([1, 1, 1, 1].into(), n + 1)).collect();
        assert_eq!(dht.to_ask(many).len(), MAX_ASKED);
    }

    #[test]
    fn what_was_kept_is_read() {
        assert_eq!(parse(&dht().setup.kept), ["1.2.3.4:6881".parse().unwrap()]);
    }
}
