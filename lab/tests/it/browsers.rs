//! Real browsers on a real page of a site that its own line resets: pictures, a font, a long script, a
//! film, a login and a chat, behind the proxy, with the device's own authority, and under a name of
//! this device.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use busel_lab::censor::{Names, SniReset};
use busel_lab::map::Point;
use busel_lab::program::{
    Busel, Chromium, DOOR, Exposure, Firefox, LISTED, MAGAZINE, Magazine, Reader, SCRIPT, Stage,
    Way,
};
use busel_lab::sandbox::inside;
use busel_lab::world::Running;
use serde_json::{Value, json};

const TRIES: usize = 3;
/// A page tries everything within this.
const PATIENCE: Duration = Duration::from_secs(110);

/// A browser of whom the test asks nothing but to open pages.
trait Browser {
    /// The same, behind the door.
    fn behind(self: Box<Self>) -> Box<dyn Browser>;
    fn believe(&self, busel: &Busel) -> anyhow::Result<String>;
    fn open(&self, url: &str) -> anyhow::Result<Running>;
}

impl Browser for Chromium {
    fn behind(self: Box<Self>) -> Box<dyn Browser> {
        Box::new(self.through(DOOR))
    }

    fn believe(&self, busel: &Busel) -> anyhow::Result<String> {
        Self::believe(self, busel)
    }

    fn open(&self, url: &str) -> anyhow::Result<Running> {
        Self::open(self, url)
    }
}

impl Browser for Firefox {
    fn behind(self: Box<Self>) -> Box<dyn Browser> {
        Box::new(self.through("127.0.0.1", 8118))
    }

    fn believe(&self, busel: &Busel) -> anyhow::Result<String> {
        Self::believe(self, busel)
    }

    fn open(&self, url: &str) -> anyhow::Result<Running> {
        Self::open(self, url)
    }
}

/// Whether all that the page tried went well.
fn went_well(name: &str, report: &Value) -> anyhow::Result<()> {
    let expected = [
        ("picture", json!(640)),
        ("font", json!(1)),
        ("script", json!(SCRIPT)),
        ("film", json!(640)),
        ("login", json!("Welcome back: is anybody there?")),
    ];
    let wrong: Vec<_> = expected.iter().filter(|(what, so)| report[*what] != *so).collect();
    ensure!(wrong.is_empty(), "{name}: {report}");
    Ok(())
}

#[allow(clippy::print_stderr, reason = "what a test that is slow waited for")]
fn reads_a_magazine(new: impl Fn(&Stage) -> anyhow::Result<Box<dyn Browser>>) {
    inside(|| {
        let stage = Stage::set()?;
        let magazine = Magazine::open(&stage)?;
        let tries = |name: &str, browser: &dyn Browser, url: &str| {
            let mut went = Ok(());
            // A browser gives up where its network just changed, and is asked again.
            for nth in 1..=TRIES {
                magazine.forget();
                let _open = browser.open(url)?;
                let report = magazine.report(PATIENCE).with_context(|| name.to_owned());
                went = report.and_then(|report| went_well(name, &report));
                match &went {
                    Ok(()) => break,
                    Err(error) => {
                        eprintln!("{name}, try {nth}: {error:#}");
                        stage.scene.world.keep_logs()?;
                    }
                }
            }
            went
        };
        let url = format!("https://{LISTED}{MAGAZINE}");
        tries("without a censor", &*new(&stage)?, &url)?;
        stage.at(Point::Border).only(SniReset::new(Names::new([LISTED])));
        let mut reader = Reader::start(&stage, "home-a", Way::Any, Exposure::Quiet)?;
        tries("end to end", &*new(&stage)?.behind(), &url)?;
        ensure!(pages(&reader)? == 0, "end to end the node saw pages");
        let believing = new(&stage)?.behind();
        believing.believe(&reader.busel)?;
        tries("by its own authority", &*believing, &url)?;
        let seen = pages(&reader)?;
        ensure!(seen > 0, "by its own authority the node saw no page");

        // Cut off without a word, the node leaves nothing behind that is in anybody's way.
        let (after, later) = (new(&stage)?, new(&stage)?.behind());
        after.believe(&reader.busel)?;
        later.believe(&reader.busel)?;
        reader.busel.kill();
        stage.at(Point::Border).clear();
        tries("once the node is gone", &*after, &url)?;
        stage.at(Point::Border).only(SniReset::new(Names::new([LISTED])));
        reader.again(&stage, Exposure::Quiet, &[])?;
        tries("once it is back", &*later, &url)?;
        tries("under a name of this device", &*new(&stage)?, &format!("{DOOR}/{url}"))
    });
}

/// How many pages a node has kept.
fn pages(reader: &Reader) -> anyhow::Result<u64> {
    reader.busel.status()?["store"]["snapshots"].as_u64().context("no count of pages")
}

#[test]
fn chromium_reads_a_magazine_in_all_three_ways() {
    reads_a_magazine(|stage| Ok(Box::new(Chromium::new(stage.host("home-a"), &stage.scene.ca)?)));
}

#[test]
fn firefox_reads_a_magazine_in_all_three_ways() {
    reads_a_magazine(|stage| Ok(Box::new(Firefox::new(stage.host("home-a"), &stage.scene.ca)?)));
}
