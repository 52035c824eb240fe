//! IP block: nothing passes to or from listed addresses or nets, whatever the port. It answers
//! nothing, so that a client waits until it gives up.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Context, Injected, Packet, Policy, Verdict};

/// Drops what has a listed address on either end.
#[derive(Clone, Debug)]
pub struct IpBlock {
    nets: Vec<IpNet>,
}

impl IpBlock {
    /// Blocks these nets; a single address is a net too.
    pub fn new<N: Into<IpNet>>(nets: impl IntoIterator<Item = N>) -> Self {
        Self { nets: nets.into_iter().map(Into::into).collect() }
    }

    fn has(&self, addr: IpAddr) -> bool {
        self.nets.iter().any(|net| net.contains(&addr))
    }
}

impl Policy for IpBlock {
    fn name(&self) -> &'static str {
        "ip_block"
    }

    fn judge(&mut self, packet: &Packet, _: &Context<'_>, _: &mut Injected) -> Verdict {
        if self.has(packet.source()) || self.has(packet.dest()) {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    }
}
