//! Control of the profile: the forbidden site is out of reach by its name, by its address, by QUIC
//! and by DoH's answer; noise is swallowed, a suspect is probed and blocked; other sites load.

use std::net::SocketAddr;
use std::time::Duration;

use busel_lab::censor::Names;
use busel_lab::map::{Place, Point};
use busel_lab::profile::{Lists, china};
use busel_lab::program::{Failure, Prober, Quic, QuicClient, Report, Scene, body};
use busel_lab::sandbox::inside;
use busel_lab::world::Drawing;

use crate::SILENCE;
use crate::echo::Echo;

const PATIENCE: Duration = Duration::from_secs(20);
/// Four set bits in each byte, none of them printable.
const NOISE: [u8; 200] = [0xb8; 200];

fn scene() -> anyhow::Result<(Scene, Prober)> {
    let drawing = Drawing::country().server(Place::Exchange, "prober", "198.18.100.66");
    let scene = Scene::of(drawing)?;
    let host = scene.world.host("prober");
    let prober = Prober::start(&scene.world, host, Report::answers_replay);
    Ok((scene, prober))
}

fn lists() -> Lists {
    Lists { sites: Names::new(["news.example"]), ..Lists::default() }
}

#[test]
fn a_forbidden_name_is_found_everywhere() {
    inside(|| {
        let (scene, prober) = scene()?;
        let world = &scene.world;
        let (origin, home) = (world.host("origin"), world.host("home-a"));
        let sites = ["news.example", "weather.example"];
        let _quic = Quic::start(world, origin, 443, &scene.ca, &sites)?;
        let _boxes = china::set(world, &lists(), prober)?;
        let curl = scene.curl("home-a").arg("-4");
        let load = curl.get("https://news.example/")?;
        assert_eq!(load.remote, Some(world.host("domestic").v4()), "a lie: {load:?}");
        let by_doh = curl.clone().arg("--doh-url").arg("https://doh.example/dns-query");
        let load = by_doh.get("https://news.example/")?;
        assert_eq!(load.failure(), Some(Failure::Cut), "the truth does not help: {load:?}");
        assert!(curl.get("https://weather.example/article")?.is("weather.example", "/article"));

        let at = SocketAddr::new(origin.v4(), 443);
        let quic = QuicClient::new(world, home, &scene.ca)?;
        assert_eq!(Some(quic.get(at, sites[1], "/")?), body(sites[1], "/"));
        assert!(quic.within(SILENCE).get(at, sites[0], "/").is_err());
        assert!(world.censor(Point::Border).counts("quic_sni").acted());
        Ok(())
    });
}

#[test]
fn noise_is_swallowed_and_suspects_are_probed() {
    inside(|| {
        let (scene, prober) = scene()?;
        let world = &scene.world;
        let (relay, helper, home) =
            (world.host("relay"), world.host("helper"), world.host("home-a"));
        let (noisy, suspect) = (Echo::start(relay, 4000)?, Echo::start(helper, 4000)?);
        assert!(noisy.repeats(home, relay.v4(), &[&NOISE]), "nothing is in force yet");
        let boxes = china::set(world, &lists(), prober)?;
        assert!(!noisy.repeats(home, relay.v4(), &[&NOISE]));
        assert!(world.censor(Point::Border).counts("fully_encrypted").acted());

        assert!(suspect.repeats(home, helper.v4(), &[b"some plain words"]));
        let prober = boxes.prober.as_ref().expect("it was given");
        let report = prober.report_of(SocketAddr::new(helper.v4(), 4000), PATIENCE);
        assert!(report.expect("it is looked at").guilty);
        assert!(!suspect.repeats(home, helper.v4(), &[b"some plain words"]));
        assert!(scene.curl("home-a").get("https://weather.example/")?.is("weather.example", "/"));
        Ok(())
    });
}
