//! Control of all UDP off: no datagram passes, QUIC and DNS included; TCP does. With the provider's
//! resolver left, sites are found, and another's resolver still is not reached.

use std::net::SocketAddr;

use busel_lab::censor::UdpOff;
use busel_lab::map::Point;
use busel_lab::program::{Failure, Quic, QuicClient, Scene, body};
use busel_lab::sandbox::inside;

use crate::SILENCE;
use crate::echo::Echo;

#[test]
fn no_datagram_passes_but_the_resolvers() {
    inside(|| {
        let scene = Scene::start()?;
        let (origin, home) = (scene.world.host("origin"), scene.world.host("home-a"));
        let _quic = Quic::start(&scene.world, origin, 443, &scene.ca, &["news.example"])?;
        let (echo, dns) = (Echo::start(origin, 5000)?, Echo::start(origin, 53)?);
        let client = QuicClient::new(&scene.world, home, &scene.ca)?;
        let at = SocketAddr::new(origin.v4(), 443);
        let page = body("news.example", "/");
        assert_eq!(Some(client.get(at, "news.example", "/")?), page);
        assert!(echo.answers(home, origin.v4(), b"any") && dns.answers(home, origin.v4(), b"any"));

        let censor = scene.world.censor(Point::IspA);
        censor.only(UdpOff::new());
        assert!(client.within(SILENCE).get(at, "news.example", "/").is_err());
        assert!(!echo.answers(home, origin.v6(), b"any"));
        let load = scene.curl("home-a").get("https://news.example/")?;
        assert_eq!(load.failure(), Some(Failure::NoName), "{load:?}");
        let resolve = format!("news.example:443:{}", origin.v4());
        let load = scene.curl("home-a").arg("--resolve").arg(resolve);
        assert!(load.get("https://news.example/")?.is("news.example", "/"));

        censor.only(UdpOff::new().but_dns_of([scene.world.host("dns-a").v4()]));
        assert!(scene.curl("home-a").get("https://news.example/")?.is("news.example", "/"));
        assert!(!dns.answers(home, origin.v4(), b"any"), "a resolver abroad");
        assert!(censor.counts("udp_off").dropped > 3);
        Ok(())
    });
}
