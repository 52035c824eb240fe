//! China, as its border works in 2026: false answers to DNS questions that cross it, which poison the
//! providers' resolvers too; names reset over TCP and swallowed over QUIC (net4people/bbs#505, April
//! 2024); what looks like noise swallowed (USENIX Security, August 2023); suspects probed and then
//! blocked by address; the DHT's bootstrap names poisoned (qBittorrent#23928, March 2026).
//!
//! Not here: resets by the Host header of plain HTTP, residual resets, and the boxes of single
//! provinces. It strikes always, where the real one strikes by chance.

use std::net::IpAddr;
use std::time::Duration;

use super::{Boxes, Lists};
use crate::censor::{
    Chain, DhtPoison, DnsPoison, FullyEncrypted, IpBlock, QuicSni, SniReset, Spare,
};
use crate::map::Point;
use crate::program::Prober;
use crate::world::World;

/// How long a sight is held against a pair of hosts.
const HELD: Duration = Duration::from_secs(180);

/// Puts it in force, with a prober that has its host and its rule.
pub fn set(world: &World, lists: &Lists, prober: Prober) -> anyhow::Result<Boxes> {
    let sites = || lists.sites.clone();
    let lie: [IpAddr; 1] = [world.host("domestic").v4()];
    for point in [Point::IspA, Point::IspB] {
        let poisoned = Chain::of(DnsPoison::instead(sites(), lie)).then(DhtPoison::new(lie));
        world.censor(point).set(poisoned);
    }
    let own = prober.addrs().to_vec();
    let chain = Chain::of(IpBlock::new(lists.nets.clone()))
        .then(DnsPoison::racing(sites(), lie))
        .then(Spare::new(own.clone(), SniReset::new(sites())))
        .then(QuicSni::new(sites(), HELD))
        .then(Spare::new(own, FullyEncrypted::new(HELD)))
        .then(prober.policy());
    world.censor(Point::Border).set(chain);
    Ok(Boxes { prober: Some(prober), ..Boxes::default() })
}
