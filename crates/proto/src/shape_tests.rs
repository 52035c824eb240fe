//! Tests of [`super`].

use proptest::prelude::*;

use super::*;

type Fields<'a> = &'a [(&'static str, &'a str)];

fn map(fields: Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// The answer to a GET for a page of 1000 bytes.
fn get(asked: Fields<'_>, page: Fields<'_>) -> Shape {
    shape(&Method::GET, &map(asked), 200, &map(page), Some(1000))
}

fn applied(shape: &Shape, page: Fields<'_>) -> HeaderMap {
    let mut headers = map(page);
    shape.apply(&mut headers);
    headers
}

const MONDAY: &str = "Mon, 04 Aug 2025 10:00:00 GMT";
const TUESDAY: &str = "Tue, 05 Aug 2025 10:00:00 GMT";

#[test]
fn a_plain_request_gets_the_whole() {
    let shape = get(&[], &[("etag", "\"a\"")]);
    assert_eq!((shape.status, &shape.span), (200, &Span::Whole));
    let headers = applied(&shape, &[("etag", "\"a\"")]);
    assert_eq!(headers["content-length"], "1000");
    assert_eq!(headers["accept-ranges"], "bytes");
    assert_eq!(headers["etag"], "\"a\"");
}

#[test]
fn a_single_range_gets_that_part() {
    for (range, part, field) in [
        ("bytes=0-0", 0..1, "bytes 0-0/1000"),
        ("bytes=10-19", 10..20, "bytes 10-19/1000"),
        ("Bytes = 10 - 19 ", 10..20, "bytes 10-19/1000"),
        ("bytes=990-", 990..1000, "bytes 990-999/1000"),
        ("bytes=990-99999", 990..1000, "bytes 990-999/1000"),
        ("bytes=0-99999999999999999999999", 0..1000, "bytes 0-999/1000"),
        ("bytes=-10", 990..1000, "bytes 990-999/1000"),
        ("bytes=-5000", 0..1000, "bytes 0-999/1000"),
        ("bytes=,5-6,", 5..7, "bytes 5-6/1000"),
    ] {
        let shape = get(&[("range", range)], &[]);
        assert_eq!(shape.status, 206, "{range}");
        assert_eq!(shape.content_length, Some(part.end - part.start), "{range}");
        assert_eq!(shape.span, Span::Part(part), "{range}");
        assert_eq!(applied(&shape, &[])["content-range"], field);
    }
}

#[test]
fn a_range_that_makes_no_sense_is_ignored_and_several_get_the_whole() {
    for range in [
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=2-1",
        "bytes=+1-2",
        "bytes=1-2,4-5",
        "bytes 1-2",
        "lines=1-2",
        "bytes=1",
        "bytes=1-2-3",
        "bytes=--1",
        "bytes=0x1-2",
        "=1-2",
        "",
    ] {
        let shape = get(&[("range", range)], &[]);
        assert_eq!((shape.status, shape.span), (200, Span::Whole), "{range}");
    }
    let twice = get(&[("range", "bytes=0-1"), ("range", "bytes=3-4")], &[]);
    assert_eq!(twice.span, Span::Whole);
}

#[test]
fn a_range_beyond_the_end_is_not_satisfiable() {
    let page: Fields<'_> =
        &[("content-type", "video/mp4"), ("etag", "\"a\""), ("cache-control", "max-age=60")];
    for range in ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=99999999999999999999999-"] {
        let shape = get(&[("range", range)], page);
        assert_eq!((shape.status, &shape.span), (416, &Span::Nothing), "{range}");
        let headers = applied(&shape, page);
        assert_eq!(headers["content-range"], "bytes */1000");
        assert_eq!(headers["content-length"], "0");
        for gone in ["content-type", "etag", "cache-control"] {
            assert!(!headers.contains_key(gone));
        }
    }
}

#[test]
fn an_empty_page_has_no_parts() {
    let of = |range: &str| {
        let asked = map(&[("range", range)]);
        let shape = shape(&Method::GET, &asked, 200, &HeaderMap::new(), Some(0));
        (shape.status, shape.content_range)
    };
    assert_eq!(of("bytes=0-"), (416, Some("bytes */0".into())));
    assert_eq!(of("bytes=-5"), (200, None));
}

#[test]
fn a_range_is_only_for_get_on_200_with_a_known_length() {
    let asked = map(&[("range", "bytes=1-2")]);
    let none = HeaderMap::new();
    for (method, status, len) in [
        (Method::HEAD, 200, Some(10)),
        (Method::POST, 200, Some(10)),
        (Method::GET, 404, Some(10)),
        (Method::GET, 206, Some(10)),
        (Method::GET, 200, None),
    ] {
        let shape = shape(&method, &asked, status, &none, len);
        assert_eq!(shape.status, status);
        assert_eq!(shape.content_range, None);
        assert!(!matches!(shape.span, Span::Part(_)));
    }
    let declared = map(&[("content-length", "10")]);
    assert_eq!(shape(&Method::GET, &asked, 200, &declared, None).span, Span::Part(1..3));
}

#[test]
fn if_none_match_compares_weakly() {
    for (asked, own, same) in [
        ("\"a\"", "\"a\"", true),
        ("W/\"a\"", "\"a\"", true),
        ("\"a\"", "W/\"a\"", true),
        ("\"x, y\", W/\"z\" ,\"a\"", "\"a\"", true),
        ("*", "\"a\"", true),
        ("\"A\"", "\"a\"", false),
        ("a", "a", false),
        ("\"a", "\"a\"", false),
        ("", "\"a\"", false),
        ("\"b\" \"a", "\"a\"", false),
    ] {
        let status = get(&[("if-none-match", asked)], &[("etag", own)]).status;
        assert_eq!(status == 304, same, "{asked} against {own}");
    }
    let lines = &[("if-none-match", "\"x\""), ("if-none-match", "\"a\"")];
    assert_eq!(get(lines, &[("etag", "\"a\"")]).status, 304);
    assert_eq!(get(&[("if-none-match", "\"\"")], &[]).status, 200, "no tag of its own");
}

#[test]
fn if_modified_since_counts_only_without_if_none_match() {
    let page: Fields<'_> = &[("last-modified", MONDAY), ("etag", "\"a\"")];
    assert_eq!(get(&[("if-modified-since", MONDAY)], page).status, 304);
    assert_eq!(get(&[("if-modified-since", TUESDAY)], page).status, 304);
    let both = &[("if-modified-since", TUESDAY), ("if-none-match", "\"b\"")];
    assert_eq!(get(both, page).status, 200);
    let later: Fields<'_> = &[("last-modified", TUESDAY)];
    assert_eq!(get(&[("if-modified-since", MONDAY)], later).status, 200);
    assert_eq!(get(&[("if-modified-since", "yesterday")], page).status, 200);
    assert_eq!(get(&[("if-modified-since", TUESDAY)], &[("date", MONDAY)]).status, 304);
    assert_eq!(get(&[("if-modified-since", TUESDAY)], &[]).status, 200);
}

#[test]
fn a_precondition_is_for_get_and_head_and_comes_before_the_range() {
    let asked = map(&[("if-none-match", "\"a\""), ("range", "bytes=0-1")]);
    let page = map(&[("etag", "\"a\"")]);
    let status = |method, status| shape(&method, &asked, status, &page, Some(9)).status;
    assert_eq!(status(Method::GET, 200), 304);
    assert_eq!(status(Method::HEAD, 200), 304);
    assert_eq!(status(Method::POST, 200), 200);
    assert_eq!(status(Method::GET, 404), 404);
}

#[test]
fn a_304_keeps_what_updates_a_copy_and_drops_the_rest() {
    let page: Fields<'_> = &[
        ("etag", "\"a\""),
        ("cache-control", "max-age=60"),
        ("content-type", "text/html"),
        ("content-length", "1000"),
        ("vary", "accept"),
    ];
    let headers = applied(&get(&[("if-none-match", "\"a\"")], page), page);
    assert_eq!(headers.len(), 3);
    for kept in ["etag", "cache-control", "vary"] {
        assert!(headers.contains_key(kept));
    }
}

#[test]
fn if_range_compares_strongly() {
    let status = |value: &str, page: Fields<'_>| {
        get(&[("range", "bytes=0-1"), ("if-range", value)], page).status
    };
    assert_eq!(status("\"a\"", &[("etag", "\"a\"")]), 206);
    assert_eq!(status("\"b\"", &[("etag", "\"a\"")]), 200);
    assert_eq!(status("W/\"a\"", &[("etag", "W/\"a\"")]), 200);
    assert_eq!(status("\"a\"", &[("etag", "W/\"a\"")]), 200);
    assert_eq!(status("\"a\"", &[]), 200);
    assert_eq!(status("nonsense", &[("etag", "nonsense")]), 200);
    let dated: Fields<'_> = &[("last-modified", MONDAY), ("date", TUESDAY)];
    assert_eq!(status(MONDAY, dated), 206);
    assert_eq!(status(TUESDAY, dated), 200);
    assert_eq!(status(MONDAY, &[("last-modified", MONDAY), ("date", MONDAY)]), 200);
    assert_eq!(status(MONDAY, &[("last-modified", MONDAY)]), 200);
    let page: Fields<'_> = &[("etag", "\"a\"")];
    assert_eq!(get(&[("if-range", "\"b\"")], page).status, 200, "without a Range it says nothing");
}

#[test]
fn a_head_request_gets_the_fields_of_get_and_no_byte() {
    let shape = shape(&Method::HEAD, &HeaderMap::new(), 200, &HeaderMap::new(), Some(1000));
    assert_eq!((shape.status, &shape.span), (200, &Span::Nothing));
    let headers = applied(&shape, &[]);
    assert_eq!(headers["content-length"], "1000");
    assert_eq!(headers["accept-ranges"], "bytes");
}

#[test]
fn a_coding_is_removed_unless_the_program_asked_for_it() {
    use Coding::{Brotli, Gzip};
    for (accept, coding, decode) in [
        (None, "gzip", Some(Gzip)),
        (None, "br", Some(Brotli)),
        (None, "X-Gzip", Some(Gzip)),
        (None, "identity", None),
        (None, "zstd", None),
        (None, "gzip, br", None),
        (None, "identity, br", Some(Brotli)),
        (Some("gzip, br"), "gzip", None),
        (Some("gzip, br"), "br", None),
        (Some("x-gzip"), "gzip", None),
        (Some("GZIP;q=0.5"), "gzip", None),
        (Some("gzip;q=0"), "gzip", Some(Gzip)),
        (Some("gzip ; Q = 0.000"), "gzip", Some(Gzip)),
        (Some("deflate"), "gzip", Some(Gzip)),
        (Some("*"), "br", None),
        (Some("*;q=0, gzip"), "br", Some(Brotli)),
        (Some("br;q=0, *"), "br", Some(Brotli)),
        (Some("identity"), "br", Some(Brotli)),
        (Some(""), "br", Some(Brotli)),
    ] {
        let asked = accept.map(|value| ("accept-encoding", value));
        let shape = get(asked.as_slice(), &[("content-encoding", coding)]);
        assert_eq!(shape.decode, decode, "{accept:?} {coding}");
        assert_eq!(shape.content_length.is_none(), decode.is_some());
    }
}

#[test]
fn the_decoded_form_has_no_length_no_ranges_and_a_weak_tag() {
    let page: Fields<'_> = &[
        ("content-encoding", "gzip"),
        ("content-length", "1000"),
        ("accept-ranges", "bytes"),
        ("etag", "\"a\""),
        ("content-type", "text/html"),
    ];
    let shape = get(&[("range", "bytes=1-2"), ("if-range", "\"a\"")], page);
    assert_eq!((shape.status, &shape.span), (200, &Span::Whole));
    let headers = applied(&shape, page);
    assert_eq!(headers.len(), 3);
    assert_eq!(headers["etag"], "W/\"a\"");
    assert_eq!(headers["vary"], "accept-encoding");
    assert_eq!(headers["content-type"], "text/html");
    let again = get(&[("if-none-match", "W/\"a\"")], page);
    assert_eq!(again.status, 304);
    assert_eq!(applied(&again, page)["etag"], "W/\"a\"");
    let varies: Fields<'_> = &[("content-encoding", "br"), ("vary", "Accept-Encoding")];
    assert_eq!(applied(&get(&[], varies), varies).get_all("vary").iter().count(), 1);
}

#[test]
fn what_has_no_whole_content_is_never_decoded() {
    let page = map(&[("content-encoding", "gzip")]);
    for status in [204, 206, 304] {
        assert_eq!(shape(&Method::GET, &HeaderMap::new(), status, &page, None).decode, None);
    }
}

#[test]
fn a_part_of_a_coded_form_is_of_its_coded_bytes() {
    let asked = &[("range", "bytes=0-9"), ("accept-encoding", "gzip")];
    let shape = get(asked, &[("content-encoding", "gzip")]);
    assert_eq!(shape.span, Span::Part(0..10));
    assert_eq!(shape.decode, None);
}

#[test]
fn where_a_transfer_begins_is_known_before_the_length() {
    let begin = |method, range| begin(&method, &map(&[("range", range)]));
    assert_eq!(begin(Method::GET, "bytes=7-"), Begin::At(7));
    assert_eq!(begin(Method::GET, "bytes=7-9"), Begin::At(7));
    assert_eq!(begin(Method::GET, "bytes=-9"), Begin::BeforeEnd(9));
    assert_eq!(begin(Method::GET, "bytes=7-9,12-"), Begin::At(0));
    assert_eq!(begin(Method::HEAD, "bytes=7-"), Begin::At(0));
    assert_eq!(super::begin(&Method::GET, &HeaderMap::new()), Begin::At(0));
}

#[test]
fn what_a_part_is_of_is_read() {
    let read =
        |text: &str| content_range(&map(&[("content-range", text), ("content-length", "5")]));
    let part = |bytes, whole| Some(ContentRange { bytes, whole });
    assert_eq!(read("bytes 5-9/10"), part(5..10, Some(10)));
    assert_eq!(read("bytes 5-9/*"), part(5..10, None));
    for nonsense in [
        "bytes */10",
        "bytes 9-5/10",
        "bytes 5-10/10",
        "pages 5-9/10",
        "bytes 5-9",
        "bytes +5-9/10",
    ] {
        assert_eq!(read(nonsense), None, "{nonsense}");
    }
    assert_eq!(read(&format!("bytes 5-{}/*", u64::MAX)), None, "no byte is beyond that");
    let coded = map(&[("content-range", "bytes 5-9/10")]);
    assert_eq!(content_range(&coded), None, "coded on the way, it may have any length");
}

#[test]
fn only_a_well_formed_single_tag_is_a_strong_validator() {
    let strong = |fields: Fields<'_>| strong_etag(&map(fields)).is_some();
    assert!(strong(&[("etag", "\"a\"")]));
    assert!(strong(&[("etag", "\"\"")]));
    assert!(!strong(&[("etag", "W/\"a\"")]));
    assert!(!strong(&[("etag", "a")]));
    assert!(!strong(&[("etag", "\"")]));
    assert!(!strong(&[("etag", "\"a\"b\"")]));
    assert!(!strong(&[("etag", "\"a\""), ("etag", "\"a\"")]));
    assert!(!strong(&[]));
}

fn any_value() -> impl Strategy<Value = HeaderValue> {
    let text = prop_oneof![
        "bytes=[0-9]{0,22}-[0-9]{0,22}".prop_map(String::into_bytes),
        "bytes=[0-9, -]{0,30}".prop_map(String::into_bytes),
        "(W/)?\"[a-c]?\"(, \"[a-c]\")*".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    text.prop_filter_map("no field value", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

proptest! {
    #[test]
    fn any_range_stays_within_the_length(range in any_value(), len in prop_oneof![0u64..30, any::<u64>()]) {
        let mut asked = HeaderMap::new();
        asked.insert("range", range);
        let _ = (begin(&Method::GET, &asked), content_range(&asked));
        let shape = shape(&Method::GET, &asked, 200, &HeaderMap::new(), Some(len));
        match &shape.span {
            Span::Part(part) => {
                prop_assert!(part.start < part.end && part.end <= len);
                prop_assert_eq!(shape.content_length, Some(part.end - part.start));
                prop_assert_eq!(shape.status, 206);
            }
            Span::Whole => prop_assert_eq!(shape.status, 200),
            Span::Nothing => prop_assert_eq!(shape.status, 416),
        }
        shape.apply(&mut HeaderMap::new());
    }

    #[test]
    fn a_closed_range_is_what_arithmetic_says(a in 0u64..40, b in 0u64..40, len in 0u64..40) {
        let asked = map(&[("range", &format!("bytes={a}-{b}"))]);
        let shape = shape(&Method::GET, &asked, 200, &HeaderMap::new(), Some(len));
        let expected: Vec<u64> = (0..len).filter(|at| (a..=b).contains(at)).collect();
        match shape.span {
            Span::Part(part) => prop_assert_eq!(part.collect::<Vec<_>>(), expected),
            Span::Whole => prop_assert!(a > b),
            Span::Nothing => prop_assert!(a <= b && expected.is_empty()),
        }
    }

    #[test]
    fn no_field_makes_it_panic(
        names in proptest::collection::vec(0usize..8, 0..6),
        values in proptest::collection::vec(any_value(), 6),
        status in 100u16..600,
        head in any::<bool>(),
    ) {
        const NAMES: [&str; 8] = [
            "range", "if-range", "if-none-match", "if-modified-since", "accept-encoding", "etag",
            "content-encoding", "content-length",
        ];
        let mut fields = HeaderMap::new();
        for (name, value) in names.iter().zip(values) {
            fields.append(NAMES[*name], value);
        }
        let method = if head { Method::HEAD } else { Method::GET };
        shape(&method, &fields, status, &fields, None).apply(&mut fields.clone());
    }
}
