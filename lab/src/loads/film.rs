//! How long somebody who has begun a long film waits when they look into the middle of it, by each way,
//! beside the site itself.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{BEFORE, HOME, Loads, PATIENCE};
use crate::program::{Exposure, LISTED, Load, Reader, Stage, Way};

/// Its length.
const FILM: u64 = 32 << 20;
/// As much as a player asks for at once.
const LOOK: u64 = 256 << 10;
/// Where a player looks.
const MIDDLE: u64 = FILM / 10 * 7;

/// Measures.
pub(super) fn measure() -> anyhow::Result<Vec<Loads>> {
    let mut stage = Stage::set()?;
    let films = Films::new(&stage)?;
    let site = |film: &str| {
        let curl = stage.scene.curl(HOME).arg("-r").arg(part(MIDDLE));
        let load = curl.get(&format!("https://{LISTED}{film}"))?;
        // Whoever looks into a film has a connection already.
        Ok(waited(&load, load.asked.context("no request was sent")?))
    };
    let mut all = vec![Loads::of("the site, without Busel", || site(&films.next()?))?];
    for (way, name) in [(Way::Direct, "Direct"), (Way::Injector, "Injector, which begins it, too")]
    {
        all.push(Loads::of(name, || look(&stage, way, &films.next()?))?);
    }
    let film = films.next()?;
    look(&stage, Way::Injector, &film)?;
    all.push(Loads::of("Injector, which has it", || look(&stage, Way::Injector, &film))?);
    stage.network.warm(&film)?;
    stage.network.warm(BEFORE)?;
    stage.network.injector.kill();
    all.push(Loads::of("Swarm", || look(&stage, Way::Swarm, &film))?);
    Ok(all)
}

/// A node that has begun a film looks into the middle of it.
fn look(stage: &Stage, way: Way, film: &str) -> anyhow::Result<u64> {
    let reader = Reader::start(stage, HOME, way, Exposure::Quiet)?;
    if way != Way::Direct {
        let visit = reader.visit(stage, BEFORE, PATIENCE)?;
        ensure!(visit.passed(), "{}", visit.told());
    }
    let look = |from| reader.curl().clone().arg("-r").arg(part(from)).get(&reader.url(film));
    let (begun, load) = (look(0)?, look(MIDDLE)?);
    for load in [&begun, &load] {
        let whole = load.status == Some(206) && load.body.len() as u64 == LOOK;
        ensure!(whole, "{film}: {:?}, {} bytes, {}", load.status, load.body.len(), load.error);
    }
    let route = load.header("busel-route");
    ensure!(route == Some(way.name()), "{film} came by {route:?}");
    Ok(waited(&load, Duration::ZERO))
}

fn part(from: u64) -> String {
    format!("{from}-{}", from + LOOK - 1)
}

/// From the moment of asking until the first byte came.
fn waited(load: &Load, asked: Duration) -> u64 {
    let waited = load.ttfb.unwrap_or_default().saturating_sub(asked);
    u64::try_from(waited.as_millis()).unwrap_or(u64::MAX)
}

/// The file behind all of them.
const ONE: &str = "film.webm";

/// The film under names that nobody has asked for.
struct Films {
    dir: std::path::PathBuf,
    used: std::cell::Cell<usize>,
}

impl Films {
    fn new(stage: &Stage) -> anyhow::Result<Self> {
        let server = stage.scene.origin("origin").context("no origin")?;
        let dir = server.root(LISTED).join("films");
        std::fs::create_dir_all(&dir)?;
        let frame: Vec<u8> = (0..=u8::MAX).collect();
        std::fs::write(dir.join(ONE), frame.repeat(usize::try_from(FILM)? / frame.len()))?;
        Ok(Self { dir, used: std::cell::Cell::new(0) })
    }

    /// The path of one.
    fn next(&self) -> anyhow::Result<String> {
        let number = self.used.get();
        self.used.set(number + 1);
        let name = format!("film-{number}.webm");
        std::fs::hard_link(self.dir.join(ONE), self.dir.join(&name))?;
        Ok(format!("/films/{name}"))
    }
}
