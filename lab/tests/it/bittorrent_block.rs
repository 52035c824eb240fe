//! Control of the BitTorrent block: a node of the DHT finds nobody, the handshake over TCP and uTP's
//! opening get no answer; other words to the same programs do, and so do pages and names.

use busel_lab::censor::BittorrentBlock;
use busel_lab::map::Point;
use busel_lab::program::{DhtNode, Scene};
use busel_lab::sandbox::inside;

use crate::echo::Echo;

const PORT: u16 = 5000;
const HANDSHAKE: &[u8] = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0aaaaaaaaaaaaaaaaaaaabbbbbbbb";
const UTP_SYN: &[u8] = b"\x41\0\x12\x34\x01\x02\x03\x04\0\0\0\0\0\x10\0\0\0\x01\0\0";

#[test]
fn bittorrent_is_swallowed_and_the_rest_is_not() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        let (home, helper) = (world.host("home-a"), world.host("helper"));
        let (echo, at) = (Echo::start(helper, PORT)?, helper.v4());
        let by_tcp = |words| echo.repeats(home, at, &[words]);
        let by_udp = |words| echo.answers(home, at, words);
        let _first = DhtNode::serving(helper, &[])?;
        let first = format!("{}:6881", helper.v4());
        let asking = || DhtNode::asking(home, &[&first]);
        let all_answer = || by_tcp(HANDSHAKE) && by_udp(UTP_SYN);
        assert!(all_answer() && asking()?.finds_others(world));

        let censor = world.censor(Point::Border);
        censor.only(BittorrentBlock::new());
        assert!(!by_tcp(HANDSHAKE));
        assert!(!by_udp(UTP_SYN));
        assert!(!asking()?.finds_others(world));
        assert!(censor.counts("bittorrent_block").dropped > 4);

        assert!(by_tcp(&b"other words"[..]));
        assert!(by_udp(&b"other words"[..]));
        assert!(scene.curl("home-a").get("https://news.example/")?.is("news.example", "/"));
        censor.clear();
        assert!(asking()?.finds_others(world));
        Ok(())
    });
}
