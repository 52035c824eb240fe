//! Control of the SNI reset: the named site is cut, also if its hello comes in pieces; another site
//! at the same address is not. The weak box is passed by two pieces.

use std::net::SocketAddr;

use busel_lab::censor::{Names, SniReset};
use busel_lab::map::Point;
use busel_lab::program::{Failure, Scene, Tls, body};
use busel_lab::sandbox::inside;

#[test]
fn a_listed_name_is_cut_however_it_is_split() {
    inside(|| {
        let scene = Scene::start()?;
        let censor = scene.world.censor(Point::Border);
        censor.only(SniReset::new(Names::new(["news.example"])));
        for family in ["-4", "-6"] {
            let curl = scene.curl("home-a").arg(family);
            let load = curl.get("https://news.example/")?;
            assert_eq!(load.failure(), Some(Failure::Cut), "{family} {load:?}");
            let load = curl.get("https://weather.example/article")?;
            assert!(load.is("weather.example", "/article"), "{family} {load:?}");
            assert!(curl.get("http://news.example/")?.is("news.example", "/"));
        }
        assert!(censor.counts("sni_reset").injected >= 4);

        let at = SocketAddr::new(scene.world.host("origin").v4(), 443);
        let tls = Tls::new(scene.world.host("home-a"), &scene.ca)?.cut_at(&[1, 40, 90]);
        assert!(tls.get(at, "news.example", "/").is_err());
        assert_eq!(Some(tls.get(at, "weather.example", "/")?), body("weather.example", "/"));
        Ok(())
    });
}

#[test]
fn a_weak_box_is_passed_by_a_split_hello() {
    inside(|| {
        let scene = Scene::start()?;
        scene.world.censor(Point::Border).only(SniReset::weak(Names::new(["news.example"])));
        let load = scene.curl("home-a").get("https://news.example/")?;
        assert_eq!(load.failure(), Some(Failure::Cut), "{load:?}");
        let at = SocketAddr::new(scene.world.host("origin").v4(), 443);
        let tls = Tls::new(scene.world.host("home-a"), &scene.ca)?.cut_at(&[40]);
        assert_eq!(Some(tls.get(at, "news.example", "/")?), body("news.example", "/"));
        Ok(())
    });
}
