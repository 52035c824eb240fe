//! Asking the router for a way in: PCP (RFC 6887), NAT-PMP (RFC 6886) or UPnP IGD, whichever it speaks.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use portmapper::{Client, Config};

/// A port of this device that the router is asked to map, and again before that ends; it is unmapped
/// when this is dropped.
#[derive(Debug)]
pub struct PortMap(Client);

impl PortMap {
    /// Asks for a UDP port.
    pub fn start(port: NonZeroU16) -> Self {
        let client = Client::new(Config::default());
        client.update_local_port(port);
        Self(client)
    }

    /// Under which address it is reached now, if the router said so.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.watch_external_address().borrow().map(SocketAddr::V4)
    }

    /// The device is on another network, with another router.
    pub fn moved(&self) {
        self.0.procure_mapping();
    }
}
