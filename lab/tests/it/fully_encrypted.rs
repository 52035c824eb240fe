//! Control of the heuristic for what looks like nothing: noise is swallowed, and for a time all from
//! the same client to the same port; noise with a printable beginning, TLS, HTTP and SSH pass, and so
//! does noise that is not the first packet.

use std::net::IpAddr;
use std::time::Duration;

use busel_lab::censor::FullyEncrypted;
use busel_lab::map::Point;
use busel_lab::program::Scene;
use busel_lab::sandbox::inside;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::SILENCE;
use crate::echo::Echo;

const HOUR: Duration = Duration::from_secs(3600);

fn noise() -> [u8; 300] {
    let mut noise = [0; 300];
    ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut noise);
    // So that this one has no printable beginning by chance.
    noise[0] = 0x80;
    noise
}

#[test]
fn noise_is_swallowed_and_what_has_a_face_is_not() {
    inside(|| {
        let scene = Scene::start()?;
        let (origin, home) = (scene.world.host("origin"), scene.world.host("home-a"));
        let [random, faces] = [Echo::start(origin, 5000)?, Echo::start(origin, 5001)?];
        let noise = noise();
        let prefixed = [b"SSH-2.", &noise[..]].concat();
        let censor = scene.world.censor(Point::Border);
        for ip in [origin.v4(), origin.v6()] {
            censor.clear();
            assert!(random.repeats(home, ip, &[&noise]));
            censor.only(FullyEncrypted::new(HOUR));
            assert!(faces.repeats(home, ip, &[&prefixed]));
            assert!(faces.repeats(home, ip, &[b"SSH-2.0-OpenSSH_9.2p1\r\n", &noise]));
            assert!(random.repeats(home, ip, &[b"hello"]));
            assert!(!random.repeats(home, ip, &[&noise]));
            assert!(faces.repeats(home, ip, &[b"hello"]), "another port");
        }
        assert!(!random.repeats(home, origin.v6(), &[b"hello"]), "held against the pair");
        for url in ["https://news.example/", "http://news.example/"] {
            assert!(scene.curl("home-a").get(url)?.is("news.example", "/"));
        }
        let helper = scene.world.host("home-b");
        assert!(random.repeats(helper, origin.v4(), &[b"hello"]), "another client");
        assert!(censor.counts("fully_encrypted").dropped > 2);
        Ok(())
    });
}

#[test]
fn it_may_be_limited_to_nets_and_forgets_in_time() {
    inside(|| {
        let scene = Scene::start()?;
        let (origin, home) = (scene.world.host("origin"), scene.world.host("home-a"));
        let echo = Echo::start(origin, 5000)?;
        let at = origin.v4();
        // Longer than a client waits, so that nothing that is sent again passes meanwhile.
        let short = || FullyEncrypted::new(SILENCE + Duration::from_secs(1));
        let elsewhere: IpAddr = scene.world.host("origin-2").v4();
        let censor = scene.world.censor(Point::Border);
        censor.only(short().only_to([elsewhere]));
        assert!(echo.repeats(home, at, &[&noise()]));
        censor.only(short().only_to([at]));
        assert!(!echo.repeats(home, at, &[&noise()]));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(echo.repeats(home, at, &[b"hello"]));
        Ok(())
    });
}
