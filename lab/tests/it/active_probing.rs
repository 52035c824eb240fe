//! Control of active probing: a server that gives itself away is blocked once somebody has used it,
//! each kind by its rule; nginx is looked at as well, and goes on.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use busel_lab::map::{Place, Point};
use busel_lab::program::{Failure, Probe, Prober, Report, Scene};
use busel_lab::sandbox::inside;
use busel_lab::world::{Drawing, Host};

use crate::SILENCE;

const SECRET: [u8; 50] = *b"a secret that no prober knows, of exactly 50 bytes";
const PATIENCE: Duration = Duration::from_secs(20);
const PORT: u16 = 4000;

fn scene() -> anyhow::Result<Scene> {
    Scene::of(Drawing::country().server(Place::Exchange, "prober", "198.18.100.66"))
}

/// A toy that waits for the secret, answers who has it, and closes on everybody else without a
/// word. It forgets whom it has seen.
fn toy(host: &Host) -> anyhow::Result<()> {
    let listener = host.enter(|| TcpListener::bind(("0.0.0.0", PORT)))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    Ok(())
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut said = [0; SECRET.len()];
    stream.read_exact(&mut said)?;
    if said == SECRET { stream.write_all(b"welcome") } else { Ok(()) }
}

/// Whether the toy answers a client in a host who knows the secret.
fn is_welcome(host: &Host, server: SocketAddr) -> bool {
    let spoken = host.enter(move || {
        let mut stream = TcpStream::connect_timeout(&server, SILENCE)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(&SECRET)?;
        let mut said = [0; 7];
        stream.read_exact(&mut said)?;
        std::io::Result::Ok(said)
    });
    spoken.is_ok_and(|said| said == *b"welcome")
}

/// Uses the toy and nginx under a rule, and finds the one blocked and the other not.
fn only_the_toy_falls(rule: fn(&Report) -> bool) -> anyhow::Result<()> {
    let scene = scene()?;
    let helper = scene.world.host("helper");
    toy(helper)?;
    let server = SocketAddr::new(helper.v4(), PORT);
    let prober = Prober::start(&scene.world, scene.world.host("prober"), rule);
    let censor = scene.world.censor(Point::Border);
    censor.only(prober.policy());
    let home = scene.world.host("home-a");
    assert!(is_welcome(home, server), "nobody has told of it yet");
    let report = prober.report_of(server, PATIENCE).expect("it is looked at");
    assert!(report.guilty && report.suspect.first == SECRET, "{report:?}");
    assert!(!is_welcome(home, server), "it is blocked");
    assert!(!is_welcome(scene.world.host("home-b"), server), "for everybody");
    assert!(censor.counts("active_probing").dropped > 0);

    let curl = scene.curl("home-a").arg("-4");
    let origin = scene.world.host("origin").v4();
    for (scheme, port) in [("http", 80), ("https", 443)] {
        let url = format!("{scheme}://news.example/");
        assert!(curl.get(&url)?.is("news.example", "/"));
        let report = prober.report_of(SocketAddr::new(origin, port), PATIENCE);
        let report = report.expect("it is looked at");
        assert!(!report.guilty && report.is_web_server(), "{report:?}");
        assert!(curl.get(&url)?.is("news.example", "/"), "and goes on");
    }
    Ok(())
}

#[test]
fn a_server_that_answers_a_replay_is_blocked() {
    inside(|| only_the_toy_falls(Report::answers_replay));
}

#[test]
fn a_server_that_closes_after_a_number_of_bytes_is_blocked() {
    inside(|| only_the_toy_falls(|report| report.closes_after() == Some(SECRET.len())));
}

#[test]
fn a_page_that_is_known_is_blocked() {
    inside(|| {
        let scene = scene()?;
        let rule = |report: &Report| report.says(Probe::Visit, b"<title>sport.example/</title>");
        let prober = Prober::start(&scene.world, scene.world.host("prober"), rule);
        scene.world.censor(Point::Border).only(prober.policy());
        let curl = scene.curl("home-a").arg("-4");
        for (site, host, guilty) in
            [("sport.example", "origin-2", true), ("news.example", "origin", false)]
        {
            assert!(curl.get(&format!("https://{site}/"))?.is(site, "/"));
            let server = SocketAddr::new(scene.world.host(host).v4(), 443);
            let report = prober.report_of(server, PATIENCE).expect("it is looked at");
            assert_eq!(report.guilty, guilty, "{report:?}");
            let load = curl.clone().within(SILENCE).get(&format!("https://{site}/"))?;
            assert_eq!(load.failure(), guilty.then_some(Failure::Timeout), "{load:?}");
        }
        Ok(())
    });
}

#[test]
fn datagrams_are_replayed_too() {
    inside(|| {
        let scene = scene()?;
        let helper = scene.world.host("helper");
        let echo = helper.enter(|| UdpSocket::bind(("0.0.0.0", PORT)))?;
        std::thread::spawn(move || {
            let mut said = [0; 2048];
            while let Ok((len, from)) = echo.recv_from(&mut said) {
                if said[..len] == SECRET {
                    echo.send_to(b"welcome", from).ok();
                }
            }
        });
        let prober =
            Prober::start(&scene.world, scene.world.host("prober"), Report::answers_replay);
        scene.world.censor(Point::Border).only(prober.policy());
        let server = SocketAddr::new(helper.v4(), PORT);
        let socket = scene.world.host("home-a").enter(|| UdpSocket::bind("0.0.0.0:0"))?;
        socket.set_read_timeout(Some(SILENCE))?;
        let ask = || {
            socket.send_to(&SECRET, server)?;
            socket.recv(&mut [0; 16])
        };
        assert_eq!(ask()?, 7);
        let report = prober.report_of(server, PATIENCE).expect("it is looked at");
        assert!(report.guilty && report.answers.len() == 10, "{report:?}");
        assert!(ask().is_err(), "it is blocked");
        assert!(scene.curl("home-a").get("https://news.example/")?.is("news.example", "/"));
        Ok(())
    });
}
