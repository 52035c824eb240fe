//! Control of LAN only: the listed house is alone, and its neighbours in one LAN reach each other; the
//! provider's own hosts and the other provider's customers go on.

use busel_lab::censor::LanOnly;
use busel_lab::map::Point;
use busel_lab::program::{Failure, Nginx, Scene};
use busel_lab::sandbox::inside;

use crate::SILENCE;

#[test]
fn a_house_is_alone() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        let neighbour = world.host("home-a2");
        let mut nginx = Nginx::start(neighbour, &scene.ca, &["local.example"])?;
        nginx.ready()?;
        let house = ["isp-a", "home-a", "home-a2"].map(|name| world.host(name).addrs());
        let censor = world.censor(Point::IspA);
        censor.only(LanOnly::new(house.concat()));

        let curl = scene.curl("home-a");
        let host = |name| world.host(name);
        for addr in [host("origin").v4(), host("domestic").v6(), host("dns-a").v4()] {
            let url = format!("https://{}/", std::net::SocketAddr::new(addr, 443));
            let load = curl.clone().within(SILENCE).get(&url)?;
            assert_eq!(load.failure(), Some(Failure::Timeout), "{addr}: {load:?}");
        }
        assert!(censor.counts("lan_only").dropped > 0);
        for addr in [neighbour.v4(), neighbour.v6()] {
            let resolve = format!("local.example:443:{addr}");
            let load = curl.clone().arg("--resolve").arg(resolve);
            let load = load.get("https://local.example/article")?;
            assert!(load.is("local.example", "/article"), "{addr}: {load:?}");
        }
        for other in ["home-b", "dns-a"] {
            let load = scene.curl(other).get("https://news.example/")?;
            assert!(load.is("news.example", "/"), "{other}: {load:?}");
        }
        Ok(())
    });
}
