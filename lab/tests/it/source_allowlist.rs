//! Control of the source allowlist: who is listed reaches all, the others only their country; with its
//! resolver on the list a name is found abroad for everybody.

use std::net::SocketAddr;

use busel_lab::censor::SourceAllowlist;
use busel_lab::map::Point;
use busel_lab::program::{Dns, Failure, Scene, Zone};
use busel_lab::sandbox::inside;

use crate::SILENCE;

#[test]
fn only_the_listed_get_out() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        let helper = world.host("helper");
        let far = Zone::default().with("far.tunnel.example", &[helper.v4()]);
        let _server = Dns::start(world, helper, far)?;
        let resolver = scene.resolver("dns-b").expect("it has one");
        let there = SocketAddr::new(helper.v4(), 53);
        resolver.set(Zone::of(world).delegate("tunnel.example", there));
        let is_found = || -> anyhow::Result<bool> {
            let asked = world.host("home-b").command("getent");
            Ok(asked.args(["ahostsv4", "far.tunnel.example"]).run()?.status.success())
        };

        let censor = world.censor(Point::Border);
        censor.only(SourceAllowlist::new(["isp-a"].map(|name| world.host(name).v4())));
        let listed = scene.curl("home-a").arg("-4").get("https://news.example/")?;
        assert!(listed.is("news.example", "/"), "{listed:?}");
        let load = scene.curl("home-b").within(SILENCE).get("https://news.example/")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
        assert!(scene.curl("home-b").get("https://shop.example/")?.is("shop.example", "/"));
        assert!(censor.counts("source_allowlist").dropped > 0);
        assert!(!is_found()?);
        censor.only(SourceAllowlist::new(["isp-a", "dns-b"].map(|name| world.host(name).v4())));
        assert!(is_found()?);
        Ok(())
    });
}
