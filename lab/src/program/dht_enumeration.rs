//! Enumeration: whoever watches the DHT collects the addresses that it gives for a topic, which is how
//! members of an open swarm have been listed since there are swarms. A crawler in a host asks from
//! several places of the DHT, and a test asserts who is on its list.
//!
//! It blocks nobody: what a censor does with the list is another policy's part.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddrV4};

use super::DhtNode;
use crate::world::{Host, World};

/// From so many places of the DHT it asks, since each node tells only some of what it knows.
const PLACES: usize = 4;

/// The list of a crawler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DhtEnumeration {
    /// All addresses for the topic.
    pub listed: BTreeSet<SocketAddrV4>,
}

impl DhtEnumeration {
    /// Collects them from a host, over these first nodes.
    pub fn collect(
        world: &World,
        host: &Host,
        bootstrap: &[&str],
        topic: [u8; 20],
    ) -> anyhow::Result<Self> {
        let mut listed = BTreeSet::new();
        for _ in 0..PLACES {
            listed.extend(DhtNode::asking(host, bootstrap)?.peers(world, topic));
        }
        Ok(Self { listed })
    }

    /// Whether an address is on it, at any port.
    pub fn has(&self, addr: IpAddr) -> bool {
        self.listed.iter().any(|peer| IpAddr::V4(*peer.ip()) == addr)
    }
}
