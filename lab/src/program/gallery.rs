//! A page of a hundred files and 3 MB, as the listed site may have one, and a feed that names it. The page
//! counts what came of it, and says when all was there.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{LISTED, Stage};

/// Files of the page, beside itself.
const FILES: usize = 100;
/// Every tenth is a script; the others are pictures of so many points a side, 3 bytes each.
const SIDE: u32 = 100;
/// What the page says when all of it is there.
const SAID: &str = "loaded in ";
const SCRIPT: &str = "<script>addEventListener('load', () => {
  const { loadEventStart: ms } = performance.getEntriesByType('navigation')[0];
  const scripts = [...document.scripts].filter((s) => s.src && globalThis[s.id] === 1).length;
  const pictures = [...document.images].filter((image) => image.naturalWidth).length;
  document.body.append(`loaded in ${Math.round(ms)} ms: ${scripts + pictures} files`);
});</script>
";

/// The page.
pub struct Gallery;

impl Gallery {
    /// Where it is.
    pub const PAGE: &str = "/gallery/index.html";
    /// Where the feed is.
    pub const FEED: &str = "/gallery/feed.xml";

    /// Has the site show it.
    pub fn open(stage: &Stage) -> anyhow::Result<()> {
        let root = stage.scene.origin("origin").context("no origin")?.root(LISTED);
        let dir = root.join("gallery");
        std::fs::create_dir_all(&dir)?;
        let mut page = format!("<!doctype html><title>Gallery</title>{SCRIPT}");
        let mut noise = ChaCha8Rng::seed_from_u64(0);
        for number in 0..FILES {
            let name = file(number);
            let content = if name.ends_with("js") {
                writeln!(page, "<script id=s{number} src={name}></script>")?;
                format!("globalThis.s{number} = 1;{}\n", "//".repeat(15_000)).into_bytes()
            } else {
                writeln!(page, "<img src={name}>")?;
                picture(&mut noise)
            };
            std::fs::write(dir.join(name), content)?;
        }
        std::fs::write(dir.join("index.html"), page)?;
        let url = format!("https://{LISTED}{}", Self::PAGE);
        let feed = format!(
            "<rss version=\"2.0\"><channel><title>News</title><link>https://{LISTED}/</link>\
             <description>All of it</description><item><title>Gallery</title><link>{url}</link>\
             <guid>{url}</guid></item></channel></rss>"
        );
        std::fs::write(dir.join("feed.xml"), feed)?;
        Ok(())
    }

    /// Where it and its files are.
    pub fn paths() -> impl Iterator<Item = String> {
        let files = (0..FILES).map(|number| format!("/gallery/{}", file(number)));
        std::iter::once(Self::PAGE.to_owned()).chain(files)
    }

    /// Milliseconds until all of it was there, by what a browser shows.
    pub fn loaded(shown: &str) -> anyhow::Result<u64> {
        // Its script has the same words, before them.
        let said = shown.rsplit_once(SAID).map(|(_, said)| said).unwrap_or_default();
        let mut words = said.split_whitespace();
        let (ms, files) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        ensure!(files == FILES.to_string(), "not all of the page came: {said}");
        Ok(ms.parse()?)
    }
}

fn file(number: usize) -> String {
    let kind = if number.is_multiple_of(10) { "js" } else { "bmp" };
    format!("{number}.{kind}")
}

/// A bitmap of noise: what no coding makes smaller.
fn picture(noise: &mut ChaCha8Rng) -> Vec<u8> {
    let mut points = vec![0; (SIDE * SIDE * 3) as usize];
    noise.fill_bytes(&mut points);
    let len = 54 + SIDE * SIDE * 3;
    let numbers = [len, 0, 54, 40, SIDE, SIDE, 1 | 24 << 16, 0, 0, 0, 0, 0, 0];
    let fields = numbers.iter().flat_map(|number| number.to_le_bytes());
    b"BM".iter().copied().chain(fields).chain(points).collect()
}
