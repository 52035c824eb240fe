//! Source allowlist: only listed hosts of the country reach abroad, all others have the country alone
//! (Iran, January to May 2026, where about one address in six thousand was listed). Resolvers are
//! usually on the list, so that tunnels through them survive. It belongs at the border.
//!
//! It looks at addresses only. Who is listed meets whatever policies come after it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Context, Injected, Packet, Policy, Verdict};
use crate::map::is_domestic;

/// Lets listed hosts out.
#[derive(Clone, Debug)]
pub struct SourceAllowlist {
    listed: Vec<IpNet>,
}

impl SourceAllowlist {
    /// Lets hosts in these nets out; a single address is a net too.
    pub fn new<N: Into<IpNet>>(listed: impl IntoIterator<Item = N>) -> Self {
        Self { listed: listed.into_iter().map(Into::into).collect() }
    }

    fn has(&self, addr: IpAddr) -> bool {
        self.listed.iter().any(|net| net.contains(&addr))
    }
}

impl Policy for SourceAllowlist {
    fn name(&self) -> &'static str {
        "source_allowlist"
    }

    fn judge(&mut self, packet: &Packet, _: &Context<'_>, _: &mut Injected) -> Verdict {
        let ends = [packet.source(), packet.dest()];
        let within = ends.iter().all(|end| is_domestic(*end));
        let let_out = ends.iter().any(|end| is_domestic(*end) && self.has(*end));
        if within || let_out { Verdict::Pass } else { Verdict::Drop }
    }
}
