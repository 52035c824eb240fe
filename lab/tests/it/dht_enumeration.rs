//! Control of the enumeration: who has announced a topic is on the crawler's list, at the address
//! that the world sees; who only asked for it, or announced another, is not.

use busel_lab::program::{DhtEnumeration, DhtNode};
use busel_lab::sandbox::inside;
use busel_lab::world::Drawing;

const TOPIC: [u8; 20] = [0xb5; 20];
const OTHER: [u8; 20] = [0x5b; 20];

#[test]
fn who_announces_is_listed() {
    inside(|| {
        let world = Drawing::country().start()?;
        let helper = world.host("helper");
        let first = format!("{}:6881", helper.v4());
        let mut serving = vec![DhtNode::serving(helper, &[])?];
        for host in ["relay", "injector", "origin-2", "domestic"] {
            serving.push(DhtNode::serving(world.host(host), &[&first])?);
        }
        assert!(serving.iter().all(|node| node.finds_others(&world)));

        let home = DhtNode::asking(world.host("home-a"), &[&first])?;
        home.announce(&world, TOPIC, 4242)?;
        serving[4].announce(&world, TOPIC, 4343)?;
        let quiet = DhtNode::asking(world.host("home-b"), &[&first])?;
        quiet.announce(&world, OTHER, 4444)?;
        assert_eq!(quiet.peers(&world, TOPIC).len(), 2, "it asks, and learns");

        let list = DhtEnumeration::collect(&world, world.host("origin"), &[&first], TOPIC)?;
        let expected = ["198.18.1.1:4242".parse()?, "198.18.100.10:4343".parse()?];
        assert_eq!(list.listed, expected.into_iter().collect());
        assert!(list.has(world.host("isp-a").v4()), "a home is seen as its router");
        assert!(!list.has(world.host("isp-b").v4()));
        Ok(())
    });
}
