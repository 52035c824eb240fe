//! Control of the profile: under the whitelist one domestic site is all there is; without it foreign
//! sites load, but only small pages, no forbidden ones, and nothing through a tunnel.

use busel_lab::censor::Names;
use busel_lab::profile::{Lists, russia_mobile_2026};
use busel_lab::program::{Failure, Scene, Tunnel};
use busel_lab::sandbox::inside;

use crate::SILENCE;

fn lists(scene: &Scene) -> Lists {
    let domestic = scene.world.host("domestic").addrs();
    Lists {
        sites: Names::new(["news.example"]),
        spared_sites: Names::new(["shop.example"]),
        spared_nets: domestic.iter().map(|addr| (*addr).into()).collect(),
        ..Lists::default()
    }
}

#[test]
fn under_the_whitelist() {
    inside(|| {
        let scene = Scene::start()?;
        let _boxes = russia_mobile_2026::set(&scene.world, &lists(&scene))?;
        let curl = scene.curl("home-a");
        assert!(curl.get("https://shop.example/article")?.is("shop.example", "/article"));
        let quick = curl.within(SILENCE);
        assert_eq!(quick.get("https://weather.example/")?.failure(), Some(Failure::Timeout));
        let domestic = scene.world.host("domestic").v4();
        let resolve = format!("other.example:443:{domestic}");
        let load = quick.arg("--resolve").arg(resolve).get("https://other.example/")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "a listed address, another name");
        Ok(())
    });
}

#[test]
fn on_other_days() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        let tunnel = Tunnel::start(world, world.host("helper"), &scene.ca, 443)?;
        let _boxes = russia_mobile_2026::set(world, &lists(&scene))?;
        let curl = scene.curl("home-b").arg("-4");
        assert!(curl.get("https://weather.example/")?.is("weather.example", "/"));
        assert!(curl.get("https://shop.example/article")?.is("shop.example", "/article"));

        let quick = curl.within(SILENCE);
        let load = quick.get("https://sport.example/article")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "{}", load.error);
        let censor = world.censor(busel_lab::map::Point::IspB);
        assert!(censor.counts("freeze").acted());
        let through = quick.clone().arg("--proxy").arg(tunnel.url());
        let through = through.arg("--proxy-cacert").arg(scene.ca.path());
        assert!(!through.get("https://weather.example/")?.loaded());
        assert!(censor.counts("encapsulated_tls").acted());
        assert_eq!(quick.get("https://news.example/")?.failure(), Some(Failure::Timeout));
        let load = quick.get("https://weather.example/")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "its neighbour pays for it");
        Ok(())
    });
}
