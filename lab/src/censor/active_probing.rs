//! Active probing: the box tells a prober of each foreign server that answers somebody, with the
//! client's first words, and swallows all between clients and an address that the prober has found
//! guilty (China, from 2011 on). The prober is a program of its own, [`crate::program::Prober`];
//! what makes guilty is its rule.
//!
//! It suspects every server that it has not told of lately. Real boxes choose, since probing costs.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Context, Injected, Packet, Policy, Residual, Verdict};
use crate::map::is_domestic;

/// A server is told of once in this time.
const AGAIN: Duration = Duration::from_secs(600);

/// A server that somebody spoke with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Suspect {
    /// Where it is.
    pub server: SocketAddr,
    /// Whether it was spoken to by UDP, else by TCP.
    pub udp: bool,
    /// What the client said before the server answered.
    pub first: Vec<u8>,
}

/// The addresses that were found guilty. Copies are the same list.
#[derive(Clone, Debug, Default)]
pub struct Guilty(Arc<Mutex<HashSet<IpAddr>>>);

impl Guilty {
    /// Puts an address on it.
    pub fn add(&self, addr: IpAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(addr);
    }

    /// Whether an address is on it.
    pub fn has(&self, addr: IpAddr) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&addr)
    }
}

/// Tells a prober, and swallows what it condemns.
#[derive(Debug)]
pub struct ActiveProbing {
    prober: mpsc::Sender<Suspect>,
    guilty: Guilty,
    told: Residual<(SocketAddr, bool)>,
}

impl ActiveProbing {
    /// Tells a prober by this channel, and believes this list.
    pub fn new(prober: mpsc::Sender<Suspect>, guilty: Guilty) -> Self {
        Self { prober, guilty, told: Residual::new(AGAIN) }
    }

    fn tell(&mut self, packet: &Packet, at: &Context<'_>) {
        let (server, udp) = (at.flow.server(), packet.is_udp());
        let first = at.flow.client_start();
        let heard = !first.is_empty() && !at.flow.server_start().is_empty();
        if !heard || is_domestic(server.ip()) || self.told.holds(&(server, udp), at.now) {
            return;
        }
        // A prober that has too much to do, or has ended, does not hear of it.
        if self.prober.try_send(Suspect { server, udp, first: first.to_vec() }).is_ok() {
            self.told.hold((server, udp), at.now);
        }
    }
}

impl Policy for ActiveProbing {
    fn name(&self) -> &'static str {
        "active_probing"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        if self.guilty.has(packet.source()) || self.guilty.has(packet.dest()) {
            return Verdict::Drop;
        }
        self.tell(packet, at);
        Verdict::Pass
    }
}
