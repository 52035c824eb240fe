//! Russia, mobile networks, 2025 and 2026. On many days and in many places only listed names at listed
//! addresses pass (net4people/bbs#516, #650): here at the first provider. Where the list is not in
//! force, the boxes at each provider swallow listed names over TCP and QUIC (#505, #654, from 2023),
//! freeze connections to foreign servers after 16 KB (#490, #662, from June 2025), look for TLS in
//! tunnels (#363, May 2024) and count parallel TLS connections (#546, November 2025): here at the
//! second.
//!
//! Not here: the lists of foreign hosters, all of abroad is meant; scores of several weak signs (May
//! 2026); the block of a DTLS hello (March 2026).

use std::time::Duration;

use super::{Boxes, Lists, resolver};
use crate::censor::{
    Chain, ConnectionLimit, EncapsulatedTls, Freeze, IpBlock, QuicSni, SniDrop, SniWhitelist,
};
use crate::map::Point;
use crate::world::World;

/// How long a name is held against a pair of hosts.
const HELD: Duration = Duration::from_secs(120);
/// The smaller of the numbers that were reported.
const MOST: usize = 12;

/// Puts it in force. The whitelist is `spared_sites` at `spared_nets`, and the resolver.
pub fn set(world: &World, lists: &Lists) -> anyhow::Result<Boxes> {
    let own = world.host(resolver(Point::IspA)).addrs();
    let mut listed = lists.spared_nets.clone();
    listed.extend(own.iter().map(|addr| ipnet::IpNet::from(*addr)));
    let whitelist = SniWhitelist::new(lists.spared_sites.clone()).only_at(listed);
    world.censor(Point::IspA).only(whitelist);
    let everyday = Chain::of(IpBlock::new(lists.nets.clone()))
        .then(SniDrop::new(lists.sites.clone(), HELD))
        .then(QuicSni::new(lists.sites.clone(), HELD))
        .then(EncapsulatedTls::new())
        .then(ConnectionLimit::new(MOST))
        .then(Freeze::foreign());
    world.censor(Point::IspB).set(everyday);
    Ok(Boxes::default())
}
