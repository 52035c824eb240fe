//! The seam by itself, with policies made up here: packets are replaced, led elsewhere and back, held
//! up; chains and counters; the inbound point; captures.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use busel_lab::censor::{Blackout, Chain, Context, Direction, Injected, Policy, Verdict};
use busel_lab::map::Point;
use busel_lab::packet::Packet;
use busel_lab::program::{Failure, Scene};
use busel_lab::sandbox::inside;
use busel_lab::world::Drawing;

use crate::SILENCE;

/// Leads all for one host to another, and its answers back, as a transparent proxy needs it.
struct Divert {
    from: IpAddr,
    to: IpAddr,
}

impl Policy for Divert {
    fn name(&self) -> &'static str {
        "divert"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let other = |end: SocketAddr, ip| SocketAddr::new(ip, end.port());
        let moved = match at.direction {
            Direction::Outbound if packet.dest() == self.from => {
                packet.readdressed(packet.from(), other(packet.to(), self.to))
            }
            Direction::Inbound if packet.source() == self.to => {
                packet.readdressed(other(packet.from(), self.from), packet.to())
            }
            _ => None,
        };
        moved.map_or(Verdict::Pass, Verdict::Replace)
    }
}

/// Holds each packet up.
struct Slow(Duration);

impl Policy for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn judge(&mut self, _: &Packet, _: &Context<'_>, _: &mut Injected) -> Verdict {
        Verdict::Delay(self.0)
    }
}

#[test]
fn packets_are_led_elsewhere_and_back() {
    inside(|| {
        let scene = Scene::start()?;
        let host = |name| scene.world.host(name).v4();
        let censor = scene.world.censor(Point::IspA);
        censor.only(Divert { from: host("origin"), to: host("origin-2") });
        let curl = scene.curl("home-a").arg("-4");
        let load = curl.get("http://news.example/")?;
        // The other host shows its own site to who asks for one that it does not know.
        assert!(load.is("sport.example", "/"), "{load:?}");
        assert_eq!(load.remote, Some(host("origin")), "the client sees nothing of it");
        assert_eq!(curl.get("https://news.example/")?.failure(), Some(Failure::Certificate));
        assert!(censor.counts("divert").replaced > 0);
        Ok(())
    });
}

#[test]
fn a_chain_ends_where_a_packet_is_dropped() {
    inside(|| {
        let scene = Scene::start()?;
        let censor = scene.world.censor(Point::Border);
        let wait = Duration::from_millis(100);
        censor.only(Slow(wait));
        let began = Instant::now();
        assert!(scene.curl("home-a").get("http://news.example/")?.loaded());
        assert!(began.elapsed() >= wait * 4, "two round trips were held up both ways");

        censor.set(Chain::of(Slow(wait)).then(Blackout).then(Slow(wait)));
        let slowed = censor.counts("slow").delayed;
        assert!(slowed >= 4);
        let load = scene.curl("home-a").within(SILENCE).get("http://news.example/")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
        let dropped = censor.counts("blackout").dropped;
        assert_eq!(censor.counts("slow").delayed - slowed, dropped);
        Ok(())
    });
}

#[test]
fn the_inbound_point_judges_only_what_was_opened_from_abroad() {
    inside(|| {
        let scene = Scene::start()?;
        scene.world.censor(Point::Inbound).only(Blackout);
        assert!(scene.curl("home-a").get("https://news.example/")?.is("news.example", "/"));
        let load = scene.curl("helper").within(SILENCE).get("https://shop.example/")?;
        assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
        scene.world.censor(Point::Inbound).clear();
        assert!(scene.curl("helper").get("https://shop.example/")?.is("shop.example", "/"));
        Ok(())
    });
}

#[test]
fn a_capture_has_what_passed() {
    inside(|| {
        let dir = std::path::PathBuf::from("/dev/shm/capture");
        let scene = Scene::of(Drawing::country().capture(&dir))?;
        assert!(scene.curl("home-a").get("http://news.example/")?.loaded());
        let mut capture =
            pcap_file::pcap::PcapReader::new(std::fs::File::open(dir.join("border.pcap"))?)?;
        let mut found = false;
        while let Some(packet) = capture.next_packet() {
            let packet = Packet::parse(packet?.data.into_owned());
            found |= packet.is_some_and(|packet| packet.payload().starts_with(b"GET / HTTP/1.1"));
        }
        assert!(found, "the request is in the capture");
        Ok(())
    });
}

/// Fails at the first packet.
struct Broken;

impl Policy for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn judge(&mut self, _: &Packet, _: &Context<'_>, _: &mut Injected) -> Verdict {
        panic!("a mistake in a policy")
    }
}

#[test]
fn a_policy_that_panics_fails_its_test() {
    inside(|| {
        let scene = Scene::start()?;
        scene.world.censor(Point::IspA).only(Broken);
        let load = scene.curl("home-a").within(SILENCE).get("https://news.example/")?;
        assert!(!load.loaded(), "it looks like a block");
        let end = std::panic::AssertUnwindSafe(move || drop(scene.world));
        assert!(std::panic::catch_unwind(end).is_err(), "but the test ends with a panic");
        Ok(())
    });
}
