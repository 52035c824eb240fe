//! Control of the protocol whitelist: on the three ports DNS, HTTP and TLS pass and others do not, also
//! where they come in two packets; the flow is swallowed for a time only. The strict kind passes each
//! on its own port and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use busel_lab::censor::ProtocolWhitelist;
use busel_lab::map::Point;
use busel_lab::program::{Failure, Quic, QuicClient, Scene, Tls, body};
use busel_lab::sandbox::inside;

use crate::SILENCE;
use crate::echo::Echo;

const MINUTE: Duration = Duration::from_secs(60);
const SSH: &[u8] = b"SSH-2.0-OpenSSH_9.2p1\r\n";
const DNS: &[u8] = b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04news\x07example\0\0\x01\0\x01";

#[test]
fn three_protocols_pass_on_three_ports() {
    inside(|| {
        let scene = Scene::start()?;
        let (injector, home) = (scene.world.host("injector"), scene.world.host("home-a"));
        let ip = injector.v4();
        let [dns, http, tls] = [53, 80, 443].map(|port| Echo::start(injector, port));
        let (echoes, other) = ([dns?, http?, tls?], Echo::start(injector, 22)?);
        for echo in &echoes {
            assert!(echo.repeats(home, ip, &[SSH]));
        }
        let censor = scene.world.censor(Point::IspA);
        censor.only(ProtocolWhitelist::new(MINUTE));
        for echo in &echoes {
            assert!(!echo.repeats(home, ip, &[SSH]));
            assert!(echo.repeats(home, ip, &[DNS]), "DNS on any of the ports");
            assert!(echo.repeats(home, ip, &[b"GET / HT", b"TP/1.1\r\n", SSH]));
        }
        assert!(!echoes[1].repeats(home, ip, &[b"PO", b"P3 is another one"]), "in two packets");
        assert!(other.repeats(home, ip, &[SSH]) && echoes[2].answers(home, ip, SSH));
        for url in ["https://news.example/", "http://news.example/"] {
            assert!(scene.curl("home-a").get(url)?.is("news.example", "/"));
        }
        let at = SocketAddr::new(scene.world.host("origin").v4(), 443);
        let split = Tls::new(home, &scene.ca)?.cut_at(&[100]);
        assert_eq!(Some(split.get(at, "news.example", "/")?), body("news.example", "/"));
        assert!(censor.counts("protocol_whitelist").dropped > 3);

        // TCP sends again what was swallowed, until the time is over.
        censor.only(ProtocolWhitelist::new(Duration::from_millis(100)));
        assert!(echoes[0].repeats(home, ip, &[SSH]));
        Ok(())
    });
}

#[test]
fn the_strict_kind_passes_each_on_its_own_port() {
    inside(|| {
        let scene = Scene::start()?;
        let (origin, home) = (scene.world.host("origin"), scene.world.host("home-a"));
        let injector = scene.world.host("injector");
        let (wrong, other) = (Echo::start(injector, 443)?, Echo::start(injector, 22)?);
        let _quic = Quic::start(&scene.world, origin, 443, &scene.ca, &["news.example"])?;
        let client = QuicClient::new(&scene.world, home, &scene.ca)?.within(SILENCE);
        let at = SocketAddr::new(origin.v4(), 443);
        assert!(client.get(at, "news.example", "/").is_ok());

        scene.world.censor(Point::IspA).only(ProtocolWhitelist::new(MINUTE).strict());
        assert!(!wrong.repeats(home, injector.v4(), &[b"GET / HTTP/1.1\r\n"]), "HTTP on 443");
        assert!(!other.repeats(home, injector.v4(), &[SSH]));
        assert!(client.get(at, "news.example", "/").is_err());
        for url in ["https://news.example/", "http://news.example/"] {
            assert!(scene.curl("home-a").get(url)?.is("news.example", "/"));
        }
        let load = scene.curl("home-a").within(SILENCE).get("http://news.example:8080/")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "silence, not a refusal: {load:?}");
        Ok(())
    });
}
