//! Control of the profile: each of the four providers blocks in its own way, what one blocks another
//! may let pass, and other sites load everywhere; the outage leaves the country alone.

use busel_lab::censor::Names;
use busel_lab::map::Point;
use busel_lab::profile::Lists;
use busel_lab::profile::belarus_2020::{Isp, outage, set};
use busel_lab::program::{Failure, Load, Scene};
use busel_lab::sandbox::inside;

use crate::SILENCE;

fn lists() -> Lists {
    Lists { sites: Names::new(["news.example"]), ..Lists::default() }
}

/// Loads of the forbidden site in a home, plainly and by TLS. Its neighbour must load.
fn loads(scene: &Scene, home: &str) -> anyhow::Result<(Load, Load)> {
    let curl = scene.curl(home).arg("-4");
    for url in ["http://weather.example/", "https://weather.example/"] {
        assert!(curl.get(url)?.is("weather.example", "/"), "{home} {url}");
    }
    Ok((curl.get("http://news.example/")?, curl.get("https://news.example/")?))
}

#[test]
fn redirects_of_business_network_and_beltelecom() {
    inside(|| {
        let scene = Scene::start()?;
        let _boxes = set(&scene.world, &lists(), Isp::BusinessNetwork, Isp::Beltelecom)?;
        let (plain, tls) = loads(&scene, "home-a")?;
        assert_eq!(plain.status, Some(302), "{plain:?}");
        assert_eq!(tls.failure(), Some(Failure::Cut), "{tls:?}");
        let (plain, tls) = loads(&scene, "home-b")?;
        assert_eq!(plain.status, Some(302), "{plain:?}");
        assert!(tls.is("news.example", "/"), "{tls:?}");
        Ok(())
    });
}

#[test]
fn the_proxy_of_a1_and_the_resolver_of_mts() {
    inside(|| {
        let scene = Scene::start()?;
        let _boxes = set(&scene.world, &lists(), Isp::A1, Isp::Mts)?;
        let (plain, tls) = loads(&scene, "home-a")?;
        assert_eq!(plain.status, Some(302), "{plain:?}");
        assert_eq!(tls.failure(), Some(Failure::Certificate), "{tls:?}");
        assert!(scene.world.censor(Point::IspA).counts("forged_certificate").acted());
        let (plain, tls) = loads(&scene, "home-b")?;
        assert!(plain.is("shop.example", "/"), "another server answers: {plain:?}");
        assert_eq!(tls.remote, Some(scene.world.host("domestic").v4()), "{tls:?}");
        let known = format!("news.example:443:{}", scene.world.host("origin").v4());
        let load = scene.curl("home-b").arg("--resolve").arg(known).get("https://news.example/")?;
        assert!(load.is("news.example", "/"), "who knows the address gets the site: {load:?}");
        Ok(())
    });
}

#[test]
fn the_outage() {
    inside(|| {
        let scene = Scene::start()?;
        outage(&scene.world);
        let load = scene.curl("home-a").within(SILENCE).get("https://weather.example/")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
        assert!(scene.curl("home-a").get("https://shop.example/")?.is("shop.example", "/"));
        Ok(())
    });
}
