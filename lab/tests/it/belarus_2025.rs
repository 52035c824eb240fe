//! Control of the profile: listed sites and VPNs are out of reach, visitors stay out, and other sites
//! and servers abroad are in reach of everybody at home.

use busel_lab::censor::Names;
use busel_lab::profile::{Lists, belarus_2025};
use busel_lab::program::{Failure, Scene, Tunnel};
use busel_lab::sandbox::inside;

use crate::SILENCE;

#[test]
fn vpns_are_down_and_visitors_stay_out() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        let vpn = world.host("helper");
        let tunnels = [
            Tunnel::start(world, vpn, &scene.ca, 443)?,
            Tunnel::start(world, world.host("relay"), &scene.ca, 443)?,
        ];
        let lists = Lists {
            sites: Names::new(["news.example"]),
            nets: vec![vpn.v4().into(), vpn.v6().into()],
            ..Lists::default()
        };
        let _boxes = belarus_2025::set(world, &lists)?;

        let curl = scene.curl("home-a").arg("-4");
        assert_eq!(curl.get("http://news.example/")?.status, Some(302));
        assert_eq!(curl.get("https://news.example/")?.failure(), Some(Failure::Cut));
        assert!(curl.get("https://weather.example/")?.is("weather.example", "/"));
        let [listed, unknown] = tunnels.each_ref().map(|tunnel| {
            let curl = curl.clone().arg("--proxy").arg(tunnel.url());
            curl.arg("--proxy-cacert").arg(scene.ca.path())
        });
        let load = listed.within(SILENCE).get("https://news.example/")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
        let load = unknown.get("https://news.example/")?;
        assert!(load.is("news.example", "/"), "nobody has listed it: {load:?}");

        let visitor = scene.curl("helper").within(SILENCE).get("https://shop.example/")?;
        assert_eq!(visitor.failure(), Some(Failure::Timeout), "{visitor:?}");
        assert!(scene.curl("home-b").get("https://shop.example/")?.is("shop.example", "/"));
        Ok(())
    });
}
