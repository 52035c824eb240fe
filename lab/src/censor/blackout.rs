//! Total blackout: nothing passes. Set at a provider's point it leaves its customers with their LAN;
//! set at all points it is the country without any network.

use super::{Context, Injected, Packet, Policy, Verdict};

/// Drops every packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blackout;

impl Policy for Blackout {
    fn name(&self) -> &'static str {
        "blackout"
    }

    fn judge(&mut self, _: &Packet, _: &Context<'_>, _: &mut Injected) -> Verdict {
        Verdict::Drop
    }
}
