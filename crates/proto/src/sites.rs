//! The site list, and the one decision that privacy hangs on: may this request be shared?
//!
//! A request is *public* only if everything says so: we see its URL, it is GET or HEAD, it carries
//! nothing of the person, its host is on the site list and its query is one that the publisher's
//! rules allow. Anything else is *private*: it goes to the origin, directly or through a tunnel,
//! end to end, and is neither stored nor shown to another node. A reset link in a URL must never
//! be shared, so doubt means private.

use http::{HeaderMap, Method, header};
use minicbor::{Decode, Encode};

use crate::page::{HostName, HostPattern, PageUrl};

/// Which queries (`?…`) of a site name public pages.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum QueryRule {
    /// No query is public. The default.
    #[n(0)]
    None,
    /// A query of only these parameters is public, each at most once.
    #[n(1)]
    Only(#[n(0)] Vec<String>),
}

/// One entry of the site list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Site {
    /// The hosts meant.
    #[n(0)]
    pub hosts: HostPattern,
    /// Which queries are public.
    #[n(1)]
    pub query: QueryRule,
    /// Guarded: the provider must not see it being asked for, so a quiet node never goes to the
    /// origin directly nor asks the system's resolver for its name.
    #[n(2)]
    pub guarded: bool,
    /// The site speaks `https`: a public `http` request for it is answered with the `https` page.
    #[n(3)]
    pub https: bool,
}

impl Site {
    /// A site with the default rules: no query is public, not guarded, `https` spoken.
    pub fn new(hosts: HostPattern) -> Self {
        Self { hosts, query: QueryRule::None, guarded: false, https: true }
    }
}

/// The hosts whose pages may be shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteList(Vec<Site>);

impl SiteList {
    /// A list of these sites. Of two entries for one host the first stands.
    pub fn new(sites: Vec<Site>) -> Self {
        Self(sites)
    }

    /// The entry for `host`.
    pub fn find(&self, host: &HostName) -> Option<&Site> {
        self.0.iter().find(|site| site.hosts.matches(host))
    }

    /// The entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Site> {
        self.0.iter()
    }

    /// Adds an entry, before the others if its host is listed already.
    pub fn add(&mut self, site: Site) {
        self.0.retain(|old| old.hosts != site.hosts);
        self.0.insert(0, site);
    }

    /// Decides whether a request may be shared.
    pub fn classify(&self, method: &Method, url: &PageUrl, headers: &HeaderMap) -> Class {
        match self.why_private(method, url, headers) {
            None => Class::Public,
            Some(why) => Class::Private(why),
        }
    }

    /// Whether the page of an unlisted site has the browser ask (W3C Fetch Metadata): by what comes, and how soon,
    /// it would learn whether a copy is here. Where the reader went there is no such page.
    fn is_asked_by_a_stranger(&self, headers: &HeaderMap) -> bool {
        let says = |name, value: &str| headers.get(name).is_some_and(|given| given == value);
        let referer = headers.get(header::REFERER).and_then(|referer| referer.to_str().ok());
        let asks = referer.and_then(|referer| PageUrl::parse(referer).ok());
        says("sec-fetch-site", "cross-site")
            && !says("sec-fetch-mode", "navigate")
            && asks.is_none_or(|page| self.find(&page.host()).is_none())
    }

    fn why_private(&self, method: &Method, url: &PageUrl, headers: &HeaderMap) -> Option<Why> {
        if method != Method::GET && method != Method::HEAD {
            return Some(Why::Method);
        }
        if url.host().is_local() {
            return Some(Why::OwnNetwork);
        }
        let Some(site) = self.find(&url.host()) else { return Some(Why::NotListed) };
        if headers.keys().any(tells_of_a_person) {
            return Some(Why::Credentials);
        }
        if headers.contains_key("service-worker") {
            return Some(Why::Worker);
        }
        if headers.contains_key(header::ORIGIN) || self.is_asked_by_a_stranger(headers) {
            return Some(Why::OtherSite);
        }
        if headers.contains_key(header::UPGRADE) {
            return Some(Why::Upgrade);
        }
        if forbids_storing(headers) {
            return Some(Why::NoStore);
        }
        if url.query().is_some_and(|query| !site.query.allows(query)) {
            return Some(Why::Query);
        }
        None
    }
}

/// Words in the names of request fields that tell of a person. `Cookie` is one even if the site sets it
/// for everyone: from here that can't be told.
const PERSONAL: [&str; 6] = ["auth", "cookie", "token", "csrf", "session", "api-key"];

fn tells_of_a_person(name: &header::HeaderName) -> bool {
    PERSONAL.iter().any(|word| name.as_str().contains(word))
}

fn forbids_storing(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-store"))
}

impl QueryRule {
    /// Whether a page with this query is public.
    pub fn allows(&self, query: &str) -> bool {
        if query.is_empty() {
            return true;
        }
        let Self::Only(names) = self else { return false };
        let mut seen = Vec::new();
        url::form_urlencoded::parse(query.as_bytes()).all(|(name, _)| {
            let new = !seen.contains(&name);
            let fits = new && names.iter().any(|n| *n == name);
            seen.push(name);
            fits
        })
    }
}

/// Whether a request may be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It may be answered from copies, asked of an injector, stored and passed on.
    Public,
    /// It may not.
    Private(Why),
}

/// Why a request is private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Neither GET nor HEAD.
    #[error("only GET and HEAD can be shared")]
    Method,
    /// Its host only means something in the own network.
    #[error("hosts of the own network are not told to others")]
    OwnNetwork,
    /// Its host is not on the site list.
    #[error("the site is not on the site list")]
    NotListed,
    /// It carries cookies or credentials.
    #[error("it carries cookies or credentials")]
    Credentials,
    /// It is asked for by the page of another site, whose scripts could learn from the answer.
    #[error("the page of another site asks for it")]
    OtherSite,
    /// It asks for a script that would stay in the browser.
    #[error("it asks for a script that stays in the browser")]
    Worker,
    /// It asks for another protocol, a WebSocket say.
    #[error("it asks for another protocol")]
    Upgrade,
    /// The program that asked forbids storing.
    #[error("the request forbids storing")]
    NoStore,
    /// Its query is not one that the publisher's rules allow.
    #[error("its query may be personal")]
    Query,
}

/// Whether a response to a public request may be signed, stored and shared; if not, why.
pub fn why_not_shareable(status: u16, headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(header::SET_COOKIE) {
        return Some("it sets a cookie");
    }
    if headers.contains_key(header::WWW_AUTHENTICATE) || matches!(status, 401 | 407) {
        return Some("it asks for credentials");
    }
    let vary_all = headers
        .get_all(header::VARY)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .any(|v| v == "*" || v.eq_ignore_ascii_case("cookie"));
    if vary_all {
        return Some("it varies by visitor");
    }
    for directive in headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
    {
        let name = directive.split('=').next().unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("private") {
            return Some("it is marked private");
        }
        if name.eq_ignore_ascii_case("no-store") {
            return Some("it is marked no-store");
        }
    }
    match status {
        200 | 203 | 204 | 300 | 301 | 302 | 303 | 307 | 308 | 404 | 410 => None,
        _ => Some("its status is not one that is kept"),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn list() -> SiteList {
        let mut search = Site::new(HostPattern::parse("search.example").unwrap());
        search.query = QueryRule::Only(vec!["q".into(), "page".into()]);
        SiteList::new(vec![search, Site::new(HostPattern::parse("*.news.example").unwrap())])
    }

    fn class(method: Method, url: &str, fields: &[(&'static str, &'static str)]) -> Class {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        list().classify(&method, &PageUrl::parse(url).unwrap(), &headers)
    }

    #[test]
    fn a_plain_page_of_a_listed_site_is_public() {
        assert_eq!(class(Method::GET, "https://news.example/a", &[]), Class::Public);
        assert_eq!(class(Method::HEAD, "https://img.news.example/", &[]), Class::Public);
    }

    #[test]
    fn the_page_of_an_unlisted_site_learns_nothing_of_copies() {
        let (page, site) = ("https://news.example/a", ("sec-fetch-site", "cross-site"));
        let stranger = Class::Private(Why::OtherSite);
        let asked = |more: &[(&'static str, &'static str)]| class(Method::GET, page, more);
        assert_eq!(asked(&[site, ("sec-fetch-mode", "no-cors")]), stranger);
        assert_eq!(asked(&[site, ("referer", "https://spy.example/")]), stranger);
        assert_eq!(asked(&[("origin", "https://spy.example")]), stranger);
        assert_eq!(asked(&[site, ("referer", "https://img.news.example/")]), Class::Public);
        assert_eq!(asked(&[site, ("sec-fetch-mode", "navigate")]), Class::Public);
        assert_eq!(asked(&[("sec-fetch-site", "same-site")]), Class::Public);
    }

    #[test]
    fn doubt_means_private() {
        use Class::Private;
        let page = "https://news.example/a";
        assert_eq!(class(Method::POST, page, &[]), Private(Why::Method));
        assert_eq!(class(Method::GET, "https://bank.example/", &[]), Private(Why::NotListed));
        assert_eq!(class(Method::GET, page, &[("cookie", "a=b")]), Private(Why::Credentials));
        assert_eq!(class(Method::GET, page, &[("authorization", "x")]), Private(Why::Credentials));
        assert_eq!(class(Method::GET, page, &[("upgrade", "websocket")]), Private(Why::Upgrade));
        assert_eq!(class(Method::GET, page, &[("x-csrf-token", "x")]), Private(Why::Credentials));
        assert_eq!(class(Method::GET, page, &[("service-worker", "script")]), Private(Why::Worker));
        let no_store = &[("cache-control", "max-age=0, No-Store")];
        assert_eq!(class(Method::GET, page, no_store), Private(Why::NoStore));
        let reset = "https://news.example/reset?token=1234";
        assert_eq!(class(Method::GET, reset, &[]), Private(Why::Query));
    }

    #[test]
    fn only_the_queries_that_the_publisher_names_are_public() {
        let rule = &list().0[0].query;
        assert!(rule.allows("q=belarus&page=2"));
        assert!(rule.allows(""));
        assert!(!rule.allows("q=a&token=b"));
        assert!(!rule.allows("q=a&q=b"));
        assert!(!rule.allows("%71=a&%71=b"));
    }

    #[test]
    fn a_personal_answer_is_not_shared() {
        let why = |status, name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            why_not_shareable(status, &headers)
        };
        assert_eq!(why(200, "content-type", "text/html"), None);
        assert!(why(200, "set-cookie", "a=b").is_some());
        assert!(why(200, "cache-control", "Private=\"x\"").is_some());
        assert!(why(200, "cache-control", "max-age=1, no-store").is_some());
        assert!(why(200, "vary", "Accept, Cookie").is_some());
        assert!(why(401, "content-type", "text/html").is_some());
        assert!(why(500, "content-type", "text/html").is_some());
    }
}
