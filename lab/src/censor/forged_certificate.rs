//! Transparent proxy with a forged certificate: the provider leads TLS connections to listed nets to
//! a box of its own, and back, so that neither end sees it (A1 Belarus, 2020). The box is
//! [`crate::program::Forger`]: for listed names it shows its own page under a certificate that it
//! signs itself; all others it passes on to where they were meant to go.
//!
//! This policy only leads and notes where to. It leads flows from their opening on, and knows a
//! client by its address and port: two flows of one client from the same port would be mixed up.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use lru::LruCache;

use super::{Context, Injected, Packet, Policy, Verdict};

/// The port of TLS.
const PORT: u16 = 443;
/// As many flows as a point remembers.
const MAX: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");

/// Leads connections to a box.
#[derive(Debug)]
pub struct ForgedCertificate {
    nets: Vec<IpNet>,
    boxes: Vec<SocketAddr>,
    diverted: Diverted,
}

/// Which client's connection was meant for whom. Copies are the same.
#[derive(Clone, Debug)]
pub struct Diverted(Arc<Mutex<LruCache<SocketAddr, SocketAddr>>>);

impl ForgedCertificate {
    /// Leads what goes to port 443 in these nets to the box, which has one address of each kind.
    pub fn new<N: Into<IpNet>>(
        nets: impl IntoIterator<Item = N>,
        boxes: impl IntoIterator<Item = SocketAddr>,
        diverted: Diverted,
    ) -> Self {
        Self {
            nets: nets.into_iter().map(Into::into).collect(),
            boxes: boxes.into_iter().collect(),
            diverted,
        }
    }

    /// The box's address, if this packet is to be led there.
    fn hither(&self, packet: &Packet) -> Option<SocketAddr> {
        let (tcp, from, to) = (packet.tcp()?, packet.from(), packet.to());
        if self.boxes.iter().any(|at| at.ip() == from.ip()) || to.port() != PORT {
            return None;
        }
        let by_box = self.boxes.iter().find(|at| at.is_ipv4() == to.is_ipv4())?;
        if tcp.syn && !tcp.has_ack && self.nets.iter().any(|net| net.contains(&to.ip())) {
            self.diverted.table().put(from, to);
        }
        (self.diverted.target(from) == Some(to)).then_some(*by_box)
    }
}

impl Policy for ForgedCertificate {
    fn name(&self) -> &'static str {
        "forged_certificate"
    }

    fn judge(&mut self, packet: &Packet, _: &Context<'_>, _: &mut Injected) -> Verdict {
        let moved = if self.boxes.contains(&packet.from()) {
            let meant = self.diverted.target(packet.to());
            meant.and_then(|meant| packet.readdressed(meant, packet.to()))
        } else {
            self.hither(packet).and_then(|by_box| packet.readdressed(packet.from(), by_box))
        };
        moved.map_or(Verdict::Pass, Verdict::Replace)
    }
}

impl Diverted {
    /// Whom a client meant to reach.
    pub fn target(&self, client: SocketAddr) -> Option<SocketAddr> {
        self.table().get(&client).copied()
    }

    fn table(&self) -> MutexGuard<'_, LruCache<SocketAddr, SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Diverted {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(MAX))))
    }
}
