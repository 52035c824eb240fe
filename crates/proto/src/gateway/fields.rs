//! Header fields on their way through the [`Gateway`]: what a browser says of here as its site is to hear it, and
//! what the site says as it is to be understood here.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use url::{Position, Url};

use super::{Gateway, Origin, policy};

/// Fields of an answer that would have the browser ask or tell somebody outside, or that are of a line to the site
/// which this browser doesn't have.
const DROPPED: [&str; 13] = [
    "alt-svc",
    "content-security-policy-report-only",
    "document-policy",
    "link",
    "nel",
    "report-to",
    "reporting-endpoints",
    "require-document-policy",
    "service-worker-allowed",
    "sourcemap",
    "speculation-rules",
    "strict-transport-security",
    "x-sourcemap",
];

/// Who asks for something under the gateway, as far as the browser says (W3C Fetch Metadata).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The reader, or a page here.
    Own,
    /// A page outside leads the reader here.
    Leads,
    /// A page outside wants to load something, or a program that doesn't say: it could learn from the answer what
    /// was read here.
    Stranger,
}

impl Caller {
    /// Whoever sent these fields.
    pub fn of(gateway: Gateway, headers: &HeaderMap) -> Self {
        let says = |name: &'static str| headers.get(name).and_then(|value| value.to_str().ok());
        // Only the browser writes these, and a page outside can at most have them left out.
        let page = says("origin").filter(|origin| *origin != "null").or_else(|| says("referer"));
        let page = page.and_then(|page| Url::parse(page).ok());
        match says("sec-fetch-site") {
            _ if page.is_some_and(|page| gateway.is_own(&page)) => Self::Own,
            Some("none" | "same-origin") => Self::Own,
            Some(_) if says("sec-fetch-dest") == Some("document") => Self::Leads,
            _ => Self::Stranger,
        }
    }
}

/// A browser's fields, as the site is to have them.
pub fn request(gateway: Gateway, headers: &mut HeaderMap) {
    headers.remove(header::HOST);
    if let Some(origin) = text(headers, &header::ORIGIN).and_then(|it| gateway.origin(it)) {
        replace(headers, header::ORIGIN, Some(origin.ascii()));
    }
    let referer = text(headers, &header::REFERER).and_then(|it| {
        let path = &Url::parse(it).ok()?[Position::BeforePath..Position::AfterQuery];
        Some(gateway.page(&gateway.origin(it)?, path)?.to_string())
    });
    replace(headers, header::REFERER, referer);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"));
}

/// The fields of a site's answer, as they are to be understood here. `script` as in [`policy::mapped`].
pub fn answer(
    gateway: Gateway,
    origin: &Origin,
    headers: &mut HeaderMap,
    script: Option<(&str, &str)>,
) {
    for name in DROPPED {
        headers.remove(name);
    }
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        lead(headers, name, |link| gateway.link(origin, link));
    }
    lead(headers, header::REFRESH, |told| refresh(gateway, origin, told));
    for name in
        [header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderName::from_static("timing-allow-origin")]
    {
        if let Some(own) = text(headers, &name).and_then(|it| gateway.link(origin, it)) {
            replace(headers, name, Some(own.trim_end_matches('/').to_owned()));
        }
    }
    let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).iter().map(without_domain).collect();
    headers.remove(header::SET_COOKIE);
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    // Two hosts of one site are two sites here.
    let resources = HeaderName::from_static("cross-origin-resource-policy");
    if text(headers, &resources) == Some("same-site") {
        headers.insert(resources, HeaderValue::from_static("cross-origin"));
    }
    let name = header::CONTENT_SECURITY_POLICY;
    let policies = headers.get_all(&name).iter().filter_map(|policy| policy.to_str().ok());
    let policies: Vec<_> = policies.map(|policy| policy::mapped(gateway, policy, script)).collect();
    replace(headers, name.clone(), Some(policy::closed(gateway)));
    for policy in policies.iter().filter_map(|policy| HeaderValue::from_str(policy).ok()) {
        headers.append(name.clone(), policy);
    }
    // By the referrer, pages here are told from those outside.
    let referrer = HeaderValue::from_static("strict-origin-when-cross-origin");
    headers.insert(header::REFERRER_POLICY, referrer);
    headers.insert("x-dns-prefetch-control", HeaderValue::from_static("off"));
}

/// `5; url=https://…`, with the address as it is here; `None` if it needs no change.
pub fn refresh(gateway: Gateway, origin: &Origin, text: &str) -> Option<String> {
    let at = text.find([';', ','])?;
    let (wait, rest) = text.split_at(at);
    let rest = rest[1..].trim_start();
    let named = rest.get(..3).filter(|word| word.eq_ignore_ascii_case("url"));
    let given = named.and_then(|_| rest[3..].trim_start().strip_prefix('='));
    let link = given.unwrap_or(rest).trim().trim_matches(['"', '\'']);
    Some(format!("{wait}; url={}", gateway.link(origin, link)?))
}

/// A cookie of the host alone: names here have no domain in common.
fn without_domain(cookie: &HeaderValue) -> HeaderValue {
    let is_domain = |part: &&[u8]| {
        let name = part.split(|b| *b == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"domain")
    };
    let parts: Vec<_> =
        cookie.as_bytes().split(|b| *b == b';').filter(|part| !is_domain(part)).collect();
    HeaderValue::from_bytes(&parts.join(&b';')).unwrap_or_else(|_| cookie.clone())
}

/// Has a field lead here. Some sites write addresses there as they are read, in UTF-8.
fn lead(headers: &mut HeaderMap, name: HeaderName, to: impl Fn(&str) -> Option<String>) {
    let Some(told) = headers.get(&name) else { return };
    let told = String::from_utf8_lossy(told.as_bytes()).into_owned();
    let led = to(&told).unwrap_or(told);
    let ascii = led.bytes().map(|byte| match byte {
        0x80.. => format!("%{byte:02X}"),
        _ => char::from(byte).to_string(),
    });
    replace(headers, name, Some(ascii.collect()));
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Puts `value` where any stood before; nothing if it is none, or can't be one.
fn replace(headers: &mut HeaderMap, name: HeaderName, value: Option<String>) {
    headers.remove(&name);
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::PageUrl;

    const HERE: Gateway = Gateway { port: 8118 };
    const CDN: &str = "http://cdn-example.localhost:8118";

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn answered(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = headers(fields);
        let origin = Origin::of(&PageUrl::parse("https://www.example/").unwrap());
        answer(HERE, &origin, &mut headers, None);
        headers
    }

    #[test]
    fn only_readers_and_pages_here_are_served() {
        let caller = |fields: &[(&'static str, &'static str)]| Caller::of(HERE, &headers(fields));
        let (cross, same) = (("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-origin"));
        let (document, image) = (("sec-fetch-dest", "document"), ("sec-fetch-dest", "image"));
        assert_eq!(caller(&[("sec-fetch-site", "none"), document]), Caller::Own);
        assert_eq!(caller(&[same, image]), Caller::Own);
        let here = ("referer", "http://www-example.localhost:8118/");
        assert_eq!(caller(&[cross, image, here]), Caller::Own);
        assert_eq!(caller(&[cross, document, ("referer", "http://localhost:8118/")]), Caller::Own);
        assert_eq!(caller(&[cross, ("origin", "http://www-example.localhost:8118")]), Caller::Own);
        assert_eq!(caller(&[cross, document]), Caller::Leads);
        assert_eq!(caller(&[cross, document, ("referer", "https://spy.example/")]), Caller::Leads);
        let other_port = ("referer", "http://www-example.localhost:8119/");
        assert_eq!(caller(&[cross, image, other_port]), Caller::Stranger);
        assert_eq!(
            caller(&[cross, image, ("origin", "https://spy.example"), here]),
            Caller::Stranger
        );
        assert_eq!(caller(&[cross, ("sec-fetch-dest", "iframe")]), Caller::Stranger);
        assert_eq!(caller(&[("sec-fetch-site", "same-site"), image]), Caller::Stranger);
        assert_eq!(caller(&[]), Caller::Stranger);
        // As Chromium asks for a WebSocket.
        assert_eq!(caller(&[("origin", "http://www-example.localhost:8118")]), Caller::Own);
    }

    #[test]
    fn a_site_hears_its_own_names() {
        let mut asked = headers(&[
            ("host", "www-example.localhost:8118"),
            ("origin", "http://www-example.localhost:8118"),
            ("referer", "http://http---www-example.localhost:8118/a?b#c"),
        ]);
        request(HERE, &mut asked);
        assert_eq!(asked["origin"], "https://www.example");
        assert_eq!(asked["referer"], "http://www.example/a?b");
        assert!(!asked.contains_key("host"));
        let mut asked = headers(&[("origin", "null"), ("referer", "http://localhost:8118/")]);
        request(HERE, &mut asked);
        assert_eq!(asked["origin"], "null");
        assert!(!asked.contains_key("referer"));
    }

    #[test]
    fn where_a_site_leads_is_here() {
        let location = |to| answered(&[("location", to)])["location"].to_str().unwrap().to_owned();
        assert_eq!(location("https://cdn.example/a?b"), format!("{CDN}/a?b"));
        assert_eq!(location("/a"), "/a");
        let mut raw = HeaderMap::new();
        let value = HeaderValue::from_bytes("https://cdn.example/нав".as_bytes()).unwrap();
        raw.insert("location", value);
        let origin = Origin::of(&PageUrl::parse("https://www.example/").unwrap());
        answer(HERE, &origin, &mut raw, None);
        assert_eq!(raw["location"], format!("{CDN}/%D0%BD%D0%B0%D0%B2"));
        let refresh = |to| answered(&[("refresh", to)])["refresh"].to_str().unwrap().to_owned();
        assert_eq!(refresh("5; URL = 'https://cdn.example/a'"), format!("5; url={CDN}/a"));
        assert_eq!(refresh("0,https://cdn.example/"), format!("0; url={CDN}/"));
        assert_eq!(refresh("5"), "5");
        let allowed = answered(&[("access-control-allow-origin", "https://cdn.example")]);
        assert_eq!(allowed["access-control-allow-origin"], CDN);
        let all = answered(&[("access-control-allow-origin", "*")]);
        assert_eq!(all["access-control-allow-origin"], "*");
    }

    #[test]
    fn cookies_are_of_one_host() {
        let answer = answered(&[
            ("set-cookie", "a=b; Domain=.example; Path=/; Secure"),
            ("set-cookie", "c=domain; domain = www.example"),
        ]);
        let cookies: Vec<_> = answer.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=b; Path=/; Secure", "c=domain"]);
    }

    #[test]
    fn nothing_tells_or_asks_outside() {
        let answer = answered(&[
            ("link", "<https://cdn.example/>; rel=preconnect"),
            ("nel", "{}"),
            ("content-security-policy", "img-src https://cdn.example"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-site"),
        ]);
        assert!(!answer.contains_key("link") && !answer.contains_key("nel"));
        let policies: Vec<_> = answer.get_all("content-security-policy").iter().collect();
        assert_eq!(policies.len(), 2);
        assert!(policies[0].to_str().unwrap().starts_with("default-src http://*.localhost:8118 "));
        assert_eq!(policies[1], "img-src http://*.localhost:8118 ws://*.localhost:8118");
        assert_eq!(answer["referrer-policy"], "strict-origin-when-cross-origin");
        assert_eq!(answer["cross-origin-resource-policy"], "cross-origin");
    }
}
