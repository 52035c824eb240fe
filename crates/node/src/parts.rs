//! What a page needs to be shown, but for films: its title, and the style sheets, scripts and pictures that it names.

use std::collections::BTreeSet;

use busel_proto::page::PageUrl;
use encoding_rs::Encoding;
use http::header::{self, HeaderMap};
use lol_html::html_content::{Element, TextChunk};
use lol_html::{
    AsciiCompatibleEncoding, ElementContentHandlers, HtmlRewriter, MemorySettings, Selector,
    Settings,
};

use crate::css;

/// What is held at once of a page while it is read, in bytes.
const MAX_HELD: usize = 1 << 20;
/// Where a page names what it needs.
const NAMED: [(&str, &str); 6] = [
    ("img[src]", "src"),
    ("input[type=image][src]", "src"),
    ("script[src]", "src"),
    ("video[poster]", "poster"),
    ("link[rel~=stylesheet i][href]", "href"),
    ("link[rel~=icon i][href]", "href"),
];
/// Where it names several forms of one picture.
const SETS: [&str; 2] = ["img[srcset]", "source[srcset]"];

/// What was found in a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// Its title.
    pub title: String,
    /// The files it names, in order, each once.
    pub files: Vec<PageUrl>,
}

/// What the page `url` needs. Of one that can't be read to its end, what was found before.
pub fn of_page(url: &PageUrl, headers: &HeaderMap, html: &[u8]) -> Parts {
    let (mut links, mut base) = (Vec::new(), None);
    let (mut title, mut style) = (String::new(), String::new());
    {
        let (links, base) = (std::cell::RefCell::new(&mut links), &mut base);
        let found = |link: &str| links.borrow_mut().push(plain(link));
        let memory = MemorySettings::new().with_max_allowed_memory_usage(MAX_HELD);
        let mut settings = Settings::new()
            .with_strict(false)
            .with_memory_settings(memory)
            .with_encoding(encoding(headers))
            .with_adjust_charset_on_meta_tag(true);
        for (at, name) in NAMED {
            settings = settings.append_element_content_handler(on(at, move |element| {
                element.get_attribute(name).iter().for_each(|link| found(link));
            }));
        }
        for at in SETS {
            settings = settings.append_element_content_handler(on(at, move |element| {
                let set = element.get_attribute("srcset").unwrap_or_default();
                candidates(&set).for_each(|(link, _)| found(link));
            }));
        }
        let settings = settings
            .append_element_content_handler(on("[style]", |element| {
                let style = element.get_attribute("style").unwrap_or_default();
                css_links(&plain(&style)).iter().for_each(|link| found(link));
            }))
            .append_element_content_handler(on("base[href]", |element| {
                *base = base.take().or_else(|| element.get_attribute("href"));
            }))
            .append_element_content_handler(texts("style", |chunk| {
                style.push_str(chunk.as_str());
                if chunk.last_in_text_node() {
                    css_links(&std::mem::take(&mut style)).iter().for_each(|link| found(link));
                }
            }))
            .append_element_content_handler(texts("head > title", |chunk| {
                title.push_str(chunk.as_str());
            }));
        let mut reader = HtmlRewriter::new(settings, |_: &[u8]| {});
        if reader.write(html).is_ok() {
            // What was found up to an end that can't be read is there all the same.
            let _ = reader.end();
        }
    }
    let base = base.and_then(|base| url.as_url().join(&base).ok());
    let base = base.as_ref().unwrap_or(url.as_url());
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    Parts { title, files: pages(base, url, links) }
}

/// How its `Content-Type` says that it is written.
fn encoding(headers: &HeaderMap) -> AsciiCompatibleEncoding {
    let told = headers.get(header::CONTENT_TYPE).and_then(|told| told.to_str().ok());
    let label = told.and_then(|told| {
        told.to_ascii_lowercase().split_once("charset=").map(|it| it.1.to_owned())
    });
    let label = label.unwrap_or_default();
    let label = label.split(';').next().unwrap_or_default().trim().trim_matches('"');
    let encoding = Encoding::for_label(label.as_bytes());
    encoding.and_then(AsciiCompatibleEncoding::new).unwrap_or_else(AsciiCompatibleEncoding::utf_8)
}

/// The text of an attribute, as far as those references are in it that stand for marks of HTML itself.
pub(crate) fn plain(text: &str) -> String {
    let marks =
        [("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&apos;", "'"), ("&amp;", "&")];
    marks.iter().fold(text.to_owned(), |text, (written, mark)| text.replace(written, mark))
}

/// What the style sheet `url` needs.
pub fn of_style(url: &PageUrl, css: &[u8]) -> Vec<PageUrl> {
    pages(url.as_url(), url, css_links(&String::from_utf8_lossy(css)))
}

fn pages(base: &url::Url, own: &PageUrl, links: Vec<String>) -> Vec<PageUrl> {
    let mut seen = BTreeSet::from([own.clone()]);
    let pages = links.iter().filter_map(|link| PageUrl::parse(base.join(link).ok()?.as_str()).ok());
    pages.filter(|page| seen.insert(page.clone())).collect()
}

fn css_links(css: &str) -> Vec<String> {
    let mut links = Vec::new();
    css::rewritten(css, |link| {
        links.push(link.to_owned());
        None
    });
    links
}

/// The addresses in a `srcset`, and what each says of itself (HTML §4.8.4.2.1).
pub(crate) fn candidates(set: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = set;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (link, after) = rest.split_at(end);
        let bare = link.trim_end_matches(',');
        if bare.len() < link.len() {
            rest = after;
            return Some((bare, ""));
        }
        let (how, after) = after.split_at(after.find(',').unwrap_or(after.len()));
        rest = after;
        Some((bare, how.trim()))
    })
}

type On<'h> = (std::borrow::Cow<'static, Selector>, ElementContentHandlers<'h>);

fn on<'h>(at: &str, mut found: impl FnMut(&Element<'_, '_>) + 'h) -> On<'h> {
    let handlers =
        ElementContentHandlers::default().element(move |element: &mut Element<'_, '_>| {
            found(element);
            Ok(())
        });
    (std::borrow::Cow::Owned(at.parse().expect("a selector of ours")), handlers)
}

fn texts<'h>(at: &str, mut found: impl FnMut(&TextChunk<'_>) + 'h) -> On<'h> {
    let handlers = ElementContentHandlers::default().text(move |chunk: &mut TextChunk<'_>| {
        found(chunk);
        Ok(())
    });
    (std::borrow::Cow::Owned(at.parse().expect("a selector of ours")), handlers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(url: &str) -> PageUrl {
        PageUrl::parse(url).unwrap()
    }

    #[test]
    fn a_page_names_what_it_needs() {
        let html = r#"<!doctype html><html><head><title> Навіны
            дня</title><base href="/news/"><link rel="StyleSheet" href="a.css?x=1&amp;y=2">
            <link rel="canonical" href="/other"><script src="//cdn.example/a.js"></script>
            <style>@import "b.css"; p { background: url(/c.png) }</style></head>
            <body style="background:url(&quot;d.png&quot;)"><a href="/next">next</a>
            <img src="e.png" srcset="e.png 1x, e2.png 2x"><img src="data:,"><title>no</title>
            <video poster="f.jpg"><source src="g.webm"></video>"#;
        let parts = of_page(&page("https://news.example/a"), &HeaderMap::new(), html.as_bytes());
        assert_eq!(parts.title, "Навіны дня");
        let named: Vec<_> = parts.files.iter().map(PageUrl::as_str).collect();
        let at = |path: &str| format!("https://news.example{path}");
        let mut expected = [
            at("/news/a.css?x=1&y=2"),
            "https://cdn.example/a.js".to_owned(),
            at("/news/b.css"),
            at("/c.png"),
            at("/news/d.png"),
            at("/news/e.png"),
            at("/news/e2.png"),
            at("/news/f.jpg"),
        ];
        let mut named: Vec<_> = named.into_iter().map(str::to_owned).collect();
        named.sort();
        expected.sort();
        assert_eq!(named, expected);
    }

    #[test]
    fn titles_are_read_as_they_are_written() {
        let (title, _, _) = encoding_rs::WINDOWS_1251.encode("<html><head><title>Навіны</title>");
        let told = header::HeaderValue::from_static("text/html; charset=windows-1251");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, told)]);
        assert_eq!(of_page(&page("https://news.example/"), &headers, &title).title, "Навіны");
    }

    #[test]
    fn a_style_sheet_names_what_it_needs() {
        let css = b"@font-face{src:url(../a.woff2)} b{c:url(../a.woff2)}";
        let parts = of_style(&page("https://news.example/css/a.css"), css);
        assert_eq!(parts, [page("https://news.example/a.woff2")]);
    }

    #[test]
    fn junk_names_nothing() {
        for junk in [&b""[..], b"<<<<", b"\xff\xfe<img src=", &[0; 1000]] {
            let parts = of_page(&page("https://news.example/"), &HeaderMap::new(), junk);
            assert_eq!(parts, Parts::default());
        }
    }
}
