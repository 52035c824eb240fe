//! Cuts in the middle of a load through Busel: the way that brings the page ends at some byte, and the
//! rest comes by another one. The bytes must be the origin's, as if nothing had happened.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use busel_lab::censor::{Context, Injected, IpBlock, Names, Policy, SniReset, Verdict};
use busel_lab::map::Point;
use busel_lab::packet::Packet;
use busel_lab::program::{Exposure, LISTED, Reader, Stage, Visit, Way};
use busel_lab::sandbox::inside;
use busel_lab::world::Host;

/// 2 MiB.
const PAGE: &str = "/film";
/// The way is cut when a host has sent so many bytes through it.
const CUT: usize = 700_000;
/// How long a load may take that is cut on its way.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets a host be heard up to some byte; then another policy judges all to and from it.
struct After {
    host: [IpAddr; 2],
    left: usize,
    then: Box<dyn Policy>,
}

impl After {
    fn new(host: &Host, then: impl Policy + 'static) -> Self {
        Self { host: [host.v4(), host.v6()], left: CUT, then: Box::new(then) }
    }

    /// Then the host is silent.
    fn silent(host: &Host) -> Self {
        Self::new(host, IpBlock::new([host.v4(), host.v6()]))
    }
}

impl Policy for After {
    fn name(&self) -> &'static str {
        "after"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, out: &mut Injected) -> Verdict {
        if self.host.contains(&packet.source()) {
            self.left = self.left.saturating_sub(packet.payload().len());
        }
        let concerned = [packet.source(), packet.dest()].iter().any(|ip| self.host.contains(ip));
        if concerned && self.left == 0 { self.then.judge(packet, at, out) } else { Verdict::Pass }
    }
}

/// Resets every connection.
struct Reset;

impl Policy for Reset {
    fn name(&self) -> &'static str {
        "reset"
    }

    fn judge(&mut self, packet: &Packet, _: &Context<'_>, out: &mut Injected) -> Verdict {
        for reset in [packet.reset_back(), packet.reset_forward()].into_iter().flatten() {
            out.send(reset);
        }
        Verdict::Drop
    }
}

/// A load that the site itself begins to answer.
fn direct_is_cut(cut: impl FnOnce(&Host) -> After) -> anyhow::Result<()> {
    let stage = Stage::set()?;
    let reader = Reader::start(&stage, "home-a", Way::Any, Exposure::Quiet)?;
    stage.at(Point::IspA).only(cut(stage.host("origin")));
    let visit = reader.visit(&stage, PAGE, PATIENCE)?;
    is_whole(&visit, "direct");
    assert!(stage.at(Point::IspA).counts("after").dropped > 0, "it was cut");
    let injector = stage.host("injector").addrs();
    let asked = stage.scene.origin("origin").expect("it has one").requests()?;
    let rest = asked
        .iter()
        .filter(|line| line.ends_with(PAGE))
        .any(|line| injector.iter().any(|addr| line.starts_with(&format!("{addr} "))));
    assert!(rest, "the injector was asked for the rest: {asked:?}");
    Ok(())
}

#[test]
fn the_site_falls_silent_and_an_injector_goes_on() {
    inside(|| direct_is_cut(After::silent));
}

#[test]
fn the_site_is_reset_and_an_injector_goes_on() {
    inside(|| direct_is_cut(|host| After::new(host, Reset)));
}

#[test]
fn the_way_to_the_injector_is_cut_and_a_neighbour_goes_on() {
    inside(|| {
        let stage = Stage::set()?;
        stage.network.warm(PAGE)?;
        let reader = Reader::start(&stage, "home-a", Way::Injector, Exposure::Quiet)?;
        let censor = stage.at(Point::IspA);
        censor.only(After::silent(stage.host("relay")));
        let visit = std::thread::scope(|scope| {
            let visiting = scope.spawn(|| reader.visit(&stage, PAGE, PATIENCE));
            // The friend's invite comes while the page does, so that the friend was not asked first.
            let until = Instant::now() + PATIENCE;
            while censor.counts("after").dropped == 0 {
                assert!(Instant::now() < until, "nothing came of the page");
                std::thread::sleep(Duration::from_millis(5));
            }
            reader.busel.join_ways(&stage.network.helper_invite)?;
            visiting.join().expect("a visit does not panic")
        })?;
        is_whole(&visit, "injector");
        Ok(())
    });
}

#[test]
fn a_neighbour_falls_silent_and_an_injector_goes_on() {
    inside(|| {
        let stage = Stage::set()?;
        stage.network.warm(PAGE)?;
        stage.at(Point::Border).only(SniReset::new(Names::new([LISTED])));
        let reader = Reader::start(&stage, "home-a", Way::Any, Exposure::Quiet)?;
        let censor = stage.at(Point::IspA);
        censor.only(After::silent(stage.host("relay-home")));
        let visit = reader.visit(&stage, PAGE, PATIENCE)?;
        is_whole(&visit, "swarm");
        assert!(censor.counts("after").dropped > 0, "it was cut");
        Ok(())
    });
}

/// It began by this route, and all of it came.
#[track_caller]
fn is_whole(visit: &Visit, route: &str) {
    let (load, came) = (&visit.load, visit.load.body.len());
    assert!(visit.identical, "{came} bytes by {:?}, {}", visit.route, visit.told());
    assert_eq!(visit.route.as_deref(), Some(route), "{:?}", load.headers);
}
