//! QUIC by SNI: the protection of the client's first packets is undone, the name in them is read, and a
//! flow with a listed one is swallowed (Russia since 2023, China since 2024). For some time after so is
//! all UDP between the same client and the same port of the server, as China's boxes do it.
//!
//! It puts the hello together over packets, which those boxes could not when they were new. It does
//! not follow a connection to other addresses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Context, Injected, Names, Packet, PerFlow, Policy, Residual, Verdict};
use crate::flow::Initials;

/// Swallows QUIC connections to listed names.
#[derive(Debug)]
pub struct QuicSni {
    names: Names,
    flows: PerFlow<Sight>,
    held: Residual<(IpAddr, SocketAddr)>,
}

/// What was seen of a flow.
#[derive(Debug, Default)]
struct Sight {
    initials: Initials,
    forbidden: bool,
}

impl QuicSni {
    /// Looks for these names, and holds a sight of them against the pair of hosts for `residual`.
    pub fn new(names: Names, residual: Duration) -> Self {
        Self { names, flows: PerFlow::default(), held: Residual::new(residual) }
    }
}

impl Policy for QuicSni {
    fn name(&self) -> &'static str {
        "quic_sni"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        if !packet.is_udp() {
            return Verdict::Pass;
        }
        let sight = self.flows.of(at.flow);
        let pair = (at.flow.client().ip(), at.flow.server());
        if at.flow.from_client() && !sight.forbidden {
            let hello = sight.initials.take(packet.payload());
            let name = hello.and_then(|hello| hello.sni.as_deref());
            sight.forbidden = name.is_some_and(|name| self.names.has(name));
            if sight.forbidden {
                self.held.hold(pair, at.now);
            }
        }
        if sight.forbidden || self.held.holds(&pair, at.now) {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    }
}
