//! Ranges, conditions and codings: how a page is shown to a program that asked with any fields.

use busel_proto::shape::{Begin, Span, begin, content_range, shape as shape_of, strong_etag};
use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::feed::Feed;

const ASKED: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::ACCEPT_ENCODING,
    header::CACHE_CONTROL,
];
const SHOWN: [HeaderName; 6] = [
    header::ETAG,
    header::LAST_MODIFIED,
    header::DATE,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::VARY,
];

/// The part shown lies in the page, its fields say so, and applying twice changes nothing.
pub fn shape(data: &[u8]) {
    let mut feed = Feed(data);
    let method = [Method::GET, Method::HEAD, Method::POST][feed.below(3) as usize].clone();
    let status = match feed.byte() % 4 {
        0 => u16::from_be_bytes(feed.array()) % 500 + 100,
        _ => 200,
    };
    let len = match feed.byte() % 3 {
        0 => None,
        1 => Some(u64::from_be_bytes(feed.array())),
        _ => Some(feed.below(2000)),
    };
    let (mut asked, mut shown) = (HeaderMap::new(), HeaderMap::new());
    while !feed.is_empty() && asked.len() + shown.len() < 24 {
        let name = usize::from(feed.byte());
        let Ok(value) = HeaderValue::from_bytes(feed.until(b'\n')) else { continue };
        match name % 12 {
            name @ 0..6 => asked.append(ASKED[name].clone(), value),
            name => shown.append(SHOWN[name - 6].clone(), value),
        };
    }
    check(&method, &asked, status, &shown, len);
}

fn check(method: &Method, asked: &HeaderMap, status: u16, shown: &HeaderMap, len: Option<u64>) {
    let shape = shape_of(method, asked, status, shown, len);
    assert!([status, 304, 206, 416].contains(&shape.status));
    match &shape.span {
        Span::Part(range) => {
            assert!(*method == Method::GET && status == 200 && shape.status == 206);
            assert!(range.start < range.end && shape.decode.is_none());
            assert!(len.is_none_or(|len| range.end <= len), "beyond the end");
            assert_eq!(shape.content_length, Some(range.end - range.start));
            match begin(method, asked) {
                Begin::At(first) => assert_eq!(first, range.start, "the transfer began elsewhere"),
                Begin::BeforeEnd(count) => {
                    assert!(len.is_none_or(|len| len.saturating_sub(count) == range.start));
                }
            }
        }
        Span::Whole => {
            assert_eq!(shape.status, status);
            let known = len.is_none() || shape.content_length == len;
            assert!(shape.decode.map_or(known, |_| shape.content_length.is_none()));
        }
        Span::Nothing => {
            let bare = matches!(shape.status, 100..=199 | 204 | 304 | 416);
            assert!(*method == Method::HEAD || bare);
        }
    }
    assert_eq!(shape.content_range.is_some(), shape.status != status && shape.status != 304);
    let mut headers = shown.clone();
    shape.apply(&mut headers);
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let length = text(header::CONTENT_LENGTH).and_then(|value| value.parse().ok());
    assert_eq!(length, shape.content_length);
    if shape.content_range.is_some() {
        assert_eq!(text(header::CONTENT_RANGE), shape.content_range.as_deref());
    }
    if shape.decode.is_some() {
        assert!(!headers.contains_key(header::CONTENT_ENCODING));
        assert!(!headers.contains_key(header::ACCEPT_RANGES));
        assert!(headers.contains_key(header::VARY));
        assert!(strong_etag(&headers).is_none(), "decoded bytes under a strong tag");
    }
    if let Span::Part(range) = &shape.span {
        let told = content_range(&headers).expect("the part says where it is from");
        assert_eq!(told.bytes, *range);
    }
    let once = headers.clone();
    shape.apply(&mut headers);
    assert_eq!(headers, once, "applying twice changes nothing");
}
