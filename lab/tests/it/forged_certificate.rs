//! Control of the forging proxy: who looks at certificates gets nothing, who does not sees the block
//! page; other sites at the same address come through the box unharmed, and others past it.

use std::net::IpAddr;

use busel_lab::censor::Names;
use busel_lab::map::{Place, Point};
use busel_lab::program::{Curl, Failure, Forger, Scene, Tls};
use busel_lab::sandbox::inside;
use busel_lab::world::Drawing;

#[test]
fn who_verifies_fails_closed_and_who_does_not_sees_the_block_page() {
    inside(|| {
        let drawing = Drawing::country().server(Place::IspA, "box-a", "198.18.1.80");
        let scene = Scene::of(drawing)?;
        let host = |name| scene.world.host(name);
        let names = Names::new(["news.example"]);
        let forger = Forger::start(&scene.world, host("box-a"), names)?;
        let origin: [IpAddr; 2] = [host("origin").v4(), host("origin").v6()];
        let censor = scene.world.censor(Point::IspA);
        for (family, at) in ["-4", "-6"].into_iter().zip(origin) {
            let curl = scene.curl("home-a").arg(family);
            censor.clear();
            assert!(curl.get("https://news.example/")?.is("news.example", "/"));
            censor.only(forger.divert(origin));
            let load = curl.get("https://news.example/")?;
            assert_eq!(load.failure(), Some(Failure::Certificate), "{load:?}");
            assert!(load.status.is_none() && load.body.is_empty(), "{load:?}");
            let tls = Tls::new(host("home-a"), &scene.ca)?;
            assert!(tls.get((at, 443).into(), "news.example", "/").is_err());

            let load = curl.clone().arg("-k").get("https://news.example/")?;
            assert!(load.loaded() && load.body == Forger::PAGE.as_bytes(), "{load:?}");
            assert_eq!(load.remote, Some(at), "the client sees nothing of it");
            let load = curl.get("https://weather.example/article")?;
            assert!(load.is("weather.example", "/article"), "{load:?}");
            assert!(curl.get("https://sport.example/")?.is("sport.example", "/"));
        }
        let fooled = Curl::new(host("home-a"), forger.ca().path()).get("https://news.example/")?;
        assert_eq!(fooled.body, Forger::PAGE.as_bytes(), "{fooled:?}");
        assert!(censor.counts("forged_certificate").replaced > 0);
        assert!(scene.curl("home-b").get("https://news.example/")?.is("news.example", "/"));
        let seen = scene.origin("origin").expect("it has one").requests()?;
        assert!(seen.iter().any(|line| line.starts_with("198.18.1.80 weather.example")));
        Ok(())
    });
}
