//! `busel doctor` in a world under each technique: it names the technique from its own measurements,
//! and says that an open world is open.

use std::net::IpAddr;
use std::time::Duration;

use busel_lab::censor::{
    Blackout, DnsOnly, DnsPoison, Freeze, HttpRedirect, IpBlock, LanOnly, Names, NationalCut,
    Policy, SniDrop, SniReset, Throttle, UdpOff,
};
use busel_lab::map::{Place, Point};
use busel_lab::program::{Examined, Forger, Scene};
use busel_lab::sandbox::inside;
use busel_lab::world::Drawing;

const NEWS: &str = "https://news.example/";
/// A site of the country, for comparison.
const SHOP: &str = "https://shop.example/";

fn names() -> Names {
    Names::new(["news.example"])
}

fn both(scene: &Scene, host: &str) -> [IpAddr; 2] {
    let host = scene.world.host(host);
    [host.v4(), host.v6()]
}

fn examine(scene: &Scene, args: &[&str]) -> anyhow::Result<Examined> {
    Examined::from(scene, scene.world.host("home-a"), args)
}

/// Under a policy at the provider that is about one site, the site has this verdict, and the line is
/// open. Without the policy, both are.
fn names_it<P: Policy + 'static>(
    verdict: &str,
    policy: impl FnOnce(&Scene) -> P,
) -> anyhow::Result<Examined> {
    let scene = Scene::start()?;
    let policy = policy(&scene);
    let technique = policy.name();
    let censor = scene.world.censor(Point::IspA);
    censor.only(policy);
    let told = examine(&scene, &[NEWS])?;
    assert_eq!((told.of(NEWS), told.line(), told.exit), (verdict, "open", 3), "{told:#?}");
    assert_eq!(told.also(NEWS), 0, "{told:#?}");
    assert!(censor.counts(technique).acted(), "{technique} was not met");
    censor.clear();
    Ok(told)
}

/// Under a policy that is about the line, the line and a site abroad have this verdict.
fn names_the_cut<P: Policy + 'static>(
    verdict: &str,
    policy: impl FnOnce(&Scene) -> P,
) -> anyhow::Result<()> {
    let scene = Scene::start()?;
    let policy = policy(&scene);
    scene.world.censor(Point::IspA).only(policy);
    let told = examine(&scene, &[NEWS, "--home", SHOP])?;
    assert_eq!((told.of(NEWS), told.line(), told.exit), (verdict, verdict, 3), "{told:#?}");
    Ok(())
}

#[test]
fn an_open_world_is_open() {
    inside(|| {
        let scene = Scene::start()?;
        let told = examine(&scene, &[NEWS, "http://weather.example/", "--home", SHOP])?;
        for url in [NEWS, "http://weather.example/", SHOP] {
            assert_eq!(told.of(url), "open", "{told:#?}");
        }
        assert_eq!((told.line(), told.exit), ("open", 0), "{told:#?}");
        assert!(told.progress.contains("news.example: connecting"), "{told:#?}");
        Ok(())
    });
}

#[test]
fn dns_poison() {
    inside(|| {
        let lie = |scene: &Scene| scene.world.host("domestic").v4();
        names_it("dns_poisoned", |scene| DnsPoison::instead(names(), [lie(scene)])).map(drop)
    });
}

#[test]
fn dns_poison_by_a_race() {
    inside(|| {
        let lie = |scene: &Scene| scene.world.host("domestic").v4();
        let told = names_it("dns_poisoned", |s| DnsPoison::racing(names(), [lie(s)]))?;
        assert!(told.saw(NEWS, "two answers to one question"), "{told:#?}");
        Ok(())
    });
}

#[test]
fn dns_poison_by_denial() {
    inside(|| names_it("dns_poisoned", |_| DnsPoison::instead(names(), [])).map(drop));
}

#[test]
fn ip_block() {
    inside(|| names_it("address_blocked", |s| IpBlock::new(both(s, "origin"))).map(drop));
}

#[test]
fn sni_reset() {
    inside(|| {
        let told = names_it("sni_reset", |_| SniReset::new(names()))?;
        assert!(told.saw(NEWS, "does not get past it"), "{told:#?}");
        Ok(())
    });
}

#[test]
fn sni_reset_by_a_cheap_box() {
    inside(|| {
        let told = names_it("sni_reset", |_| SniReset::weak(names()))?;
        assert!(told.saw(NEWS, "cutting the hello in two gets past it"), "{told:#?}");
        Ok(())
    });
}

#[test]
fn sni_drop_that_is_held_against_the_address() {
    inside(|| {
        let long = Duration::from_secs(3600);
        names_it("sni_drop", |_| SniDrop::new(names(), long)).map(drop)
    });
}

#[test]
fn http_redirect() {
    inside(|| {
        let to = "http://blocked.provider.example2/";
        let plain = "http://news.example/";
        let scene = Scene::start()?;
        scene.world.censor(Point::IspA).only(HttpRedirect::business_network(names(), to));
        let told = examine(&scene, &[plain, NEWS])?;
        for url in [plain, NEWS] {
            assert_eq!((told.of(url), told.line()), ("block_page", "open"), "{told:#?}");
        }
        Ok(())
    });
}

#[test]
fn forged_certificate() {
    inside(|| {
        let drawing = Drawing::country().server(Place::IspA, "box-a", "198.18.1.80");
        let scene = Scene::of(drawing)?;
        let forger = Forger::start(&scene.world, scene.world.host("box-a"), names())?;
        scene.world.censor(Point::IspA).only(forger.divert(both(&scene, "origin")));
        let told = examine(&scene, &[NEWS, "https://weather.example/"])?;
        assert_eq!((told.of(NEWS), told.exit), ("forged_certificate", 3), "{told:#?}");
        assert_eq!(told.of("https://weather.example/"), "open", "{told:#?}");
        Ok(())
    });
}

#[test]
fn throttle() {
    inside(|| {
        let scene = Scene::start()?;
        scene.world.censor(Point::Border).only(Throttle::nets(both(&scene, "origin")));
        let (long, other) = ("https://news.example/long", "https://sport.example/long");
        let told = examine(&scene, &[long, other])?;
        assert_eq!((told.of(long), told.of(other)), ("throttled", "open"), "{told:#?}");
        assert_eq!((told.line(), told.exit), ("open", 3), "{told:#?}");
        Ok(())
    });
}

#[test]
fn freeze() {
    inside(|| {
        let told = names_it("freeze", |_| Freeze::foreign())?;
        assert!(told.saw(NEWS, "two transfers stopped"), "{told:#?}");
        Ok(())
    });
}

#[test]
fn national_cut() {
    inside(|| names_the_cut("foreign_cut", |_| NationalCut));
}

#[test]
fn national_cut_without_a_site_at_home() {
    inside(|| {
        let scene = Scene::start()?;
        scene.world.censor(Point::Border).only(NationalCut);
        let told = examine(&scene, &[NEWS])?;
        assert_eq!((told.of(NEWS), told.line()), ("foreign_cut", "foreign_cut"), "{told:#?}");
        Ok(())
    });
}

#[test]
fn dns_only() {
    inside(|| names_the_cut("dns_only", |s| DnsOnly::to([s.world.host("dns-a").v4()])));
}

#[test]
fn blackout() {
    inside(|| names_the_cut("blackout", |_| Blackout));
}

#[test]
fn lan_only() {
    inside(|| {
        names_the_cut("blackout", |scene| {
            let house = ["isp-a", "home-a", "home-a2"].map(|name| scene.world.host(name).addrs());
            LanOnly::new(house.concat())
        })
    });
}

#[test]
fn udp_off() {
    inside(|| {
        let scene = Scene::start()?;
        scene.world.censor(Point::IspA).only(UdpOff::new());
        let told = examine(&scene, &[NEWS])?;
        assert_eq!((told.of(NEWS), told.line(), told.exit), ("open", "udp_off", 3), "{told:#?}");
        let resolver = [scene.world.host("dns-a").v4()];
        scene.world.censor(Point::IspA).only(UdpOff::new().but_dns_of(resolver));
        let told = examine(&scene, &[NEWS])?;
        assert_eq!((told.of(NEWS), told.line()), ("open", "udp_off"), "{told:#?}");
        Ok(())
    });
}

#[test]
fn a_guarded_site_is_not_asked_unless_its_reader_insists() {
    inside(|| {
        let scene = Scene::start()?;
        let home = scene.world.host("home-a");
        let config = home.dir().join("guarded.toml");
        std::fs::write(&config, "[[sites]]\nhosts = \"news.example\"\nguarded = true\n")?;
        let config = config.display().to_string();
        let asked = |scene: &Scene| {
            let asked = scene.resolver("dns-a").map(busel_lab::program::Dns::asked);
            asked.unwrap_or_default().iter().any(|(_, name)| name == "news.example")
        };
        let told = examine(&scene, &[NEWS, "--config", &config])?;
        assert_eq!((told.of(NEWS), told.exit), ("not_asked", 0), "{told:#?}");
        assert!(!asked(&scene) && scene.origin("origin").expect("it").requests()?.is_empty());
        let told = examine(&scene, &[NEWS, "--config", &config, "--guarded"])?;
        assert_eq!((told.of(NEWS), asked(&scene)), ("open", true), "{told:#?}");
        Ok(())
    });
}
