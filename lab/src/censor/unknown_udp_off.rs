//! Unknown UDP off: only flows that begin as DNS, QUIC, NTP or STUN pass (Iran, 2025). The first
//! datagram of the end that speaks first decides, for as long as the flow lives.
//!
//! It looks at nothing behind that datagram, and does not ask whether the rest keeps to the protocol.

use super::{Context, Injected, Packet, PerFlow, Policy, Verdict};
use crate::flow::Protocol;

/// Drops UDP that it does not know.
#[derive(Debug, Default)]
pub struct UnknownUdpOff {
    known: PerFlow<Option<bool>>,
}

impl UnknownUdpOff {
    /// Drops it.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Policy for UnknownUdpOff {
    fn name(&self) -> &'static str {
        "unknown_udp_off"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let flow = at.flow;
        let first = || Protocol::of_datagram(flow.client_start(), flow.server().port()).is_some();
        if !packet.is_udp() || *self.known.of(flow).get_or_insert_with(first) {
            Verdict::Pass
        } else {
            Verdict::Drop
        }
    }
}
