//! Control of the SNI drop: the named site is silent, also in pieces, and so for a time is its
//! neighbour at the same address, for the same client only.

use std::net::SocketAddr;
use std::time::Duration;

use busel_lab::censor::{Names, SniDrop};
use busel_lab::map::Point;
use busel_lab::program::{Failure, Scene, Tls};
use busel_lab::sandbox::inside;

use crate::SILENCE;

#[test]
fn a_listed_name_is_swallowed_and_held_against_the_pair() {
    inside(|| {
        let scene = Scene::start()?;
        let curl = scene.curl("home-a").arg("-4");
        let censor = scene.world.censor(Point::IspA);
        assert!(curl.get("https://weather.example/")?.is("weather.example", "/"));
        let names = Names::new(["news.example"]);
        censor.only(SniDrop::new(names, Duration::from_secs(3600)));
        let neighbour = curl.get("https://weather.example/")?;
        assert!(neighbour.is("weather.example", "/"), "nothing was seen yet: {neighbour:?}");

        let quick = curl.clone().within(SILENCE);
        assert_eq!(quick.get("https://news.example/")?.failure(), Some(Failure::Timeout));
        assert_eq!(quick.get("https://weather.example/")?.failure(), Some(Failure::Timeout));
        assert!(censor.counts("sni_drop").dropped > 2);

        assert!(curl.get("http://weather.example/")?.is("weather.example", "/"), "another port");
        assert!(curl.get("https://sport.example/")?.is("sport.example", "/"), "another host");
        let other = scene.curl("home-b").get("https://weather.example/")?;
        assert!(other.is("weather.example", "/"), "another client: {other:?}");
        Ok(())
    });
}

#[test]
fn a_split_hello_is_swallowed_and_the_time_runs_out() {
    inside(|| {
        let scene = Scene::start()?;
        let names = Names::new(["news.example"]);
        scene.world.censor(Point::IspA).only(SniDrop::new(names, Duration::from_millis(500)));
        let at = SocketAddr::new(scene.world.host("origin").v4(), 443);
        let tls = Tls::new(scene.world.host("home-a"), &scene.ca)?.cut_at(&[30]);
        assert!(tls.within(SILENCE).get(at, "news.example", "/").is_err());
        // The time is over, or will be before this gives up.
        let load = scene.curl("home-a").arg("-4").get("https://weather.example/")?;
        assert!(load.is("weather.example", "/"), "{load:?}");
        Ok(())
    });
}
