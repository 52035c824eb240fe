//! Control of the whitelist of names and addresses: only listed names pass, by TCP and QUIC, and
//! nothing but TLS on its port; with nets, nothing else at all.

use std::net::{IpAddr, SocketAddr};

use busel_lab::censor::{Names, SniWhitelist};
use busel_lab::map::Point;
use busel_lab::program::{Failure, Quic, QuicClient, Scene, Tls, body};
use busel_lab::sandbox::inside;

use crate::SILENCE;
use crate::echo::Echo;

const LISTED: &str = "weather.example";
const OTHER: &str = "news.example";

#[test]
fn only_listed_names_pass() {
    inside(|| {
        let scene = Scene::start()?;
        let (origin, home) = (scene.world.host("origin"), scene.world.host("home-a"));
        let _quic = Quic::start(&scene.world, origin, 443, &scene.ca, &[LISTED, OTHER])?;
        let echo = Echo::start(scene.world.host("injector"), 443)?;
        let (curl, injector) = (scene.curl("home-a"), scene.world.host("injector").v4());
        let at = SocketAddr::new(origin.v4(), 443);
        let client = || QuicClient::new(&scene.world, home, &scene.ca);
        assert!(curl.get("https://news.example/")?.is(OTHER, "/"));
        assert!(client()?.get(at, OTHER, "/").is_ok() && echo.repeats(home, injector, &[b"hello"]));

        let censor = scene.world.censor(Point::IspA);
        censor.only(SniWhitelist::new(Names::new([LISTED])));
        for family in ["-4", "-6"] {
            let curl = curl.clone().arg(family);
            let load = curl.clone().within(SILENCE).get("https://news.example/")?;
            assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
            assert!(curl.get("https://weather.example/long")?.is(LISTED, "/long"));
        }
        let split = Tls::new(home, &scene.ca)?.cut_at(&[5, 80]);
        assert_eq!(Some(split.get(at, LISTED, "/")?), body(LISTED, "/"));
        assert_eq!(Some(client()?.long_hello().get(at, LISTED, "/long")?), body(LISTED, "/long"));
        assert!(client()?.within(SILENCE).get(at, OTHER, "/").is_err());
        assert!(!echo.repeats(home, injector, &[b"hello"]), "no TLS on its port");
        assert!(curl.get("http://news.example/")?.is(OTHER, "/"), "another port");
        assert!(censor.counts("sni_whitelist").dropped > 4);
        Ok(())
    });
}

#[test]
fn with_nets_nothing_else_is_there() {
    inside(|| {
        let scene = Scene::start()?;
        let curl = scene.curl("home-a").arg("-4");
        let nets: [IpAddr; 2] = ["dns-a", "origin"].map(|name| scene.world.host(name).v4());
        let names = Names::new([LISTED, "sport.example"]);
        assert!(curl.get("https://sport.example/")?.is("sport.example", "/"));
        scene.world.censor(Point::IspA).only(SniWhitelist::new(names).only_at(nets));
        assert!(curl.get("https://weather.example/")?.is(LISTED, "/"));
        assert!(curl.get("http://news.example/")?.is(OTHER, "/"));
        let quick = curl.within(SILENCE);
        for url in ["https://sport.example/", "http://sport.example/", "https://news.example/"] {
            let load = quick.get(url)?;
            assert_eq!(load.failure(), Some(Failure::Timeout), "{url} {load:?}");
        }
        assert!(scene.curl("home-b").get("https://news.example/")?.is(OTHER, "/"));
        Ok(())
    });
}
