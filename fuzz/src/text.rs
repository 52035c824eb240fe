//! What comes as text, or is read from somebody's first bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use busel_proto::cbor;
use busel_proto::flight::{may_replay, server_name};
use busel_proto::id::Hash;
use busel_proto::invite::{Invite, MAX_LINE, PREFIX};
use busel_proto::network::{NetRange, Reach, is_public};
use busel_proto::page::{HostName, HostPattern, MAX_URL, PageUrl, Variant};
use busel_proto::shape::{Shape, Span, first_byte, strong_etag};
use data_encoding::BASE32_NOPAD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

/// An invite's line; or its content, to which the sum is added here.
pub fn invite(data: &[u8]) -> bool {
    let text = std::str::from_utf8(data).ok().filter(|text| Invite::from_line(text).is_ok());
    let line = match text {
        Some(text) => text.to_owned(),
        None => {
            let sum = Hash::of(data);
            let bytes = [data, &sum.as_bytes()[..4]].concat();
            format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
        }
    };
    let Ok(invite) = Invite::from_line(&line) else { return false };
    let plain: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    assert_eq!(invite.to_line(), plain.to_ascii_lowercase(), "two lines of one invite");
    assert!(plain.len() <= MAX_LINE);
    if text.is_none() {
        assert_eq!(cbor::to_vec(&invite), data);
    }
    for peer in &invite.peers {
        assert_eq!(peer.relay.is_some(), invite.relay_of(peer).is_some());
        assert!(peer.addrs.iter().all(|addr| addr.parse::<std::net::SocketAddr>().is_ok()));
    }
    for relay in &invite.relays {
        assert!(relay.inner_name().ends_with(".relay.invalid"));
    }
    true
}

/// A URL, and the same text as a host, a pattern and a variant: each canonical form is its own.
pub fn page_url(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    if let Ok(host) = HostName::parse(text) {
        assert_eq!(HostName::parse(host.as_str()).as_ref(), Ok(&host), "{text:?}");
        assert!(!host.as_str().ends_with('.'), "{text:?}");
    }
    if let Ok(pattern) = HostPattern::parse(text) {
        assert_eq!(HostPattern::parse(pattern.as_str()).as_ref(), Ok(&pattern), "{text:?}");
    }
    if let Some(variant) = Variant::parse(text) {
        assert_eq!(variant.as_str(), text);
    }
    let Ok(url) = PageUrl::parse(text) else { return false };
    canonical(&url);
    let upgraded = url.upgraded();
    if upgraded.as_str().len() <= MAX_URL {
        canonical(&upgraded);
    }
    assert_eq!(upgraded.upgraded(), upgraded);
    assert_eq!((upgraded.host(), upgraded.query()), (url.host(), url.query()));
    true
}

fn canonical(url: &PageUrl) {
    let again = PageUrl::parse(url.as_str());
    assert_eq!(again.as_ref(), Ok(url), "not a fixed point");
    assert_eq!(again.map(|again| again.key(&Variant::default())), Ok(url.key(&Variant::default())));
    assert!(url.as_str().is_ascii() && !url.as_str().contains('#'));
    assert!(!url.authority().contains('@') && url.path_and_query().starts_with('/'));
    let scheme = if url.is_https() { "https" } else { "http" };
    let whole = format!("{scheme}://{}{}", url.authority(), url.path_and_query());
    assert_eq!(whole, url.as_str());
    let host = url.host();
    assert_eq!(HostName::parse(host.as_str()).as_ref(), Ok(&host));
    if let Ok(own) = HostPattern::parse(host.as_str()) {
        assert!(own.matches(&host));
    }
}

/// The first bytes of a tunnel.
pub fn flight(data: &[u8]) -> bool {
    let replay = may_replay(data);
    if replay {
        // Whole records of a flight that is sent twice are of a handshake and nothing else.
        let mut rest = data;
        while let Some((head, body)) = rest.split_first_chunk::<5>() {
            let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
            let Some(tail) = body.get(len..) else { break };
            assert!(matches!(head[0], 20 | 22) && head[1] == 3, "a record {} goes twice", head[0]);
            rest = tail;
        }
        assert!(rest.is_empty() || rest[0] == 22);
    }
    let name = server_name(data);
    if let Some(name) = name {
        assert!(name.is_empty() || data.windows(name.len()).any(|part| part == name.as_bytes()));
    }
    replay || name.is_some()
}

const FIELDS: [HeaderName; 16] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::ACCEPT_ENCODING,
    header::ACCEPT_RANGES,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_RANGE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::DATE,
    header::VARY,
    header::AGE,
    header::EXPIRES,
];

/// Method, status (two bytes), whether the length is known and what it is (three bytes), then
/// lines: a byte of field and side, then the value.
pub fn shape(data: &[u8]) -> bool {
    let Some(([method, high, low, known, len @ ..], lines)) = data.split_first_chunk::<7>() else {
        return false;
    };
    let method = [Method::GET, Method::HEAD, Method::POST][usize::from(method % 3)].clone();
    let status = u16::from_be_bytes([*high, *low]);
    let len = u64::from(u32::from_be_bytes([0, len[0], len[1], len[2]]));
    let len = (known % 2 == 1).then_some(len);
    let (mut asked, mut page) = (HeaderMap::new(), HeaderMap::new());
    for line in lines.split(|byte| *byte == b'\n').take(64) {
        let Some((which, value)) = line.split_first() else { continue };
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        let side = if which & 16 == 0 { &mut asked } else { &mut page };
        side.append(&FIELDS[usize::from(which % 16)], value);
    }
    let shape = busel_proto::shape::shape(&method, &asked, status, &page, len);
    check_shape(&shape, &method, &asked, status, len);

    let mut applied = page.clone();
    shape.apply(&mut applied);
    let field = |name| applied.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    assert_eq!(field(header::CONTENT_LENGTH).and_then(|v| v.parse().ok()), shape.content_length);
    if let Some(range) = &shape.content_range {
        assert_eq!(field(header::CONTENT_RANGE), Some(range.as_str()));
    }
    if shape.decode.is_some() {
        assert!(!applied.contains_key(header::CONTENT_ENCODING));
        assert!(!applied.contains_key(header::ACCEPT_RANGES));
        assert_eq!(strong_etag(&applied), None, "decoded bytes under the tag of others");
        assert!(applied.contains_key(header::VARY));
    }
    if shape.status == 304 {
        assert!(!applied.contains_key(header::CONTENT_TYPE));
    }
    let once = applied.clone();
    shape.apply(&mut applied);
    assert_eq!(applied, once, "applied twice is not applied once");
    shape.span != Span::Whole || shape.decode.is_some()
}

fn check_shape(shape: &Shape, method: &Method, asked: &HeaderMap, status: u16, len: Option<u64>) {
    let made = shape.status != status;
    assert!(!made || matches!(shape.status, 206 | 304 | 416));
    assert!(StatusCode::from_u16(shape.status).is_ok() || !made);
    assert!(*method != Method::HEAD || shape.span == Span::Nothing);
    assert_eq!(shape.content_range.is_some(), made && shape.status != 304);
    match &shape.span {
        Span::Part(part) => {
            assert_eq!((shape.status, method, shape.decode), (206, &Method::GET, None));
            assert!(part.start < part.end && len.is_none_or(|len| part.end <= len));
            assert_eq!(shape.content_length, Some(part.end - part.start));
            let first = first_byte(method, asked);
            assert!(first == part.start || first == 0, "a transfer would begin elsewhere");
        }
        Span::Whole => {
            assert_eq!(shape.status, status);
            assert!(shape.decode.is_none() || shape.content_length.is_none());
            assert!(len.is_none() || shape.decode.is_some() || shape.content_length == len);
        }
        Span::Nothing => {}
    }
}

/// Sixteen bytes of an address, then a network as text.
pub fn net_range(data: &[u8]) -> bool {
    let Some((raw, text)) = data.split_first_chunk::<16>() else { return false };
    let v6 = Ipv6Addr::from(*raw);
    let v4 = Ipv4Addr::from([raw[12], raw[13], raw[14], raw[15]]);
    let public = is_public(v4.into());
    assert_eq!(is_public(v4.to_ipv6_mapped().into()), public);
    assert!(!(public && (v4.is_loopback() || v4.is_private() || v4.is_link_local())));
    assert!(!(public && (v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified())));
    if is_public(v6.into()) {
        assert!(!v6.is_loopback() && !v6.is_unique_local() && !v6.is_unicast_link_local());
        assert!(!v6.is_multicast() && !v6.is_unspecified());
    }

    let Ok(text) = std::str::from_utf8(text) else { return false };
    let Ok(range) = text.parse::<NetRange>() else { return false };
    let shown = range.to_string();
    assert_eq!(shown.parse::<NetRange>(), Ok(range));
    let (base, bits) = shown.split_once('/').expect("it is shown with its length");
    let base: IpAddr = base.parse().expect("its base is an address");
    let bits: u32 = bits.parse().expect("its length is a number");
    assert!(range.contains(base));
    let reach = Reach { allowed: vec![range] };
    for ip in [v4.into(), IpAddr::from(v6)] {
        let within = match (base, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits,
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits,
            _ => false,
        };
        assert_eq!(range.contains(ip), within, "{range} and {ip}");
        assert_eq!(reach.allows(ip), within || is_public(ip));
        assert_eq!(Reach::default().allows(ip), is_public(ip));
    }
    true
}
