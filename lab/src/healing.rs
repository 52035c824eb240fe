//! Self-healing: a technique is put in force while somebody reads, and lifted again. The next pages must
//! come, by whatever way is left, and afterwards the way must be taken again that costs least: the
//! site itself, and to an injector UDP behind the veil.
//!
//! What is measured besides: the time from the moment of the block to the first good byte, and from its
//! lifting to the first page by the old way. It is written down, and asserted on by nobody.

mod report;

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::map::Point;
use crate::matrix::{Case, techniques};
use crate::program::{Exposure, Reader, Stage, Visit, Way, numbered};

pub use report::markdown;

/// Where the reader is.
const HOME: &str = "home-a";
/// How long one page may take.
const PATIENCE: Duration = Duration::from_secs(25);
/// How often a page is asked for anew under a block that ought to be got past.
const TRIES: usize = 2;
/// Pages read under the block, after the first; the helper has them.
const DURING: usize = 2;
/// A pause after which the site has closed what was open, so that a block of new connections is felt.
/// So often the reader reads once the block is lifted …
const PAUSE: Duration = Duration::from_secs(3);
/// … and so many times at most.
const LATER: usize = 18;
/// A box that nobody can switch back on.
const FOR_GOOD: &str = "power_loss";
/// Techniques that strike at protocols, where it makes a difference by which wire a node is reached.
const WIRES: [&str; 9] = [
    "udp_off",
    "unknown_udp_off",
    "fully_encrypted",
    "protocol_whitelist",
    "encapsulated_tls",
    "quic_block",
    "sni_whitelist",
    "freeze",
    "national_cut",
];
/// Of each group one that is tested every time; the others with all that takes long.
const USUAL: [&str; 10] = [
    "dns_poison",
    "ip_block",
    "sni_reset",
    "forged_certificate",
    "freeze",
    "national_cut",
    "blackout",
    "udp_off_by_wires",
    "unknown_udp_off_by_wires",
    "protocol_whitelist_by_wires",
];

/// One technique and one reader.
pub struct Plan {
    case: Case,
    way: Way,
}

/// How it went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Healed {
    /// The technique.
    pub technique: String,
    /// What the reader may use.
    pub way: String,
    /// By what pages came before.
    pub before: String,
    /// By what the first page came under the block; none if that can't be.
    pub under: Option<String>,
    /// How long after the block its first byte came.
    pub first_byte_ms: Option<u64>,
    /// How long after the lifting the first byte of a page came …
    pub again_ms: Option<u64>,
    /// … and of one by the old way.
    pub back_ms: Option<u64>,
    /// What is wrong with it.
    pub wrong: Option<String>,
}

/// All that are tested.
pub fn plans() -> Vec<Plan> {
    let lifted = |case: &Case| case.name() != FOR_GOOD;
    let any = techniques().into_iter().filter(lifted).map(|case| Plan { case, way: Way::Any });
    let by_wires = |case: &Case| WIRES.contains(&case.name());
    let wires = techniques().into_iter().filter(by_wires);
    any.chain(wires.map(|case| Plan { case, way: Way::Wires })).collect()
}

impl Plan {
    /// Its name: the technique, and the way if that is not all.
    pub fn name(&self) -> String {
        match self.way {
            Way::Any => self.case.name().to_owned(),
            way => format!("{}_by_{way}", self.case.name()),
        }
    }

    /// Whether it is tested each time.
    pub fn is_usual(&self) -> bool {
        USUAL.contains(&self.name().as_str())
    }

    /// What the reader's node shows of itself: a quiet one keeps to the relay of an injector.
    fn exposure(&self) -> Exposure {
        if self.way == Way::Wires { Exposure::Open } else { Exposure::Quiet }
    }

    /// Whether a page can come under the block.
    fn passes(&self) -> bool {
        let passes = |way| self.case.of(way, self.exposure()).passes();
        match self.way {
            Way::Wires => passes(Way::Veil) || passes(Way::Injector),
            way => passes(way),
        }
    }

    /// Runs in a sandbox: reads before, under and after the block.
    pub fn run(&self) -> anyhow::Result<Healed> {
        let stage = Stage::set()?;
        for page in 1..=DURING + 1 {
            stage.network.warm(&numbered(page))?;
        }
        let reader = Reader::start(&stage, HOME, self.way, self.exposure())?;
        let mut reading = Reading { reader, way: self.way, page: 100 };
        let before = reading.settled(&stage)?;
        let mut healed = Healed {
            technique: self.case.name().to_owned(),
            way: self.way.name().to_owned(),
            before,
            under: None,
            first_byte_ms: None,
            again_ms: None,
            back_ms: None,
            wrong: None,
        };
        std::thread::sleep(PAUSE);
        let in_force = self.case.force(&stage)?;
        self.under(&stage, &mut reading, &mut healed)?;
        for point in Point::ALL {
            stage.at(point).clear();
        }
        drop(in_force);
        reading.page = 50;
        reading.back(&stage, &mut healed)?;
        Ok(healed)
    }

    fn under(
        &self,
        stage: &Stage,
        reading: &mut Reading,
        healed: &mut Healed,
    ) -> anyhow::Result<()> {
        let since = Instant::now();
        let mut told = String::new();
        let tries = if self.passes() { TRIES } else { 1 };
        for _ in 0..tries {
            let asked = since.elapsed();
            let visit = reading.again(stage)?;
            ensure!(!visit.load.loaded() || visit.identical, "something else was shown");
            if visit.passed() {
                healed.under = Some(reading.how(&visit));
                healed.first_byte_ms = visit.load.ttfb.map(|ttfb| millis(asked + ttfb));
                break;
            }
            told = visit.told();
        }
        if !self.passes() {
            return Ok(());
        }
        if healed.under.is_none() {
            healed.wrong = Some(format!("no page came under the block: {told}"));
            return Ok(());
        }
        for _ in 0..DURING {
            std::thread::sleep(PAUSE);
            let visit = reading.next(stage)?;
            if !visit.passed() {
                healed.wrong = Some(format!("a later page did not come: {}", visit.told()));
            }
        }
        Ok(())
    }
}

/// Somebody who reads on.
struct Reading {
    reader: Reader,
    way: Way,
    /// The last page that was read.
    page: usize,
}

impl Reading {
    /// The next page.
    fn next(&mut self, stage: &Stage) -> anyhow::Result<Visit> {
        self.page += 1;
        self.reader.visit(stage, &numbered(self.page), PATIENCE)
    }

    /// The first page, until it is there.
    fn again(&mut self, stage: &Stage) -> anyhow::Result<Visit> {
        self.page = 0;
        self.next(stage)
    }

    /// By what a page came: the route, or to an injector the wire.
    fn how(&self, visit: &Visit) -> String {
        let by = if self.way == Way::Wires { &visit.wire } else { &visit.route };
        by.clone().unwrap_or_default()
    }

    /// Reads until pages come by the way that costs least; by what that is.
    fn settled(&mut self, stage: &Stage) -> anyhow::Result<String> {
        let best = if self.way == Way::Wires { "veil" } else { "direct" };
        let mut how = String::new();
        for _ in 0..LATER {
            let visit = self.next(stage)?;
            how = self.how(&visit);
            if visit.passed() && how == best {
                return Ok(how);
            }
            std::thread::sleep(PAUSE / 3);
        }
        anyhow::bail!("nothing is blocked, and pages came by {how:?} all the same")
    }

    /// Reads until a page comes as before the block.
    fn back(&mut self, stage: &Stage, healed: &mut Healed) -> anyhow::Result<()> {
        let since = Instant::now();
        let mut how = String::new();
        for _ in 0..LATER {
            std::thread::sleep(PAUSE);
            let asked = since.elapsed();
            let visit = self.next(stage)?;
            how = if visit.passed() { self.how(&visit) } else { visit.told() };
            let first_byte = visit.load.ttfb.map(|ttfb| millis(asked + ttfb));
            if visit.passed() && healed.again_ms.is_none() {
                healed.again_ms = first_byte;
            }
            if visit.passed() && how == healed.before {
                healed.back_ms = first_byte;
                return Ok(());
            }
        }
        let wrong = format!("the block was lifted, and the last page came by {how:?}");
        healed.wrong.get_or_insert(wrong);
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
