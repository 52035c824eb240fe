//! A real browser behind the door: pages that its own line does not give it, end to end, so that
//! what it accepts is the site's own certificate and nothing else.

use std::any::Any;

use anyhow::ensure;
use busel_lab::censor::{Chain, DnsPoison, Names, SniReset};
use busel_lab::map::Point;
use busel_lab::program::{
    Chromium, DOOR, Exposure, Forger, LISTED, Reader, Stage, TRAP, UNLISTED, Way, body,
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

/// The trap into which a browser does not fall without Busel either: it has another picture to choose.
const UNSEEN: [&str; 1] = ["b1"];

/// The names of all traps.
fn traps() -> Vec<String> {
    let pages = ["/traps", "/away"].map(|path| body(LISTED, path).unwrap_or_default());
    let text = String::from_utf8_lossy(&pages.concat()).into_owned();
    let mut names: Vec<_> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .filter(|word| word.ends_with(TRAP))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What a home's resolver was asked for.
fn asked(stage: &Stage) -> Vec<String> {
    let asked = stage.scene.resolver("dns-a").map(|dns| dns.asked()).unwrap_or_default();
    asked.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn reads_a_listed_site_under_a_name_of_this_device_and_nothing_gets_out() {
    inside(|| {
        let mut stage = Stage::set()?;
        for path in ["/", "/traps", "/away"] {
            stage.network.warm(path)?;
        }
        let host = stage.host("home-a").clone();
        let browser = Chromium::new(&host, &stage.scene.ca)?.patient();
        // The traps are some.
        let _ = browser.show(&format!("https://{LISTED}/traps"))?;
        let _ = browser.show(&format!("https://{LISTED}/away"))?;
        let before = asked(&stage);
        let unseen: Vec<_> = traps().into_iter().filter(|trap| !before.contains(trap)).collect();
        ensure!(unseen == UNSEEN.map(|trap| format!("{trap}.{TRAP}")), "{unseen:?}");
        stage.at(Point::Border).only(SniReset::new(sites()));
        let _reader = Reader::start(&stage, "home-a", Way::Swarm, Exposure::Quiet)?;
        stage.network.injector.kill();
        let show = |path: &str| browser.show(&format!("{DOOR}/https://{LISTED}{path}"));
        let shown = show("/")?;
        ensure!(shown.contains(&text(LISTED)), "nothing came from the neighbour: {shown}");
        let traps = show("/traps")?;
        ensure!(traps.contains("all tried"), "{traps}");
        let away = show("/away")?;
        ensure!(away.contains(TRAP), "it went nowhere: {away}");
        let since: Vec<_> = asked(&stage).into_iter().skip(before.len()).collect();
        let out: Vec<_> = since.iter().filter(|name| name.ends_with(TRAP)).collect();
        ensure!(out.is_empty(), "{out:?}");
        Ok(())
    });
}
