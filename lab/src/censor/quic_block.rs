//! QUIC block: no QUIC connection is opened, whatever the site, so that clients fall back to TCP, where
//! the boxes see more (Russia since 2022, Iran). Either by what the datagrams are, on any port, or by
//! the port alone. Other UDP passes; see [`super::UdpOff`].

use super::{Context, Injected, Packet, Policy, Verdict};
use crate::flow::is_initial;

/// Drops QUIC.
#[derive(Clone, Copy, Debug)]
pub struct QuicBlock {
    by: By,
}

#[derive(Clone, Copy, Debug)]
enum By {
    Initial,
    Port,
}

impl QuicBlock {
    /// Drops the first packets of QUIC versions 1 and 2, on any port. A connection that is open
    /// already goes on.
    pub fn initials() -> Self {
        Self { by: By::Initial }
    }

    /// Drops all UDP on port 443.
    pub fn port_443() -> Self {
        Self { by: By::Port }
    }
}

impl Policy for QuicBlock {
    fn name(&self) -> &'static str {
        "quic_block"
    }

    fn judge(&mut self, packet: &Packet, _: &Context<'_>, _: &mut Injected) -> Verdict {
        let forbidden = match self.by {
            By::Initial => is_initial(packet.payload()),
            By::Port => packet.has_port(443),
        };
        if packet.is_udp() && forbidden { Verdict::Drop } else { Verdict::Pass }
    }
}
