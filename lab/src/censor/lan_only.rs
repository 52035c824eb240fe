//! LAN only: nothing leaves the listed customers and nothing reaches them, while their provider and
//! its other customers go on: a house or a district whose line is cut. In their own networks they
//! still reach each other. It belongs at their provider.
//!
//! Their cables are plugged in and nothing says that they are cut; see [`crate::world::Host::plug`]
//! for one that is pulled, and [`super::Blackout`] for a whole provider.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Context, Injected, Packet, Policy, Verdict};

/// Cuts customers off.
#[derive(Clone, Debug)]
pub struct LanOnly {
    customers: Vec<IpNet>,
}

impl LanOnly {
    /// Cuts these off: the addresses of routers, and of hosts behind them that have public ones.
    pub fn new<N: Into<IpNet>>(customers: impl IntoIterator<Item = N>) -> Self {
        Self { customers: customers.into_iter().map(Into::into).collect() }
    }

    fn has(&self, addr: IpAddr) -> bool {
        self.customers.iter().any(|net| net.contains(&addr))
    }
}

impl Policy for LanOnly {
    fn name(&self) -> &'static str {
        "lan_only"
    }

    fn judge(&mut self, packet: &Packet, _: &Context<'_>, _: &mut Injected) -> Verdict {
        let cut = self.has(packet.source()) || self.has(packet.dest());
        if cut { Verdict::Drop } else { Verdict::Pass }
    }
}
