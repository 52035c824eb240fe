//! SNI drop: a ClientHello with a listed name and all that follows in its flow is swallowed, and for
//! some time after so is everything between the same client and the same port of the server, whatever
//! the name (residual blocking, as seen in China and Russia). It answers nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Context, Injected, Names, Packet, Policy, Residual, Verdict};

/// Swallows connections to listed names.
#[derive(Debug)]
pub struct SniDrop {
    names: Names,
    held: Residual<(IpAddr, SocketAddr)>,
}

impl SniDrop {
    /// Looks for these names, and holds a sight of them against the pair of hosts for `residual`.
    pub fn new(names: Names, residual: Duration) -> Self {
        Self { names, held: Residual::new(residual) }
    }
}

impl Policy for SniDrop {
    fn name(&self) -> &'static str {
        "sni_drop"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        if packet.tcp().is_none() {
            return Verdict::Pass;
        }
        let flow = at.flow;
        let pair = (flow.client().ip(), flow.server());
        if self.held.holds(&pair, at.now) {
            return Verdict::Drop;
        }
        let name = flow.hello().and_then(|hello| hello.sni.as_deref());
        if name.is_some_and(|name| self.names.has(name)) {
            self.held.hold(pair, at.now);
            return Verdict::Drop;
        }
        Verdict::Pass
    }
}
