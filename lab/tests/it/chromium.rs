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

const TRIES: usize = 3;

/// The page as text: what comes after its title.
fn text(site: &str) -> String {
    let body = String::from_utf8(body(site, "/").unwrap_or_default()).unwrap_or_default();
    body.split_once('\n').map(|(_, text)| text.to_owned()).unwrap_or_default()
}

/// Whether a page comes. A browser gives up where its network just changed, and is asked again.
fn comes(browser: &Chromium, url: &str, text: &str) -> anyhow::Result<bool> {
    for _ in 0..TRIES {
        if browser.show(url)?.contains(text) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn reads(name: &str, censor: impl Fn(&Stage) -> anyhow::Result<Box<dyn Any>>) {
    inside(|| {
        let stage = Stage::set()?;
        let plain = Chromium::new(stage.host("home-a"), &stage.scene.ca)?;
        let seen = comes(&plain, &format!("https://{LISTED}/"), &text(LISTED))?;
        ensure!(seen, "{name}: nothing comes without a censor");
        let _kept = censor(&stage)?;
        let _reader = Reader::start(&stage, "home-a", Way::Connect, Exposure::Quiet)?;
        let behind = plain.clone().through(DOOR);
        // What may be shared and what may not: both are tunnelled for a browser that says https.
        for site in [LISTED, UNLISTED] {
            let url = format!("https://{site}/");
            ensure!(!comes(&plain, &url, &text(site))?, "{name}: {site} is not blocked");
            ensure!(comes(&behind, &url, &text(site))?, "{name}: {site} through the door");
        }
        // By http the node fetches a page that may be shared, itself or from others.
        ensure!(comes(&behind, &format!("http://{LISTED}/"), &text(LISTED))?, "{name}: by http");
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

#[test]
fn reads_https_of_a_listed_site_from_a_neighbour() {
    inside(|| {
        let mut stage = Stage::set()?;
        stage.network.warm("/")?;
        stage.at(Point::Border).only(SniReset::new(sites()));
        let reader = Reader::start(&stage, "home-a", Way::Swarm, Exposure::Quiet)?;
        let host = stage.host("home-a");
        let browser = Chromium::new(host, &stage.scene.ca)?.through(DOOR);
        stage.network.injector.kill();
        let (listed, unlisted) = (format!("https://{LISTED}/"), format!("https://{UNLISTED}/"));
        ensure!(!browser.show(&listed)?.contains(&text(LISTED)), "it came end to end");
        let said = browser.believe(&reader.busel)?;
        ensure!(said.contains("Chromium"), "{said}");
        ensure!(comes(&browser, &listed, &text(LISTED))?, "nothing came from the neighbour");
        ensure!(!browser.show(&unlisted)?.contains(&text(UNLISTED)), "an unlisted site came");
        Ok(())
    });
}
