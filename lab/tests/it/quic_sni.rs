//! Control of the QUIC block by name: the listed name is swallowed, also where its hello takes two
//! packets; another at the same address is not, until a sight is held against the pair.

use std::net::SocketAddr;
use std::time::Duration;

use busel_lab::censor::{Names, QuicSni};
use busel_lab::map::Point;
use busel_lab::program::{Quic, QuicClient, Scene, body};
use busel_lab::sandbox::inside;

use crate::SILENCE;

const SITES: [&str; 2] = ["news.example", "weather.example"];

#[test]
fn a_listed_name_is_swallowed_and_its_neighbour_is_not() {
    inside(|| {
        let scene = Scene::start()?;
        let (origin, home) = (scene.world.host("origin"), scene.world.host("home-a"));
        let _quic = Quic::start(&scene.world, origin, 443, &scene.ca, &SITES)?;
        let client = || QuicClient::new(&scene.world, home, &scene.ca);
        let quick = || Ok::<_, anyhow::Error>(client()?.within(SILENCE));
        let [news, weather] = SITES.map(|site| body(site, "/article"));
        let censor = scene.world.censor(Point::Border);
        for ip in [origin.v4(), origin.v6()] {
            let at = SocketAddr::new(ip, 443);
            censor.clear();
            assert_eq!(Some(client()?.long_hello().get(at, SITES[0], "/article")?), news);

            censor.only(QuicSni::new(Names::new(["news.example"]), Duration::ZERO));
            assert!(quick()?.long_hello().get(at, SITES[0], "/article").is_err());
            assert_eq!(Some(client()?.get(at, SITES[1], "/article")?), weather);
            assert_eq!(Some(client()?.long_hello().get(at, SITES[1], "/article")?), weather);
        }
        let at = SocketAddr::new(origin.v4(), 443);
        assert!(quick()?.get(at, SITES[0], "/article").is_err());
        assert!(censor.counts("quic_sni").dropped > 4);
        Ok(())
    });
}

#[test]
fn a_sight_is_held_against_the_pair() {
    inside(|| {
        let scene = Scene::start()?;
        let (origin, home) = (scene.world.host("origin"), scene.world.host("home-a"));
        let _quic = Quic::start(&scene.world, origin, 443, &scene.ca, &SITES)?;
        let at = SocketAddr::new(origin.v4(), 443);
        let hour = Duration::from_secs(3600);
        scene.world.censor(Point::Border).only(QuicSni::new(Names::new(["news.example"]), hour));
        let quick = QuicClient::new(&scene.world, home, &scene.ca)?.within(SILENCE);
        assert!(quick.get(at, SITES[0], "/").is_err());
        assert!(quick.get(at, SITES[1], "/").is_err(), "the same pair of hosts");
        let other = QuicClient::new(&scene.world, scene.world.host("home-b"), &scene.ca)?;
        assert_eq!(Some(other.get(at, SITES[1], "/")?), body(SITES[1], "/"));
        assert!(scene.curl("home-a").arg("-4").get("https://news.example/")?.is(SITES[0], "/"));
        Ok(())
    });
}
