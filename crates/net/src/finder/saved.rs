//! The finder `Saved`: the last good nodes, kept over restarts, so that a start without any outside
//! help still finds the network.
//!
//! Where the list is kept is the caller's: it gives what was kept, and takes what to keep.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use busel_proto::cbor;
use busel_proto::id::PeerId;
use busel_proto::invite::RelayTicket;
use futures_util::future::{BoxFuture, FutureExt};
use minicbor::{Decode, Encode};

use super::Finder;
use crate::wire::Contact;

/// Nodes kept at most.
const MAX: usize = 256;
/// A node that failed this often in a row is forgotten.
const MAX_FAILURES: u32 = 50;

/// Keeps a list of bytes, durably.
pub type Keep = Arc<dyn Fn(Vec<u8>) + Send + Sync>;

/// The last good nodes.
pub struct Saved {
    nodes: Mutex<BTreeMap<PeerId, Node>>,
    keep: Keep,
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
}

impl Saved {
    /// The longest list, in bytes.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// Reads the list that `keep` was given last. One that can't be read is an empty one: these are
    /// hints, and the next good node starts a new list.
    pub fn new(kept: &[u8], keep: Keep) -> Self {
        let nodes: Vec<Node> = cbor::from_slice(kept, Self::MAX_BYTES).unwrap_or_default();
        let nodes = nodes.into_iter().take(MAX).map(|node| (node.peer, node)).collect();
        Self { nodes: Mutex::new(nodes), keep }
    }
}

impl Finder for Saved {
    fn name(&self) -> &'static str {
        "saved"
    }

    fn find(&self) -> BoxFuture<'_, Vec<Contact>> {
        let mut nodes: Vec<Node> =
            self.nodes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        nodes.sort_by_key(|node| node.failures);
        let contact = |node: Node| Contact {
            peer: node.peer,
            relay: node.relay,
            addrs: node.addrs.iter().filter_map(|addr| addr.parse().ok()).collect(),
        };
        let found = nodes.into_iter().map(contact).collect();
        async move { found }.boxed()
    }

    fn known(&self) -> usize {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn tried(&self, contact: &Contact, worked: bool) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = nodes.contains_key(&contact.peer);
        if !worked && !known {
            return;
        }
        let node = Node {
            peer: contact.peer,
            relay: contact.relay.clone(),
            addrs: contact.addrs.iter().map(ToString::to_string).collect(),
            failures: 0,
        };
        if worked {
            if !known && nodes.len() >= MAX {
                let worst = nodes.values().max_by_key(|node| node.failures).map(|node| node.peer);
                worst.and_then(|peer| nodes.remove(&peer));
            }
            nodes.insert(contact.peer, node);
        } else if let Some(node) = nodes.get_mut(&contact.peer) {
            node.failures += 1;
            if node.failures > MAX_FAILURES {
                nodes.remove(&contact.peer);
            }
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
        Contact {
            peer: PeerId([n; 32]),
            relay: None,
            addrs: vec![std::net::SocketAddr::from(([127, 0, 0, 1], 9))],
        }
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
        let again = Saved::new(&bytes, keep);
        assert_eq!(again.find().await, [contact(3), contact(1)]);
        for _ in 0..MAX_FAILURES {
            again.tried(&contact(1), false);
        }
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
