//! The answer when there is none: what was asked, what was tried, and why each way failed.
//!
//! To a browser it is a page that needs no script and loads nothing; to a program it is
//! `application/problem+json` (RFC 9457). The page stands where the site's would, under the site's
//! name, so everything on it that came from outside is escaped and its policy allows nothing but
//! its own style. It is in English only so far.

use std::fmt::Write as _;

use busel_proto::failure::{Failure, Route};
use busel_proto::sites::Why;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::request::{Body, Unanswered, full};

/// Says that a response is the node's own and not the site's; its value is the kind of problem.
pub(crate) const BUSEL_PROBLEM: HeaderName = HeaderName::from_static("busel-problem");

/// The answer to a request that could not be answered, for a program that asked with `asked`.
pub(crate) fn unanswered(why: &Unanswered, asked: &HeaderMap) -> Response<Body> {
    let tried: Vec<Value> = why
        .tried
        .iter()
        .map(|(route, failure)| {
            json!({
                "route": route.name(),
                "reason": failure.to_string(),
                "looks_censored": failure.looks_censored(),
            })
        })
        .collect();
    Problem {
        kind: "unanswered",
        status: status(why),
        title: "This page can't be had now",
        detail: None,
        asked: Some(why.url.as_str()),
        tried: &why.tried,
        private: why.private,
        advice: Some(advice(why)),
        json: vec![
            ("url", why.url.as_str().into()),
            ("tried", tried.into()),
            ("private", why.private.map(|why| why.to_string()).into()),
            ("advice", advice(why).into()),
        ],
    }
    .answer(asked)
}

/// The answer to a request that the door does not take, and why.
pub(crate) fn malformed(status: StatusCode, detail: &str, asked: &HeaderMap) -> Response<Body> {
    Problem {
        kind: "malformed",
        status,
        title: status.canonical_reason().unwrap_or("The request was not taken"),
        detail: Some(detail),
        asked: None,
        tried: &[],
        private: None,
        advice: None,
        json: vec![("detail", detail.into())],
    }
    .answer(asked)
}

/// A page of the door's own, in the problem pages' clothes. `body` is HTML.
pub(crate) fn page(status: StatusCode, title: &str, body: &str) -> Response<Body> {
    let title = escaped(title);
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</html>\n",
    );
    let mut response = respond(status, "text/html; charset=utf-8", html);
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; \
                  base-uri 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Follows the reader's choice of light or dark, and fits a telephone.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;font:1rem/1.5 system-ui,sans-serif}\
main{max-width:42rem;margin:0 auto;padding:2rem 1rem;overflow-wrap:anywhere}\
h1{font-size:1.4rem;line-height:1.25}\
dl{border-block-start:1px solid #8888;margin:1.5rem 0}\
dt{font-weight:600;margin-block-start:.75rem}\
dd{margin:0}\
footer{color:GrayText;font-size:.875rem;margin-block-start:2rem}";

struct Problem<'a> {
    kind: &'static str,
    status: StatusCode,
    title: &'a str,
    detail: Option<&'a str>,
    asked: Option<&'a str>,
    tried: &'a [(Route, Failure)],
    private: Option<Why>,
    advice: Option<&'static str>,
    /// Members besides those that every problem has.
    json: Vec<(&'static str, Value)>,
}

impl Problem<'_> {
    fn answer(self, asked: &HeaderMap) -> Response<Body> {
        let kind = HeaderValue::from_static(self.kind);
        let mut response = if wants_html(asked) { self.html() } else { self.json() };
        response.headers_mut().insert(BUSEL_PROBLEM, kind);
        response
    }

    fn json(self) -> Response<Body> {
        let mut problem = json!({
            "type": format!("urn:busel:problem:{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
        });
        for (name, value) in self.json.into_iter().filter(|(_, value)| !value.is_null()) {
            problem[name] = value;
        }
        respond(self.status, "application/problem+json", problem.to_string())
    }

    fn html(self) -> Response<Body> {
        let mut out = String::new();
        // `write!` to a String can't fail; its result is dropped.
        if let Some(url) = self.asked {
            let _ = writeln!(out, "<p><bdi>{}</bdi></p>", escaped(url));
        }
        if let Some(detail) = self.detail {
            let _ = writeln!(out, "<p><bdi>{}</bdi></p>", escaped(detail));
        }
        if !self.tried.is_empty() {
            out.push_str("<p>Busel tried these ways:</p>\n<dl>\n");
            for (route, failure) in self.tried {
                let (way, reason) = (way(*route), escaped(&failure.to_string()));
                let _ = writeln!(out, "<dt>{way}</dt><dd><bdi>{reason}</bdi></dd>");
            }
            out.push_str("</dl>\n");
        }
        if let Some(why) = self.private {
            let why = escaped(&why.to_string());
            let copies = match self.tried.iter().any(|(route, _)| *route == Route::Swarm) {
                true => "and copies of what it has for everybody",
                false => "and no copies",
            };
            let _ = writeln!(
                out,
                "<p>The request is private, because {why}: only the site itself was asked, \
                 straight or through a tunnel, {copies}.</p>"
            );
        }
        if let Some(advice) = self.advice {
            let _ = writeln!(out, "<p><strong>{}</strong></p>", escaped(advice));
        }
        let _ = writeln!(
            out,
            "<footer>Busel on this device wrote this page, the site did not. {}</footer>",
            self.status
        );
        page(self.status, self.title, &out)
    }
}

fn way(route: Route) -> &'static str {
    match route {
        Route::Local => "A copy on this device",
        Route::Direct => "The site itself",
        Route::Swarm => "Copies at other nodes",
        Route::Injector => "An injector, which fetches and signs",
        Route::Tunnel => "A tunnel through another node",
    }
}

/// 504 if all that was tried was silent, else 502. What says nothing about the way (no copy here,
/// nobody known) doesn't count.
fn status(why: &Unanswered) -> StatusCode {
    let mut counted = why.tried.iter().map(|(_, f)| f).filter(|f| !f.is_neutral()).peekable();
    let silent = |failure: &Failure| matches!(failure, Failure::Silent | Failure::Stalled);
    match counted.peek().is_some() && counted.all(silent) {
        true => StatusCode::GATEWAY_TIMEOUT,
        false => StatusCode::BAD_GATEWAY,
    }
}

/// One line of what to do.
fn advice(why: &Unanswered) -> &'static str {
    let any = |wanted: fn(&Failure) -> bool| why.tried.iter().any(|(_, failure)| wanted(failure));
    // Somebody who is known and can't be reached now is not nobody.
    let alone = |(route, failure): &(Route, Failure)| {
        matches!(route, Route::Local | Route::Direct) || *failure == Failure::NobodyKnown
    };
    if any(|f| *f == Failure::NobodyKnown) && why.tried.iter().all(alone) {
        "Busel knows no node that could help: ask someone you trust for an invite, and join."
    } else if why.private == Some(Why::NotListed) {
        "If this is a public news site, add it to your site list: then copies can be asked for too."
    } else if any(|f| *f == Failure::NameUnknown) {
        "Check the address: it may be misspelt."
    } else if any(|f| *f == Failure::ForgedCertificate) {
        "Someone on the way pretends to be the site. Do not turn off the check; try again later."
    } else {
        "Try again in a while: Busel keeps looking for ways."
    }
}

/// Whether it was a browser that asked.
fn wants_html(asked: &HeaderMap) -> bool {
    asked
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
}

fn respond(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Text as HTML text or in a quoted attribute. Control characters, which no HTML may hold, become
/// the replacement character.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && !c.is_ascii_whitespace() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use busel_proto::page::PageUrl;
    use http_body_util::BodyExt;

    use super::*;
    use crate::request::Timeline;

    fn missing(tried: Vec<(Route, Failure)>, private: Option<Why>) -> Unanswered {
        let url = PageUrl::parse("https://news.example/a?b=1&c=2").unwrap();
        Unanswered { url, tried, private, timeline: Timeline::default() }
    }

    fn browser() -> HeaderMap {
        let accept = HeaderValue::from_static("text/html,application/xhtml+xml,*/*;q=0.8");
        HeaderMap::from_iter([(header::ACCEPT, accept)])
    }

    async fn text(response: Response<Body>) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_program_is_told_each_way_and_why_it_failed() {
        let tried = vec![(Route::Direct, Failure::Reset), (Route::Swarm, Failure::NobodyHasIt)];
        let response = unanswered(&missing(tried, None), &HeaderMap::new());
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["busel-problem"], "unanswered");
        let problem: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(problem["status"], 502);
        assert_eq!(problem["url"], "https://news.example/a?b=1&c=2");
        assert_eq!(problem["tried"][0]["route"], "direct");
        assert_eq!(problem["tried"][0]["reason"], "the connection was cut by a reset");
        assert_eq!(problem["tried"][0]["looks_censored"], true);
        assert_eq!(problem["tried"][1]["looks_censored"], false);
        assert!(problem.get("private").is_none());
        assert!(problem["advice"].as_str().unwrap().len() > 10);
    }

    #[tokio::test]
    async fn a_browser_gets_a_page_that_loads_nothing_and_runs_nothing() {
        let forged = Failure::Declined("<script>alert(1)</script>\u{0}\u{202e}'\"".into());
        let tried = vec![(Route::Injector, forged)];
        let response = unanswered(&missing(tried, Some(Why::Credentials)), &browser());
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"));
        let page = text(response).await;
        assert!(page.contains("https://news.example/a?b=1&amp;c=2"));
        assert!(page.contains("it carries cookies or credentials"));
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}"));
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="));
    }

    #[test]
    fn it_is_a_time_out_only_if_all_were_silent() {
        use Failure::{NoCopy, NobodyKnown, Reset, Silent, Stalled};
        let status = |failures: &[Failure]| {
            let tried = failures.iter().map(|f| (Route::Direct, f.clone())).collect();
            unanswered(&missing(tried, None), &HeaderMap::new()).status().as_u16()
        };
        assert_eq!(status(&[NoCopy, Silent, NobodyKnown, Stalled]), 504);
        assert_eq!(status(&[Silent, Reset]), 502);
        assert_eq!(status(&[NoCopy]), 502);
        assert_eq!(status(&[]), 502);
    }

    #[test]
    fn the_advice_fits_what_failed() {
        let tried = vec![(Route::Direct, Failure::Reset), (Route::Swarm, Failure::NobodyKnown)];
        assert!(advice(&missing(tried, None)).contains("invite"));
        let cut = vec![(Route::Swarm, Failure::NobodyKnown), (Route::Injector, Failure::Silent)];
        assert!(!advice(&missing(cut, None)).contains("invite"), "an injector is known");
        assert!(advice(&missing(vec![], Some(Why::NotListed))).contains("site list"));
        assert!(advice(&missing(vec![], None)).contains("Try again"));
    }

    #[tokio::test]
    async fn a_request_that_is_not_taken_is_told_why() {
        let detail = "the door does not speak <b>";
        let response = malformed(StatusCode::NOT_IMPLEMENTED, detail, &HeaderMap::new());
        assert_eq!(response.status(), 501);
        let problem: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(problem["title"], "Not Implemented");
        assert_eq!(problem["detail"], detail);
        let response = malformed(StatusCode::BAD_REQUEST, detail, &browser());
        assert_eq!(response.status(), 400);
        assert!(text(response).await.contains("&lt;b&gt;"));
    }
}
