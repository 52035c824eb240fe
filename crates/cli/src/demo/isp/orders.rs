//! What the demo and the provider say to each other: one JSON value a line.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Policy, Verdict};

/// The first line that the provider reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IspConfig {
    /// What can be reached, to begin with.
    pub(crate) world: World,
    /// The virtual address at which the provider puts its block page.
    pub(crate) block_page: Ipv4Addr,
    /// The policy to begin with.
    #[serde(default)]
    pub(crate) policy: Policy,
}

/// What the internet consists of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct World {
    /// Names and their virtual addresses.
    pub(crate) zone: BTreeMap<String, Ipv4Addr>,
    /// Virtual addresses and where they really lead, on loopback.
    pub(crate) routes: BTreeMap<SocketAddr, SocketAddr>,
}

/// What the demo tells the provider to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// Put this policy in force.
    Set(Policy),
    /// Add names and routes, or change them.
    Add(World),
}

/// What the provider tells the demo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Event {
    /// It serves.
    Ready(Ready),
    /// It saw something on the line.
    Saw(Saw),
    /// The policy is in force, and what it forbids is cut.
    Policy(Took),
    /// The names and routes are known.
    World(Took),
    /// So many sightings were dropped, because nobody read them.
    Lost(u64),
    /// An order was not understood.
    Bad(String),
}

/// Where the provider serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// DNS, on UDP and TCP.
    pub(crate) dns: SocketAddr,
    /// SOCKS5.
    pub(crate) socks: SocketAddr,
}

/// One thing that the provider saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saw {
    /// Where it saw it.
    pub(crate) kind: Kind,
    /// A name, or a virtual address with its port for a dial.
    pub(crate) name_or_addr: String,
    /// What it did.
    pub(crate) verdict: Verdict,
}

/// Where on the line something shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A DNS question.
    Dns,
    /// A connection being opened.
    Dial,
    /// The server name in a TLS ClientHello.
    Sni,
    /// The Host of an HTTP request.
    Host,
}

/// That an order was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Took {
    /// Done.
    Set,
}
