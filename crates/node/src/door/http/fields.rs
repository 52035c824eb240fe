//! Header fields as far as they concern the door: which end here, and what those say that do.

use data_encoding::BASE64;
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Whether the request carries these credentials.
pub(super) fn shows(headers: &HeaderMap, password: &str) -> bool {
    let shown = headers.get(header::PROXY_AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, shown)) = shown.and_then(|value| value.trim().split_once(' ')) else {
        return false;
    };
    scheme.eq_ignore_ascii_case("basic") && is_same(shown.trim(), password)
}

/// Whether these are the credentials that a program would show as `password`.
pub(super) fn is_password(user: &str, given: &str, password: &str) -> bool {
    is_same(&BASE64.encode(format!("{user}:{given}").as_bytes()), password)
}

/// Takes the same time for all of one length.
fn is_same(shown: &str, password: &str) -> bool {
    let pairs = shown.bytes().zip(password.bytes());
    shown.len() == password.len() && pairs.fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// How often an OPTIONS or TRACE request may still be passed on (RFC 9110 §7.6.2).
pub(super) fn hops(method: &Method, headers: &HeaderMap) -> Option<u32> {
    if method != Method::OPTIONS && method != Method::TRACE {
        return None;
    }
    headers.get(header::MAX_FORWARDS)?.to_str().ok()?.trim().parse().ok()
}

/// Whether the program wants a protocol that it can't do without. An offer of HTTP/2 or of TLS
/// may be passed over (RFC 9110 §7.8).
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    tokens(headers, &header::UPGRADE).any(|protocol| {
        let name = protocol.split('/').next().unwrap_or_default();
        !["h2c", "h2", "tls", "http"].iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}

/// Fields about one connection, beside those that `Connection` lists and all `Proxy-*`.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn keep_end_to_end(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> =
        tokens(headers, &header::CONNECTION).filter_map(|name| name.parse().ok()).collect();
    remove_all(headers, |name| {
        HOP_BY_HOP.contains(&name.as_str())
            || name.as_str().starts_with("proxy-")
            || listed.contains(name)
    });
}

/// HTTP/2 may bring the cookies one by one; HTTP/1.1 wants them in one field (RFC 9113 §8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let all: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if all.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

pub(super) fn remove_all(headers: &mut HeaderMap, doomed: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| doomed(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// Text as a field value: what is not printable ASCII, and `%`, percent-encoded; cut at 256 bytes.
pub(super) fn ascii(text: &str) -> HeaderValue {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
        if out.len() >= 256 {
            break;
        }
    }
    HeaderValue::from_str(&out).expect("printable ASCII is a field value")
}
