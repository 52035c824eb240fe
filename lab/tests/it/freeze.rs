//! Control of the freeze: a page of 60 KiB stops on its way, a small one arrives, and so does the
//! large one in pieces; the country's own sites are whole.

use busel_lab::censor::Freeze;
use busel_lab::map::Point;
use busel_lab::program::{Failure, Scene, body};
use busel_lab::sandbox::inside;

use crate::SILENCE;

#[test]
fn a_connection_stops_after_16_kilobytes() {
    inside(|| {
        let scene = Scene::start()?;
        let censor = scene.world.censor(Point::IspA);
        censor.only(Freeze::foreign());
        let curl = scene.curl("home-a");
        // Of TLS nothing may arrive, since what is cut is a record.
        for url in ["https://news.example/article", "http://news.example/article"] {
            let load = curl.clone().within(SILENCE).get(url)?;
            assert_eq!(load.failure(), Some(Failure::Timeout), "{url}: {}", load.error);
            assert!(load.body.len() <= 16 << 10, "{url}");
        }
        assert!(censor.counts("freeze").dropped > 0);

        assert!(curl.get("https://news.example/")?.is("news.example", "/"), "a small page");
        assert!(curl.get("https://shop.example/article")?.is("shop.example", "/article"));
        let whole = body("news.example", "/article").expect("one of the pages");
        let mut pieces = Vec::new();
        while pieces.len() < whole.len() {
            let range = format!("{}-{}", pieces.len(), pieces.len() + 10_000);
            let load = curl.clone().arg("-r").arg(range).get("https://news.example/article")?;
            assert_eq!((load.exit, load.status), (0, Some(206)), "{}", load.error);
            pieces.extend(load.body);
        }
        assert!(pieces == whole, "the pieces make the page");
        Ok(())
    });
}

#[test]
fn only_listed_nets_freeze() {
    inside(|| {
        let scene = Scene::start()?;
        let origin = scene.world.host("origin");
        scene.world.censor(Point::Border).only(Freeze::nets([origin.v4(), origin.v6()]));
        let curl = scene.curl("home-a");
        let load = curl.clone().within(SILENCE).get("https://news.example/article")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "{}", load.error);
        assert!(curl.get("https://sport.example/article")?.is("sport.example", "/article"));
        Ok(())
    });
}
