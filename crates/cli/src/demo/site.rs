//! The news site that the demo reads: a real set of linked pages, pictures and a film, with a
//! real HTTPS server in front of it. The demo's claims are about bytes that cross sockets, so the
//! origin must be one that a browser could read as well.
//!
//! All of it is made by code from a seed, so that no file has to be shipped and two runs give the
//! same bytes. The places, people and events are invented. It is no web server for use outside
//! the demo: it holds everything in memory and listens on loopback only.

mod ca;
mod day;
mod film;
mod owner;
mod picture;
mod press;
mod server;
mod words;

pub(crate) use ca::DemoCa;
pub(crate) use owner::Owner;
pub(crate) use server::SiteServer;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;

/// The most files that `from_dir` loads.
const MAX_FILES: usize = 20_000;
/// The most bytes that `from_dir` loads, all files together.
const MAX_BYTES: u64 = 512 << 20;
/// How deep `from_dir` descends.
const MAX_DEPTH: usize = 16;

/// All pages of a site by their URL path, which is kept percent-encoded and without a query.
pub(crate) struct Site {
    pages: BTreeMap<String, Page>,
}

/// One answer that the site can give.
pub(crate) struct Page {
    /// The media type, with its charset where it is text.
    pub(crate) content_type: &'static str,
    /// The whole body.
    pub(crate) body: Bytes,
    /// A strong validator made from the body, in its quotes.
    pub(crate) etag: String,
    /// An HTTP date.
    pub(crate) last_modified: String,
}

impl Site {
    /// The invented newspaper. The same seed gives the same bytes.
    pub(crate) fn generated(seed: u64) -> Self {
        let mut site = Self { pages: BTreeMap::new() };
        press::print(seed, &mut site);
        site
    }

    /// A directory's files. Loaded once and wholly, so no request can name a file outside it;
    /// links to directories, and links to files outside it, are left out.
    pub(crate) fn from_dir(dir: &Path) -> anyhow::Result<Self> {
        let root =
            dir.canonicalize().with_context(|| format!("no such directory: {}", dir.display()))?;
        let mut site = Self { pages: BTreeMap::new() };
        let mut load = Load { root, bytes: 0 };
        let root = load.root.clone();
        load.walk(&root, "/", 0, &mut site)?;
        ensure!(site.get("/").is_some(), "{} has no index.html to start from", dir.display());
        Ok(site)
    }

    /// The URL paths of all pages, sorted; each can be put behind `https://host` as it is.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.pages.keys().map(String::as_str)
    }

    /// The page at a URL path, whichever way it is percent-encoded; a query is ignored, and a
    /// directory answers with its `index.html`.
    pub(crate) fn get(&self, path: &str) -> Option<&Page> {
        self.find(path).map(|(_, page)| page)
    }

    /// As [`Site::get`], with the path under which the page is listed.
    fn find(&self, path: &str) -> Option<(&str, &Page)> {
        let mut path = canonical(path);
        if path.ends_with('/') && !self.pages.contains_key(&path) {
            path.push_str("index.html");
        }
        let (path, page) = self.pages.get_key_value(&path)?;
        Some((path, page))
    }

    fn add(&mut self, path: &str, content_type: &'static str, body: Vec<u8>, modified: u64) {
        let page = Page {
            content_type,
            etag: format!("\"{}\"", &blake3::hash(&body).to_hex()[..20]),
            body: Bytes::from(body),
            last_modified: day::http_date(modified),
        };
        self.pages.insert(canonical(path), page);
    }
}

/// One pass over a directory.
struct Load {
    root: PathBuf,
    bytes: u64,
}

impl Load {
    fn walk(&mut self, dir: &Path, url: &str, depth: usize, site: &mut Site) -> anyhow::Result<()> {
        if depth > MAX_DEPTH {
            bail!("{} lies too deep", dir.display());
        }
        let entries =
            std::fs::read_dir(dir).with_context(|| format!("can't list {}", dir.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|n| !n.starts_with('.')) else {
                continue;
            };
            let url = format!("{url}{}", encoded(name.as_bytes()));
            if entry.file_type()?.is_dir() {
                self.walk(&entry.path(), &format!("{url}/"), depth + 1, site)?;
            } else {
                self.file(&entry.path(), &url, site)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, url: &str, site: &mut Site) -> anyhow::Result<()> {
        // A dangling link has no canonical form and is left out, as one that leads outside is.
        let Ok(real) = path.canonicalize() else {
            return Ok(());
        };
        let meta = real.metadata()?;
        if !real.starts_with(&self.root) || !meta.is_file() {
            return Ok(());
        }
        self.bytes += meta.len();
        ensure!(
            self.bytes <= MAX_BYTES && site.pages.len() < MAX_FILES,
            "the directory is too large for the demo (at most {MAX_FILES} files, {} MiB)",
            MAX_BYTES >> 20
        );
        let body =
            std::fs::read(&real).with_context(|| format!("can't read {}", real.display()))?;
        let modified = meta.modified().ok();
        let modified = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        site.add(url, content_type(url), body, modified.map_or(0, |d| d.as_secs()));
        Ok(())
    }
}

/// The one spelling of a URL path: query and fragment off, decoded, and encoded again. Dots are
/// not resolved: what lies outside the site is simply not listed.
fn canonical(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or("/");
    encoded(&decoded(path))
}

fn decoded(path: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |b: u8| char::from(b).to_digit(16);
        rest = tail;
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push((high * 16 + low) as u8);
            rest = after;
        } else {
            out.push(*first);
        }
    }
    out
}

fn encoded(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(byte) {
            out.push(char::from(*byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    out
}

fn content_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, e)| e);
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "txt" | "md" | "rst" => "text/plain; charset=utf-8",
        "json" => "application/json",
        "xml" | "rss" | "atom" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "mp4" | "m4v" => "video/mp4",
        "webm" => "video/webm",
        "mp3" => "audio/mpeg",
        "ogg" | "oga" => "audio/ogg",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "ttf" => "font/ttf",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

/// A deterministic source of choices. Not `rand`: its generators may change between versions, and
/// the site's bytes must not.
struct Dice(u64);

impl Dice {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Some number of the range.
    fn within(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1).max(1) as usize) as i32
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use super::*;

    /// What a page links to, by its `href` and `src` attributes.
    fn links(page: &Page) -> Vec<String> {
        if !page.content_type.starts_with("text/html") {
            return Vec::new();
        }
        let html = std::str::from_utf8(&page.body).expect("pages are UTF-8");
        let mut found = Vec::new();
        for attribute in ["href=\"", "src=\"", "poster=\""] {
            for part in html.split(attribute).skip(1) {
                let target = part.split('"').next().unwrap_or("");
                if target.starts_with('/') {
                    found.push(target.to_owned());
                }
            }
        }
        found
    }

    #[test]
    fn every_page_is_reached_by_links_and_no_link_is_dead() {
        let site = Site::generated(7);
        let mut seen = BTreeSet::from(["/".to_owned()]);
        let mut queue = VecDeque::from(["/".to_owned()]);
        while let Some(path) = queue.pop_front() {
            let page = site.get(&path).unwrap_or_else(|| panic!("dead link to {path}"));
            for link in links(page) {
                let link = canonical(&link);
                if seen.insert(link.clone()) {
                    queue.push_back(link);
                }
            }
        }
        let all: BTreeSet<String> = site.paths().map(str::to_owned).collect();
        assert_eq!(all, seen);
        let pages = all
            .iter()
            .filter_map(|p| site.get(p))
            .filter(|p| p.content_type.starts_with("text/html"));
        assert!(pages.count() >= 300);
    }

    #[test]
    fn a_seed_gives_the_same_bytes_and_another_seed_gives_others() {
        let (one, same, other) = (Site::generated(1), Site::generated(1), Site::generated(2));
        let tags = |s: &Site| {
            s.pages
                .iter()
                .map(|(p, page)| (p.clone(), page.etag.clone(), page.last_modified.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(tags(&one), tags(&same));
        assert_ne!(tags(&one), tags(&other));
    }

    #[test]
    fn no_text_is_left_unfilled_and_titles_differ_within_a_section() {
        let site = Site::generated(3);
        let mut titles = BTreeSet::new();
        for (path, page) in &site.pages {
            if let Ok(html) = std::str::from_utf8(&page.body)
                && page.content_type.starts_with("text/html")
            {
                let text = html.split("<body").nth(1).expect("a page has a body");
                assert!(!text.contains(['{', '}']), "{path} has an unfilled slot");
                let title = html.split("<title>").nth(1).and_then(|t| t.split('<').next());
                assert!(titles.insert(title.map(str::to_owned)), "{path} repeats {title:?}");
            }
        }
    }

    #[test]
    fn a_directory_is_served_without_what_lies_outside_it() {
        let outside = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(outside.path().join("secret.txt"), "no").expect("written");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("sub")).expect("made");
        std::fs::write(at("index.html"), "<p>front").expect("written");
        std::fs::write(at("sub/index.html"), "<p>sub").expect("written");
        std::fs::write(at("sub/a b.txt"), "space").expect("written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink(outside.path().join("secret.txt"), at("leak.txt")).expect("linked");
            symlink(outside.path(), at("leak")).expect("linked");
            symlink(at("index.html"), at("alias.html")).expect("linked");
        }
        let site = Site::from_dir(dir.path()).expect("loaded");
        assert_eq!(site.get("/").expect("front").body.as_ref(), b"<p>front");
        assert_eq!(site.get("/sub/?q").expect("sub").body.as_ref(), b"<p>sub");
        let spaced = site.get("/sub/a%20b.txt").expect("an encoded name");
        assert_eq!(spaced.content_type, "text/plain; charset=utf-8");
        assert!(site.get("/sub/%61 b.txt").is_some());
        for path in ["/leak.txt", "/leak/secret.txt", "/../secret.txt", "/sub"] {
            assert!(site.get(path).is_none(), "{path}");
        }
        #[cfg(unix)]
        assert!(site.get("/alias.html").is_some());
        let empty = tempfile::tempdir().expect("a temporary directory");
        assert!(Site::from_dir(empty.path()).is_err());
    }
}
