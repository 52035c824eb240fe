//! Editions: the pages that a publisher's feeds and sitemaps name, with all that they need to be shown, fetched and
//! signed ahead and listed in one record ([`busel_proto::edition`]), so that readers can have them before they
//! are cut off. Films are left out: they would crowd out the news.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use busel_node::{clock, decode, parts};
use busel_proto::edition::{Edition, Item, MAX_BYTES, MAX_ITEMS, MAX_TITLE, MEDIA_TYPE, address};
use busel_proto::failure::Failure;
use busel_proto::freshness;
use busel_proto::page::{HostName, PageUrl};
use busel_proto::sealed::Preview;
use busel_proto::snapshot::{Snapshot, Wanted, kept_headers};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt, Limited};
use quick_xml::events::Event;
use tokio::time::sleep;
use tracing::{debug, info};

use crate::Inner;
use crate::answer::{fetched, fly, stored};
use crate::inflight::{Sink, body_of, keep};

/// Pages of one edition.
const PAGES: usize = 100;
/// Bytes of all its files.
const BYTES: u64 = 64 << 20;
/// A longer file is left out.
const LONGEST: u64 = 8 << 20;
/// What is read of a feed, a page or a style sheet, in bytes.
const READ: usize = 4 << 20;
/// Sitemaps that a sitemap may name.
const MAPS: usize = 8;
/// Style sheets that name style sheets that name …
const ROUNDS: usize = 4;
/// Files fetched from the publisher at once.
const AT_ONCE: usize = 4;
/// How long a copy of an edition may be passed on before a newer one is looked for.
const FRESH: &str = "public, max-age=900";

/// Makes editions of what these feeds name, again and again, for as long as the injector's node runs.
pub(crate) async fn follow(inner: Arc<Inner>, feeds: Vec<PageUrl>, every: Duration) {
    let mut of: BTreeMap<HostName, Vec<PageUrl>> = BTreeMap::new();
    for feed in feeds {
        of.entry(feed.host()).or_default().push(feed);
    }
    let mut last: BTreeMap<HostName, Vec<Item>> = BTreeMap::new();
    loop {
        for (host, feeds) in &of {
            let items = gather(&inner, feeds).await;
            if items.is_empty() || last.get(host) == Some(&items) {
                continue;
            }
            let edition = Edition { made_at: clock::now(), items };
            match publish(&inner, host, &edition).await {
                Ok(()) => {
                    info!(pages = edition.pages(), files = edition.items.len(), "made an edition");
                    last.insert(host.clone(), edition.items);
                }
                Err(failure) => info!(%failure, "an edition could not be made"),
            }
        }
        sleep(every).await;
    }
}

/// The files of an edition, fetched and signed.
async fn gather(inner: &Arc<Inner>, feeds: &[PageUrl]) -> Vec<Item> {
    let mut gathered = Gathered::default();
    let pages = pages_of(inner, feeds).await;
    let mut needs = Vec::new();
    for (url, file) in files(inner, pages, Copies::Fresh).await {
        let parts = parts::of_page(&url, &file.text);
        let title = match parts.title.as_str() {
            "" => url.path_and_query().to_owned(),
            title => title.to_owned(),
        };
        if gathered.add(&url, &file, Some(cut(title))) {
            needs.extend(parts.files);
        }
    }
    for _ in 0..ROUNDS {
        needs.retain(|url| !gathered.seen.contains(url));
        if needs.is_empty() {
            break;
        }
        for (url, file) in files(inner, std::mem::take(&mut needs), Copies::Fresh).await {
            if gathered.add(&url, &file, None) && file.is_style() {
                needs.extend(parts::of_style(&url, &file.text));
            }
        }
    }
    gathered.items
}

fn cut(mut title: String) -> String {
    title.truncate(title.floor_char_boundary(MAX_TITLE));
    title
}

#[derive(Default)]
struct Gathered {
    items: Vec<Item>,
    seen: BTreeSet<PageUrl>,
    bytes: u64,
}

impl Gathered {
    /// Adds a file, if there is room for it.
    fn add(&mut self, url: &PageUrl, file: &File, title: Option<String>) -> bool {
        let head = file.snapshot.head();
        let fits = self.items.len() < MAX_ITEMS && self.bytes + head.len <= BYTES;
        if !self.seen.insert(url.clone()) || !fits || head.status != 200 {
            return false;
        }
        self.bytes += head.len;
        self.items.push(Item { url: url.clone(), root: head.root, len: head.len, title });
        true
    }
}

/// The pages that feeds name, in their order, each once.
async fn pages_of(inner: &Arc<Inner>, feeds: &[PageUrl]) -> Vec<PageUrl> {
    let (mut pages, mut maps) = (Vec::new(), Vec::new());
    for (_, file) in files(inner, feeds.to_vec(), Copies::None).await {
        match named(&file.text) {
            Named::Pages(found) => pages.extend(found),
            Named::Maps(found) => maps.extend(found),
        }
    }
    maps.truncate(MAPS);
    for (_, file) in files(inner, maps, Copies::None).await {
        if let Named::Pages(found) = named(&file.text) {
            pages.extend(found);
        }
    }
    let mut seen = BTreeSet::new();
    pages.retain(|page| fetched(inner, page).is_ok() && seen.insert(page.clone()));
    pages.truncate(PAGES);
    pages
}

/// What a feed or sitemap names.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Pages(Vec<PageUrl>),
    /// Other sitemaps.
    Maps(Vec<PageUrl>),
}

/// Reads RSS, Atom or a JSON feed, or else a sitemap (sitemaps.org).
fn named(text: &[u8]) -> Named {
    let pages =
        |links: Vec<String>| links.iter().filter_map(|it| PageUrl::parse(it).ok()).collect();
    if let Ok(feed) = feed_rs::parser::parse(text) {
        let links = feed.entries.into_iter().filter_map(|entry| {
            let page = |link: &feed_rs::model::Link| {
                link.rel.as_deref().is_none_or(|rel| rel == "alternate")
            };
            entry.links.into_iter().find(page).map(|link| link.href)
        });
        return Named::Pages(pages(links.collect()));
    }
    let mut reader = quick_xml::Reader::from_reader(text);
    let (mut links, mut is_index, mut in_loc) = (Vec::new(), false, false);
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag)) => {
                is_index |= tag.local_name().as_ref() == "sitemapindex";
                in_loc = tag.local_name().as_ref() == "loc";
                if in_loc {
                    links.push(String::new());
                }
            }
            Ok(Event::End(_)) => in_loc = false,
            Ok(Event::Text(text)) if in_loc => {
                let last = links.last_mut();
                if let Some(link) = last {
                    link.push_str(text.trim());
                }
            }
            // In an address that is the ampersand; no other is one of an address.
            Ok(Event::GeneralRef(name)) if in_loc && name.as_ref() == "amp" => {
                links.iter_mut().last().into_iter().for_each(|link| link.push('&'));
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    links.truncate(PAGES.max(MAPS));
    if is_index { Named::Maps(pages(links)) } else { Named::Pages(pages(links)) }
}

/// A file, signed and in the store.
struct File {
    snapshot: Snapshot,
    /// What it says, if it is text that names others.
    text: Bytes,
}

impl File {
    fn is_style(&self) -> bool {
        kind(&self.snapshot) == "text/css"
    }
}

/// Which copies that are here will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    Fresh,
    /// None: what is new is to be seen at once.
    None,
}

/// What can be had of these, in their order.
async fn files(inner: &Arc<Inner>, urls: Vec<PageUrl>, copies: Copies) -> Vec<(PageUrl, File)> {
    let files = stream::iter(urls).map(|url| async move {
        let file = file(inner, &url, copies).await;
        if let Err(failure) = &file {
            debug!(%failure, "a file is left out of an edition");
        }
        Some((url, file.ok()?))
    });
    files.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn file(inner: &Arc<Inner>, url: &PageUrl, copies: Copies) -> Result<File, Failure> {
    fetched(inner, url)?;
    let wanted = Wanted::page(url.clone());
    let fresh = |snapshot: &Snapshot| {
        let standing = freshness::judge(snapshot, &HeaderMap::new(), clock::now());
        copies == Copies::Fresh && standing.fresh
    };
    let snapshot = match stored(inner, &wanted, fresh).await {
        Some((snapshot, _)) => snapshot,
        None => fly(inner, inner.node.id(), &wanted).await?.kept().await?,
    };
    if snapshot.head().len > LONGEST {
        return Err(Failure::NotAllowed("it is too long for an edition".into()));
    }
    let kind = kind(&snapshot);
    if !["html", "css", "xml", "json"].iter().any(|text| kind.contains(text)) {
        return Ok(File { snapshot, text: Bytes::new() });
    }
    let (_, body) = stored(inner, &wanted, |_| true).await.ok_or(Failure::CutOff)?;
    let body = decode::plain(&snapshot.headers(), body_of(&inner.node, body));
    let read = Limited::new(body, READ).collect().await;
    let text = read.map_err(|e| Failure::Protocol(e.to_string()))?.to_bytes();
    Ok(File { snapshot, text })
}

/// Its media type, in lower case.
fn kind(snapshot: &Snapshot) -> String {
    let headers = snapshot.headers();
    let told = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let media = told.and_then(|told| told.split(';').next()).unwrap_or_default();
    media.trim().to_ascii_lowercase()
}

/// Signs an edition, and puts it where readers ask for it.
async fn publish(inner: &Arc<Inner>, host: &HostName, edition: &Edition) -> Result<(), Failure> {
    let bytes = edition.to_bytes();
    if bytes.len() > MAX_BYTES {
        return Err(Failure::NotAllowed("the edition names too much".into()));
    }
    let address = address(host).map_err(|e| Failure::Protocol(e.to_string()))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(FRESH));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    let preview = Preview {
        status: 200,
        headers: kept_headers(&headers),
        fetched_at: edition.made_at,
        tls: true,
        len: Some(bytes.len() as u64),
    };
    let mut sink = Sink::start(inner)?;
    sink.write(bytes.into()).await?;
    keep(inner, &Wanted::page(address), preview, sink).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(urls: &[&str]) -> Vec<PageUrl> {
        urls.iter().map(|url| PageUrl::parse(url).unwrap()).collect()
    }

    #[test]
    fn feeds_of_each_kind_name_pages() {
        let expected =
            Named::Pages(pages(&["https://news.example/a", "https://news.example/b?c&d"]));
        let rss = r#"<?xml version="1.0"?><rss version="2.0"><channel><title>t</title>
            <link>https://news.example/</link><item><title>A</title>
            <link>https://news.example/a</link></item>
            <item><link>https://news.example/b?c&amp;d</link></item></channel></rss>"#;
        let atom = r#"<feed xmlns="http://www.w3.org/2005/Atom"><id>x</id><title>t</title>
            <updated>2026-01-01T00:00:00Z</updated><entry><id>1</id><title>A</title>
            <updated>2026-01-01T00:00:00Z</updated>
            <link rel="self" href="https://news.example/no"/><link href="https://news.example/a"/></entry>
            <entry><id>2</id><title>B</title><updated>2026-01-01T00:00:00Z</updated>
            <link rel="alternate" href="https://news.example/b?c&amp;d"/></entry></feed>"#;
        let map = r#"<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
            <url><loc> https://news.example/a </loc><lastmod>2026-01-01</lastmod></url>
            <url><loc>https://news.example/b?c&amp;d</loc></url></urlset>"#;
        for text in [rss, atom, map] {
            assert_eq!(named(text.as_bytes()), expected, "{text}");
        }
        let index =
            "<sitemapindex><sitemap><loc>https://news.example/m.xml</loc></sitemap></sitemapindex>";
        assert_eq!(named(index.as_bytes()), Named::Maps(pages(&["https://news.example/m.xml"])));
    }

    #[test]
    fn junk_names_nothing() {
        for junk in [&b""[..], b"<rss", b"<urlset><url><loc>ftp://a/</loc>", b"\xff\xff{}"] {
            assert_eq!(named(junk), Named::Pages(Vec::new()));
        }
    }

    #[test]
    fn titles_are_cut_between_letters() {
        assert_eq!(cut("ё".repeat(200)), "ё".repeat(128));
        assert_eq!(cut("a".into()), "a");
    }
}
