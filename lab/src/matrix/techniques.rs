//! The table of techniques: a line each, with the point where it sits and what is expected of it.

use std::net::IpAddr;
use std::time::Duration;

use super::Case;
use crate::censor::{Blackout, DnsPoison, IpBlock, Names, NationalCut, SniDrop, SniReset};
use crate::map::Point::{Border, IspA};
use crate::program::{LISTED, Scene, UNLISTED, Way};

/// A minute, as boxes hold a sight of a forbidden name against a pair of hosts.
const MINUTE: Duration = Duration::from_secs(60);

/// All of them, in the order of the report.
pub fn techniques() -> Vec<Case> {
    vec![
        // Who asks an honest resolver by DoH is told the truth, and then the site itself is open.
        Case::site("dns_poison", |s| s.at(IspA).only(DnsPoison::instead(sites(), [liar(s)])))
            .passing(&[Way::Direct]),
        Case::site("ip_block", |s| s.at(Border).only(IpBlock::new(origin(s)))),
        Case::site("sni_reset", |s| s.at(Border).only(SniReset::new(sites()))),
        Case::site("sni_drop", |s| s.at(IspA).only(SniDrop::new(sites(), MINUTE))),
        Case::abroad("national_cut", |s| s.at(Border).only(NationalCut)),
        Case::nothing("blackout", |s| s.at(IspA).only(Blackout)),
    ]
}

/// The forbidden sites: the one that may be shared, and the one that may not.
fn sites() -> Names {
    Names::new([LISTED, UNLISTED])
}

/// The address of whoever a liar names: a server at home.
fn liar(scene: &Scene) -> IpAddr {
    scene.world.host("domestic").v4()
}

/// The addresses of the forbidden sites.
fn origin(scene: &Scene) -> [IpAddr; 2] {
    let origin = scene.world.host("origin");
    [origin.v4(), origin.v6()]
}
