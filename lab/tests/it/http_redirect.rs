//! Control of the redirect injection: a request for the listed site gets the forged answer, also the
//! second one of a kept connection and one in pieces; another site at the same address, HTTPS, and
//! with the narrow box another port, are left alone. The forgery bears the marks of the field.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use busel_lab::censor::{HttpRedirect, Names};
use busel_lab::map::Point;
use busel_lab::packet::Packet;
use busel_lab::program::Scene;
use busel_lab::sandbox::inside;
use busel_lab::world::{Drawing, Host};

const BLOCKED: &str = "http://shop.example/article";

fn names() -> Names {
    Names::new(["news.example"])
}

/// Says something in pieces, and gives all that comes back until the connection ends.
fn say(host: &Host, at: SocketAddr, pieces: &[&str]) -> anyhow::Result<String> {
    let mut stream = host.enter(move || TcpStream::connect(at))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    for piece in pieces {
        stream.write_all(piece.as_bytes())?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut answer = Vec::new();
    // A reset behind the answer is an end too.
    stream.read_to_end(&mut answer).ok();
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_listed_site_is_redirected_and_its_neighbour_is_not() {
    inside(|| {
        let scene = Scene::start()?;
        let censor = scene.world.censor(Point::IspA);
        for family in ["-4", "-6"] {
            let curl = scene.curl("home-a").arg(family);
            censor.clear();
            assert!(curl.get("http://news.example/")?.is("news.example", "/"));
            censor.only(HttpRedirect::new(names(), BLOCKED));
            let load = curl.get("http://news.example/")?;
            assert_eq!((load.exit, load.status), (0, Some(302)), "{load:?}");
            let load = curl.clone().arg("-L").get("http://news.example/")?;
            assert!(load.is("shop.example", "/article"), "the block page: {load:?}");
            assert!(curl.get("http://weather.example/")?.is("weather.example", "/"));
            assert!(curl.get("https://news.example/")?.is("news.example", "/"));
        }
        assert!(censor.counts("http_redirect").injected >= 4);
        Ok(())
    });
}

#[test]
fn a_kept_connection_and_a_split_request_are_seen() {
    inside(|| {
        let scene = Scene::start()?;
        let at = SocketAddr::new(scene.world.host("origin").v4(), 80);
        let home = scene.world.host("home-a");
        let good = "GET / HTTP/1.1\r\nHost: weather.example\r\n\r\n";
        let bad = "GET / HTTP/1.1\r\nHost: news.example\r\nConnection: close\r\n\r\n";
        let split = [&bad[..25], &bad[25..]];

        let answer = say(home, at, &[good, bad])?;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
        let censor = scene.world.censor(Point::IspA);
        censor.only(HttpRedirect::business_network(names(), BLOCKED));
        let answer = say(home, at, &[good, bad])?;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
        assert!(answer.contains(BLOCKED), "{answer}");
        let answer = say(home, at, &split)?;
        assert!(answer.contains(BLOCKED) && !answer.contains("HTTP/1.1 200"), "{answer}");
        Ok(())
    });
}

#[test]
fn the_narrow_box_knows_one_port() {
    inside(|| {
        let dir = std::path::PathBuf::from("/dev/shm/capture");
        let scene = Scene::of(Drawing::country().capture(&dir))?;
        let curl = scene.curl("home-a").arg("-4");
        let origin = scene.world.host("origin");
        let listener = origin.listen(8080)?;
        let _inside = scene.world.tasks().enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let port_80: (IpAddr, u16) = ("127.0.0.1".parse()?, 80);
        let relay = {
            let origin = origin.clone();
            async move {
                while let Ok((mut near, _)) = listener.accept().await {
                    let mut far = origin.dial(port_80.into()).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
                }
                std::io::Result::Ok(())
            }
        };
        tokio::spawn(relay);
        let censor = scene.world.censor(Point::IspA);
        censor.only(HttpRedirect::beltelecom(names(), BLOCKED));
        assert_eq!(curl.get("http://news.example/")?.status, Some(302));
        let load = curl.get("http://news.example:8080/")?;
        assert!(load.is("news.example", "/"), "{load:?}");
        censor.only(HttpRedirect::new(names(), BLOCKED));
        assert_eq!(curl.get("http://news.example:8080/")?.status, Some(302));

        let file = std::fs::File::open(dir.join("isp-a-injected.pcap"))?;
        let mut capture = pcap_file::pcap::PcapReader::new(file)?;
        let first =
            capture.next_packet().and_then(|packet| Packet::parse(packet.ok()?.data.into()));
        let first = first.expect("what was injected first");
        let marks = (first.tcp().map(|tcp| tcp.window), first.ip_id());
        assert_eq!(marks, (Some(32_678), Some(1)));
        Ok(())
    });
}
