//! Control of the national cut: domestic sites go on, with either provider; abroad is gone, both ways.

use busel_lab::censor::NationalCut;
use busel_lab::map::Point;
use busel_lab::program::{Failure, Scene};
use busel_lab::sandbox::inside;

use crate::SILENCE;

#[test]
fn the_country_is_alone() {
    inside(|| {
        let scene = Scene::start()?;
        let censor = scene.world.censor(Point::Border);
        censor.only(NationalCut);
        for home in ["home-a", "home-b"] {
            let curl = scene.curl(home);
            let load = curl.clone().within(SILENCE).get("https://news.example/")?;
            assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
            let load = curl.get("https://shop.example/article")?;
            assert!(load.is("shop.example", "/article"), "{load:?}");
        }
        let inward = scene.curl("helper").within(SILENCE).get("https://shop.example/")?;
        assert_eq!(inward.failure(), Some(Failure::Timeout), "{inward:?}");
        assert!(censor.counts("national_cut").dropped > 0);
        Ok(())
    });
}
