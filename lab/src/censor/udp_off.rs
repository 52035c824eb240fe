//! All UDP off: no datagram passes, whatever it means, so that QUIC, WebRTC, games and most VPNs are
//! gone (seen on mobile networks in Iran and Russia). Where the provider's own resolver shall go on,
//! questions to it are left alone.
//!
//! It knows ports and addresses only; see [`super::UnknownUdpOff`] for the finer one.

use std::net::IpAddr;

use super::{Context, Injected, Packet, Policy, Verdict};

/// Drops UDP.
#[derive(Clone, Debug, Default)]
pub struct UdpOff {
    resolvers: Vec<IpAddr>,
}

impl UdpOff {
    /// Drops all of it, DNS too.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, but port 53 of these addresses is left.
    #[must_use]
    pub fn but_dns_of(self, resolvers: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { resolvers: resolvers.into_iter().collect() }
    }
}

impl Policy for UdpOff {
    fn name(&self) -> &'static str {
        "udp_off"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let server = at.flow.server();
        let left = server.port() == 53 && self.resolvers.contains(&server.ip());
        if packet.is_udp() && !left { Verdict::Drop } else { Verdict::Pass }
    }
}
