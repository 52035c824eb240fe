//! Profiles: what was seen in one country at one time, as chains of the techniques in
//! [`crate::censor`] at the points where the boxes sat. Each is a picture of published reports, and
//! its file says of which; none is complete, and all of them grow old.
//!
//! They are made for [`crate::world::Drawing::country`]: its two providers with their resolvers
//! `dns-a` and `dns-b`, and its `domestic` server.

pub mod belarus_2020;
pub mod belarus_2025;
pub mod china;
pub mod iran_2026;
pub mod russia_mobile_2026;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::censor::Names;
use crate::map::Point;
use crate::program::{Forger, Prober};
use crate::world::World;

/// Whom a state is after, and whom it spares.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Forbidden sites.
    pub sites: Names,
    /// Forbidden addresses: servers of VPNs, relays, whatever was found.
    pub nets: Vec<IpNet>,
    /// Sites that pass where others do not.
    pub spared_sites: Names,
    /// Hosts that pass where others do not.
    pub spared_nets: Vec<IpNet>,
}

/// The programs of a profile's boxes; they end when this is dropped, and what needs them then fails.
#[derive(Default)]
pub struct Boxes {
    /// Proxies that forge certificates.
    pub forgers: Vec<Forger>,
    /// The prober, if there is one.
    pub prober: Option<Prober>,
}

impl Lists {
    /// The true addresses of the forbidden sites.
    fn addrs(&self, world: &World) -> Vec<IpAddr> {
        let listed = world.names().iter().filter(|(name, _)| self.sites.has(name));
        listed.flat_map(|(_, addrs)| addrs.clone()).collect()
    }
}

/// The resolver of a provider.
fn resolver(point: Point) -> &'static str {
    if point == Point::IspB { "dns-b" } else { "dns-a" }
}
