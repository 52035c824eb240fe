//! SNI reset: a ClientHello with a listed name is let through, and both ends get a forged RST; so
//! does every later packet of the flow, since the first RST may be lost. It puts segments and
//! records together, so that splitting the hello does not help; see [`SniReset::weak`].

use super::{Context, Injected, Names, Packet, Policy, Verdict};
use crate::flow::ClientHello;

/// Resets connections to listed names.
#[derive(Debug)]
pub struct SniReset {
    names: Names,
    weak: bool,
}

impl SniReset {
    /// Looks for these names.
    pub fn new(names: Names) -> Self {
        Self { names, weak: false }
    }

    /// The same by a cheap box, which looks at single packets: a hello in two segments passes.
    pub fn weak(names: Names) -> Self {
        Self { weak: true, ..Self::new(names) }
    }

    fn is_forbidden(&self, packet: &Packet, at: &Context<'_>) -> bool {
        let alone;
        let hello = if self.weak {
            alone = ClientHello::find(packet.payload()).ok().flatten();
            alone.as_ref()
        } else {
            at.flow.hello()
        };
        hello.and_then(|hello| hello.sni.as_deref()).is_some_and(|name| self.names.has(name))
    }
}

impl Policy for SniReset {
    fn name(&self) -> &'static str {
        "sni_reset"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, out: &mut Injected) -> Verdict {
        if packet.tcp().is_none_or(|tcp| tcp.rst) {
            return Verdict::Pass;
        }
        if !self.is_forbidden(packet, at) {
            return Verdict::Pass;
        }
        for reset in [packet.reset_back(), packet.reset_forward()].into_iter().flatten() {
            out.send(reset);
        }
        Verdict::Pass
    }
}
