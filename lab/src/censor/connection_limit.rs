//! Connection limit: of the TLS connections that one client has open at once to one foreign address,
//! those beyond a number are swallowed from their hello on (home providers of Russia, November 2025,
//! where 12 and 24 were reported). One that ends, or is silent for a minute, makes room.
//!
//! It counts no other protocols, and takes all homes behind one NAT for one client.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use super::{Context, Injected, Packet, PerFlow, Policy, Verdict};
use crate::map::is_domestic;

/// After so long a silence a connection no longer counts.
const IDLE: Duration = Duration::from_secs(60);
/// As many pairs of hosts are remembered.
const MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Swallows connections beyond a number.
#[derive(Debug)]
pub struct ConnectionLimit {
    most: usize,
    fates: PerFlow<Fate>,
    /// By client and server: the connections that count, and when each was last seen.
    open: LruCache<(IpAddr, IpAddr), BTreeMap<u64, Duration>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Unknown,
    Counted,
    Swallowed,
}

impl ConnectionLimit {
    /// Lets a client have so many at once to one address.
    pub fn new(most: usize) -> Self {
        Self { most, fates: PerFlow::default(), open: LruCache::new(MAX) }
    }

    /// Counts a connection, or finds that there are too many.
    fn fate(&mut self, at: &Context<'_>) -> Fate {
        let most = self.most;
        let open = self.open(at);
        open.retain(|_, seen| at.now.saturating_sub(*seen) < IDLE);
        if open.len() >= most {
            return Fate::Swallowed;
        }
        open.insert(at.flow.id(), at.now);
        Fate::Counted
    }

    fn open(&mut self, at: &Context<'_>) -> &mut BTreeMap<u64, Duration> {
        let pair = (at.flow.client().ip(), at.flow.server().ip());
        self.open.get_or_insert_mut(pair, BTreeMap::new)
    }
}

impl Policy for ConnectionLimit {
    fn name(&self) -> &'static str {
        "connection_limit"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let Some(tcp) = packet.tcp() else { return Verdict::Pass };
        if at.flow.hello().is_none() || is_domestic(at.flow.server().ip()) {
            return Verdict::Pass;
        }
        if *self.fates.of(at.flow) == Fate::Unknown {
            *self.fates.of(at.flow) = self.fate(at);
        }
        if *self.fates.of(at.flow) == Fate::Swallowed {
            return Verdict::Drop;
        }
        if tcp.fin || tcp.rst {
            self.open(at).remove(&at.flow.id());
        } else if let Some(seen) = self.open(at).get_mut(&at.flow.id()) {
            *seen = at.now;
        }
        Verdict::Pass
    }
}
