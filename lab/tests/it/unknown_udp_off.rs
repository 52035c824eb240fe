//! Control of unknown UDP off: DNS, QUIC, NTP and STUN pass, each to its port; other datagrams do not,
//! and a flow that began as nothing known does not become known.

use std::net::{SocketAddr, UdpSocket};

use busel_lab::censor::UnknownUdpOff;
use busel_lab::map::Point;
use busel_lab::program::{Quic, QuicClient, Scene, body};
use busel_lab::sandbox::inside;

use crate::SILENCE;
use crate::echo::Echo;

const STUN: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];

#[test]
fn known_protocols_pass_and_others_do_not() {
    inside(|| {
        let scene = Scene::start()?;
        let (origin, home) = (scene.world.host("origin"), scene.world.host("home-a"));
        let _quic = Quic::start(&scene.world, origin, 443, &scene.ca, &["news.example"])?;
        let (echo, ntp) = (Echo::start(origin, 5000)?, Echo::start(origin, 123)?);
        let mut time = [0; 48];
        time[0] = 0x23;
        assert!(echo.answers(home, origin.v4(), b"unknown"));

        let censor = scene.world.censor(Point::IspA);
        censor.only(UnknownUdpOff::new());
        assert!(scene.curl("home-a").get("https://news.example/")?.is("news.example", "/"));
        let client = QuicClient::new(&scene.world, home, &scene.ca)?;
        let at = SocketAddr::new(origin.v4(), 443);
        assert_eq!(Some(client.get(at, "news.example", "/")?), body("news.example", "/"));
        for ip in [origin.v4(), origin.v6()] {
            assert!(ntp.answers(home, ip, &time), "NTP to {ip}");
            assert!(echo.answers(home, ip, &STUN), "STUN to {ip}");
        }
        assert!(!echo.answers(home, origin.v4(), b"unknown"));
        assert!(!echo.answers(home, origin.v6(), &time), "NTP on another port");
        assert!(censor.counts("unknown_udp_off").dropped > 1);
        Ok(())
    });
}

#[test]
fn the_first_datagram_decides() {
    inside(|| {
        let scene = Scene::start()?;
        let (origin, home) = (scene.world.host("origin"), scene.world.host("home-a"));
        let _echo = Echo::start(origin, 5000)?;
        scene.world.censor(Point::IspA).only(UnknownUdpOff::new());
        let at = SocketAddr::new(origin.v4(), 5000);
        let says = |words: [&[u8]; 2]| -> anyhow::Result<usize> {
            let socket = home.enter(|| UdpSocket::bind("0.0.0.0:0"))?;
            socket.set_read_timeout(Some(SILENCE))?;
            let mut heard = 0;
            for word in words {
                socket.send_to(word, at)?;
                heard += usize::from(socket.recv_from(&mut [0; 100]).is_ok());
            }
            Ok(heard)
        };
        assert_eq!(says([&STUN, b"unknown"])?, 2);
        assert_eq!(says([b"unknown", &STUN])?, 0);
        Ok(())
    });
}
