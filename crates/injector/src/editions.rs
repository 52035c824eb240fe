//! Editions: the pages that a publisher's feeds and sitemaps name, with all that they need to be shown, fetched and
//! signed ahead and listed in one record ([`busel_proto::edition`]), so that readers can have them before they
//! are cut off. Films are left out: they would crowd out the news.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use busel_node::{clock, decode, parts};
use busel_proto::edition::{
    Edition, Item, MAX_BYTES, MAX_FILES, MAX_ITEMS, MAX_TITLE, MEDIA_TYPE, address, is_address,
};
use busel_proto::failure::Failure;
use busel_proto::freshness;
use busel_proto::page::{HostName, PageUrl};
use busel_proto::sealed::Preview;
use busel_proto::snapshot::{Snapshot, Wanted, kept_headers};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt, Limited};
use quick_xml::events::Event;
use tokio::time::sleep;
use tracing::{debug, info};

use crate::Inner;
use crate::answer::{fetched, fly, stored};
use crate::inflight::{Sink, body_of, keep};
use crate::listing;

/// Pages of one edition.
const PAGES: usize = 100;
/// A longer file is left out, in bytes.
const LONGEST: u64 = 8 << 20;
/// What is read of a feed, a page or a style sheet, in bytes.
const READ: usize = 4 << 20;
/// Sitemaps that a sitemap may name, and addresses that are looked at in one.
const MAPS: (usize, usize) = (8, 50_000);
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
    loop {
        for (host, feeds) in &of {
            if let Err(failure) = make(&inner, host, feeds).await {
                info!(%failure, "an edition could not be made");
            }
        }
        sleep(every).await;
    }
}

/// Makes an edition, unless the last one has the same files.
async fn make(inner: &Arc<Inner>, host: &HostName, feeds: &[PageUrl]) -> Result<(), Failure> {
    let address = address(host).map_err(|e| Failure::Protocol(e.to_string()))?;
    let wanted = Wanted::page(address);
    let items = gather(inner, feeds).await;
    let last = last(inner, &wanted).await;
    if items.is_empty() || last.is_some_and(|last| last.items == items) {
        inner.node.store().touch(&wanted.key(), clock::now());
        return Ok(());
    }
    let edition = Edition { made_at: clock::now(), items };
    publish(inner, &wanted, &edition).await?;
    info!(pages = edition.pages(), files = edition.items.len(), "made an edition");
    Ok(())
}

/// The last edition, if it is still there.
async fn last(inner: &Arc<Inner>, wanted: &Wanted) -> Option<Edition> {
    let (_, body) = stored(inner, wanted, |_| true).await?;
    let body = Limited::new(body_of(&inner.node, body), MAX_BYTES).collect().await;
    Edition::from_bytes(&body.ok()?.to_bytes()).ok()
}

/// The files of an edition, fetched and signed.
async fn gather(inner: &Arc<Inner>, feeds: &[PageUrl]) -> Vec<Item> {
    let mut gathered = Gathered::default();
    let mut pages = pages_of(inner, feeds).await;
    pages.retain(|page| gathered.seen.insert(page.clone()));
    let mut needs = Vec::new();
    let mut pages = pin!(files(inner, pages, Copies::Fresh));
    while let Some((url, file)) = pages.next().await {
        if !file.kind.contains("html") {
            continue;
        }
        let parts = parts::of_page(&url, &file.snapshot.headers(), &file.text);
        let title = match parts.title.as_str() {
            "" => url.path_and_query().to_owned(),
            title => title.to_owned(),
        };
        if gathered.add(&url, &file, Some(cut(title))) {
            listing::list(inner, &file.snapshot);
            gathered.need(inner, parts.files, &mut needs);
        }
    }
    for _ in 0..ROUNDS {
        let now = std::mem::take(&mut needs);
        let mut files = pin!(files(inner, now, Copies::Fresh));
        while let Some((url, file)) = files.next().await {
            if gathered.add(&url, &file, None) && file.kind == "text/css" {
                gathered.need(inner, parts::of_style(&url, &file.text), &mut needs);
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
    /// All that was asked for, so that nothing is twice.
    seen: BTreeSet<PageUrl>,
    bytes: u64,
}

impl Gathered {
    /// Adds a file, if there is room for it.
    fn add(&mut self, url: &PageUrl, file: &File, title: Option<String>) -> bool {
        let head = file.snapshot.head();
        let fits = self.items.len() < MAX_ITEMS && self.bytes + head.len <= MAX_FILES;
        if !fits || head.status != 200 {
            return false;
        }
        self.bytes += head.len;
        self.items.push(Item { url: url.clone(), root: head.root, len: head.len, title });
        true
    }

    /// Notes which of these are to be fetched.
    fn need(&mut self, inner: &Inner, files: Vec<PageUrl>, needs: &mut Vec<PageUrl>) {
        for url in files.into_iter().map(|url| asked(inner, &url)) {
            let room = self.seen.len() < MAX_ITEMS && self.bytes < MAX_FILES;
            let good = fetched(inner, &url).is_ok() && !is_address(&url);
            if room && good && self.seen.insert(url.clone()) {
                needs.push(url);
            }
        }
    }
}

/// The address by which readers ask for a page.
fn asked(inner: &Inner, url: &PageUrl) -> PageUrl {
    let view = inner.node.joined().view();
    let https = view.sites.find(&url.host()).is_some_and(|site| site.https);
    if https { url.upgraded() } else { url.clone() }
}

/// The pages that feeds name, in their order, each once.
async fn pages_of(inner: &Arc<Inner>, feeds: &[PageUrl]) -> Vec<PageUrl> {
    let (mut pages, mut maps) = (Vec::new(), Vec::new());
    let mut feeds = pin!(files(inner, feeds.to_vec(), Copies::None));
    while let Some((_, file)) = feeds.next().await {
        match named(&file.text) {
            Named::Pages(found) => pages.extend(found),
            Named::Maps(found) => maps.extend(found),
        }
    }
    maps.truncate(MAPS.0);
    let mut maps = pin!(files(inner, maps, Copies::None));
    while let Some((_, file)) = maps.next().await {
        if let Named::Pages(found) = named(&file.text) {
            pages.extend(found);
        }
    }
    let mut seen = BTreeSet::new();
    let pages = pages.iter().map(|page| asked(inner, page));
    let good = |page: &PageUrl| fetched(inner, page).is_ok() && !is_address(page);
    pages.filter(|page| good(page) && seen.insert(page.clone())).take(PAGES).collect()
}

/// What a feed or sitemap names.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Pages(Vec<PageUrl>),
    /// Other sitemaps.
    Maps(Vec<PageUrl>),
}

/// Reads RSS, Atom or a JSON feed, or else a sitemap.
fn named(text: &[u8]) -> Named {
    let Ok(feed) = feed_rs::parser::parse(text) else { return sitemap(text) };
    let links = feed.entries.into_iter().filter_map(|entry| {
        let page =
            |link: &feed_rs::model::Link| link.rel.as_deref().is_none_or(|rel| rel == "alternate");
        entry.links.into_iter().find(page).and_then(|link| PageUrl::parse(&link.href).ok())
    });
    Named::Pages(links.collect())
}

/// Reads a sitemap (sitemaps.org), what changed last first.
fn sitemap(text: &[u8]) -> Named {
    let mut reader = quick_xml::Reader::from_reader(text);
    // When each changed, which is written so that later is greater, and its address.
    let mut all = vec![(String::new(), String::new())];
    let (mut is_index, mut within) = (false, String::new());
    while all.len() <= MAPS.1 {
        let (changed, link) = all.last_mut().expect("there is one from the start");
        let field = match within.as_str() {
            "loc" => Some(link),
            "lastmod" => Some(changed),
            _ => None,
        };
        match (reader.read_event(), field) {
            (Ok(Event::Start(tag)), _) => {
                let name = tag.name().as_ref().to_owned();
                is_index |= name == "sitemapindex";
                if name == "url" || name == "sitemap" {
                    all.push(Default::default());
                }
                within = name;
            }
            (Ok(Event::End(_)), _) => within.clear(),
            (Ok(Event::Text(text)), Some(field)) => field.push_str(text.trim()),
            (Ok(Event::CData(text)), Some(field)) => field.push_str(text.trim()),
            // In an address that is the ampersand; no other is one of an address.
            (Ok(Event::GeneralRef(name)), Some(field)) if name.as_ref() == "amp" => field.push('&'),
            (Ok(Event::Eof) | Err(_), _) => break,
            (Ok(_), _) => {}
        }
    }
    all.sort_by(|(one, _), (other, _)| other.cmp(one));
    let pages = all.iter().filter_map(|(_, link)| PageUrl::parse(link).ok()).collect();
    if is_index { Named::Maps(pages) } else { Named::Pages(pages) }
}

/// A file, signed and in the store.
struct File {
    snapshot: Snapshot,
    /// Its media type, in lower case.
    kind: String,
    /// What it says, if it is text that names others.
    text: Bytes,
}

/// Which copies that are here will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    Fresh,
    /// None: what is new is to be seen at once.
    None,
}

/// What can be had of these, in their order.
fn files(
    inner: &Arc<Inner>,
    urls: Vec<PageUrl>,
    copies: Copies,
) -> impl Stream<Item = (PageUrl, File)> {
    let inner = inner.clone();
    let files = stream::iter(urls).map(move |url| {
        let inner = inner.clone();
        async move {
            let file = file(&inner, &url, copies).await;
            if let Err(failure) = &file {
                debug!(%failure, "a file is left out of an edition");
            }
            Some((url, file.ok()?))
        }
    });
    files.buffered(AT_ONCE).filter_map(std::future::ready)
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
        None => match fetch(inner, &wanted).await {
            Ok(snapshot) => snapshot,
            // That a site is slow for once is no reason to do without its page.
            Err(failure) => stored(inner, &wanted, |_| true).await.ok_or(failure)?.0,
        },
    };
    let headers = snapshot.headers();
    let told = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let media = told.and_then(|told| told.split(';').next()).unwrap_or_default();
    let kind = media.trim().to_ascii_lowercase();
    if !["html", "css", "xml", "json"].iter().any(|text| kind.contains(text)) {
        return Ok(File { snapshot, kind, text: Bytes::new() });
    }
    let (_, body) = stored(inner, &wanted, |_| true).await.ok_or(Failure::CutOff)?;
    let body = decode::plain(&headers, body_of(&inner.node, body));
    let read = Limited::new(body, READ).collect().await;
    let text = read.map_err(|e| Failure::Protocol(e.to_string()))?.to_bytes();
    Ok(File { snapshot, kind, text })
}

async fn fetch(inner: &Arc<Inner>, wanted: &Wanted) -> Result<Snapshot, Failure> {
    let too_long = || Failure::NotAllowed("it is too long for an edition".into());
    let mut flight = fly(inner, inner.node.id(), wanted).await?;
    if flight.head().await?.len.is_some_and(|len| len > LONGEST) {
        return Err(too_long());
    }
    let snapshot = flight.kept().await?;
    if snapshot.head().len > LONGEST { Err(too_long()) } else { Ok(snapshot) }
}

/// Signs an edition, and puts it where readers ask for it.
async fn publish(inner: &Arc<Inner>, wanted: &Wanted, edition: &Edition) -> Result<(), Failure> {
    let bytes = edition.to_bytes();
    if bytes.len() > MAX_BYTES {
        return Err(Failure::NotAllowed("the edition names too much".into()));
    }
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
    listing::list(inner, &keep(inner, wanted, preview, sink).await?);
    Ok(())
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
            <url><loc><![CDATA[https://news.example/b?c&d]]></loc><lastmod>2026-01-01</lastmod></url>
            <url><loc> https://news.example/a </loc><lastmod>2026-01-02T10:00:00Z</lastmod>
            <image:image><image:loc>https://news.example/no.png</image:loc></image:image></url></urlset>"#;
        let named_by_name = "<urlset><url><loc>https://news.example/a</loc></url>\
            <url><loc>https://news.example/b?c&amp;d</loc></url></urlset>";
        for text in [rss, atom, map, named_by_name] {
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
