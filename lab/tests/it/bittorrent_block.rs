//! Control of the BitTorrent block: a node of the DHT finds nobody, the handshake over TCP and uTP's
//! opening get no answer; other words to the same programs do, and so do pages and names.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use busel_lab::censor::BittorrentBlock;
use busel_lab::map::Point;
use busel_lab::program::{DhtNode, Scene};
use busel_lab::sandbox::inside;
use busel_lab::world::Host;

use crate::SILENCE;

const PORT: u16 = 5000;
const HANDSHAKE: &[u8] = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0aaaaaaaaaaaaaaaaaaaabbbbbbbb";
const UTP_SYN: &[u8] = b"\x41\0\x12\x34\x01\x02\x03\x04\0\0\0\0\0\x10\0\0\0\x01\0\0";

/// Says everything back, by TCP and UDP.
fn echo(host: &Host) -> anyhow::Result<()> {
    let listener = host.enter(|| TcpListener::bind(("0.0.0.0", PORT)))?;
    let socket = host.enter(|| UdpSocket::bind(("0.0.0.0", PORT)))?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone()?, &mut stream));
        }
    });
    std::thread::spawn(move || {
        let mut said = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut said) {
            socket.send_to(&said[..len], from).ok();
        }
    });
    Ok(())
}

fn by_tcp(host: &Host, server: SocketAddr, words: &'static [u8]) -> bool {
    let heard = host.enter(move || {
        let mut stream = TcpStream::connect_timeout(&server, SILENCE)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(words)?;
        stream.read_exact(&mut vec![0; words.len()])
    });
    heard.is_ok()
}

fn by_udp(host: &Host, server: SocketAddr, words: &'static [u8]) -> bool {
    let heard = host.enter(move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(SILENCE))?;
        socket.send_to(words, server)?;
        socket.recv(&mut [0; 2048])
    });
    heard.is_ok()
}

#[test]
fn bittorrent_is_swallowed_and_the_rest_is_not() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        let (home, helper) = (world.host("home-a"), world.host("helper"));
        echo(helper)?;
        let server = SocketAddr::new(helper.v4(), PORT);
        let _first = DhtNode::serving(helper, &[])?;
        let first = format!("{}:6881", helper.v4());
        let asking = || DhtNode::asking(home, &[&first]);
        let all_answer = || by_tcp(home, server, HANDSHAKE) && by_udp(home, server, UTP_SYN);
        assert!(all_answer() && asking()?.finds_others(world));

        let censor = world.censor(Point::Border);
        censor.only(BittorrentBlock::new());
        assert!(!by_tcp(home, server, HANDSHAKE));
        assert!(!by_udp(home, server, UTP_SYN));
        assert!(!asking()?.finds_others(world));
        assert!(censor.counts("bittorrent_block").dropped > 4);

        assert!(by_tcp(home, server, b"other words"));
        assert!(by_udp(home, server, b"other words"));
        assert!(scene.curl("home-a").get("https://news.example/")?.is("news.example", "/"));
        censor.clear();
        assert!(asking()?.finds_others(world));
        Ok(())
    });
}
