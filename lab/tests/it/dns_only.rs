//! Control of DNS only: names are found, also those that the resolver asks a server abroad for; pages
//! are not, by no way, and another resolver is out of reach where only the provider's is open.

use std::net::SocketAddr;

use busel_lab::censor::DnsOnly;
use busel_lab::map::Point;
use busel_lab::program::{Dns, Failure, Scene, Zone};
use busel_lab::sandbox::inside;
use busel_lab::world::Host;

use crate::SILENCE;

/// Whether a name has an address for the programs of a host.
fn is_found(host: &Host, name: &str) -> anyhow::Result<bool> {
    Ok(host.command("getent").args(["ahostsv4", name]).run()?.status.success())
}

#[test]
fn names_pass_and_nothing_else() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        let helper = world.host("helper");
        let far = Zone::default().with("far.tunnel.example", &[helper.v4()]);
        let server = Dns::start(world, helper, far)?;
        let resolver = scene.resolver("dns-a").expect("it has one");
        let there = SocketAddr::new(helper.v4(), 53);
        resolver.set(Zone::of(world).delegate("tunnel.example", there));

        let censor = world.censor(Point::IspA);
        let home = world.host("home-a");
        let quick = scene.curl("home-a").arg("-4").within(SILENCE);
        for policy in [DnsOnly::to_anyone(), DnsOnly::to([world.host("dns-a").v4()])] {
            censor.only(policy);
            assert!(is_found(home, "news.example")? && is_found(home, "far.tunnel.example")?);
            assert!(!is_found(home, "nobody.example")?);
            for site in ["news.example", "shop.example"] {
                let load = quick.get(&format!("https://{site}/"))?;
                assert_eq!(load.failure(), Some(Failure::Timeout), "{load:?}");
            }
        }
        assert!(server.asked().iter().any(|(_, name)| name == "far.tunnel.example"));
        assert!(censor.counts("dns_only").dropped > 0);
        Ok(())
    });
}

#[test]
fn other_resolvers_are_closed_if_only_one_is_open() {
    inside(|| {
        let scene = Scene::start()?;
        let world = &scene.world;
        let (censor, own) = (world.censor(Point::IspA), world.host("dns-a").v4());
        let dig = |server| -> anyhow::Result<bool> {
            let at = SocketAddr::new(server, 53);
            let heard = world.host("home-a").enter(move || {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
                socket.set_read_timeout(Some(SILENCE))?;
                // A question for the root's name servers.
                socket.send_to(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01", at)?;
                socket.recv(&mut [0; 512])
            });
            Ok(heard.is_ok())
        };
        let other = world.host("dns-b").v4();
        censor.only(DnsOnly::to_anyone());
        assert!(dig(own)? && dig(other)?);
        censor.only(DnsOnly::to([own]));
        assert!(dig(own)? && !dig(other)?);
        censor.clear();
        assert!(scene.curl("home-a").get("https://news.example/")?.is("news.example", "/"));
        Ok(())
    });
}
