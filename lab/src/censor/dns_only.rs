//! DNS only: port 53 by UDP is open and nothing else, as behind a login page or in a blackout that has
//! forgotten it (Iran, January 2026). Names go on to servers all over the world, and with them what
//! DNS tunnels hide in names.
//!
//! It looks at ports, not at what is said there. DNS over TCP, TLS and HTTPS is cut.

use std::net::IpAddr;

use super::{Context, Injected, Packet, Policy, Verdict};

const DNS: u16 = 53;

/// Drops all but questions and answers.
#[derive(Clone, Debug)]
pub struct DnsOnly {
    resolvers: Option<Vec<IpAddr>>,
}

impl DnsOnly {
    /// Anybody may be asked.
    pub fn to_anyone() -> Self {
        Self { resolvers: None }
    }

    /// Only these resolvers may be asked; they may ask anybody in turn.
    pub fn to(resolvers: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { resolvers: Some(resolvers.into_iter().collect()) }
    }
}

impl Policy for DnsOnly {
    fn name(&self) -> &'static str {
        "dns_only"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let (client, server) = (at.flow.client(), at.flow.server());
        let allowed = |at: IpAddr| self.resolvers.as_ref().is_none_or(|all| all.contains(&at));
        let asks = packet.is_udp() && server.port() == DNS;
        if asks && (allowed(client.ip()) || allowed(server.ip())) {
            Verdict::Pass
        } else {
            Verdict::Drop
        }
    }
}
