//! Control of power loss: the chosen hosts are silent and their programs have ended, the others serve
//! on; the same seed chooses the same, and another seed others in time.

use std::collections::BTreeSet;

use busel_lab::program::{Failure, Scene};
use busel_lab::sandbox::inside;

use crate::SILENCE;

/// Hosts with a site each.
const SITES: [(&str, &str); 3] =
    [("origin", "news.example"), ("origin-2", "sport.example"), ("domestic", "shop.example")];

#[test]
fn the_chosen_are_dark_and_the_others_are_not() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        let hosts = SITES.map(|(host, _)| host);
        let names = |seed| -> Vec<&str> {
            world.any_of(&hosts, 2, seed).into_iter().map(|host| host.name()).collect()
        };
        assert_eq!(names(7), names(7));
        let all: BTreeSet<&str> = (0..20).flat_map(names).collect();
        assert_eq!(all.len(), hosts.len(), "anybody may be chosen");

        let dark = world.power_loss(&hosts, 2, 7)?;
        let dark: Vec<&str> = dark.into_iter().map(|host| host.name()).collect();
        assert_eq!(dark, names(7));
        for (host, site) in SITES {
            let curl = scene.curl("home-a");
            let load = curl.within(SILENCE).get(&format!("https://{site}/"))?;
            if dark.contains(&host) {
                assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
                world.host(host).revive()?;
                let load = scene.curl("home-a").get(&format!("https://{site}/"))?;
                assert_eq!(load.failure(), Some(Failure::NoConnection), "its server has ended");
            } else {
                assert!(load.is(site, "/"), "{load:?}");
            }
        }
        Ok(())
    });
}
