//! What a page is called: canonical URLs, host names and host patterns, snapshot keys.
//!
//! Two spellings of one URL must give one key, or copies are not found; two URLs must never give
//! one key, or a copy of one is shown for the other. Canonical form is the WHATWG URL form with,
//! beyond it: no fragment, no credentials, no trailing dot of the host, unreserved characters
//! not percent-encoded, other escapes in upper case.

use std::fmt;

use minicbor::{Decode, Encode};
use url::{Host, Url};

use crate::id::SnapshotKey;

/// The longest URL that is taken, in bytes.
pub const MAX_URL: usize = 8 * 1024;

/// Why something is no page URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Longer than [`MAX_URL`].
    #[error("the address has {0} bytes, at most {MAX_URL} are allowed")]
    TooLong(usize),
    /// Not a URL.
    #[error("not a web address: {0}")]
    Malformed(String),
    /// Neither `http` nor `https`.
    #[error("only http and https addresses can be fetched, not {0}:")]
    Scheme(String),
    /// A user name or password in the URL.
    #[error("an address with a user name or password in it is never fetched for others")]
    Credentials,
}

/// A canonical `http` or `https` URL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageUrl(Url);

impl PageUrl {
    /// Reads and canonicalises a URL.
    pub fn parse(text: &str) -> Result<Self, PageError> {
        if text.len() > MAX_URL {
            return Err(PageError::TooLong(text.len()));
        }
        let url = Url::parse(text).map_err(|e| PageError::Malformed(e.to_string()))?;
        let canonical = canonical(url)?;
        match canonical.as_str().len() {
            len if len > MAX_URL => Err(PageError::TooLong(len)),
            _ => Ok(Self(canonical)),
        }
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// As the `url` crate's type.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// The host: a lower-case name without trailing dot, or an address (IPv6 without brackets).
    pub fn host(&self) -> HostName {
        match self.0.host() {
            Some(Host::Domain(name)) => HostName(name.to_owned()),
            Some(Host::Ipv4(ip)) => HostName(ip.to_string()),
            Some(Host::Ipv6(ip)) => HostName(ip.to_string()),
            None => HostName(String::new()),
        }
    }

    /// The port, given or of the scheme.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    /// Whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The query without `?`, if there is one.
    pub fn query(&self) -> Option<&str> {
        self.0.query()
    }

    /// Path and query, as a request line to the origin has them.
    pub fn path_and_query(&self) -> &str {
        &self.0[url::Position::BeforePath..url::Position::AfterQuery]
    }

    /// `host` or `host:port`, as a Host header has it.
    pub fn authority(&self) -> &str {
        &self.0[url::Position::BeforeHost..url::Position::AfterPort]
    }

    /// This page over `https` on the default port; `self` if it is `https` already or names a port,
    /// or if the URL would be too long.
    pub fn upgraded(&self) -> Self {
        let mut url = self.0.clone();
        let fits = url.as_str().len() < MAX_URL;
        if fits && url.scheme() == "http" && url.port().is_none() && url.set_scheme("https").is_ok()
        {
            return Self(url);
        }
        self.clone()
    }

    /// What a peer is asked for, for this page in `variant`.
    pub fn key(&self, variant: &Variant) -> SnapshotKey {
        let mut hasher = blake3::Hasher::new_derive_key("busel 1 snapshot key");
        hasher.update(self.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(variant.as_str().as_bytes());
        SnapshotKey(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageUrl({})", self.as_str())
    }
}

fn canonical(mut url: Url) -> Result<Url, PageError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(PageError::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(PageError::Credentials);
    }
    url.set_fragment(None);
    if let Some(Host::Domain(name)) = url.host() {
        let bare = name.trim_end_matches('.').to_owned();
        if bare.is_empty() {
            return Err(PageError::Malformed("empty host".into()));
        }
        url.set_host(Some(&bare)).map_err(|e| PageError::Malformed(e.to_string()))?;
    }
    let path = normal_escapes(url.path());
    url.set_path(&path);
    if let Some(query) = url.query().map(normal_escapes) {
        url.set_query(Some(&query));
    }
    Ok(url)
}

/// Decodes escapes of unreserved characters (RFC 3986 §2.3) and writes the others in upper case.
/// `%2E` stays: decoded, `/a/%2E%2E/b` would become another path. So does what would make an escape
/// of a stray `%`: `%%34%31` is not `%41`.
fn normal_escapes(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let code = rest.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        // `from_str_radix` takes a sign; a sign is no hex digit.
        let code = code.filter(|_| rest.as_bytes()[1] != b'+');
        let unreserved = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'~');
        match code {
            Some(c) if unreserved(c) && !(c.is_ascii_hexdigit() && ends_in_stray(&out)) => {
                out.push(char::from(c));
                rest = &rest[3..];
            }
            Some(c) => {
                out.push_str(&format!("%{c:02X}"));
                rest = &rest[3..];
            }
            None => {
                out.push('%');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Whether text of whole escapes and stray `%` ends in a stray one, alone or with one hex digit.
fn ends_in_stray(text: &str) -> bool {
    let mut last = text.bytes().rev();
    match last.next() {
        Some(b'%') => true,
        Some(c) => c.is_ascii_hexdigit() && last.next() == Some(b'%'),
        None => false,
    }
}

/// Which form of a page: what the canonical public request asked for besides the URL. Empty is the
/// default form; otherwise a short tag such as a language.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Variant(#[n(0)] String);

impl Variant {
    /// Reads a variant: at most 16 of `a-z`, `0-9` and `-`.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() <= 16
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A host: a lower-case DNS name without trailing dot, or an IP address in its usual text form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
#[cbor(transparent)]
pub struct HostName(#[n(0)] String);

impl HostName {
    /// Reads a host as a URL would: punycoded, lower case, brackets and trailing dot removed.
    pub fn parse(text: &str) -> Result<Self, PageError> {
        let text = text.trim_end_matches('.');
        match Host::parse(text) {
            // A dot that was escaped, or an ideographic one, is only now seen to be one.
            Ok(Host::Domain(name)) if name.ends_with('.') => Self::parse(&name),
            Ok(Host::Domain(name)) => Ok(Self(name)),
            Ok(Host::Ipv4(ip)) => Ok(Self(ip.to_string())),
            Ok(Host::Ipv6(ip)) => Ok(Self(ip.to_string())),
            Err(_) => match text.parse::<std::net::Ipv6Addr>() {
                Ok(ip) => Ok(Self(ip.to_string())),
                Err(_) => Err(PageError::Malformed("not a host name".into())),
            },
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, if the host is one.
    pub fn ip(&self) -> Option<std::net::IpAddr> {
        self.0.parse().ok()
    }

    /// Whether it only means something in the own network: an address that is not public, a bare
    /// name, or a name under a domain kept for local use (RFC 6761, RFC 6762, RFC 7686, RFC 8375).
    pub fn is_local(&self) -> bool {
        const LOCAL: [&str; 5] = [".local", ".localhost", ".internal", ".home.arpa", ".onion"];
        match self.ip() {
            Some(ip) => !crate::network::is_public(ip),
            None => !self.0.contains('.') || LOCAL.iter().any(|domain| self.0.ends_with(domain)),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `example.org` for that host alone, `*.example.org` for it and all below it, `*` for every host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
#[cbor(transparent)]
pub struct HostPattern(#[n(0)] String);

impl HostPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, PageError> {
        match text.strip_prefix("*.") {
            _ if text == "*" => Ok(Self("*".into())),
            Some(name) => Ok(Self(format!("*.{}", HostName::parse(name)?))),
            None => Ok(Self(HostName::parse(text)?.0)),
        }
    }

    /// Whether `host` is meant.
    pub fn matches(&self, host: &HostName) -> bool {
        match self.0.strip_prefix("*.") {
            _ if self.0 == "*" => true,
            Some(base) => {
                host.0 == base || host.0.strip_suffix(base).is_some_and(|sub| sub.ends_with('.'))
            }
            None => self.0 == host.0,
        }
    }

    /// Whether it means more than the hosts of one owner can be: every host, or all below a top-level
    /// domain.
    pub fn is_wide(&self) -> bool {
        self.0 == "*" || self.0.strip_prefix("*.").is_some_and(|base| !base.contains('.'))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for HostPattern {
    type Err = PageError;

    fn from_str(text: &str) -> Result<Self, PageError> {
        Self::parse(text)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! decoded_canonical {
    ($($name:ident),*) => {$(
        /// Only the canonical form is read.
        impl<'b, C> Decode<'b, C> for $name {
            fn decode(
                decoder: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                let text = decoder.str()?;
                Self::parse(text).ok().filter(|read| read.0 == text).ok_or_else(|| {
                    minicbor::decode::Error::message("not a host in canonical form")
                })
            }
        }
    )*};
}
decoded_canonical!(HostName, HostPattern);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canon(text: &str) -> String {
        PageUrl::parse(text).unwrap().as_str().to_owned()
    }

    #[test]
    fn spellings_of_one_page_become_one() {
        for spelling in [
            "https://News.Example/a~b/%D0%BD?q=1#top",
            "https://news.example:443/a%7eb/%d0%bd?q=1",
            "HTTPS://news.example./a~b/н?q=1#",
        ] {
            assert_eq!(canon(spelling), "https://news.example/a~b/%D0%BD?q=1");
        }
        assert_eq!(canon("http://навіны.бел"), "http://xn--80ae5ac4e2c.xn--90ais/");
    }

    #[test]
    fn a_stray_percent_sign_makes_no_escape_of_what_follows() {
        for text in ["/%%34%31", "/%4%31", "/a/%%32E%%32E/b", "/%%32%65/x", "/?%%34%31", "/100%"] {
            let once = canon(&format!("https://h.example{text}"));
            assert_eq!(canon(&once), once, "{text}");
        }
        assert_eq!(canon("https://h.example/%%34%31"), "https://h.example/%%341");
        assert_ne!(canon("https://h.example/a/%%32E%%32E/b"), canon("https://h.example/b"));
        assert_eq!(canon("https://h.example/%25%34%31"), "https://h.example/%2541");
    }

    #[test]
    fn different_pages_stay_different() {
        for (a, b) in [
            ("https://n.example/a%2Fb", "https://n.example/a/b"),
            ("http://n.example/", "https://n.example/"),
            ("https://n.example/?a", "https://n.example/"),
            ("https://n.example/%252e", "https://n.example/%2e"),
            ("https://n.example:8443/", "https://n.example/"),
        ] {
            assert_ne!(canon(a), canon(b));
        }
    }

    #[test]
    fn what_is_no_page_is_refused() {
        assert_eq!(PageUrl::parse("ftp://a/"), Err(PageError::Scheme("ftp".into())));
        assert_eq!(PageUrl::parse("https://me:pw@a/"), Err(PageError::Credentials));
        assert!(matches!(PageUrl::parse("https://./"), Err(PageError::Malformed(_))));
        assert!(matches!(PageUrl::parse("//a/"), Err(PageError::Malformed(_))));
        let long = format!("https://a/{}", "x".repeat(MAX_URL));
        assert!(matches!(PageUrl::parse(&long), Err(PageError::TooLong(_))));
    }

    #[test]
    fn upgrading_touches_only_plain_http() {
        let up = |u: &str| PageUrl::parse(u).unwrap().upgraded().as_str().to_owned();
        assert_eq!(up("http://a.example/x?y"), "https://a.example/x?y");
        assert_eq!(up("http://a.example:8080/x"), "http://a.example:8080/x");
        assert_eq!(up("https://a.example/"), "https://a.example/");
    }

    #[test]
    fn spellings_of_one_host_become_one() {
        for spelling in ["News.Example.", "news.example。", "news.example%2E", "news.example%2e."]
        {
            assert_eq!(HostName::parse(spelling).unwrap().as_str(), "news.example", "{spelling}");
        }
        assert_eq!(HostName::parse("127.1%2e").unwrap().as_str(), "127.0.0.1");
    }

    #[test]
    fn a_host_is_decoded_only_in_canonical_form() {
        for (text, good) in [
            ("news.example", true),
            ("::1", true),
            ("News.example", false),
            ("news.example.", false),
            ("news\0.example", false),
            ("", false),
        ] {
            let bytes = crate::cbor::to_vec(&text.to_owned());
            assert_eq!(minicbor::decode::<HostName>(&bytes).is_ok(), good, "{text:?}");
            assert_eq!(minicbor::decode::<HostPattern>(&bytes).is_ok(), good, "{text:?}");
        }
        for pattern in ["*", "*.news.example"] {
            let bytes = crate::cbor::to_vec(&HostPattern::parse(pattern).unwrap());
            assert_eq!(minicbor::decode::<HostPattern>(&bytes).unwrap().as_str(), pattern);
        }
    }

    #[test]
    fn hosts_of_the_own_network_are_told_apart() {
        let local = |h: &str| HostName::parse(h).unwrap().is_local();
        for host in ["localhost", "a.localhost", "router", "printer.local", "x.internal", "::1"] {
            assert!(local(host), "{host}");
        }
        for host in ["127.0.0.1", "10.0.0.9", "192.168.1.1", "a.home.arpa", "b.onion", "fd00::1"] {
            assert!(local(host), "{host}");
        }
        for host in ["news.example", "local.example", "mylocal.org", "9.9.9.9", "2620:fe::fe"] {
            assert!(!local(host), "{host}");
        }
    }

    #[test]
    fn patterns_match_whole_labels() {
        let host = |h: &str| HostName::parse(h).unwrap();
        let below = HostPattern::parse("*.News.example").unwrap();
        assert!(below.matches(&host("news.example")));
        assert!(below.matches(&host("img.news.example")));
        assert!(!below.matches(&host("fakenews.example")));
        assert!(!HostPattern::parse("news.example").unwrap().matches(&host("img.news.example")));
        assert!(HostPattern::parse("*").unwrap().matches(&host("::1")));
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point(path in "\\PC{0,40}", query in "\\PC{0,20}") {
            if let Ok(url) = PageUrl::parse(&format!("https://h.example/{path}?{query}")) {
                prop_assert_eq!(canon(url.as_str()), url.as_str());
            }
        }
    }
}
