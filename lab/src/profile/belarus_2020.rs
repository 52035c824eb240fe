//! Belarus, August and September 2020. From 9 to 12 August nearly all foreign traffic was out for 61
//! hours ([`outage`]; Psiphon, 20 August 2020). After it there was no central box: four providers
//! blocked by four methods ([`set`]; Qurium and Human Constanta, 23 September 2020), and OONI saw
//! connections reset after the ClientHello at some (15 September 2020).
//!
//! The map has two providers, and a test says which two of the four they are. Not here: mobile data
//! off by night, and what was throttled in November.

use super::{Boxes, Lists, resolver};
use crate::censor::{Chain, DnsPoison, HttpRedirect, NationalCut, SniReset};
use crate::map::Point;
use crate::program::Forger;
use crate::world::World;

/// Where forged redirects lead.
pub const BLOCK_PAGE: &str = "http://blocked.example/";

/// A provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isp {
    /// Injects a redirect into plain HTTP, and resets it; TLS to a listed name is reset too.
    BusinessNetwork,
    /// Injects a redirect into plain HTTP, on port 80 only. TLS passes.
    Beltelecom,
    /// Leads TLS to a box that forges certificates, and redirects plain HTTP.
    A1,
    /// Its resolver lies.
    Mts,
}

/// The methods of two providers, each at its own point.
pub fn set(world: &World, lists: &Lists, isp_a: Isp, isp_b: Isp) -> anyhow::Result<Boxes> {
    let mut boxes = Boxes::default();
    for (point, isp) in [(Point::IspA, isp_a), (Point::IspB, isp_b)] {
        let sites = || lists.sites.clone();
        let chain = match isp {
            Isp::BusinessNetwork => Chain::of(HttpRedirect::business_network(sites(), BLOCK_PAGE))
                .then(SniReset::weak(sites())),
            Isp::Beltelecom => Chain::of(HttpRedirect::beltelecom(sites(), BLOCK_PAGE)),
            Isp::A1 => {
                let forger = Forger::start(world, world.host(resolver(point)), sites())?;
                let divert = forger.divert(lists.addrs(world));
                boxes.forgers.push(forger);
                Chain::of(HttpRedirect::new(sites(), BLOCK_PAGE)).then(divert)
            }
            Isp::Mts => Chain::of(DnsPoison::instead(sites(), [world.host("domestic").v4()])),
        };
        world.censor(point).set(chain);
    }
    Ok(boxes)
}

/// The first days: nothing foreign passes the border.
pub fn outage(world: &World) {
    world.censor(Point::Border).only(NationalCut);
}
