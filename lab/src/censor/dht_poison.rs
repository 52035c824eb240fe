//! DHT bootstrap poisoning: the names by which programs find their first nodes of BitTorrent's DHT get
//! false answers, as seen in China in March 2026. The DHT itself goes on, and whoever kept addresses
//! of nodes still finds it.

use std::net::IpAddr;

use super::{Context, DnsPoison, Injected, Names, Packet, Policy, Verdict};

/// The bootstrap names of the programs that are in use.
pub const DHT_BOOTSTRAP: [&str; 6] = [
    "router.bittorrent.com",
    "router.utorrent.com",
    "dht.libtorrent.org",
    "dht.transmissionbt.com",
    "dht.aelitis.com",
    "relay.pkarr.org",
];

/// Answers falsely for bootstrap names.
#[derive(Clone, Debug)]
pub struct DhtPoison {
    dns: DnsPoison,
}

impl DhtPoison {
    /// Gives these addresses for all names of [`DHT_BOOTSTRAP`]; with none it is "no such name".
    pub fn new(lies: impl IntoIterator<Item = IpAddr>) -> Self {
        Self::names(Names::new(DHT_BOOTSTRAP), lies)
    }

    /// The same for other names.
    pub fn names(names: Names, lies: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { dns: DnsPoison::instead(names, lies) }
    }
}

impl Policy for DhtPoison {
    fn name(&self) -> &'static str {
        "dht_poison"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, out: &mut Injected) -> Verdict {
        self.dns.judge(packet, at, out)
    }
}
