//! Belarus around the vote of 26 January 2025. Three large commercial VPNs were down in the whole country
//! while Psiphon worked, and from the 25th to the 27th the country's sites were closed to visitors
//! from abroad, by order of the OAC (news.online.ua, 25 January 2025; csometer.info, 2025). The
//! standing block of sites went on: redirects in plain HTTP at the providers, resets by name at the
//! border.
//!
//! How the VPNs were found is not known; here their addresses are listed.

use super::belarus_2020::BLOCK_PAGE;
use super::{Boxes, Lists};
use crate::censor::{Chain, HttpRedirect, InboundCut, IpBlock, SniReset};
use crate::map::Point;
use crate::world::World;

/// Puts it in force.
pub fn set(world: &World, lists: &Lists) -> anyhow::Result<Boxes> {
    for point in [Point::IspA, Point::IspB] {
        world.censor(point).only(HttpRedirect::new(lists.sites.clone(), BLOCK_PAGE));
    }
    let chain = Chain::of(InboundCut::new())
        .then(IpBlock::new(lists.nets.clone()))
        .then(SniReset::new(lists.sites.clone()));
    world.censor(Point::Border).set(chain);
    Ok(Boxes::default())
}
