//! Iran, January to May 2026. Of the country's addresses about 0.017 % reached abroad, and tunnels
//! through resolvers survived (net4people/bbs#561, 26 January 2026, and #586, #630). Who was let out
//! met what had been there before: IPv6, QUIC and unknown UDP off since June 2025 (#484, #489), on
//! ports 53, 80 and 443 only their own protocols, else silence for 60 seconds (#49, 2020), names
//! reset, and lying resolvers.
//!
//! Not here: what differs by provider and by week, and that datagrams of full length were reported to
//! pass. One user found BitTorrent at work; here it is unknown UDP, and is off.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};

use super::{Boxes, Lists, resolver};
use crate::censor::{
    Chain, DnsPoison, IpBlock, ProtocolWhitelist, QuicBlock, SniReset, SourceAllowlist,
    UnknownUdpOff,
};
use crate::map::Point;
use crate::world::World;

/// How long a flow of another protocol is silenced.
const SILENCED: Duration = Duration::from_secs(60);

/// Puts it in force. Those in `spared_nets` reach abroad, and so do the resolvers.
pub fn set(world: &World, lists: &Lists) -> anyhow::Result<Boxes> {
    let lie: IpAddr = world.host("domestic").v4();
    let mut let_out = lists.spared_nets.clone();
    for point in [Point::IspA, Point::IspB] {
        world.censor(point).only(DnsPoison::instead(lists.sites.clone(), [lie]));
        let_out.extend(world.host(resolver(point)).addrs().iter().copied().map(IpNet::from));
    }
    let chain = Chain::of(SourceAllowlist::new(let_out))
        .then(IpBlock::new([Ipv6Net::default()]))
        .then(IpBlock::new(lists.nets.clone()))
        .then(QuicBlock::initials())
        .then(UnknownUdpOff::new())
        .then(ProtocolWhitelist::new(SILENCED))
        .then(SniReset::new(lists.sites.clone()));
    world.censor(Point::Border).set(chain);
    Ok(Boxes::default())
}
