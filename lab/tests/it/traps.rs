//! Pages that have a browser ask elsewhere, in each way that is known: under a name of this device nothing
//! of that gets out.

use std::time::Duration;

use anyhow::ensure;
use busel_lab::censor::{Names, SniReset};
use busel_lab::map::Point;
use busel_lab::program::{
    Chromium, DOOR, Exposure, Firefox, LISTED, Reader, Stage, TRAP, Way, body,
};
use busel_lab::sandbox::inside;
use busel_lab::world::Host;

/// The page of the traps in the page itself, and that of one which leads the whole page away.
const PAGES: [&str; 2] = ["/traps", "/away"];
/// A browser that says nothing is given so long for each.
const WHILE: Duration = Duration::from_secs(12);

/// The names of all traps.
fn traps() -> Vec<String> {
    let pages = PAGES.map(|path| body(LISTED, path).unwrap_or_default());
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

/// Has a browser load both pages, without Busel and then by it. `unseen` are the traps into which it does not
/// fall without Busel either, and `shown` sees to a page, given its number.
fn falls_into_none(
    unseen: &[&str],
    shown: impl Fn(&Stage, &Host, &str, usize) -> anyhow::Result<()>,
) {
    inside(|| {
        let mut stage = Stage::set()?;
        for path in PAGES {
            stage.network.warm(path)?;
        }
        let host = stage.host("home-a").clone();
        let show = |stage: &Stage, begin: &str| {
            let pages = PAGES.iter().enumerate().map(|(number, path)| {
                shown(stage, &host, &format!("{begin}https://{LISTED}{path}"), number)
            });
            pages.collect::<Vec<_>>()
        };
        // The traps are some, and a page full of them need not come to its end.
        show(&stage, "");
        let before = asked(&stage);
        let missed: Vec<_> = traps().into_iter().filter(|trap| !before.contains(trap)).collect();
        let unseen: Vec<_> = unseen.iter().map(|trap| format!("{trap}.{TRAP}")).collect();
        ensure!(missed == unseen, "{missed:?}");
        stage.at(Point::Border).only(SniReset::new(Names::new([LISTED])));
        let reader = Reader::start(&stage, "home-a", Way::Swarm, Exposure::Quiet)?;
        stage.network.injector.kill();
        show(&stage, &format!("{DOOR}/")).into_iter().collect::<anyhow::Result<()>>()?;
        let kept = &reader.busel.status()?["store"]["snapshots"];
        ensure!(kept.as_u64() >= Some(PAGES.len() as u64), "the pages did not come: {kept}");
        let since: Vec<_> = asked(&stage).into_iter().skip(before.len()).collect();
        let out: Vec<_> = since.iter().filter(|name| name.ends_with(TRAP)).collect();
        ensure!(out.is_empty(), "{out:?}");
        Ok(())
    });
}

#[test]
fn chromium_falls_into_none_under_a_name_of_this_device() {
    // It has another picture to choose.
    falls_into_none(&["b1"], |stage, host, url, number| {
        let browser = Chromium::new(host, &stage.scene.ca)?.patient();
        let shown = browser.show(url)?;
        // What a page says that went through all, and what the other says where it was led.
        let said = ["all tried", TRAP][number];
        ensure!(shown.contains(said), "{shown}");
        Ok(())
    });
}

#[test]
fn firefox_falls_into_none_under_a_name_of_this_device() {
    // It takes no hints and no pings, and has another picture to choose.
    falls_into_none(&["a3", "a6", "b1", "c1"], |stage, host, url, _| {
        let _open = Firefox::new(host, &stage.scene.ca)?.open(url)?;
        std::thread::sleep(WHILE);
        Ok(())
    });
}
