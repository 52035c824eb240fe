//! Pages under the gateway, changed while they stream: links and what is loaded from other sites lead to where
//! those stand here, and nothing is looked up or connected to ahead.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use busel_proto::failure::Failure;
use busel_proto::gateway::fields::refresh;
use busel_proto::gateway::{Gateway, Origin, policy};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use lol_html::html_content::{ContentType, TextChunk};
use lol_html::send::{Element, ElementContentHandlers, HtmlRewriter, Settings};
use lol_html::{AsciiCompatibleEncoding, HandlerResult, MemorySettings, Selector};

use crate::css;
use crate::parts::{candidates, plain};
use crate::request::Body;

/// What a page may have the rewriter hold at once: one tag, or one style element.
const MAX_HELD: usize = 4 * 1024 * 1024;
/// Attributes that hold one address.
const LINKS: [&str; 10] = [
    "href",
    "src",
    "action",
    "formaction",
    "poster",
    "data",
    "background",
    "cite",
    "longdesc",
    "xlink:href",
];
/// Attributes that hold several.
const LINK_SETS: [&str; 2] = ["srcset", "imagesrcset"];
/// Kinds of links by which a browser would do something ahead of being told to.
const AHEAD: [&str; 4] = ["preconnect", "dns-prefetch", "prefetch", "prerender"];

/// Where the node's own script finds a page within the page.
const WITHIN: &str = "data-busel-srcdoc";

/// How a page is changed.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) gateway: Gateway,
    pub(super) origin: Origin,
    /// What comes before all else in a page that is shown, as HTML.
    pub(super) first: Option<String>,
    /// The address and the nonce of the script in that, for the page's own policies.
    pub(super) script: Option<(String, String)>,
}

impl Change {
    /// The page, changed. `encoding` is what its `Content-Type` says.
    pub(super) fn page(self, body: Body, encoding: AsciiCompatibleEncoding) -> Page {
        let out = Arc::new(Mutex::new(Vec::new()));
        let sink = out.clone();
        let memory = MemorySettings::new().with_max_allowed_memory_usage(MAX_HELD);
        let (mut first, mut style, styles) = (self.first.clone(), String::new(), self.clone());
        let settings = Settings::new_send()
            .with_encoding(encoding)
            .with_strict(false)
            .with_adjust_charset_on_meta_tag(true)
            .with_memory_settings(memory)
            .append_element_content_handler((
                Cow::Owned(selector("*")),
                ElementContentHandlers::default().element(move |element: &mut Element<'_, '_>| {
                    self.element(element);
                    begin(element, &mut first);
                    Ok(())
                }),
            ))
            .append_element_content_handler((
                Cow::Owned(selector("style")),
                ElementContentHandlers::default()
                    .text(move |chunk: &mut TextChunk<'_>| styles.style(chunk, &mut style)),
            ));
        let write: Sink = Box::new(move |bytes| lock(&sink).extend_from_slice(bytes));
        Page { body, begun: false, rewriter: Some(HtmlRewriter::new(settings, write)), out }
    }

    fn element(&self, element: &mut Element<'_, '_>) {
        let tag = element.tag_name();
        for name in LINKS {
            self.set(element, name, |text| self.gateway.link(&self.origin, text));
        }
        for name in LINK_SETS {
            self.set(element, name, |text| self.link_set(text));
        }
        self.set(element, "style", |text| Some(self.css(&plain(text)).replace('"', "&quot;")));
        for name in ["ping", "referrerpolicy", "attributionsrc"] {
            element.remove_attribute(name);
        }
        // A page within the page is written with references, which only a browser can be trusted to read.
        if let Some(page) = element.get_attribute("srcdoc") {
            element.remove_attribute("srcdoc");
            let _ = element.set_attribute(WITHIN, &page);
        }
        match tag.as_str() {
            "link" => link(element),
            "meta" => self.meta(element),
            "script" if is(element, "type", "speculationrules") => element.remove(),
            "a" | "area" | "form" => {
                // Pages here are known to the gateway by their referrer.
                self.set(element, "rel", |rel| {
                    let kept = |word: &&str| !word.eq_ignore_ascii_case("noreferrer");
                    let words: Vec<_> = rel.split_ascii_whitespace().filter(kept).collect();
                    Some([&words[..], &["noopener"]].concat().join(" "))
                });
            }
            _ => {}
        }
    }

    fn css(&self, text: &str) -> String {
        css::rewritten(text, |link| self.gateway.link(&self.origin, link))
    }

    fn set(
        &self,
        element: &mut Element<'_, '_>,
        name: &str,
        change: impl Fn(&str) -> Option<String>,
    ) {
        let Some(text) = element.get_attribute(name) else { return };
        if let Some(changed) = change(&text).filter(|changed| *changed != text) {
            // The names are ours, and good.
            let _ = element.set_attribute(name, &changed);
        }
    }

    fn link_set(&self, text: &str) -> Option<String> {
        let own = |link: &str| self.gateway.link(&self.origin, link);
        let all = candidates(text).map(|(link, how)| {
            let link = own(link).unwrap_or_else(|| link.to_owned());
            format!("{link} {how}").trim_end().to_owned()
        });
        Some(all.collect::<Vec<_>>().join(", "))
    }

    fn meta(&self, element: &mut Element<'_, '_>) {
        if is(element, "name", "referrer") {
            return element.remove();
        }
        let kind = element.get_attribute("http-equiv").unwrap_or_default().to_ascii_lowercase();
        match kind.as_str() {
            "refresh" => self.set(element, "content", |it| refresh(self.gateway, &self.origin, it)),
            "content-security-policy" => {
                let script = self.script.as_ref().map(|(at, nonce)| (at.as_str(), nonce.as_str()));
                self.set(element, "content", |policies| {
                    Some(policy::mapped(self.gateway, &plain(policies), script))
                });
            }
            "x-dns-prefetch-control" => element.remove(),
            _ => {}
        }
    }

    /// Style elements come in pieces and are changed as a whole.
    fn style(&self, chunk: &mut TextChunk<'_>, held: &mut String) -> HandlerResult {
        if held.len() + chunk.as_str().len() > MAX_HELD {
            return Err("a style element is too long".into());
        }
        held.push_str(chunk.as_str());
        if chunk.last_in_text_node() {
            let css = self.css(&std::mem::take(held));
            chunk.replace(&css, ContentType::Html);
        } else {
            chunk.remove();
        }
        Ok(())
    }
}

fn selector(text: &str) -> Selector {
    text.parse().expect("a selector of ours")
}

fn is(element: &Element<'_, '_>, name: &str, value: &str) -> bool {
    element.get_attribute(name).is_some_and(|given| given.trim().eq_ignore_ascii_case(value))
}

fn link(element: &mut Element<'_, '_>) {
    let kinds = element.get_attribute("rel").unwrap_or_default().to_ascii_lowercase();
    let has = |kind: &str| kinds.split_ascii_whitespace().any(|word| word == kind);
    if AHEAD.iter().any(|kind| has(kind)) {
        element.remove();
    } else if has("stylesheet") {
        // It is not what the site's was.
        element.remove_attribute("integrity");
    }
}

/// Puts what comes first where it does: in the head, or before whatever stands there without one.
fn begin(element: &mut Element<'_, '_>, first: &mut Option<String>) {
    let tag = element.tag_name();
    if tag == "html" {
        return;
    }
    if let Some(first) = first.take() {
        match tag == "head" {
            true => element.prepend(&first, ContentType::Html),
            false => element.before(&first, ContentType::Html),
        }
    }
}

fn lock<T>(held: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// A page's body on its way through the rewriter.
pub(super) struct Page {
    body: Body,
    /// Whether a byte of it has come.
    begun: bool,
    /// `None` once all is written.
    rewriter: Option<HtmlRewriter<'static, Sink>>,
    out: Arc<Mutex<Vec<u8>>>,
}

impl HttpBody for Page {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Self { body, begun, rewriter, out } = &mut *self;
        while let Some(changing) = rewriter {
            let changed = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    // So marked, a browser would read it as UTF-16, whatever it is said to be.
                    Ok(data)
                        if !*begun
                            && [&[0xfe, 0xff], &[0xff, 0xfe]]
                                .iter()
                                .any(|mark| data.starts_with(*mark)) =>
                    {
                        let why = "the page is in UTF-16, which the gateway can't read".into();
                        return Poll::Ready(Some(Err(Failure::Protocol(why))));
                    }
                    Ok(data) => {
                        *begun |= !data.is_empty();
                        changing.write(&data)
                    }
                    Err(_) => continue,
                },
                Some(Err(failure)) => return Poll::Ready(Some(Err(failure))),
                None => rewriter.take().map_or(Ok(()), HtmlRewriter::end),
            };
            if let Err(error) = changed {
                *rewriter = None;
                let why = format!("the page can't be shown through the gateway: {error}");
                return Poll::Ready(Some(Err(Failure::Protocol(why))));
            }
            let bytes = std::mem::take(&mut *lock(out));
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use busel_proto::page::PageUrl;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    const CDN: &str = "http://cdn-example.localhost:8118";

    fn change(first: Option<&str>) -> Change {
        let origin = Origin::of(&PageUrl::parse("https://www.example/").unwrap());
        let script = first.map(|_| ("http://here/x.js".to_owned(), "abc".to_owned()));
        Change { gateway: Gateway::at(8118), origin, first: first.map(str::to_owned), script }
    }

    /// A page that comes in pieces of so many bytes.
    async fn pieces(change: Change, page: &[u8], size: usize) -> Result<Vec<u8>, Failure> {
        let pieces: Vec<_> =
            page.chunks(size).map(|it| Ok(Frame::data(it.to_vec().into()))).collect();
        let body = StreamBody::new(stream::iter(pieces)).boxed_unsync();
        let page = change.page(body, AsciiCompatibleEncoding::utf_8());
        Ok(page.collect().await?.to_bytes().to_vec())
    }

    async fn changed(page: &str) -> String {
        let whole = pieces(change(None), page.as_bytes(), page.len().max(1)).await.unwrap();
        for size in [1, 7] {
            assert!(pieces(change(None), page.as_bytes(), size).await.unwrap() == whole, "{size}");
        }
        String::from_utf8(whole).unwrap()
    }

    #[tokio::test]
    async fn all_that_leads_elsewhere_leads_here() {
        for (page, expected) in [
            (
                r#"<a href="https://cdn.example/a?b&amp;c#d">x</a>"#,
                r#"<a href="CDN/a?b&amp;c#d">x</a>"#,
            ),
            ("<img src=//cdn.example/a.png>", r#"<img src="CDN/a.png">"#),
            (
                r#"<img srcset="https://cdn.example/a,b.png 1x,c.png, https://cdn.example/d 2x">"#,
                r#"<img srcset="CDN/a,b.png 1x, c.png, CDN/d 2x">"#,
            ),
            (r#"<form action="https://cdn.example/">"#, r#"<form action="CDN/">"#),
            (r#"<base href="https://cdn.example/">"#, r#"<base href="CDN/">"#),
            (
                r#"<p style="background:url(&quot;https://cdn.example/a&quot;)">"#,
                r#"<p style="background:url(&quot;CDN/a&quot;)">"#,
            ),
            (
                "<style>a{b:url(https://cdn.example/a)}</style>",
                r#"<style>a{b:url("CDN/a")}</style>"#,
            ),
            (
                r#"<meta http-equiv=Refresh content="0;url=https://cdn.example/">"#,
                r#"<meta http-equiv=Refresh content="0; url=CDN/">"#,
            ),
            (
                r#"<link rel=stylesheet integrity=x href="https://cdn.example/a.css">"#,
                r#"<link rel=stylesheet href="CDN/a.css">"#,
            ),
            (
                r#"<a rel="noreferrer" ping=https://spy.example/ href=/>x</a>"#,
                r#"<a rel="noopener" href=/>x</a>"#,
            ),
            (
                r#"<svg><use xlink:href="//cdn.example/#a"/></svg>"#,
                r#"<svg><use xlink:href="CDN/#a" /></svg>"#,
            ),
        ] {
            assert_eq!(changed(page).await, expected.replace("CDN", CDN));
        }
    }

    #[tokio::test]
    async fn nothing_else_is_changed() {
        for page in [
            "",
            "plain",
            "<!doctype html><p>Навіны <a href=/a>b</a> <a href='?c'>d</a><img src=data:,>",
            "<script>var a = 'https://cdn.example/'; if (a < 1 && b > 2) {}</script>",
            "<textarea><a href=https://cdn.example/></textarea>",
            "<p <<< unclosed",
        ] {
            assert_eq!(changed(page).await, page);
        }
    }

    #[tokio::test]
    async fn nothing_is_done_ahead() {
        for page in [
            "<link rel='dns-prefetch' href=//cdn.example>",
            "<LINK REL=\"x PreConnect\" href=//cdn.example>",
            "<meta name=referrer content=no-referrer>",
            "<meta http-equiv=x-dns-prefetch-control content=on>",
            r#"<script type="speculationrules">{"prefetch":[]}</script>"#,
        ] {
            assert_eq!(changed(page).await, "", "{page}");
        }
    }

    #[tokio::test]
    async fn what_comes_first_does_with_a_head_or_without() {
        for (page, expected) in [
            ("<!doctype html><html><head><title>", "<!doctype html><html><head>FIRST<title>"),
            ("<!doctype html><title>", "<!doctype html>FIRST<title>"),
            ("<p><head>", "FIRST<p><head>"),
        ] {
            let out = pieces(change(Some("FIRST")), page.as_bytes(), 3).await.unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let page =
            r#"<meta http-equiv="Content-Security-Policy" content="script-src &#39;none&#39;">"#;
        let out = pieces(change(Some("")), page.as_bytes(), 3).await.unwrap();
        assert!(String::from_utf8(out).unwrap().contains("script-src http://here/x.js"));
    }

    #[tokio::test]
    async fn a_page_stays_in_its_own_encoding() {
        let (page, _, _) = encoding_rs::WINDOWS_1251
            .encode("<meta charset=windows-1251><a href='https://cdn.example/нав'>Навіны</a>");
        let out = pieces(change(None), &page, 5).await.unwrap();
        let (out, _, _) = encoding_rs::WINDOWS_1251.decode(&out);
        assert_eq!(out, format!("<meta charset=windows-1251><a href=\"{CDN}/нав\">Навіны</a>"));
    }

    #[tokio::test]
    async fn what_would_have_to_be_held_whole_has_a_limit() {
        let tag = format!("<a href=\"{}\">", "x".repeat(2 * MAX_HELD));
        let style = format!("<style>{}</style>", "x".repeat(2 * MAX_HELD));
        for page in [tag, style] {
            let failure = pieces(change(None), page.as_bytes(), 65536).await.unwrap_err();
            assert!(matches!(failure, Failure::Protocol(_)), "{failure}");
        }
    }
}
