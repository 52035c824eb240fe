//! Control of throttling: the listed net and the listed name trickle, and arrive whole; others come
//! at once.

use std::time::{Duration, Instant};

use busel_lab::censor::{Names, Throttle};
use busel_lab::map::Point;
use busel_lab::program::{Curl, Scene};
use busel_lab::sandbox::inside;

/// 60 KiB at 128 kbit/s take 3.8 s; of these the burst and some rounding are off.
const SLOW: Duration = Duration::from_millis(3200);

fn takes(curl: &Curl, site: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let load = curl.get(&format!("https://{site}/article"))?;
    anyhow::ensure!(load.is(site, "/article"), "{site}: {load:?}");
    Ok(began.elapsed())
}

#[test]
fn a_listed_net_trickles() {
    inside(|| {
        let scene = Scene::start()?;
        let origin = scene.world.host("origin");
        let censor = scene.world.censor(Point::Border);
        censor.only(Throttle::nets([origin.v4(), origin.v6()]));
        let curl = scene.curl("home-a");
        takes(&curl, "sport.example")?;
        takes(&curl, "shop.example")?;
        assert!(!censor.counts("throttle").acted(), "others are left alone");
        assert!(takes(&curl, "news.example")? > SLOW);
        assert!(censor.counts("throttle").delayed > 30);
        Ok(())
    });
}

#[test]
fn a_listed_name_trickles_and_its_neighbour_does_not() {
    inside(|| {
        let scene = Scene::start()?;
        let censor = scene.world.censor(Point::IspA);
        censor.only(Throttle::names(Names::new(["news.example"])));
        let curl = scene.curl("home-a");
        takes(&curl, "weather.example")?;
        assert!(!censor.counts("throttle").acted(), "the same address, another name");
        assert!(takes(&curl, "news.example")? > SLOW);
        Ok(())
    });
}
