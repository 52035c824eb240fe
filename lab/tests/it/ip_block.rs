//! Control of the IP block: nothing at the address, all at others.

use busel_lab::censor::IpBlock;
use busel_lab::map::Point;
use busel_lab::program::{Failure, Scene};
use busel_lab::sandbox::inside;

use crate::SILENCE;

#[test]
fn a_listed_address_is_out_of_reach() {
    inside(|| {
        let scene = Scene::start()?;
        let curl = scene.curl("home-a");
        let origin = scene.world.host("origin");
        let censor = scene.world.censor(Point::Border);
        censor.only(IpBlock::new([origin.v4(), origin.v6()]));
        for url in ["https://news.example/", "http://weather.example/"] {
            let load = curl.clone().within(SILENCE).get(url)?;
            assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
        }
        assert!(censor.counts("ip_block").dropped > 0);
        assert!(curl.get("https://sport.example/")?.is("sport.example", "/"));
        assert!(curl.get("https://shop.example/")?.is("shop.example", "/"));

        // Only the old kind of address is listed.
        censor.only(IpBlock::new([origin.v4()]));
        let load = curl.arg("-6").get("https://news.example/")?;
        assert!(load.is("news.example", "/"), "{load:?}");
        Ok(())
    });
}
