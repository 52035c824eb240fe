//! Control of the inbound cut: a visitor from abroad gets nothing from the country, whose own people
//! get everything, at home and abroad; two who send datagrams at once still meet.

use std::net::{SocketAddr, UdpSocket};

use busel_lab::censor::InboundCut;
use busel_lab::map::Point;
use busel_lab::program::{Failure, Scene};
use busel_lab::sandbox::inside;

use crate::SILENCE;

#[test]
fn visitors_stay_out() {
    inside(|| {
        let scene = Scene::start()?;
        assert!(scene.curl("helper").get("https://shop.example/")?.is("shop.example", "/"));
        let censor = scene.world.censor(Point::Border);
        censor.only(InboundCut::new());
        for family in ["-4", "-6"] {
            let visitor = scene.curl("helper").arg(family).within(SILENCE);
            let load = visitor.get("https://shop.example/")?;
            assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
            for host in ["home-a", "domestic"] {
                for site in ["news.example", "shop.example"] {
                    let curl = scene.curl(host).arg(family);
                    let load = curl.get(&format!("https://{site}/article"))?;
                    assert!(load.is(site, "/article"), "{host} {load:?}");
                }
            }
        }
        assert!(censor.counts("inbound_cut").dropped > 0);
        assert!(scene.curl("helper").get("https://news.example/")?.is("news.example", "/"));
        Ok(())
    });
}

#[test]
fn datagrams_come_in_where_one_went_out() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        world.censor(Point::Border).only(InboundCut::new());
        let socket = |host: &str, port| -> anyhow::Result<(UdpSocket, SocketAddr)> {
            let host = world.host(host);
            let socket = host.enter(move || UdpSocket::bind(("0.0.0.0", port)))?;
            socket.set_read_timeout(Some(SILENCE))?;
            Ok((socket, SocketAddr::new(host.v4(), port)))
        };
        let (within, home) = socket("domestic", 7000)?;
        let (abroad, far) = socket("helper", 7000)?;
        let (stranger, _) = socket("relay", 7000)?;
        let mut heard = [0; 8];
        abroad.send_to(b"first", home)?;
        stranger.send_to(b"first", home)?;
        assert!(within.recv_from(&mut heard).is_err(), "nobody was asked");
        within.send_to(b"hello", far)?;
        assert_eq!(abroad.recv_from(&mut heard)?.1, home);
        abroad.send_to(b"again", home)?;
        stranger.send_to(b"again", home)?;
        assert_eq!(within.recv_from(&mut heard)?.1, far);
        assert!(within.recv_from(&mut heard).is_err(), "a stranger stays one");
        Ok(())
    });
}
