//! The profiles as rows: what was seen in one country at one time, for a home behind the first
//! provider.

use super::Case;
use super::techniques::sites;
use crate::censor::Names;
use crate::profile::belarus_2020::Isp;
use crate::profile::{Lists, belarus_2020, belarus_2025, china, iran_2026, russia_mobile_2026};
use crate::program::Way::{Any, Connect, Direct, Injector, Swarm, Tunnel};
use crate::program::{Prober, Stage};

/// All of them, by country and time.
pub(super) fn profiles() -> Vec<Case> {
    vec![
        Case::site("belarus_2020_a1", |s| at_home(s, Isp::A1)),
        Case::harmless("belarus_2020_beltelecom", |s| at_home(s, Isp::Beltelecom)),
        Case::site("belarus_2020_business", |s| at_home(s, Isp::BusinessNetwork)),
        Case::site("belarus_2020_mts", |s| at_home(s, Isp::Mts)).passing(&[Direct]),
        Case::abroad("belarus_2020_outage", |s| belarus_2020::outage(&s.scene.world)),
        Case::site("belarus_2025", |s| belarus_2025::set(&s.scene.world, &lists())),
        Case::site("china", |s| {
            let (world, host) = (&s.scene.world, s.host("prober"));
            let prober = Prober::start(world, host, |report| !report.is_clean());
            china::set(world, &lists(), prober)
        }),
        Case::abroad("iran_2026", |s| iran_2026::set(&s.scene.world, &lists())),
        Case::nothing("russia_mobile_2026", |s| {
            russia_mobile_2026::set(&s.scene.world, &with_cloud(s))
        })
        .passing(&[Any, Swarm])
        .gap(
            &[Connect, Injector, Tunnel],
            "the injector is reached by a relay whose address is not on the list",
        ),
    ]
}

/// The same method at both providers.
fn at_home(stage: &Stage, isp: Isp) -> anyhow::Result<crate::profile::Boxes> {
    belarus_2020::set(&stage.scene.world, &lists(), isp, isp)
}

fn lists() -> Lists {
    Lists { sites: sites(), ..Lists::default() }
}

/// Where only a whitelist passes: a shop at home is on it, and the cloud where it is with the relay.
fn with_cloud(stage: &Stage) -> Lists {
    let cloud = ["domestic", "relay-home"].map(|name| stage.host(name).v4().into());
    let spared_sites = Names::new(["shop.example"]);
    Lists { spared_sites, spared_nets: cloud.to_vec(), ..lists() }
}
