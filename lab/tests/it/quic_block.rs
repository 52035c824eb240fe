//! Control of the QUIC block: no QUIC connection is opened, on any port or on 443 only; TCP and other
//! UDP pass.

use std::net::SocketAddr;

use busel_lab::censor::QuicBlock;
use busel_lab::map::Point;
use busel_lab::program::{Quic, QuicClient, Scene, body};
use busel_lab::sandbox::inside;

use crate::SILENCE;
use crate::echo::Echo;

const SITE: &str = "news.example";

#[test]
fn quic_is_gone_and_all_else_is_there() {
    inside(|| {
        let scene = Scene::start()?;
        let (origin, home) = (scene.world.host("origin"), scene.world.host("home-a"));
        let _quic = Quic::start(&scene.world, origin, 443, &scene.ca, &[SITE])?;
        let _other = Quic::start(&scene.world, origin, 8443, &scene.ca, &[SITE])?;
        let echo = Echo::start(origin, 5000)?;
        let client = QuicClient::new(&scene.world, home, &scene.ca)?;
        let quick = QuicClient::new(&scene.world, home, &scene.ca)?.within(SILENCE);
        let page = body(SITE, "/");
        let censor = scene.world.censor(Point::Border);
        for ip in [origin.v4(), origin.v6()] {
            let at = |port| SocketAddr::new(ip, port);
            censor.clear();
            assert_eq!(Some(client.get(at(443), SITE, "/")?), page);
            censor.only(QuicBlock::initials());
            assert!(quick.get(at(443), SITE, "/").is_err());
            assert!(echo.answers(home, ip, b"a datagram"));
            assert!(scene.curl("home-a").get("https://news.example/")?.is(SITE, "/"));
        }
        let at = |port| SocketAddr::new(origin.v4(), port);
        assert!(quick.get(at(8443), SITE, "/").is_err());
        censor.only(QuicBlock::port_443());
        assert!(quick.get(at(443), SITE, "/").is_err());
        assert_eq!(Some(client.get(at(8443), SITE, "/")?), page);
        assert!(censor.counts("quic_block").dropped > 4);
        Ok(())
    });
}
