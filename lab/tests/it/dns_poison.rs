//! Control of DNS poisoning: who trusts the resolver is led astray, who asks by DoH is not, and other
//! names are true.

use busel_lab::censor::{DnsPoison, Names};
use busel_lab::map::Point;
use busel_lab::program::{Failure, Scene};
use busel_lab::sandbox::inside;

/// A false answer leads to the domestic server, which has no certificate for the name.
fn is_led_astray(poison: impl Fn(Names, std::net::IpAddr) -> DnsPoison) -> anyhow::Result<()> {
    let scene = Scene::start()?;
    let curl = scene.curl("home-a").arg("-4");
    assert!(curl.get("https://news.example/")?.is("news.example", "/"));

    let lie = scene.world.host("domestic").v4();
    let censor = scene.world.censor(Point::IspA);
    censor.only(poison(Names::new(["news.example"]), lie));
    let load = curl.get("https://news.example/")?;
    assert_eq!((load.failure(), load.remote), (Some(Failure::Certificate), Some(lie)), "{load:?}");
    assert!(censor.counts("dns_poison").injected > 0);

    assert!(curl.get("https://weather.example/")?.is("weather.example", "/"));
    let by_doh = curl.clone().arg("--doh-url").arg("https://doh.example/dns-query");
    let load = by_doh.get("https://news.example/")?;
    assert!(load.is("news.example", "/"), "{load:?}");
    let other = scene.curl("home-b").get("https://news.example/")?;
    assert!(other.is("news.example", "/"), "the other provider does not lie: {other:?}");

    censor.clear();
    assert!(curl.get("https://news.example/")?.is("news.example", "/"));
    Ok(())
}

#[test]
fn a_false_answer_instead_of_the_true_one() {
    inside(|| is_led_astray(|names, lie| DnsPoison::instead(names, [lie])));
}

#[test]
fn a_false_answer_before_the_true_one() {
    inside(|| is_led_astray(|names, lie| DnsPoison::racing(names, [lie])));
}

#[test]
fn no_such_name() {
    inside(|| {
        let scene = Scene::start()?;
        let names = Names::new(["news.example"]);
        scene.world.censor(Point::IspA).only(DnsPoison::instead(names, []));
        let load = scene.curl("home-a").get("https://news.example/")?;
        assert_eq!(load.failure(), Some(Failure::NoName), "{load:?}");
        Ok(())
    });
}
