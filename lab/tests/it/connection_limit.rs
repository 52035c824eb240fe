//! Control of the connection limit: of six loads at once four arrive; without TLS, to the country's
//! own site, one after the other and over one common connection all of them do.

use std::time::Duration;

use busel_lab::censor::ConnectionLimit;
use busel_lab::map::Point;
use busel_lab::program::{Curl, Failure, Load, Scene};
use busel_lab::sandbox::inside;

const MOST: usize = 4;
/// A load that arrives takes 2 s at this rate, and the others begin meanwhile.
const RATE: &str = "30k";
const PATIENCE: Duration = Duration::from_secs(8);

/// Six loads of a page at once.
fn at_once(curl: &Curl, url: &str) -> anyhow::Result<Vec<Load>> {
    let curl = curl.clone().arg("-4").arg("--limit-rate").arg(RATE).within(PATIENCE);
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..6).map(|_| scope.spawn(|| curl.get(url))).collect();
        loads.into_iter().map(|load| load.join().expect("a load does not panic")).collect()
    })
}

#[test]
fn only_so_many_at_once() {
    inside(|| {
        let scene = Scene::start()?;
        let censor = scene.world.censor(Point::IspA);
        censor.only(ConnectionLimit::new(MOST));
        let curl = scene.curl("home-a");
        let loads = at_once(&curl, "https://news.example/article")?;
        assert_eq!(loads.iter().filter(|load| load.is("news.example", "/article")).count(), MOST);
        let silent = loads.iter().filter(|load| load.failure() == Some(Failure::Timeout));
        assert_eq!(silent.count(), 2);
        assert!(censor.counts("connection_limit").dropped > 0);

        let domestic = at_once(&curl, "https://shop.example/article")?;
        assert!(domestic.iter().all(|load| load.is("shop.example", "/article")));
        let plain = at_once(&curl, "http://news.example/article")?;
        assert!(plain.iter().all(|load| load.is("news.example", "/article")));
        Ok(())
    });
}

#[test]
fn connections_that_end_make_room_and_one_carries_all() {
    inside(|| {
        let scene = Scene::start()?;
        scene.world.censor(Point::IspA).only(ConnectionLimit::new(1));
        let curl = scene.curl("home-a").arg("-4");
        for _ in 0..4 {
            let load = curl.get("https://news.example/")?;
            assert!(load.is("news.example", "/"), "one after the other: {load:?}");
        }
        let many = "https://news.example/article?[1-6]";
        let ran = scene
            .world
            .host("home-a")
            .command("curl")
            .args(["-4", "-sS", "--fail", "--http2", "--parallel", "--max-time", "20"])
            .args(["-w", "%{size_download}\n", "-o", "/dev/null", "--cacert"])
            .arg(scene.ca.path())
            .arg(many)
            .run()?;
        let came = String::from_utf8_lossy(&ran.stdout);
        assert_eq!(came.lines().filter(|line| *line == "61440").count(), 6, "{ran:?}");
        Ok(())
    });
}
