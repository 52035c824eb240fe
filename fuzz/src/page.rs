//! Canonical URLs, hosts and host patterns.

use busel_proto::page::{HostName, HostPattern, MAX_URL, PageUrl, Variant};

/// Canonical form is a fixed point, its parts make up the whole, and its key names it alone.
pub fn page_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    host(text);
    pattern(text);
    let Ok(url) = PageUrl::parse(text) else { return };
    same(&url);
    same(&url.upgraded());
    let scheme = if url.is_https() { "https://" } else { "http://" };
    let joined = format!("{scheme}{}{}", url.authority(), url.path_and_query());
    assert_eq!(joined, url.as_str(), "scheme, authority, path and query make up the whole");
    assert!(!url.authority().contains('@') && !url.as_str().contains(['#', '\0']));
    assert!(url.path_and_query().starts_with('/'));
    let host = url.host();
    assert_eq!(HostName::parse(host.as_str()).as_ref(), Ok(&host), "a host has one form");
    let pattern = HostPattern::parse(host.as_str()).expect("a host is a pattern");
    assert!(pattern.matches(&host));
}

fn same(url: &PageUrl) {
    assert!(url.as_str().len() <= MAX_URL);
    let again = PageUrl::parse(url.as_str());
    assert_eq!(again.as_ref(), Ok(url), "canonical form is a fixed point");
    let default = Variant::default();
    let other = Variant::parse("be").expect("a fixed variant");
    assert_eq!(again.map(|again| again.key(&default)), Ok(url.key(&default)));
    assert_ne!(url.key(&default), url.key(&other));
}

fn host(text: &str) {
    let Ok(host) = HostName::parse(text) else { return };
    assert!(!host.as_str().is_empty());
    assert_eq!(HostName::parse(host.as_str()).as_ref(), Ok(&host), "a host has one form");
}

fn pattern(text: &str) {
    let Ok(pattern) = HostPattern::parse(text) else { return };
    assert_eq!(HostPattern::parse(pattern.as_str()).as_ref(), Ok(&pattern), "one form");
}
