//! Control: everything that the faces of Busel, the command line and later the web page, can ask
//! of a node. One trait; the node itself answers it, and so does [`client::Client`] for a node that
//! runs elsewhere on this device, over a local socket (see [`server`]).

pub mod client;
mod invitation;
pub mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use busel_proto::invite::Invite;
use busel_proto::page::{HostName, PageUrl};
use busel_proto::plan::Manner;
use busel_proto::race::{Event, What};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::assigned::Held;
use crate::authority::Vouches;
use crate::catalogue::Found;
use crate::config::{Exit, Exposure};
use crate::doctor::{self, Ask, Progress, Report};
use crate::edition::Taken;
use crate::joined;
use crate::node::Node;
use crate::request::{Request, Response, Timeline, Unanswered};
use crate::upstreams::Known;

/// A relay is waited for this long before an invite is made without one.
const RELAY_LIMIT: Duration = Duration::from_secs(15);

/// What the faces can ask of a node.
pub trait Control: Send + Sync {
    /// How it stands.
    fn status(&self) -> BoxFuture<'_, Result<Status, ControlError>>;

    /// Gets a page by whatever way works, in this manner.
    fn get(&self, url: PageUrl, manner: Manner) -> BoxFuture<'_, Result<Response, ControlError>>;

    /// Takes the latest edition of a host.
    fn take_edition(&self, host: HostName) -> BoxFuture<'_, Result<Taken, ControlError>>;

    /// What is to be had whose address has this text in it, the newest first.
    fn find(&self, text: String) -> BoxFuture<'_, Result<Vec<Found>, ControlError>>;

    /// Makes an invite for a friend: how to reach this node and what it trusts. An open node waits a
    /// while for its relay; if it is still not at one, and is reached in no other way, the invite does
    /// not name the node.
    fn invite(&self) -> BoxFuture<'_, Result<Invite, ControlError>>;

    /// Joins an invite. `trust`: its roots and sites were confirmed.
    fn join(&self, invite: Invite, trust: bool) -> BoxFuture<'_, Result<Joined, ControlError>>;

    /// Examines the line and some sites, and tells how it goes.
    fn doctor(
        &self,
        ask: Ask,
        tell: mpsc::Sender<Progress>,
    ) -> BoxFuture<'_, Result<Report, ControlError>>;

    /// What vouches for listed sites at this device's door, if it was made.
    fn authority(&self) -> BoxFuture<'_, Result<Option<Vouches>, ControlError>>;

    /// Makes it, for the sites that are listed now, in place of any other.
    fn make_authority(&self) -> BoxFuture<'_, Result<Vouches, ControlError>>;

    /// Destroys it.
    fn forget_authority(&self) -> BoxFuture<'_, Result<(), ControlError>>;

    /// Heeds the word of a root, a revocation or a checkpoint, as `busel root` prints it.
    fn heed(&self, word: Vec<u8>) -> BoxFuture<'_, Result<Heard, ControlError>>;

    /// Ends the node.
    fn stop(&self) -> BoxFuture<'_, Result<(), ControlError>>;
}

/// Why a control request failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The page can't be had.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// No node answers on the local socket.
    #[error("no node is running here: {0}")]
    NotRunning(std::io::Error),
    /// The node answered something else than it should.
    #[error("the node's answer can't be read: {0}")]
    Protocol(String),
    /// The node could not do it.
    #[error("{0}")]
    Failed(String),
}

/// How a node stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// The node's id; a quiet node's is new each start and each day.
    pub id: String,
    /// How much it shows of itself.
    pub exposure: Exposure,
    /// Whether it fetches and signs for others.
    pub injector: bool,
    /// Where the HTTP proxy listens.
    pub http: Option<SocketAddr>,
    /// Its wires.
    pub wires: Vec<String>,
    /// Those of them that carry connections now, and how many each does.
    pub wires_in_use: BTreeMap<String, usize>,
    /// Where others reach it by the veil.
    pub veil_addrs: Vec<String>,
    /// Whether a relay is connected.
    pub relay_connected: bool,
    /// The relays that it knows.
    pub relays: Vec<Relay>,
    /// The proxies of other programs that were found on this device; `None` if none is looked for.
    pub upstreams: Option<Vec<Upstream>>,
    /// Nodes that it knows how to reach.
    pub known_nodes: usize,
    /// Nodes that it is connected to now.
    pub connected_nodes: usize,
    /// The finders that run.
    pub finders: Vec<Finder>,
    /// Whom its owner trusts, and for which hosts.
    pub trusted: Vec<Trusted>,
    /// Hosts on the site list.
    pub sites: Vec<String>,
    /// What it gives to others.
    pub gives: Gives,
    /// What is stored.
    pub store: Stored,
    /// The nodes that a quiet one keeps to.
    #[serde(default)]
    pub guards: Option<Guards>,
    /// What a quiet one holds for others.
    #[serde(default)]
    pub assigned: Option<Held>,
    /// Pages that it knows to be had, from the catalogues of those whom its owner trusts.
    #[serde(default)]
    pub listed: usize,
}

/// The guards of a quiet node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guards {
    /// How many there are.
    pub known: usize,
    /// How many of them answered when they were asked last.
    pub working: usize,
}

/// What a node gives to others: today's bytes by kind, and the limits of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gives {
    /// Where it relays for others, as invites say it.
    pub relay: Option<String>,
    /// Whether it passes sealed requests on.
    pub passes: bool,
    /// Where others may connect to through it.
    pub exit: Exit,
    /// All bytes of today that count against the limit.
    pub bytes: u64,
    /// Those relayed …
    pub relayed: u64,
    /// … passed on in sealed requests and their answers …
    pub passed: u64,
    /// … tunnelled to sites …
    pub tunnelled: u64,
    /// … and given as copies of pages.
    pub copied: u64,
    /// The most bytes a day.
    pub a_day: Option<u64>,
    /// The most bytes a second.
    pub a_second: Option<u64>,
    /// Why nothing is given now.
    pub rests: Option<String>,
}

/// A relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Where it is.
    pub addr: String,
    /// Whether it took this node for a stranger when it was last asked: the way in was taken back, or
    /// has run out.
    pub turned_away: bool,
    /// How many ways in are left to hand on to friends, if they are counted.
    pub left: Option<usize>,
}

/// A proxy of another program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// How it is written in a configuration.
    pub proxy: String,
    /// Whose port it usually is.
    pub usual: Option<String>,
    /// Whether it is the one that is used where the plain way fails.
    pub used: bool,
}

/// A way to learn of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finder {
    /// Its name.
    pub name: String,
    /// How many nodes it knows of now.
    pub known: usize,
}

/// A trusted root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trusted {
    /// What its owner calls it.
    pub label: String,
    /// The key.
    pub root: String,
    /// For which hosts.
    pub hosts: Vec<String>,
}

/// What is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Bytes they may take.
    pub quota: u64,
    /// Whether a passphrase protects it; without one, the disk protects nothing.
    pub passphrase: bool,
}

/// What joining brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Nodes that can be asked.
    pub peers: usize,
    /// Roots that are trusted now.
    pub roots: usize,
    /// Roots that the invite asks to trust and that were not confirmed.
    pub unconfirmed: usize,
    /// Sites on the site list now.
    pub sites: usize,
}

/// What the word of a root brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Subkeys that are believed no longer.
    pub revoked: usize,
    /// Copies that stay valid though their key may be taken back.
    pub vouched: usize,
}

impl From<joined::Heard> for Heard {
    fn from(heard: joined::Heard) -> Self {
        Self { revoked: heard.revoked, vouched: heard.vouched }
    }
}

/// One line of a race's timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since the first.
    pub at_ms: f64,
    /// The route.
    pub route: String,
    /// What it did.
    pub what: String,
}

/// A timeline as lines.
pub fn lines(timeline: &Timeline) -> Vec<Line> {
    let events = timeline.events();
    let start = events.first().map_or_else(Default::default, |event| event.at);
    events
        .iter()
        .map(|Event { at, route, what }| Line {
            at_ms: (*at - start).as_secs_f64() * 1000.0,
            route: route.name().to_owned(),
            what: match what {
                What::Started => "started".into(),
                What::Resumed => "started again, for the rest".into(),
                What::Won => "won".into(),
                What::Cancelled => "cancelled".into(),
                What::Failed(failure) => format!("failed: {failure}"),
                What::Stalled => "stalled".into(),
                What::Finished => "finished".into(),
            },
        })
        .collect()
}

impl Control for Node {
    fn status(&self) -> BoxFuture<'_, Result<Status, ControlError>> {
        Box::pin(async move {
            let view = self.joined().view();
            let usage = self.store().usage();
            let trusted = view.trust.roots().map(|root| Trusted {
                label: root.label.clone(),
                root: root.key.to_string(),
                hosts: root.hosts.iter().map(ToString::to_string).collect(),
            });
            Ok(Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                id: self.id().to_string(),
                exposure: self.config().exposure,
                injector: self.is_injector(),
                http: self.http_addr(),
                wires: self.wires().iter().map(ToString::to_string).collect(),
                wires_in_use: {
                    let used = self.endpoint().wires_in_use().into_iter();
                    used.map(|(wire, count)| (wire.to_owned(), count)).collect()
                },
                veil_addrs: self.veil_ticket().map(|ticket| ticket.addrs).unwrap_or_default(),
                relay_connected: self.endpoint().home_relay().is_some(),
                relays: relays(self),
                upstreams: self.upstreams.as_ref().map(|search| {
                    let known = search.known().into_iter();
                    known.map(Upstream::from).collect()
                }),
                known_nodes: self.endpoint().contacts().len(),
                connected_nodes: self.endpoint().connected().len(),
                finders: self
                    .endpoint()
                    .finders()
                    .into_iter()
                    .map(|(name, known)| Finder { name: name.to_owned(), known })
                    .collect(),
                trusted: trusted.collect(),
                sites: view.sites.iter().map(|site| site.hosts.to_string()).collect(),
                gives: gives(self),
                store: Stored {
                    snapshots: usage.snapshots,
                    bytes: usage.bytes,
                    quota: usage.quota,
                    passphrase: self.store().protection() == busel_store::Protection::Passphrase,
                },
                guards: self.count_guards().map(|(known, working)| Guards { known, working }),
                assigned: self.assigned.as_ref().map(|assigned| assigned.held()),
                listed: self.catalogues.len(),
            })
        })
    }

    fn get(&self, url: PageUrl, manner: Manner) -> BoxFuture<'_, Result<Response, ControlError>> {
        Box::pin(async move { Ok(self.fetch(Request { manner, ..Request::get(url) }).await?) })
    }

    fn invite(&self) -> BoxFuture<'_, Result<Invite, ControlError>> {
        Box::pin(async move {
            // An open node's invite names the relay that it keeps to; right after the start there is
            // none yet.
            if self.config().exposure == Exposure::Open && knows_a_relay(self) {
                let _ = tokio::time::timeout(RELAY_LIMIT, at_its_relay(self)).await;
            }
            let node = self.clone();
            let made = self.spawn_blocking(move || invitation::make(&node)).await;
            let failed = |error: String| ControlError::Failed(error);
            made.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))
        })
    }

    fn join(&self, invite: Invite, trust: bool) -> BoxFuture<'_, Result<Joined, ControlError>> {
        Box::pin(async move {
            let report = Self::join(self, &invite, trust)
                .await
                .map_err(|e| ControlError::Failed(e.to_string()))?;
            Ok(Joined {
                peers: report.peers,
                roots: report.roots,
                unconfirmed: report.unconfirmed,
                sites: report.sites,
            })
        })
    }

    fn doctor(
        &self,
        ask: Ask,
        tell: mpsc::Sender<Progress>,
    ) -> BoxFuture<'_, Result<Report, ControlError>> {
        Box::pin(async move {
            let report = doctor::examine(self, ask, tell).await;
            report.map_err(|error| ControlError::Failed(error.to_string()))
        })
    }

    fn take_edition(&self, host: HostName) -> BoxFuture<'_, Result<Taken, ControlError>> {
        Box::pin(async move {
            let taken = Self::take_edition(self, &host).await;
            taken.map_err(|e| ControlError::Failed(e.to_string()))
        })
    }

    fn find(&self, text: String) -> BoxFuture<'_, Result<Vec<Found>, ControlError>> {
        Box::pin(async move { Ok(self.find_listed(&text).await) })
    }

    fn authority(&self) -> BoxFuture<'_, Result<Option<Vouches>, ControlError>> {
        Box::pin(async move { Ok(self.vouches()) })
    }

    fn make_authority(&self) -> BoxFuture<'_, Result<Vouches, ControlError>> {
        Box::pin(async move {
            let made = Self::make_authority(self).await;
            made.map_err(|e| ControlError::Failed(e.to_string()))
        })
    }

    fn forget_authority(&self) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(async move {
            let forgotten = Self::forget_authority(self).await;
            forgotten.map_err(|e| ControlError::Failed(e.to_string()))
        })
    }

    fn heed(&self, word: Vec<u8>) -> BoxFuture<'_, Result<Heard, ControlError>> {
        Box::pin(async move {
            let failed = |e: joined::HeedError| ControlError::Failed(e.to_string());
            let word = joined::Word::from_bytes(&word).map_err(failed)?;
            Ok(Self::heed(self, word).await.map_err(failed)?.into())
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(async move {
            self.ask_to_stop();
            Ok(())
        })
    }
}

fn gives(node: &Node) -> Gives {
    let account = node.giving.account();
    let (given, limits) = (account.given, account.limits);
    Gives {
        relay: node.own_relay().map(|ticket| ticket.addr.clone()),
        passes: node.config().exposure == Exposure::Open,
        exit: node.config().exit,
        bytes: given.bytes,
        relayed: given.relayed,
        passed: given.passed,
        tunnelled: given.tunnelled,
        copied: given.copied,
        a_day: limits.day,
        a_second: limits.rate.map(std::num::NonZeroU64::get),
        rests: account.rest.map(|rest| rest.to_string()),
    }
}

impl From<Known> for Upstream {
    fn from(known: Known) -> Self {
        Self { proxy: known.proxy, usual: known.usual.map(str::to_owned), used: known.used }
    }
}

fn relays(node: &Node) -> Vec<Relay> {
    let left = node.joined().left_to_hand_on();
    let relays = node.relay_wire.standing().into_iter();
    relays
        .map(|(ticket, turned_away)| {
            let left = left.get(&ticket.inner_name()).copied();
            Relay { addr: ticket.addr, turned_away, left }
        })
        .collect()
}

fn knows_a_relay(node: &Node) -> bool {
    let invited = || node.joined().invites().iter().any(|invite| !invite.relays.is_empty());
    node.config().relay && (node.own_relay().is_some() || invited())
}

async fn at_its_relay(node: &Node) {
    const PAUSE: Duration = Duration::from_millis(20);
    while node.endpoint().home_relay().is_none() {
        tokio::time::sleep(PAUSE).await;
    }
}
