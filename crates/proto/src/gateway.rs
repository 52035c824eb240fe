//! Sites under addresses of this device: how a browser that knows nothing of Busel opens them.
//!
//! Each origin (RFC 6454) gets one name of one label under `.localhost`, which browsers lead to the device itself
//! and ask no resolver for (RFC 6761 §6.3): `https://www.example.org` is `http://www-example-org.localhost:8118`.
//! One label, so that no two sites share a parent domain, and with it neither cookies nor storage. The
//! mapping can be undone, so nothing is kept for it:
//!
//! * `.` is written `-`, and `-` is written `--`;
//! * what is not `https` on port 443 has before it the scheme, the port, or both, and `---`, which no host
//!   gives: `http---example-org`, `8443---example-org`, `http-8080---example-org`;
//! * a host that begins with `xn-` has `https---` before it, since browsers would decode the whole.
//!
//! What has no such name (addresses in brackets, labels of more than 63 bytes) is refused where it is asked for.

pub mod fields;
pub mod policy;

use url::{Host, Url};

use crate::page::{HostName, PageUrl};

/// The longest label (RFC 1035 §2.3.4), in bytes.
const MAX_LABEL: usize = 63;
/// Between what is not said by default and the host.
const MARK: &str = "---";
/// What all names of the gateway end in.
const LOCALHOST: &str = ".localhost";

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    https: bool,
    host: HostName,
    port: u16,
}

impl Origin {
    /// The origin of a page.
    pub fn of(url: &PageUrl) -> Self {
        Self { https: url.is_https(), host: url.host(), port: url.port() }
    }

    /// The host.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is spoken to by `https`.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Its label; `None` if it has none.
    fn label(&self) -> Option<String> {
        let host = self.host.as_str();
        let plain =
            host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        let ends = |part: &str| part.is_empty() || part.starts_with('-') || part.ends_with('-');
        if !plain || host.split('.').any(ends) {
            return None;
        }
        let usual = if self.https { 443 } else { 80 };
        let before = match (self.https, self.port) {
            // As it would be written, that is what browsers take for an encoded name.
            (true, 443) if host.starts_with("xn-") => "https---".to_owned(),
            (true, 443) => String::new(),
            (true, port) => format!("{port}{MARK}"),
            (false, port) if port == usual => format!("http{MARK}"),
            (false, port) => format!("http-{port}{MARK}"),
        };
        let label = before + &host.replace('-', "--").replace('.', "-");
        (label.len() <= MAX_LABEL).then_some(label)
    }

    /// The origin of this label.
    fn of_label(label: &str) -> Option<Self> {
        let (before, host) =
            label.split_once(MARK).filter(|(_, host)| !host.starts_with('-')).map_or(
                // Two written hyphens beside a dot give three as well; no host has that.
                (None, label),
                |(before, host)| (Some(before), host),
            );
        let (https, port) = match before {
            None | Some("https") => (true, 443),
            Some("http") => (false, 80),
            Some(before) => match before.strip_prefix("http-") {
                Some(port) => (false, port.parse().ok()?),
                None => (true, before.parse().ok()?),
            },
        };
        let host = host.replace("--", "\0").replace('-', ".").replace('\0', "-");
        let origin = Self { https, host: HostName::parse(&host).ok()?, port };
        // One name for one origin: any other spelling is none. And what is local is no site.
        (!origin.host.is_local() && origin.label()? == label).then_some(origin)
    }

    /// As an `Origin` field has it.
    fn ascii(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        match (self.https, self.port) {
            (true, 443) | (false, 80) => format!("{scheme}://{}", self.host),
            (_, port) => format!("{scheme}://{}:{port}", self.host),
        }
    }
}

/// Whom a request to the device itself means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The node, by its address or as `localhost`.
    Here,
    /// A site.
    Site(Origin),
    /// Nobody: a name that leads to this device for another reason (DNS rebinding, say), or another port.
    Nobody,
}

/// The gateway at a port of this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    port: u16,
}

impl Gateway {
    /// The gateway at `port`.
    pub fn at(port: u16) -> Self {
        Self { port }
    }

    /// Whom `authority` (a `Host` field, say) means.
    pub fn place(&self, authority: &str) -> Place {
        let authority = authority.to_ascii_lowercase();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority.as_str(), Some(80)),
        };
        // No resolver can be made to give out an address.
        if !matches!(Host::parse(host), Ok(Host::Domain(_)) | Err(_)) {
            return Place::Here;
        }
        match host.strip_suffix(LOCALHOST) {
            _ if port != Some(self.port) => Place::Nobody,
            Some(label) => Origin::of_label(label).map_or(Place::Nobody, Place::Site),
            None if host == "localhost" => Place::Here,
            None => Place::Nobody,
        }
    }

    /// Whether `url` is one of a site here, or of the node itself.
    pub fn is_own(&self, url: &Url) -> bool {
        let own = match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(LOCALHOST),
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
            None => false,
        };
        url.scheme() == "http" && own && url.port_or_known_default() == Some(self.port)
    }

    /// The origin that an `Origin` field, or the beginning of a `Referer`, names, if it is one of the sites here.
    pub fn origin(&self, url: &str) -> Option<Origin> {
        let url = Url::parse(url).ok().filter(|url| self.is_own(url))?;
        Origin::of_label(url.host_str()?.strip_suffix(LOCALHOST)?)
    }

    /// The page that `path` at `origin` is.
    pub fn page(&self, origin: &Origin, path: &str) -> Option<PageUrl> {
        PageUrl::parse(&format!("{}{path}", origin.ascii())).ok()
    }

    /// Where an origin stands here; `None` if it has no name here.
    fn own_origin(&self, origin: &Origin) -> Option<String> {
        Some(format!("http://{}{LOCALHOST}:{}", origin.label()?, self.port))
    }

    /// Where a page stands here; `None` if its site is local, or has no name here.
    pub fn address(&self, url: &PageUrl) -> Option<String> {
        let site = Some(Origin::of(url)).filter(|site| !site.host.is_local())?;
        self.address_of(&site, url.path_and_query())
    }

    /// Where `path` of a site stands here; `None` if the site has no name here.
    pub fn address_of(&self, site: &Origin, path: &str) -> Option<String> {
        Some(self.own_origin(site)? + path)
    }

    /// What a page of `origin` means by a link, if that leads to another site or names its own in full. What it
    /// says relative to itself needs no change, and what leads elsewhere than to a web site gets none. Path and
    /// query stay as they are, since how a browser reads them depends on the page's encoding.
    pub fn link(&self, origin: &Origin, text: &str) -> Option<String> {
        // As the URL standard: controls and spaces around it don't count, tabs and line ends nowhere.
        let text: String = text.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
        let text = text.trim_matches(|c: char| c <= ' ');
        let slash = ['/', '\\'];
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) if is_web(scheme) => (scheme, rest),
            _ if text.starts_with(slash) && text[1..].starts_with(slash) => {
                (if origin.https { "https" } else { "http" }, text)
            }
            _ => return None,
        };
        let rest = rest.trim_start_matches(slash);
        let (authority, rest) =
            rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let site = PageUrl::parse(&format!("{scheme}://{authority}/")).ok()?;
        if site.host().is_local() {
            return None;
        }
        Some(match self.own_origin(&Origin::of(&site)) {
            Some(own) => format!("{own}{rest}"),
            None => format!("{}{scheme}://{authority}{rest}", self.entry()),
        })
    }

    /// Before the whole URL of a page, an address that leads to where that page stands here.
    pub fn entry(&self) -> String {
        format!("http://localhost:{}/", self.port)
    }
}

fn is_web(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: Gateway = Gateway { port: 8118 };

    fn page(url: &str) -> PageUrl {
        PageUrl::parse(url).unwrap()
    }

    #[test]
    fn each_origin_has_one_name_of_one_label() {
        for (url, name) in [
            ("https://www.example.org/", "www-example-org"),
            ("http://www.example.org/", "http---www-example-org"),
            ("https://my-news.example/", "my--news-example"),
            ("https://example.org:8443/", "8443---example-org"),
            ("http://example.org:8080/", "http-8080---example-org"),
            ("https://бел.example/", "https---xn----90ais-example"),
            ("https://www.бел.example/", "www-xn----90ais-example"),
            ("https://xn-a.example/", "https---xn--a-example"),
            ("https://1.2.3.4/", "1-2-3-4"),
            ("https://8443.example/", "8443-example"),
        ] {
            let origin = Origin::of(&page(url));
            assert_eq!(origin.label().as_deref(), Some(name), "{url}");
            let host = format!("{name}.localhost:8118");
            assert_eq!(HERE.place(&host), Place::Site(origin.clone()), "{url}");
            assert_eq!(HERE.page(&origin, "/"), Some(page(url)));
        }
    }

    #[test]
    fn other_spellings_are_nobodys() {
        for host in [
            "www-example-org.localhost",
            "www-example-org.localhost:80",
            "www.example-org.localhost:8118",
            "www-example-org.localhost.evil.example:8118",
            "evil.example:8118",
            "443---example-org.localhost:8118",
            "https---example-org.localhost:8118",
            "http-80---example-org.localhost:8118",
            "ftp---example-org.localhost:8118",
            "a----.localhost:8118",
            "-a.localhost:8118",
            ".localhost:8118",
            "router.localhost:8118",
            "192-168-1-1.localhost:8118",
            "",
        ] {
            assert_eq!(HERE.place(host), Place::Nobody, "{host}");
        }
        for host in
            ["localhost:8118", "LocalHost:8118", "127.0.0.1:8118", "[::1]:8118", "192.168.1.9"]
        {
            assert_eq!(HERE.place(host), Place::Here, "{host}");
        }
        assert_eq!(Gateway::at(80).place("localhost"), Place::Here);
        assert_eq!(Gateway::at(80).place("[::1]"), Place::Here);
    }

    #[test]
    fn links_out_stay_here() {
        let origin = Origin::of(&page("https://www.example.org/"));
        let link = |text: &str| HERE.link(&origin, text);
        let other = "http://cdn-example-net.localhost:8118";
        assert_eq!(link("https://cdn.example.net/a?b#c"), Some(format!("{other}/a?b#c")));
        assert_eq!(link("//cdn.example.net/a"), Some(format!("{other}/a")));
        assert_eq!(link(" HTT\nPS:cdn.example.net\t"), Some(other.to_owned()));
        assert_eq!(link("//cdn.example.net?ё=%zz&amp;"), Some(format!("{other}?ё=%zz&amp;")));
        assert_eq!(link("\\/cdn.example.net/a"), Some(format!("{other}/a")));
        assert_eq!(link("https://me:secret@cdn.example.net/"), Some(format!("{other}/")));
        let long = format!("https://{}.example/", "a".repeat(60));
        assert_eq!(link(&long), Some(format!("http://localhost:8118/{long}")));
        for same in ["", "/", "a/b", "?q", "#x", "data:,x", "mailto:a@b.example", "/a//b"] {
            assert_eq!(link(same), None, "{same}");
        }
        assert_eq!(HERE.address(&page(&long)), None);
        for local in ["http://localhost:8118/", "http://192.168.1.1/", "https://router/"] {
            assert_eq!(link(local), None, "{local}");
        }
    }

    #[test]
    fn only_sites_here_are_taken_for_origins() {
        let own = "http://www-example-org.localhost:8118/a";
        assert_eq!(HERE.origin(own), Some(Origin::of(&page("https://www.example.org/"))));
        for other in ["http://localhost:8118/", "http://www-example-org.localhost/", "null"] {
            assert_eq!(HERE.origin(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_name_can_be_read_back(
            host in "([a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\\.){1,4}[a-z]{2,6}",
            https: bool,
            port in 1u16..,
        ) {
            let scheme = if https { "https" } else { "http" };
            let Ok(url) = PageUrl::parse(&format!("{scheme}://{host}:{port}/")) else { return Ok(()) };
            let origin = Origin::of(&url);
            if let Some(label) = origin.label() {
                prop_assert_eq!(Origin::of_label(&label), Some(origin));
            }
        }

        #[test]
        fn no_two_origins_have_one_label(
            hosts in ("[ab.-]{1,6}\\.ab", "[ab.-]{1,6}\\.ab"),
            https in (any::<bool>(), any::<bool>()),
            ports in (79u16..82, 79u16..82),
        ) {
            let origin = |host: &str, https, port| {
                let scheme = if https { "https" } else { "http" };
                Some(Origin::of(&PageUrl::parse(&format!("{scheme}://{host}:{port}/")).ok()?))
            };
            let one = origin(&hosts.0, https.0, ports.0);
            let other = origin(&hosts.1, https.1, ports.1);
            let (Some(one), Some(other)) = (one, other) else { return Ok(()) };
            if let (Some(label), Some(same)) = (one.label(), other.label()) {
                prop_assert_eq!(label == same, one == other);
            }
        }
    }
}
