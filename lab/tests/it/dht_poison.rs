//! Control of DHT poisoning: who begins with the well-known names finds nobody, who has kept a node's
//! address or asks another resolver finds the DHT, and other names are true.

use busel_lab::censor::DhtPoison;
use busel_lab::map::Point;
use busel_lab::program::{DhtNode, Scene};
use busel_lab::sandbox::inside;
use busel_lab::world::Drawing;

const NAMES: [&str; 2] = ["router.bittorrent.com:6881", "dht.libtorrent.org:6881"];

#[test]
fn bootstrap_names_lead_astray() {
    inside(|| {
        let drawing = Drawing::country()
            .site("router.bittorrent.com", "helper")
            .site("dht.libtorrent.org", "relay");
        let scene = Scene::of(drawing)?;
        let world = &scene.world;
        let first = DhtNode::serving(world.host("helper"), &[])?;
        let kept = format!("{}:6881", world.host("helper").v4());
        let second = DhtNode::serving(world.host("relay"), &[&kept])?;
        assert!(second.finds_others(world) && first.finds_others(world));
        let home = world.host("home-a");
        assert!(DhtNode::asking(home, &NAMES)?.finds_others(world));

        let censor = world.censor(Point::IspA);
        censor.only(DhtPoison::new([world.host("domestic").v4()]));
        assert!(!DhtNode::asking(home, &NAMES)?.finds_others(world));
        assert!(censor.counts("dht_poison").injected >= 2);
        assert!(DhtNode::asking(home, &[&kept])?.finds_others(world));
        let other = world.host("home-b");
        assert!(DhtNode::asking(other, &NAMES)?.finds_others(world), "the other provider");
        assert!(scene.curl("home-a").get("https://news.example/")?.is("news.example", "/"));
        Ok(())
    });
}
