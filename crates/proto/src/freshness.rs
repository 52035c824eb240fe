//! How old a snapshot is, and whether RFC 9111 still calls it fresh, by `http-cache-semantics`.
//!
//! A stale snapshot is not thrown away: where nothing fresh can be had it is shown with its age.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_cache_semantics::{AfterResponse, BeforeRequest, CacheOptions, CachePolicy};

use crate::snapshot::Snapshot;
use crate::time::UnixTime;

/// Without any word from the publisher a page counts as fresh for a tenth of the time since it was
/// last changed (RFC 9111 §4.2.2); a head that gives neither counts as fresh for this long.
pub const UNSPECIFIED_LIFETIME: Duration = Duration::from_secs(60);

/// What an answer without a body says of the body that was known (RFC 9110 §15.4.5).
const RENEWED: [HeaderName; 8] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::VARY,
];

/// How a stored snapshot stands for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Time since the injector fetched it.
    pub age: Duration,
    /// Whether it may be shown without asking further.
    pub fresh: bool,
}

/// Judges `snapshot` for a request with these header fields. A reader's `Cache-Control: no-cache`
/// or `max-age=0` makes any copy stale.
pub fn judge(snapshot: &Snapshot, request: &HeaderMap, now: UnixTime) -> Standing {
    let head = snapshot.head();
    let age = now.since(head.fetched_at);
    let fresh = judge_parts(head.status, snapshot.headers(), head.fetched_at, request, now);
    Standing { age, fresh }
}

/// By what fields a site tells whether a page is still what it was (RFC 9111 §4.3.1); `None` if it said
/// nothing to know it by.
pub fn conditions(kept: &HeaderMap) -> Option<HeaderMap> {
    let pairs =
        [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)];
    let asked =
        pairs.into_iter().filter_map(|(known, asked)| Some((asked, kept.get(known)?.clone())));
    Some(asked.collect::<HeaderMap>()).filter(|asked| !asked.is_empty())
}

/// The fields of a page whose site answered to [`conditions`] that it is what it was (RFC 9111 §4.3.4); `None` if
/// the answer is about another form of it.
pub fn renewed(
    status: u16,
    kept: &HeaderMap,
    answer: &HeaderMap,
    now: UnixTime,
) -> Option<HeaderMap> {
    let mut known = Response::new(());
    *known.status_mut() = StatusCode::from_u16(status).ok()?;
    *known.headers_mut() = kept.clone();
    let mut told = Response::new(());
    *told.status_mut() = StatusCode::NOT_MODIFIED;
    *told.headers_mut() = answer.clone();
    let options = CacheOptions { shared: true, ..CacheOptions::default() };
    let policy = CachePolicy::new_options(&blank_get(), &known, now.to_system(), options);
    let AfterResponse::NotModified(..) =
        policy.after_response(&blank_get(), &told, now.to_system())
    else {
        return None;
    };
    let mut headers = kept.clone();
    // How old the copy was that the last answer came of.
    headers.remove(header::AGE);
    for name in RENEWED.iter().filter(|name| answer.contains_key(*name)) {
        headers.remove(name);
        for value in answer.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    Some(headers)
}

fn judge_parts(
    status: u16,
    mut headers: HeaderMap,
    fetched_at: UnixTime,
    request: &HeaderMap,
    now: UnixTime,
) -> bool {
    // What the injector keeps is the canonical request's answer: it varies by nothing else here.
    headers.remove(header::VARY);
    if !has_lifetime(&headers) {
        let own = if asks_for_new(request) { "max-age=0" } else { "max-age=60" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(own));
    }
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    *response.headers_mut() = headers;
    let canonical = blank_get();
    let options = CacheOptions { shared: true, ..CacheOptions::default() };
    let seen: SystemTime = fetched_at.to_system();
    let policy = CachePolicy::new_options(&canonical, &response, seen, options);
    let mut asked = blank_get();
    if let Some(control) = request.get(header::CACHE_CONTROL) {
        asked.headers_mut().insert(header::CACHE_CONTROL, control.clone());
    }
    if let Some(pragma) = request.get(header::PRAGMA) {
        asked.headers_mut().insert(header::PRAGMA, pragma.clone());
    }
    let now = now.max(fetched_at).to_system();
    matches!(policy.before_request(&asked, now), BeforeRequest::Fresh(_))
}

fn has_lifetime(headers: &HeaderMap) -> bool {
    headers.contains_key(header::EXPIRES)
        || headers.contains_key(header::LAST_MODIFIED)
        || headers.contains_key(header::CACHE_CONTROL)
}

fn asks_for_new(request: &HeaderMap) -> bool {
    request
        .get(header::CACHE_CONTROL)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.contains("no-cache") || v.contains("max-age=0"))
}

fn blank_get() -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::GET;
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    const FETCHED: UnixTime = UnixTime(1_700_000_000);

    fn fresh(
        response: &[(&'static str, &str)],
        request: &[(&'static str, &str)],
        age: u64,
    ) -> bool {
        judge_parts(200, map(response), FETCHED, &map(request), UnixTime(FETCHED.0 + age))
    }

    #[test]
    fn max_age_rules() {
        assert!(fresh(&[("cache-control", "max-age=60")], &[], 59));
        assert!(!fresh(&[("cache-control", "max-age=60")], &[], 61));
        assert!(fresh(&[("cache-control", "s-maxage=600, max-age=1")], &[], 500));
    }

    #[test]
    fn without_a_word_a_page_is_fresh_for_a_minute() {
        assert!(fresh(&[], &[], 59));
        assert!(!fresh(&[], &[], 61));
    }

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| ((*n).try_into().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_site_is_asked_whether_its_page_is_what_it_was() {
        let kept = map(&[("etag", "\"a\""), ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT")]);
        let asked = conditions(&kept).unwrap();
        assert_eq!(asked["if-none-match"], "\"a\"");
        assert_eq!(asked["if-modified-since"], "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(conditions(&map(&[("content-type", "text/html")])), None);
    }

    #[test]
    fn a_page_that_is_what_it_was_is_new_again() {
        let kept = map(&[
            ("etag", "\"a\""),
            ("age", "500"),
            ("cache-control", "max-age=60"),
            ("content-encoding", "gzip"),
        ]);
        let told = [("etag", "\"a\""), ("cache-control", "max-age=9"), ("content-encoding", "br")];
        let now = renewed(200, &kept, &map(&told), FETCHED).unwrap();
        let expected =
            [("etag", "\"a\""), ("cache-control", "max-age=9"), ("content-encoding", "gzip")];
        assert_eq!(now, map(&expected));
        assert_eq!(renewed(200, &kept, &map(&[("etag", "\"b\"")]), FETCHED), None);
        assert_eq!(renewed(200, &kept, &map(&[("etag", "W/\"b\"")]), FETCHED), None);
    }

    #[test]
    fn the_reader_may_insist() {
        assert!(!fresh(&[("cache-control", "max-age=60")], &[("cache-control", "no-cache")], 1));
        assert!(!fresh(&[("cache-control", "max-age=60")], &[("cache-control", "max-age=0")], 1));
    }

    #[test]
    fn variants_do_not_make_it_stale() {
        assert!(fresh(&[("cache-control", "max-age=60"), ("vary", "Accept-Encoding")], &[], 1));
    }

    #[test]
    fn a_clock_behind_the_injector_does_not_panic() {
        let headers = HeaderMap::new();
        assert!(judge_parts(200, headers.clone(), FETCHED, &headers, UnixTime(5)));
    }
}
