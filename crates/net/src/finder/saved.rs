//! The finder `Saved`: the last good nodes, kept over restarts and long cuts, so that a start without
//! any outside help still finds the network.
//!
//! Who is kept and in what order is `busel_proto::saved`'s to say. Where the list is kept is the
//! caller's: it gives what was kept, and takes what to keep.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use busel_proto::cbor;
use busel_proto::exchange::Group;
use busel_proto::id::PeerId;
use busel_proto::invite::{RelayTicket, VeilTicket};
use busel_proto::saved::{MAX, Record, forgotten, order};
use busel_proto::time::UnixTime;
use futures_util::future::{BoxFuture, FutureExt};
use minicbor::{Decode, Encode};

use super::Finder;
use crate::wall;
use crate::wire::Contact;

/// Keeps a list of bytes, durably.
pub type Keep = Arc<dyn Fn(Vec<u8>) + Send + Sync>;

/// The last good nodes.
pub struct Saved {
    nodes: Mutex<BTreeMap<PeerId, Node>>,
    keep: Keep,
    now: fn() -> UnixTime,
}

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Saved")
    }
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
struct Node {
    #[n(0)]
    peer: PeerId,
    #[n(1)]
    relay: Option<RelayTicket>,
    #[n(2)]
    addrs: Vec<String>,
    #[n(3)]
    failures: u32,
    #[n(4)]
    veil: Option<VeilTicket>,
    #[cbor(n(5), default)]
    worked_at: UnixTime,
}

impl Node {
    fn new(contact: &Contact, worked_at: UnixTime) -> Self {
        Self {
            peer: contact.peer,
            relay: contact.relay.clone(),
            addrs: contact.addrs.iter().map(ToString::to_string).collect(),
            failures: 0,
            veil: contact.veil.clone(),
            worked_at,
        }
    }

    fn contact(self) -> Contact {
        Contact {
            peer: self.peer,
            relay: self.relay,
            addrs: self.addrs.iter().filter_map(|addr| addr.parse().ok()).collect(),
            veil: self.veil,
        }
    }

    fn record(&self) -> Record {
        let veiled = self.veil.iter().flat_map(VeilTicket::addrs).next();
        let plain = self.addrs.iter().find_map(|addr| addr.parse().ok());
        let relay = self.relay.iter().find_map(|relay| relay.addr.parse().ok());
        let addr: Option<SocketAddr> = veiled.or(plain).or(relay);
        let group = addr.map(|addr| Group::of(addr.ip()));
        Record { worked_at: self.worked_at, failures: self.failures, group }
    }
}

impl Saved {
    /// The longest list, in bytes.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// Reads the list that `keep` was given last. One that can't be read is an empty one: these are
    /// hints, and the next good node starts a new list.
    pub fn new(kept: &[u8], keep: Keep) -> Self {
        let nodes: Vec<Node> = cbor::from_slice(kept, Self::MAX_BYTES).unwrap_or_default();
        let nodes = nodes.into_iter().take(MAX).map(|node| (node.peer, node)).collect();
        Self { nodes: Mutex::new(nodes), keep, now: wall::now }
    }

    fn nodes(&self) -> std::sync::MutexGuard<'_, BTreeMap<PeerId, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn records(nodes: &BTreeMap<PeerId, Node>) -> BTreeMap<PeerId, Record> {
    nodes.iter().map(|(peer, node)| (*peer, node.record())).collect()
}

impl Finder for Saved {
    fn name(&self) -> &'static str {
        "saved"
    }

    fn find(&self) -> BoxFuture<'_, Vec<Contact>> {
        let nodes = self.nodes();
        let order = order(&records(&nodes), (self.now)());
        let found = order.iter().filter_map(|peer| nodes.get(peer).cloned()).map(Node::contact);
        let found: Vec<_> = found.collect();
        async move { found }.boxed()
    }

    fn known(&self) -> usize {
        self.nodes().len()
    }

    fn tried(&self, contact: &Contact, worked: bool) {
        let mut nodes = self.nodes();
        if worked {
            nodes.insert(contact.peer, Node::new(contact, (self.now)()));
        } else if let Some(node) = nodes.get_mut(&contact.peer) {
            node.failures = node.failures.saturating_add(1);
        } else {
            return;
        }
        for peer in forgotten(&records(&nodes), (self.now)()) {
            nodes.remove(&peer);
        }
        let list: Vec<Node> = nodes.values().cloned().collect();
        drop(nodes);
        (self.keep)(cbor::to_vec(&list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(n: u8) -> Contact {
        let addrs = vec![SocketAddr::from(([127, n, 0, 1], 9))];
        Contact { peer: PeerId([n; 32]), relay: None, addrs, veil: None }
    }

    #[tokio::test]
    async fn good_nodes_survive_a_restart_and_strangers_that_fail_are_not_kept() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep: Keep = {
            let kept = kept.clone();
            Arc::new(move |bytes| *kept.lock().unwrap() = bytes)
        };
        let saved = Saved::new(b"junk", keep.clone());
        saved.tried(&contact(1), true);
        saved.tried(&contact(2), false);
        saved.tried(&contact(3), true);
        saved.tried(&contact(1), false);
        let bytes = kept.lock().unwrap().clone();
        let mut again = Saved::new(&bytes, keep.clone());
        assert_eq!(again.find().await, [contact(3), contact(1)]);

        // Two months without any network: all fail, and all are still there.
        again.now = || UnixTime(wall::now().0 + 60 * 86_400);
        for _ in 0..100 {
            again.tried(&contact(1), false);
            again.tried(&contact(3), false);
        }
        let bytes = kept.lock().unwrap().clone();
        assert_eq!(Saved::new(&bytes, keep).find().await.len(), 2);
        // One comes back, and in time outlives the other.
        again.now = || UnixTime(wall::now().0 + 90 * 86_400);
        again.tried(&contact(3), true);
        again.tried(&contact(1), false);
        assert_eq!(again.find().await, [contact(3)]);
    }

    #[tokio::test]
    async fn the_list_is_bounded() {
        let saved = Saved::new(&[], Arc::new(|_| {}));
        for n in 0..=u16::try_from(MAX).unwrap() + 5 {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&n.to_be_bytes());
            saved.tried(&Contact { peer: PeerId(id), ..contact(0) }, true);
        }
        assert_eq!(saved.find().await.len(), MAX);
    }
}
