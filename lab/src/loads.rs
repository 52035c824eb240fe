//! How long Chromium takes for a page of a hundred files, and the first look into a film, by each way,
//! beside the site itself. Nobody censors here: it is the price of the way that is measured. It is written
//! down, and asserted on by nobody.

mod film;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::program::{Chromium, DOOR, Exposure, Gallery, LISTED, Reader, Stage, Way};

/// Loads by each way, each with a fresh profile and a fresh node.
const LOADS: usize = 5;
const TRIES: usize = 3;
/// A page that is read before.
const BEFORE: &str = "/article";
const PATIENCE: Duration = Duration::from_secs(30);
/// Where the reader is.
const HOME: &str = "home-a";

/// The loads by one way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Loads {
    /// The way.
    pub way: String,
    /// Milliseconds from the click until all was there, ascending.
    pub ms: Vec<u64>,
}

/// All that is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Of a whole page.
    pub pages: Vec<Loads>,
    /// Of a look into a film.
    pub films: Vec<Loads>,
}

/// Measures, in a sandbox.
pub fn measure() -> anyhow::Result<Measured> {
    Ok(Measured { pages: pages()?, films: film::measure()? })
}

fn pages() -> anyhow::Result<Vec<Loads>> {
    let mut stage = Stage::set()?;
    Gallery::open(&stage)?;
    let url = format!("https://{LISTED}{}", Gallery::PAGE);
    let plain = Chromium::new(stage.host(HOME), &stage.scene.ca)?;
    let mut all =
        vec![Loads::of("the site, without Busel", || again_if_it_fails(|| load(&plain, &url)))?];
    all.push(by_node(&stage, Way::Direct, "Direct", &url)?);
    // So that the injector has it.
    by_node(&stage, Way::Injector, "Injector", &url)?;
    all.push(by_node(&stage, Way::Injector, "Injector, which has it", &url)?);
    for path in Gallery::paths().chain([BEFORE.to_owned()]) {
        stage.network.warm(&path)?;
    }
    stage.network.injector.kill();
    all.push(by_node(&stage, Way::Swarm, "Swarm", &url)?);
    all.push(again(&stage, &url)?);
    Ok(all)
}

/// Each load by a node of its own, which has nothing yet.
fn by_node(stage: &Stage, way: Way, name: &str, url: &str) -> anyhow::Result<Loads> {
    Loads::of(name, || {
        again_if_it_fails(|| {
            let (_reader, browser) = believing(stage, way)?;
            load(&browser, url)
        })
    })
}

/// All loads by one node, which has the page.
fn again(stage: &Stage, url: &str) -> anyhow::Result<Loads> {
    let (_reader, browser) = believing(stage, Way::Swarm)?;
    again_if_it_fails(|| load(&browser, url))?;
    Loads::of("Local", || again_if_it_fails(|| load(&browser, url)))
}

fn believing(stage: &Stage, way: Way) -> anyhow::Result<(Reader, Chromium)> {
    let reader = Reader::start(stage, HOME, way, Exposure::Quiet)?;
    if way != Way::Direct {
        // Whoever reads has read before: the connection to whom it comes from is there.
        let visit = reader.visit(stage, BEFORE, PATIENCE)?;
        ensure!(visit.passed(), "{}", visit.told());
    }
    let browser = Chromium::new(stage.host(HOME), &stage.scene.ca)?.through(DOOR);
    browser.believe(&reader.busel)?;
    Ok((reader, browser))
}

fn load(browser: &Chromium, url: &str) -> anyhow::Result<u64> {
    Gallery::loaded(&browser.show(url)?)
}

/// A browser gives up where its network just changed, and is asked again.
fn again_if_it_fails(load: impl Fn() -> anyhow::Result<u64>) -> anyhow::Result<u64> {
    (1..TRIES).find_map(|_| load().ok()).map_or_else(&load, Ok)
}

impl Loads {
    fn of(way: &str, mut load: impl FnMut() -> anyhow::Result<u64>) -> anyhow::Result<Self> {
        let loads = (0..LOADS).map(|_| load());
        let mut ms = loads.collect::<anyhow::Result<Vec<_>>>().with_context(|| way.to_owned())?;
        ms.sort_unstable();
        Ok(Self { way: way.to_owned(), ms })
    }

    fn median(&self) -> u64 {
        self.ms[self.ms.len() / 2]
    }
}

const HEAD: &str = "\
# Loads of a whole page

Written by `cargo xtask lab --loads`; do not edit. Chromium without a window loads a page of 100 files and 3 MB, each time with
a fresh profile, through a world where it takes 36 ms from home to abroad and back, and nobody censors. Busel
speaks for the site by the device's own authority (`busel ca install`), and its node has read another page by the way
named; *Local* is a node that has this one. Milliseconds from the click until all was there; one run on a machine
that runs the whole world on two cores: read the ratios. Wanted are 1.00× for Local and 1.30× for Swarm and Injector.

";
const TABLE: &str = "\
| way | median | least | most | beside the site itself |
| --- | --: | --: | --: | --: |
";

const FILMS: &str = "
## The first look into a film

A film of 32 MiB of which a reader has asked for the beginning: milliseconds from asking for a part in the middle until
its first byte is there (curl, beside the same world's 36 ms there and back). The site itself is measured on a connection
that is open. Wanted are less than two round trips.

";

/// The tables.
pub fn markdown(all: &Measured) -> String {
    let mut text = HEAD.to_owned();
    text.push_str(TABLE);
    rows(&mut text, &all.pages);
    text.push_str(FILMS);
    text.push_str(TABLE);
    rows(&mut text, &all.films);
    text
}

fn rows(text: &mut String, all: &[Loads]) {
    let plain = all.first().map_or(1, Loads::median).max(1);
    for loads in all {
        let (median, least, most) = (loads.median(), loads.ms[0], loads.ms[loads.ms.len() - 1]);
        let ratio = median * 100 / plain;
        let ratio = format!("{}.{:02}×", ratio / 100, ratio % 100);
        writeln!(text, "| {} | {median} | {least} | {most} | {ratio} |", loads.way)
            .expect("a String takes all");
    }
}
