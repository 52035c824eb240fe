//! A real browser behind the door: pages that its own line does not give it, end to end, so that
//! what it accepts is the site's own certificate and nothing else.

use std::any::Any;

use anyhow::ensure;
use busel_lab::censor::{Chain, DnsPoison, Names, SniReset};
use busel_lab::map::Point;
use busel_lab::program::{
    Chromium, DOOR, Exposure, Forger, LISTED, Reader, Stage, UNLISTED, Way, body,
};
use busel_lab::sandbox::inside;

/// The page as text: what comes after its title.
fn text(site: &str) -> String {
    let body = String::from_utf8(body(site, "/").unwrap_or_default()).unwrap_or_default();
    body.split_once('\n').map(|(_, text)| text.to_owned()).unwrap_or_default()
}

fn reads(name: &str, censor: impl Fn(&Stage) -> anyhow::Result<Box<dyn Any>>) {
    inside(|| {
        let stage = Stage::set()?;
        let plain = Chromium::new(stage.host("home-a"), &stage.scene.ca)?;
        let shown = plain.show(&format!("https://{LISTED}/"))?;
        ensure!(shown.contains(&text(LISTED)), "{name}: without a censor: {shown:.600}");
        let _kept = censor(&stage)?;
        let _reader = Reader::start(&stage, "home-a", Way::Connect, Exposure::Quiet)?;
        let behind = plain.clone().through(DOOR);
        // What may be shared and what may not: both are tunnelled for a browser that says https.
        for site in [LISTED, UNLISTED] {
            let url = format!("https://{site}/");
            let straight = plain.show(&url)?;
            ensure!(!straight.contains(&text(site)), "{name}: {site} is not blocked");
            let shown = behind.show(&url)?;
            ensure!(shown.contains(&text(site)), "{name}: {site} through the door: {shown:.600}");
        }
        // By http the node fetches a page that may be shared, itself or from others.
        let shown = behind.show(&format!("http://{LISTED}/"))?;
        ensure!(shown.contains(&text(LISTED)), "{name}: by http: {shown:.600}");
        Ok(())
    });
}

fn sites() -> Names {
    Names::new([LISTED, UNLISTED])
}

#[test]
fn reads_where_names_are_reset() {
    reads("sni_reset", |stage| {
        stage.at(Point::Border).only(SniReset::new(sites()));
        Ok(Box::new(()))
    });
}

#[test]
fn reads_where_resolvers_lie_and_is_shown_no_forged_certificate() {
    reads("dns_poison and forged_certificate", |stage| {
        let forger = Forger::start(&stage.scene.world, stage.host("box-a"), sites())?;
        let origin = stage.host("origin");
        let lies = DnsPoison::instead(sites(), [stage.host("domestic").v4()]);
        let forging = forger.divert([origin.v4(), origin.v6()]);
        stage.at(Point::IspA).set(Chain::of(lies).then(forging));
        Ok(Box::new(forger))
    });
}
