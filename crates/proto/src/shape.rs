//! How a whole representation is shown to a program that asked with certain header fields: whole,
//! in part, not at all because it has it already, or decoded.
//!
//! A store holds one whole form of a page; programs ask for it in many. This is RFC 9110 §13
//! (`If-None-Match`, `If-Modified-Since`, `If-Range`) and §14 (byte ranges), as far as a cache
//! needs them, and the question whether the content coding is one that the program can read.
//!
//! It does not evaluate `If-Match` and `If-Unmodified-Since` (they guard changes at the origin),
//! does not make multipart answers (several ranges get the whole, as §14.2 allows), and copies no
//! byte: it says which ones.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

/// How to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The status to send.
    pub status: u16,
    /// Which bytes to send.
    pub span: Span,
    /// The content coding to remove. With [`Span::Nothing`] it concerns only the header fields,
    /// which are those of the decoded form.
    pub decode: Option<Coding>,
    /// The `Content-Range` field.
    pub content_range: Option<String>,
    /// The `Content-Length` field. For HEAD it is that of the body which GET would have.
    pub content_length: Option<u64>,
    /// Whether a range of this representation may be asked for.
    ranges: bool,
}

/// Which bytes of a representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// None.
    Nothing,
    /// All of them.
    Whole,
    /// These; never empty, never beyond the end.
    Part(Range<u64>),
}

/// A content coding that we can remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, also called `x-gzip`.
    Gzip,
    /// `br`.
    Brotli,
}

/// Decides how a representation with `status` and `headers` is shown to a program that asked with
/// `method` and `asked`. `len` is the body's length, if known; else `Content-Length` is believed.
pub fn shape(
    method: &Method,
    asked: &HeaderMap,
    status: u16,
    headers: &HeaderMap,
    len: Option<u64>,
) -> Shape {
    let head = method == Method::HEAD;
    let reads = head || method == Method::GET;
    let bare = matches!(status, 100..=199 | 204 | 304);
    let decode = coding(headers).filter(|_| !bare && status != 206);
    let decode = decode.filter(|coding| !accepts(asked, *coding));
    let len = len.or_else(|| content_length(headers));
    let whole = Shape {
        status,
        span: if head || bare { Span::Nothing } else { Span::Whole },
        decode,
        content_range: None,
        content_length: len.filter(|_| decode.is_none() && !bare),
        ranges: reads && status == 200 && decode.is_none() && len.is_some(),
    };
    // Other 2xx than these either have no content or are a part already.
    if reads && matches!(status, 200 | 203) && not_modified(asked, headers) {
        let (span, content_length) = (Span::Nothing, None);
        return Shape { status: 304, span, content_length, ranges: false, ..whole };
    }
    let (Some(len), true, false) = (len, whole.ranges, head) else { return whole };
    match asked_range(asked) {
        Some(range) if if_range_holds(asked, headers) => part(range, len, whole),
        Some(_) | None => whole,
    }
}

/// Where a transfer for a request may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At this byte.
    At(u64),
    /// So many bytes before the end, wherever that is.
    BeforeEnd(u64),
}

/// Where a transfer may begin for this request, before the length is known. A guess: the
/// representation's own fields may still make [`shape`] say [`Span::Whole`] (another validator, a
/// coding to remove).
pub fn begin(method: &Method, asked: &HeaderMap) -> Begin {
    match asked_range(asked) {
        Some(Asked::From(first, _)) if method == Method::GET => Begin::At(first),
        Some(Asked::Last(count)) if method == Method::GET => Begin::BeforeEnd(count),
        Some(_) | None => Begin::At(0),
    }
}

/// The bytes that an answer with one part has, as its site says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRange {
    /// Which bytes of the whole; never empty.
    pub bytes: Range<u64>,
    /// How long the whole is, if the site says so.
    pub whole: Option<u64>,
}

/// What `Content-Range` says, if it makes sense and the answer has as many bytes.
pub fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let (unit, rest) = only(headers, &header::CONTENT_RANGE)?.to_str().ok()?.split_once(' ')?;
    let (range, whole) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let bytes = digits(first)?..digits(last)?.checked_add(1)?;
    let whole = if whole == "*" { None } else { Some(digits(whole)?) };
    let fits = bytes.start < bytes.end
        && whole.is_none_or(|whole| bytes.end <= whole)
        && content_length(headers) == Some(bytes.end - bytes.start);
    (unit.eq_ignore_ascii_case("bytes") && fits).then_some(ContentRange { bytes, whole })
}

/// The `ETag`, if it is a strong validator: the same one means the same bytes.
pub fn strong_etag(headers: &HeaderMap) -> Option<&HeaderValue> {
    let value = only(headers, &header::ETAG)?;
    let (tag, rest) = entity_tag(value.as_bytes())?;
    (!tag.weak && rest.is_empty()).then_some(value)
}

impl Shape {
    /// Makes the representation's header fields those of this answer.
    pub fn apply(&self, headers: &mut HeaderMap) {
        headers.remove(header::CONTENT_LENGTH);
        if let Some(len) = self.content_length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        }
        if let Some(range) = &self.content_range {
            let value = HeaderValue::from_str(range).expect("digits and punctuation");
            headers.insert(header::CONTENT_RANGE, value);
        }
        if self.ranges {
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        if self.decode.is_some() {
            show_decoded(headers);
        }
        match StatusCode::from_u16(self.status) {
            Ok(StatusCode::NOT_MODIFIED) => remove(headers, ABOUT_CONTENT),
            Ok(StatusCode::RANGE_NOT_SATISFIABLE) if self.content_range.is_some() => {
                // An error of ours, which the page's freshness says nothing about.
                remove(headers, ABOUT_CONTENT);
                remove(headers, ABOUT_COPIES);
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// What a 304 doesn't carry: the program has it (RFC 9110 §15.4.5).
const ABOUT_CONTENT: &[HeaderName] = &[
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_TYPE,
];

const ABOUT_COPIES: &[HeaderName] = &[
    header::AGE,
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
];

fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

/// The decoded form has no known length, is made anew each time (so no ranges), and is the same
/// page in other bytes (so its tag is weak).
fn show_decoded(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::ACCEPT_RANGES);
    if let Some(strong) = strong_etag(headers) {
        let weak = [b"W/", strong.as_bytes()].concat();
        let weak = HeaderValue::from_bytes(&weak).expect("a field value with W/ before it is one");
        headers.insert(header::ETAG, weak);
    }
    let varies = items(headers, &header::VARY)
        .any(|name| name == "*" || name.eq_ignore_ascii_case("accept-encoding"));
    if !varies {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// The one content coding of a representation, if it has exactly one and we can remove it.
pub fn coding(headers: &HeaderMap) -> Option<Coding> {
    let mut names =
        items(headers, &header::CONTENT_ENCODING).filter(|n| !n.eq_ignore_ascii_case("identity"));
    let coding = match names.next()?.to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => Coding::Gzip,
        "br" => Coding::Brotli,
        _ => return None,
    };
    names.next().is_none().then_some(coding)
}

/// Whether the program reads `coding`. Without `Accept-Encoding` it is taken to read none: many
/// programs that don't send it (curl, wget) write down what comes.
fn accepts(asked: &HeaderMap, coding: Coding) -> bool {
    let names: &[&str] = match coding {
        Coding::Gzip => &["gzip", "x-gzip"],
        Coding::Brotli => &["br"],
    };
    let (mut named, mut any) = (None, None);
    for item in items(asked, &header::ACCEPT_ENCODING) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let wanted = !parts.any(is_zero_weight);
        if names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            named = Some(wanted);
        } else if name == "*" {
            any = Some(wanted);
        }
    }
    named.or(any).unwrap_or(false)
}

fn is_zero_weight(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0_f32)
}

fn not_modified(asked: &HeaderMap, headers: &HeaderMap) -> bool {
    if asked.contains_key(header::IF_NONE_MATCH) {
        return none_match_names(asked, headers);
    }
    let Some(since) = only(asked, &header::IF_MODIFIED_SINCE).and_then(date) else { return false };
    // RFC 9111 §4.3.2: without Last-Modified, the Date stands for it.
    let changed = [header::LAST_MODIFIED, header::DATE];
    let changed = changed.iter().find_map(|name| only(headers, name)).and_then(date);
    changed.is_some_and(|changed| changed <= since)
}

/// Whether `If-None-Match` names this representation, by weak comparison.
fn none_match_names(asked: &HeaderMap, headers: &HeaderMap) -> bool {
    let own = only(headers, &header::ETAG).and_then(|value| entity_tag(value.as_bytes()));
    let own = own.filter(|(_, rest)| rest.is_empty()).map(|(tag, _)| tag.opaque);
    asked.get_all(header::IF_NONE_MATCH).iter().any(|line| {
        let mut rest = line.as_bytes().trim_ascii();
        if rest == b"*" {
            return true;
        }
        while let Some((tag, after)) = entity_tag(rest) {
            if Some(tag.opaque) == own {
                return true;
            }
            let next = after.iter().position(|b| !matches!(b, b' ' | b'\t' | b','));
            rest = &after[next.unwrap_or(after.len())..];
        }
        false
    })
}

/// Whether a range may be served: no `If-Range`, or one that names this very representation, by
/// strong comparison.
fn if_range_holds(asked: &HeaderMap, headers: &HeaderMap) -> bool {
    if !asked.contains_key(header::IF_RANGE) {
        return true;
    }
    let Some(value) = only(asked, &header::IF_RANGE) else { return false };
    if let Some(since) = date(value) {
        return only(headers, &header::LAST_MODIFIED) == Some(value)
            && only(headers, &header::DATE)
                .and_then(date)
                .is_some_and(|now| since + Duration::from_secs(1) <= now);
    }
    strong_etag(headers) == Some(value)
}

struct EntityTag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

/// Reads one entity tag from the start of `text`; also gives what follows it.
fn entity_tag(text: &[u8]) -> Option<(EntityTag<'_>, &[u8])> {
    let (weak, text) = match text.strip_prefix(b"W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|b| *b == b'"')?;
    Some((EntityTag { weak, opaque: &text[..end] }, &text[end + 1..]))
}

/// A single byte range as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// From this byte to that one, included, or to the end.
    From(u64, Option<u64>),
    /// So many at the end.
    Last(u64),
}

/// The range asked for; `None` if there is none, several, or one that makes no sense.
fn asked_range(asked: &HeaderMap) -> Option<Asked> {
    let (unit, set) = only(asked, &header::RANGE)?.to_str().ok()?.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
    let (first, last) = specs.next()?.split_once('-')?;
    if specs.next().is_some() {
        return None;
    }
    match (first.trim(), last.trim()) {
        ("", last) => Some(Asked::Last(number(last)?)),
        (first, "") => Some(Asked::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Asked::From(first, Some(last)))
        }
    }
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Digits only; what is beyond `u64` is beyond every length, so the largest stands for it.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

fn part(asked: Asked, len: u64, whole: Shape) -> Shape {
    let range = match asked {
        Asked::From(first, last) => first..last.map_or(len, |last| last.saturating_add(1).min(len)),
        // The last bytes of nothing are nothing, and no Content-Range can say so.
        Asked::Last(count) if count > 0 && len == 0 => return whole,
        Asked::Last(count) => len.saturating_sub(count)..len,
    };
    if range.is_empty() {
        let content_range = Some(format!("bytes */{len}"));
        let (span, content_length) = (Span::Nothing, Some(0));
        return Shape { status: 416, span, content_range, content_length, ..whole };
    }
    let content_range = Some(format!("bytes {}-{}/{len}", range.start, range.end - 1));
    let content_length = Some(range.end - range.start);
    Shape { status: 206, span: Span::Part(range), content_range, content_length, ..whole }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(only(headers, &header::CONTENT_LENGTH)?.to_str().ok()?.trim())
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()
}

/// The value of a field that may occur only once, if it does.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The items of a comma-separated field without quoted strings.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
