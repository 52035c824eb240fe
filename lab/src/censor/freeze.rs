//! Freeze: a TCP connection to a foreign server goes on until 16 KB have come down, and then nothing
//! comes any more, whatever its protocol and name (mobile networks of Russia, from mid-2025). SSH is
//! spared, as users report. It answers nothing, so that the client waits.
//!
//! It counts bytes of a connection, not of a client: a page that is fetched in small pieces over as
//! many connections arrives.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Context, Injected, Packet, Policy, Verdict};
use crate::map::is_domestic;

/// As many bytes as were seen to come through at least.
const BYTES: u64 = 16 << 10;
const SSH: u16 = 22;

/// Freezes connections that bring much.
#[derive(Clone, Debug)]
pub struct Freeze {
    nets: Option<Vec<IpNet>>,
    bytes: u64,
}

impl Freeze {
    /// Freezes connections to all that is abroad.
    pub fn foreign() -> Self {
        Self { nets: None, bytes: BYTES }
    }

    /// Freezes connections to these nets only, as those of well-known hosters.
    pub fn nets<N: Into<IpNet>>(nets: impl IntoIterator<Item = N>) -> Self {
        Self { nets: Some(nets.into_iter().map(Into::into).collect()), bytes: BYTES }
    }

    /// The same after so many bytes.
    #[must_use]
    pub fn after(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    fn is_meant(&self, server: IpAddr) -> bool {
        match &self.nets {
            Some(nets) => nets.iter().any(|net| net.contains(&server)),
            None => !is_domestic(server),
        }
    }
}

impl Policy for Freeze {
    fn name(&self) -> &'static str {
        "freeze"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let server = at.flow.server();
        if packet.tcp().is_none() || server.port() == SSH || !self.is_meant(server.ip()) {
            return Verdict::Pass;
        }
        let frozen = at.flow.down().bytes > self.bytes && !at.flow.from_client();
        if frozen { Verdict::Drop } else { Verdict::Pass }
    }
}
