//! Protocol whitelist: on ports 53, 80 and 443 only DNS, HTTP and TLS pass. What a client's first two
//! packets of data show as none of them is swallowed for a time (Iran since 2020, on and off: 60
//! seconds). Which of the three it is on which of the ports does not matter, other ports are left
//! alone, and so is UDP; the strict kind is not so kind.
//!
//! It looks at nothing after the first two packets, and believes what it sees.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Context, Injected, Packet, PerFlow, Policy, Residual, Verdict};
use crate::flow::{Flow, Guess, Protocol};
use crate::packet::Transport;

/// After so many packets a client that has not made itself clear never does.
const LOOKS: u8 = 2;

/// Passes known protocols.
#[derive(Debug)]
pub struct ProtocolWhitelist {
    strict: bool,
    looks: PerFlow<u8>,
    held: Residual<(SocketAddr, SocketAddr)>,
}

impl ProtocolWhitelist {
    /// Swallows an unknown flow for so long.
    pub fn new(lasts: Duration) -> Self {
        Self { strict: false, looks: PerFlow::default(), held: Residual::new(lasts) }
    }

    /// The same with each protocol on its own port only, nothing on other ports, and of UDP only DNS.
    #[must_use]
    pub fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    fn allows(&self, protocol: Protocol, port: u16) -> bool {
        let own = match protocol {
            Protocol::Dns => 53,
            Protocol::Http => 80,
            Protocol::Tls => 443,
            Protocol::Quic | Protocol::Ntp | Protocol::Stun => return false,
        };
        !self.strict || port == own
    }

    /// Looks at a client's packet of data; whether the flow has shown that it is a forbidden one.
    fn is_forbidden(&mut self, flow: &Flow) -> bool {
        let looks = self.looks.of(flow);
        if *looks >= LOOKS {
            return false;
        }
        *looks += 1;
        let last = *looks == LOOKS;
        match Guess::of_stream(flow.client_start()) {
            Guess::Is(protocol) => !self.allows(protocol, flow.server().port()),
            Guess::Unclear => last,
            Guess::Unknown => true,
        }
    }

    fn judge_stream(&mut self, packet: &Packet, at: &Context<'_>) -> Verdict {
        let flow = at.flow;
        let ends = (flow.client(), flow.server());
        if self.held.holds(&ends, at.now) {
            return Verdict::Drop;
        }
        if flow.from_client() && !packet.payload().is_empty() && self.is_forbidden(flow) {
            self.held.hold(ends, at.now);
            return Verdict::Drop;
        }
        Verdict::Pass
    }
}

impl Policy for ProtocolWhitelist {
    fn name(&self) -> &'static str {
        "protocol_whitelist"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let server = at.flow.server();
        let first = || Protocol::of_datagram(at.flow.client_start(), server.port());
        let allowed = match packet.transport() {
            Transport::Tcp(_) if matches!(server.port(), 53 | 80 | 443) => {
                return self.judge_stream(packet, at);
            }
            Transport::Udp { .. } => !self.strict || first() == Some(Protocol::Dns),
            // A network without ICMP breaks for everybody.
            Transport::Icmp { .. } => true,
            Transport::Tcp(_) | Transport::Other(_) => !self.strict,
        };
        if allowed { Verdict::Pass } else { Verdict::Drop }
    }
}
