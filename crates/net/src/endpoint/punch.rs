//! Meeting a node behind a NAT: what the endpoint sees of addresses, and how a connection leaves its
//! relay for one. When that is done is `busel_proto::punch`'s to say.

use std::net::SocketAddr;

use busel_proto::id::PeerId;
use busel_proto::invite::VeilTicket;
use iroh::TransportAddr;

use super::{Connection, Endpoint, RELAY, Stream};
use crate::wire::Contact;
use crate::wire::veil::outer_addr;

impl Connection {
    /// Where the other side is seen to come from, by the veil over UDP, if it does.
    fn veil_addr(&self) -> Option<SocketAddr> {
        let paths = self.inner.paths();
        let selected = paths.iter().find(|path| path.is_selected())?;
        match selected.remote_addr() {
            TransportAddr::Custom(addr) => outer_addr(addr),
            _ => None,
        }
    }
}

impl Stream {
    /// Where the other side is seen to come from, by the veil over UDP, if it does.
    pub fn veil_addr(&self) -> Option<SocketAddr> {
        self.line.0.veil_addr()
    }
}

impl Endpoint {
    /// The nodes that this one reaches by a relay only.
    pub fn by_relay(&self) -> Vec<PeerId> {
        self.reached(|connection| !connection.is_near() && connection.wire() == RELAY)
    }

    /// The nodes that this one reaches by the veil over UDP: they see from where it comes.
    pub fn by_veil(&self) -> Vec<PeerId> {
        self.reached(|connection| connection.veil_addr().is_some())
    }

    fn reached(&self, so: impl Fn(&Connection) -> bool) -> Vec<PeerId> {
        self.held().into_iter().filter(|(_, held)| so(held)).map(|(peer, _)| peer).collect()
    }

    /// Looks for a node there, beside the connection with it, which goes on there if it can. Says whether
    /// it left its relay.
    pub async fn meet(&self, peer: &PeerId, at: &VeilTicket) -> bool {
        let slot = self.0.slot(*peer);
        let held = slot.lock().await.clone();
        let contact = self.contact(peer);
        let there = contact.map(|contact| Contact { veil: Some(at.clone()), ..contact });
        let way = there.and_then(|there| self.0.way(peer, Some(&there)));
        match held.zip(way) {
            Some((connection, (endpoint, addr))) if connection.is_open() => {
                self.0.look_beside(&connection, &endpoint, &addr).await
            }
            _ => false,
        }
    }
}
