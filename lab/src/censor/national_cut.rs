//! National cut: only packets between addresses of the country pass (Belarus, August 2020; Iran,
//! January 2026). It belongs at the border or at a provider. It has no list of those who are let
//! out.

use super::{Context, Injected, Packet, Policy, Verdict};
use crate::map::is_domestic;

/// Drops what comes from abroad or goes there.
#[derive(Clone, Copy, Debug, Default)]
pub struct NationalCut;

impl Policy for NationalCut {
    fn name(&self) -> &'static str {
        "national_cut"
    }

    fn judge(&mut self, packet: &Packet, _: &Context<'_>, _: &mut Injected) -> Verdict {
        if is_domestic(packet.source()) && is_domestic(packet.dest()) {
            Verdict::Pass
        } else {
            Verdict::Drop
        }
    }
}
