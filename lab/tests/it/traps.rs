//! Pages that have a browser ask elsewhere, in each way that is known: under a name of this device nothing
//! of that gets out.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use busel_lab::censor::{Names, SniReset};
use busel_lab::map::Point;
use busel_lab::program::{
    Chromium, DOOR, Exposure, Firefox, LISTED, Reader, Stage, TRAP, Way, body,
};
use busel_lab::sandbox::inside;
use busel_lab::world::Host;

/// The page of the traps in the page itself, and that of one which leads the whole page away.
const PAGES: [&str; 2] = ["/traps", "/away"];
const TRIES: usize = 3;
/// A browser that says nothing has come to a page by then.
const PATIENCE: Duration = Duration::from_secs(50);

/// The names of the traps in these pages.
fn traps(pages: &[&str]) -> Vec<String> {
    let pages: Vec<_> = pages.iter().filter_map(|path| body(LISTED, path)).collect();
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

/// How many pages a reader has.
fn kept(reader: &Reader) -> anyhow::Result<u64> {
    reader.busel.status()?["store"]["snapshots"].as_u64().context("no count of pages")
}

/// Has a browser load both pages, without Busel and then by it. `unseen` are the traps into which it does not
/// fall without Busel either, and `shown` sees to a page, given its number and what tells that it came.
fn falls_into_none(
    unseen: &[&str],
    shown: impl Fn(&Stage, &Host, &str, usize, &dyn Fn() -> bool) -> anyhow::Result<()>,
) {
    inside(|| {
        let mut stage = Stage::set()?;
        for path in PAGES {
            stage.network.warm(path)?;
        }
        let host = stage.host("home-a").clone();
        let show = |stage: &Stage, begin: &str, came: &dyn Fn(usize) -> bool| {
            let pages = PAGES.iter().enumerate().map(|(number, path)| {
                let url = format!("{begin}https://{LISTED}{path}");
                shown(stage, &host, &url, number, &|| came(number))
            });
            pages.collect::<Vec<_>>()
        };
        // The traps are some, and a page full of them need not come to its end.
        let unseen: Vec<_> = unseen.iter().map(|trap| format!("{trap}.{TRAP}")).collect();
        let missed = |pages: &[&str]| {
            let before = asked(&stage);
            let missed = traps(pages).into_iter().filter(|trap| !before.contains(trap));
            missed.collect::<Vec<_>>()
        };
        let fell = |number: usize| {
            missed(&PAGES[number..=number]).iter().all(|trap| unseen.contains(trap))
        };
        let shown = show(&stage, "", &fell);
        let missed = missed(&PAGES);
        let before = asked(&stage).len();
        ensure!(missed == unseen, "{missed:?} {shown:?}");
        stage.at(Point::Border).only(SniReset::new(Names::new([LISTED])));
        let reader = Reader::start(&stage, "home-a", Way::Swarm, Exposure::Quiet)?;
        stage.network.injector.kill();
        let came = |number: usize| kept(&reader).is_ok_and(|kept| kept > number as u64);
        let shown = show(&stage, &format!("{DOOR}/"), &came);
        shown.into_iter().collect::<anyhow::Result<()>>()?;
        let kept = kept(&reader)?;
        ensure!(kept >= PAGES.len() as u64, "the pages did not come: {kept}");
        let since: Vec<_> = asked(&stage).into_iter().skip(before).collect();
        let out: Vec<_> = since.iter().filter(|name| name.ends_with(TRAP)).collect();
        ensure!(out.is_empty(), "{out:?}");
        Ok(())
    });
}

#[test]
fn chromium_falls_into_none_under_a_name_of_this_device() {
    // It has another picture to choose.
    falls_into_none(&["b1"], |stage, host, url, number, _| {
        let browser = Chromium::new(host, &stage.scene.ca)?.patient();
        // A browser gives up where its network just changed, and is asked again.
        let mut shown = String::new();
        for _ in 0..TRIES {
            if shown.is_empty() {
                shown = browser.show(url)?;
            }
        }
        // What a page says that went through all, and what the other says where it was led.
        let said = ["all tried", TRAP][number];
        ensure!(shown.contains(said), "{shown}");
        Ok(())
    });
}

#[test]
fn firefox_falls_into_none_under_a_name_of_this_device() {
    // It takes no hints and no pings, and has another picture to choose.
    falls_into_none(&["a3", "a6", "b1", "c1"], |stage, host, url, _, came| {
        let _open = Firefox::new(host, &stage.scene.ca)?.open(url)?;
        let begun = Instant::now();
        while !came() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(200));
        }
        // And once more as long as the browser took to come to it.
        std::thread::sleep(begun.elapsed());
        Ok(())
    });
}
