//! TLS fingerprint: connections whose ClientHello is of a listed kind are swallowed, whatever the site:
//! by JA3 or JA4, over TCP and QUIC. So are programs told from browsers (Iran and Russia; China with
//! rules of its own).
//!
//! The list is of hashes, and it forbids; a list of the browsers that are allowed is not here. A client
//! that resumes a session has another hash than one that does not.

use std::collections::HashSet;

use super::{Context, Injected, Packet, PerFlow, Policy, Verdict};
use crate::flow::{ClientHello, Initials};

/// Swallows listed kinds of clients.
#[derive(Debug)]
pub struct TlsFingerprint {
    listed: HashSet<String>,
    flows: PerFlow<Sight>,
}

/// What was seen of a flow.
#[derive(Debug, Default)]
struct Sight {
    initials: Initials,
    forbidden: Option<bool>,
}

impl TlsFingerprint {
    /// Swallows clients with one of these hashes, each a JA3 or a JA4.
    pub fn new<S: Into<String>>(listed: impl IntoIterator<Item = S>) -> Self {
        let listed = listed.into_iter().map(Into::into).collect();
        Self { listed, flows: PerFlow::default() }
    }
}

impl Policy for TlsFingerprint {
    fn name(&self) -> &'static str {
        "tls_fingerprint"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let sight = self.flows.of(at.flow);
        let over_quic = packet.is_udp();
        if sight.forbidden.is_none() && at.flow.from_client() {
            let hello =
                if over_quic { sight.initials.take(packet.payload()) } else { at.flow.hello() };
            let has = |hello: &ClientHello| {
                self.listed.contains(&hello.ja4(over_quic)) || self.listed.contains(&hello.ja3())
            };
            sight.forbidden = hello.map(has);
        }
        if sight.forbidden == Some(true) { Verdict::Drop } else { Verdict::Pass }
    }
}
