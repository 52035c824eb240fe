//! Inbound cut: nobody abroad can open a connection to a host of the country, as when Belarus closed
//! its sites to visitors from abroad around the vote of January 2025. What the country's hosts open
//! themselves goes on, both ways.
//!
//! As a firewall with a memory it lets datagrams in where one has gone out between the same two ends,
//! so that two who send at once still meet. It belongs at the border.

use super::{Context, Direction, Injected, Packet, PerFlow, Policy, Verdict};

/// Drops what was not asked for.
#[derive(Debug, Default)]
pub struct InboundCut {
    opened: PerFlow<bool>,
}

impl InboundCut {
    /// Closes the country's doors.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Policy for InboundCut {
    fn name(&self) -> &'static str {
        "inbound_cut"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let opened = self.opened.of(at.flow);
        if at.direction == Direction::Outbound {
            // An answer to a visitor opens nothing; only TCP shows whether it is one.
            *opened |= packet.tcp().is_none_or(|tcp| tcp.syn && !tcp.has_ack);
            return Verdict::Pass;
        }
        // One that was open before the cut came is known by who opened it.
        let asked = *opened || crate::map::is_domestic(at.flow.client().ip());
        if asked { Verdict::Pass } else { Verdict::Drop }
    }
}
