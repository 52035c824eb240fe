//! Control of the profile: who is not let out has the country and names; who is has plain web pages
//! abroad, but not the forbidden one, and nothing by IPv6, QUIC or an unknown protocol.

use std::net::SocketAddr;

use busel_lab::censor::Names;
use busel_lab::profile::{Lists, iran_2026};
use busel_lab::program::{Dns, Failure, Quic, QuicClient, Scene, Zone, body};
use busel_lab::sandbox::inside;

use crate::SILENCE;
use crate::echo::Echo;

/// The listed home is behind the first provider's router.
fn lists(scene: &Scene) -> Lists {
    let let_out = scene.world.host("isp-a").addrs().iter().map(|addr| (*addr).into()).collect();
    Lists { sites: Names::new(["news.example"]), spared_nets: let_out, ..Lists::default() }
}

#[test]
fn most_have_the_country_only() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        let helper = world.host("helper");
        let far = Zone::default().with("far.tunnel.example", &[helper.v4()]);
        let _server = Dns::start(world, helper, far)?;
        let resolver = scene.resolver("dns-b").expect("it has one");
        resolver.set(Zone::of(world).delegate("tunnel.example", (helper.v4(), 53).into()));
        let _boxes = iran_2026::set(world, &lists(&scene))?;

        let curl = scene.curl("home-b");
        let load = curl.clone().within(SILENCE).get("https://weather.example/")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
        assert!(curl.get("https://shop.example/article")?.is("shop.example", "/article"));
        let found = world.host("home-b").command("getent").args(["ahostsv4", "far.tunnel.example"]);
        assert!(found.run()?.status.success(), "names are found abroad");
        Ok(())
    });
}

#[test]
fn who_is_let_out_has_the_web_and_no_more() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        let (origin, helper, home) =
            (world.host("origin"), world.host("helper"), world.host("home-a"));
        let site = "weather.example";
        let _quic = Quic::start(world, origin, 443, &scene.ca, &[site])?;
        let (tls, other) = (Echo::start(helper, 443)?, Echo::start(helper, 4000)?);
        let at = SocketAddr::new(origin.v4(), 443);
        let quic = QuicClient::new(world, home, &scene.ca)?;
        assert_eq!(Some(quic.get(at, site, "/")?), body(site, "/"), "nothing is in force yet");
        let _boxes = iran_2026::set(world, &lists(&scene))?;

        let curl = scene.curl("home-a").arg("-4");
        for url in ["http://weather.example/article", "https://weather.example/article"] {
            assert!(curl.get(url)?.is(site, "/article"), "{url}");
        }
        let load = curl.get("https://news.example/")?;
        assert_eq!(load.remote, Some(world.host("domestic").v4()), "a lie: {load:?}");
        let known = format!("news.example:443:{}", origin.v4());
        let load = curl.arg("--resolve").arg(known).get("https://news.example/")?;
        assert_eq!(load.failure(), Some(Failure::Cut), "{load:?}");
        let load =
            scene.curl("home-a").arg("-6").within(SILENCE).get("https://weather.example/")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
        assert!(quic.within(SILENCE).get(at, site, "/").is_err());
        assert!(!other.answers(home, helper.v4(), b"some words"), "unknown UDP");
        assert!(!tls.repeats(home, helper.v4(), &[b"\0\x01\x02 some words"]), "no TLS on 443");
        assert!(other.repeats(home, helper.v4(), &[b"\0\x01\x02 some words"]), "another port");
        Ok(())
    });
}
