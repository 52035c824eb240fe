//! The gateway: names of this device, links, and what a page may load.

use busel_proto::gateway::{Gateway, Origin, Place, policy};
use busel_proto::page::{HostName, PageUrl};
use url::Url;

const PORT: u16 = 8118;

/// A name is of one origin, a link leads nowhere but here, and no policy lets a page load from outside.
pub fn gateway(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let gateway = Gateway::at(PORT);
    if let Place::Site(site) = gateway.place(&format!("{text}.localhost:{PORT}")) {
        let address = gateway.address_of(&site, "/").expect("it has a name");
        assert_eq!(gateway.origin(&address), Some(site), "{address}");
    }
    let origin = Origin::of(&PageUrl::parse("https://news.example/").expect("it is one"));
    let page = Url::parse("http://news-example.localhost:8118/a/b").expect("it is one");
    let link = gateway.link(&origin, text);
    if let Ok(there) = page.join(link.as_deref().unwrap_or(text)) {
        let web = matches!(there.scheme(), "http" | "https");
        let host = there.host_str().map(HostName::parse);
        // Who is nobody anywhere (`https://./`) is reached by no link.
        let harmless =
            host.is_none_or(|host| host.is_ok_and(|host| host.is_local())) || is_dots(&there);
        assert!(!web || harmless || gateway.is_own(&there), "{text:?} leads to {there}");
    }
    for policy in policy::mapped(gateway, text, None).split(',') {
        for directive in policy.split(';').map(str::trim) {
            let mut words = directive.split_ascii_whitespace();
            if words.next() == Some("sandbox") {
                continue;
            }
            for source in words {
                let here = source.starts_with("http://*.localhost:8118")
                    || source.starts_with("ws://*.localhost:8118");
                let net = ["http:", "https:", "ws:", "wss:"];
                let scheme = source.ends_with(':')
                    && !net.iter().any(|net| source.eq_ignore_ascii_case(net));
                assert!(here || source.starts_with('\'') || scheme, "{source} in {directive}");
            }
        }
    }
}

fn is_dots(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host.chars().all(|c| c == '.'))
}
