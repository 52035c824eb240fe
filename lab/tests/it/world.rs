//! That a world is a world: names, routes, NAT, both kinds of IP, links, power.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use busel_lab::map::Place;
use busel_lab::middlebox::LinkSpec;
use busel_lab::program::{Failure, Scene};
use busel_lab::sandbox::inside;
use busel_lab::world::Drawing;

use crate::SILENCE;

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

#[test]
fn homes_are_masked_and_guarded() {
    inside(|| {
        let scene = Scene::start()?;
        assert!(scene.curl("home-a").arg("-4").get("http://news.example/article")?.loaded());
        let seen = scene.origin("origin").expect("it has one").requests()?;
        assert_eq!(seen, ["198.18.1.1 news.example /article"]);

        let home = scene.world.host("home-a");
        let _listening = home.listen(7000)?;
        let at = SocketAddr::new(home.v6(), 7000);
        let dial = move || TcpStream::connect_timeout(&at, SILENCE).is_ok();
        assert!(scene.world.host("home-a2").enter(dial), "neighbours reach each other");
        assert!(!scene.world.host("helper").enter(dial), "nobody else does");
        let asked = scene.resolver("dns-a").expect("it has one").asked();
        assert!(asked.iter().any(|(_, name)| name == "news.example"));
        Ok(())
    });
}

#[test]
fn links_are_as_drawn() {
    inside(|| {
        let slow = LinkSpec::latency(Duration::from_millis(5)).with_bandwidth(8_000_000);
        let lossy = LinkSpec::latency(Duration::from_millis(60))
            .with_loss(0.1)
            .with_jitter(Duration::from_millis(10));
        let drawing = Drawing::country().link("isp-a", slow).trunk(Place::Abroad, lossy);
        let scene = Scene::of(drawing)?;
        let began = Instant::now();
        let load = scene.curl("home-a").get("https://shop.example/long")?;
        assert!(load.is("shop.example", "/long"));
        assert!(began.elapsed() >= Duration::from_millis(900), "8 Mbit at 8 Mbit/s");
        let load = scene.curl("home-b").get("https://news.example/article")?;
        assert!(load.is("news.example", "/article"), "{load:?}");
        assert!(load.ttfb >= Some(Duration::from_millis(3 * 120)), "three round trips and more");
        assert!(scene.world.counters().lost.load(std::sync::atomic::Ordering::Relaxed) > 0);
        Ok(())
    });
}

#[test]
fn a_host_without_power_is_silent() {
    inside(|| {
        let scene = Scene::start()?;
        let curl = scene.curl("home-a");
        let origin = scene.world.host("origin");
        let mut resident = origin.command("sh").args(["-c", "sleep 1000 & wait"]).spawn()?;
        origin.kill()?;
        assert!(resident.wait(Duration::from_secs(20))?.is_some(), "its processes have ended");
        let load = curl.clone().within(SILENCE).get("https://news.example/")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");

        origin.revive()?;
        let load = curl.get("https://news.example/")?;
        assert_eq!(load.failure(), Some(Failure::NoConnection), "on, with nothing started");

        let home = scene.world.host("home-a2");
        home.plug(false)?;
        let load = scene.curl("home-a2").within(SILENCE).get("https://sport.example/")?;
        assert!(load.failure().is_some());
        home.plug(true)?;
        let load = scene.curl("home-a2").get("https://sport.example/")?;
        assert!(load.is("sport.example", "/"), "{load:?}");
        Ok(())
    });
}
