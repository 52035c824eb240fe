//! The veil over TCP, where no UDP passes: to a filter that swallows what looks like nothing it has a face,
//! which plain noise to the same port has not; and a prober learns nothing of who listens there.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use busel_lab::censor::{FullyEncrypted, UdpOff};
use busel_lab::map::Point;
use busel_lab::program::{Exposure, Prober, Reader, Report, Stage, VEIL, Visit, Way};
use busel_lab::sandbox::inside;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const PATIENCE: Duration = Duration::from_secs(40);

/// A stage without UDP at home, and the injector's veil address.
fn without_udp() -> anyhow::Result<(Stage, SocketAddr)> {
    let stage = Stage::set()?;
    stage.at(Point::IspA).only(UdpOff::new().but_dns_of([stage.host("dns-a").v4()]));
    let at = SocketAddr::new(stage.host("injector").v4(), VEIL);
    Ok((stage, at))
}

#[track_caller]
fn came_by_tcp(visit: &Visit) {
    assert!(visit.passed(), "{}", visit.told());
    assert_eq!(visit.wire.as_deref(), Some("veil-tcp"));
}

/// Says noise to a server, as a wire without a face would.
fn say_noise(stage: &Stage, host: &str, at: SocketAddr, seed: u64) -> anyhow::Result<()> {
    let mut noise = [0; 600];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut noise);
    // So that this one has no printable beginning by chance.
    noise[0] = 0x80;
    stage.host(host).enter(move || {
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
        stream.write_all(&noise)
    })?;
    Ok(())
}

#[test]
fn noise_is_swallowed_and_the_veil_is_not() {
    inside(|| {
        let (stage, at) = without_udp()?;
        let censor = stage.at(Point::Border);
        censor.only(FullyEncrypted::new(Duration::from_secs(3600)));
        let reader = Reader::start(&stage, "home-a", Way::Veil, Exposure::Quiet)?;
        for path in ["/", "/article", "/film"] {
            came_by_tcp(&reader.visit(&stage, path, PATIENCE)?);
        }
        assert_eq!(censor.counts("fully_encrypted").dropped, 0);
        // The control: the same to the same port, without a face.
        say_noise(&stage, "home-b", at, 7)?;
        let until = Instant::now() + PATIENCE;
        while censor.counts("fully_encrypted").dropped == 0 {
            assert!(Instant::now() < until, "the filter lets noise pass");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
}

#[test]
fn a_prober_finds_a_server_that_listens_and_says_nothing() {
    inside(|| {
        let (stage, at) = without_udp()?;
        let rule = |report: &Report| !report.is_clean();
        let prober = Prober::start(&stage.scene.world, stage.host("prober"), rule);
        stage.at(Point::Border).only(prober.policy());
        let reader = Reader::start(&stage, "home-a", Way::Veil, Exposure::Quiet)?;
        came_by_tcp(&reader.visit(&stage, "/", PATIENCE)?);
        let report = prober.report_of(at, PATIENCE).expect("it is looked at");
        assert!(!report.guilty && !report.suspect.udp, "{report:?}");
        let first = &report.suspect.first;
        assert!(first.len() > 100 && first[..100].iter().all(|b| (0x20..=0x7e).contains(b)));
        came_by_tcp(&reader.visit(&stage, "/article", PATIENCE)?);
        Ok(())
    });
}
