//! Control of the blackout: nothing passes the provider, neighbours in one LAN still reach each
//! other, and the other provider's customers notice nothing. It comes in the middle of a load too. A
//! reader by Busel is told what was tried.

use std::time::Duration;

use busel_lab::censor::Blackout;
use busel_lab::map::Point;
use busel_lab::program::{Exposure, Failure, Nginx, Reader, Scene, Stage, Way};
use busel_lab::sandbox::inside;

use crate::SILENCE;

#[test]
fn only_the_lan_is_left() {
    inside(|| {
        let scene = Scene::start()?;
        let neighbour = scene.world.host("home-a2");
        let mut nginx = Nginx::start(neighbour, &scene.ca, &["local.example"])?;
        nginx.ready()?;
        let censor = scene.world.censor(Point::IspA);
        censor.only(Blackout);

        let curl = scene.curl("home-a");
        let quick = curl.clone().within(SILENCE);
        for site in ["news.example", "shop.example"] {
            let load = quick.get(&format!("https://{site}/"))?;
            assert!(load.failure().is_some(), "{load:?}");
        }
        let at = format!("https://{}/", scene.world.host("origin").v4());
        assert_eq!(quick.get(&at)?.failure(), Some(Failure::Timeout));
        assert!(censor.counts("blackout").dropped > 0);

        let resolve = format!("local.example:443:{}", neighbour.v4());
        let load = curl.clone().arg("--resolve").arg(resolve).get("https://local.example/")?;
        assert!(load.is("local.example", "/"), "{load:?}");
        assert!(scene.curl("home-b").get("https://news.example/")?.is("news.example", "/"));

        censor.clear();
        assert!(curl.get("https://news.example/")?.is("news.example", "/"));
        Ok(())
    });
}

#[test]
fn it_comes_in_the_middle_of_a_load() {
    inside(|| {
        let scene = Scene::start()?;
        let curl = scene.curl("home-a").arg("--limit-rate").arg("200k").within(SILENCE);
        let load = std::thread::scope(|scope| {
            let loading = scope.spawn(|| curl.get("https://news.example/film"));
            std::thread::sleep(Duration::from_millis(1500));
            scene.world.censor(Point::Border).only(Blackout);
            loading.join().expect("a load does not panic")
        })?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "{}", load.error);
        assert!(!load.loaded());
        Ok(())
    });
}

#[test]
fn busel_says_what_it_tried() {
    inside(|| {
        let stage = Stage::set()?;
        let reader = Reader::start(&stage, "home-a", Way::Any, Exposure::Quiet)?;
        stage.at(Point::IspA).only(Blackout);
        let load = reader.visit(&stage, "/article", Duration::from_secs(60))?.load;
        assert_eq!((load.exit, load.header("busel-problem")), (0, Some("unanswered")), "{load:?}");
        let problem: serde_json::Value = serde_json::from_slice(&load.body)?;
        let tried = problem["tried"].as_array().into_iter().flatten();
        let tried: Vec<_> = tried.filter_map(|way| way["route"].as_str()).collect();
        assert_eq!(tried, ["direct", "swarm", "injector", "tunnel"], "{problem}");
        let advice = problem["advice"].as_str().unwrap_or_default();
        assert!(advice.starts_with("Try again"), "{advice}");
        Ok(())
    });
}
