//! Wires: the ways in which datagrams travel between two nodes.
//!
//! A wire sets up the endpoint for itself and says under which addresses it can reach a contact.
//! QUIC above it authenticates both ends and encrypts, whatever the wire does.

pub(crate) mod lan;
pub mod plain;
pub mod relay;
pub mod veil;

use std::net::SocketAddr;

use busel_proto::id::PeerId;
use busel_proto::invite::{RelayTicket, VeilTicket};
use futures_util::future::BoxFuture;
use iroh::{RelayUrl, TransportAddr};

/// A node and where it may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The node.
    pub peer: PeerId,
    /// The relay it keeps to.
    pub relay: Option<RelayTicket>,
    /// Plain addresses, for the plain wire.
    pub addrs: Vec<SocketAddr>,
    /// Where it listens for the veil wire.
    pub veil: Option<VeilTicket>,
}

/// A way for datagrams to travel.
pub trait Wire: std::fmt::Debug + Send + Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Adds what it needs to an endpoint that has no transport yet.
    fn set_up(
        &self,
        builder: iroh::endpoint::Builder,
    ) -> Result<iroh::endpoint::Builder, WireError>;

    /// The endpoint that was set up last is the one that is used from now on.
    fn is_used(&self) {}

    /// Where it can reach `contact`; nothing if it can't.
    fn addresses(&self, contact: &Contact) -> Vec<TransportAddr>;

    /// Gets ready to use a relay; if it is new to this wire, returns the URL that stands for it, of
    /// which the endpoint must be told.
    fn learn(&self, relay: &RelayTicket) -> Option<RelayUrl> {
        let _ = relay;
        None
    }

    /// The device is on another network: what was connected on the last one is given up.
    fn moved(&self) {}

    /// What carries to an address now, by its name in reports, if that is an address of this wire.
    fn carries(&self, addr: &TransportAddr) -> Option<&'static str> {
        let _ = addr;
        None
    }

    /// Ends what it does by itself, and waits for that.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// The relay that a URL stands for.
    fn relay(&self, url: &RelayUrl) -> Option<RelayTicket> {
        let _ = url;
        None
    }
}

/// Why a wire could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The address to listen on can't be used.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, String),
}
