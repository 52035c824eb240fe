//! That a world is a world: names, routes, NAT, both kinds of IP, links, power.

use busel_lab::program::Scene;
use busel_lab::sandbox::inside;

#[test]
fn everybody_reaches_every_site() {
    inside(|| {
        let scene = Scene::start()?;
        for host in ["home-a", "home-a2", "home-b", "domestic", "helper"] {
            for site in ["news.example", "shop.example"] {
                for family in ["-4", "-6"] {
                    let load = scene.curl(host).arg(family).get(&format!("https://{site}/"))?;
                    assert!(load.is(site, "/"), "{host} {site} {family}: {load:?}");
                }
            }
        }
        Ok(())
    });
}
