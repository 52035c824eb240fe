//! The plain wire: iroh's QUIC straight over UDP, which any DPI box recognises and any prober finds.
//!
//! It is for tests and for networks whose owner is trusted, and off unless asked for.

use std::net::SocketAddr;

use iroh::TransportAddr;

use super::{Contact, Wire, WireError};

/// QUIC over UDP on one address.
#[derive(Debug)]
pub struct Plain {
    listen: SocketAddr,
}

impl Plain {
    /// Listens on `listen`; port 0 takes any free one.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen }
    }
}

impl Wire for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn set_up(
        &self,
        builder: iroh::endpoint::Builder,
    ) -> Result<iroh::endpoint::Builder, WireError> {
        builder.bind_addr(self.listen).map_err(|e| WireError::Listen(self.listen, e.to_string()))
    }

    fn addresses(&self, contact: &Contact) -> Vec<TransportAddr> {
        contact.addrs.iter().copied().map(TransportAddr::Ip).collect()
    }
}
