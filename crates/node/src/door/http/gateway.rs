//! The gateway: sites for a browser that knows nothing of Busel, each under a name of this device
//! ([`busel_proto::gateway`]). What comes is as it would come through the proxy; then what in it leads elsewhere is
//! led here, and the browser is told to load nothing else.

mod html;

use std::sync::Arc;
use std::time::Duration;

use busel_proto::failure::Failure;
use busel_proto::gateway::fields::{self, Caller};
use busel_proto::gateway::{Gateway, Origin};
use busel_proto::page::PageUrl;
use busel_proto::shape;
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use encoding_rs::{Encoding, UTF_8};
use futures_util::stream;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode, Uri};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use lol_html::AsciiCompatibleEncoding;

use self::html::Change;
use super::within::{asks_upgrade, upgrade};
use super::{Visit, problem, shown};
use crate::css;
use crate::decode::decoded;
use crate::request::{Body, full};

/// Where each site has the script that runs before its own.
const SCRIPT: &str = "/.busel/page.js";
/// For these a browser asks for what it shows as a page.
const SHOWN: [&str; 5] = ["document", "iframe", "frame", "object", "embed"];
/// Codings that browsers know, and the gateway does not take off.
const CODINGS: [&str; 6] = ["br", "compress", "dcb", "deflate", "gzip", "zstd"];
/// The largest style sheet that is taken, in bytes.
const MAX_STYLE: usize = 8 * 1024 * 1024;

/// Answers a browser that speaks to a site under its name here.
pub(super) async fn answer(
    visit: &Arc<Visit>,
    gateway: Gateway,
    origin: &Origin,
    request: http::Request<Incoming>,
) -> Response<Body> {
    let asked = request.headers().clone();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Some(page) = gateway.page(origin, path) else {
        let detail = "The site has no page of such a name.";
        return problem::malformed(StatusCode::BAD_REQUEST, detail, &asked);
    };
    match Caller::of(gateway, &asked) {
        Caller::Own if !asked.contains_key("service-worker") => {}
        Caller::Leads if request.method() == Method::GET => return threshold(gateway, &page),
        _ => {
            let detail = "Only pages that are open here may ask for others.";
            return problem::malformed(StatusCode::FORBIDDEN, detail, &asked);
        }
    }
    if path == SCRIPT {
        return script();
    }
    let (mut parts, body) = request.into_parts();
    fields::request(gateway, &mut parts.headers);
    let mut age = None;
    let response = if asks_upgrade(&parts, &body) {
        if !origin.is_https() {
            let detail = "Another protocol, a WebSocket say, is asked only of https sites.";
            return problem::malformed(StatusCode::NOT_IMPLEMENTED, detail, &asked);
        }
        // The origin of a page is text of ours that was read before.
        if let Ok(authority) = HeaderValue::from_str(page.authority()) {
            parts.headers.insert(header::HOST, authority);
        }
        let request = http::Request::from_parts(parts, body);
        upgrade(visit, origin.host(), origin.port(), request).await
    } else {
        let Ok(uri) = page.as_str().parse::<Uri>() else {
            let detail = "The address is too long.";
            return problem::malformed(StatusCode::URI_TOO_LONG, detail, &asked);
        };
        parts.uri = uri;
        let request = match visit.request(parts, body) {
            Ok(request) => request,
            Err((status, detail)) => return problem::malformed(status, &detail, &asked),
        };
        match visit.door.behind.fetch(request).await {
            Ok(response) => {
                age = response.age;
                shown(response, &asked, visit.door.tells)
            }
            Err(why) => return problem::unanswered(&why, &asked),
        }
    };
    changed(gateway, origin, &asked, age, response)
}

/// Where an address typed by the reader leads: `https://…`, or a host and what follows.
pub(super) fn enter(gateway: Gateway, typed: &str, asked: &HeaderMap) -> Response<Body> {
    let typed = typed.trim();
    let whole = match typed.split_once("://") {
        Some(_) => typed.to_owned(),
        None => format!("https://{typed}"),
    };
    let page = match PageUrl::parse(&whole) {
        Ok(page) => page,
        Err(error) => {
            let detail = format!("This is no address of a page: {error}.");
            return problem::malformed(StatusCode::BAD_REQUEST, &detail, asked);
        }
    };
    let Some(address) = gateway.address(&page) else {
        let detail = format!(
            "{} can't be opened so: its name is too long for that, or it is of your own network. \
             With Busel set as the browser's proxy it can.",
            page.authority()
        );
        return problem::malformed(StatusCode::NOT_FOUND, &detail, asked);
    };
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SEE_OTHER;
    // A page's address is ASCII.
    if let Ok(address) = HeaderValue::from_str(&address) {
        response.headers_mut().insert(header::LOCATION, address);
    }
    response
}

/// A page outside leads here. It learns nothing of what comes, and the reader says whether it does.
fn threshold(gateway: Gateway, page: &PageUrl) -> Response<Body> {
    let address = gateway.address(page).unwrap_or_default();
    let (url, address) = (problem::escaped(page.as_str()), problem::escaped(&address));
    let body = format!(
        "<p>A page outside Busel leads to <bdi>{url}</bdi>.</p>\n\
         <p><a href=\"{address}\"><strong>Open it through Busel</strong></a></p>\n"
    );
    let mut response = problem::page(StatusCode::OK, "Open this page?", &body);
    let headers = response.headers_mut();
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

fn script() -> Response<Body> {
    let mut response = Response::new(full(include_str!("gateway/page.js")));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A site's answer as a browser is to have it here; `age` is that of a copy.
fn changed(
    gateway: Gateway,
    origin: &Origin,
    asked: &HeaderMap,
    age: Option<Duration>,
    response: Response<Body>,
) -> Response<Body> {
    let (mut parts, mut body) = response.into_parts();
    let dest = asked.get("sec-fetch-dest").and_then(|dest| dest.to_str().ok());
    let is_shown = dest.is_none_or(|dest| SHOWN.contains(&dest));
    let nonce = BASE64URL_NOPAD.encode(&rand::random::<[u8; 16]>());
    let address = gateway.address_of(origin, SCRIPT).filter(|_| is_shown);
    let script = address.as_deref().map(|address| (address, nonce.as_str()));
    fields::answer(gateway, origin, &mut parts.headers, script);
    if parts.status == StatusCode::NOT_MODIFIED {
        // The policy of the page that the browser has goes with the script in it.
        parts.headers.remove(header::CONTENT_SECURITY_POLICY);
    }
    if parts.status == StatusCode::PARTIAL_CONTENT || body.is_end_stream() {
        return Response::from_parts(parts, body);
    }
    let (kind, encoding) = kind(&parts.headers, is_shown);
    if kind == Kind::Other {
        return Response::from_parts(parts, body);
    }
    parts.headers.append(header::VARY, HeaderValue::from_static("sec-fetch-dest"));
    for name in ["content-length", "accept-ranges", "content-md5", "digest", "repr-digest"] {
        parts.headers.remove(name);
    }
    if let Some(coding) = shape::coding(&parts.headers) {
        body = decoded(body, coding);
    } else if is_coded(&parts.headers) {
        return unreadable(asked);
    }
    parts.headers.remove(header::CONTENT_ENCODING);
    if kind == Kind::Style {
        let utf8 = HeaderValue::from_static("text/css; charset=utf-8");
        parts.headers.insert(header::CONTENT_TYPE, utf8);
        return Response::from_parts(parts, style(gateway, origin.clone(), body, encoding));
    }
    let Some(encoding) = AsciiCompatibleEncoding::new(encoding) else { return unreadable(asked) };
    let first = script.map(|(_, nonce)| first(nonce, origin, age));
    let script = script.map(|(at, nonce)| (at.to_owned(), nonce.to_owned()));
    let change = Change { gateway, origin: origin.clone(), first, script };
    Response::from_parts(parts, change.page(body, encoding).boxed_unsync())
}

/// Whether a body is coded in a way that browsers know; some sites call none by a name.
fn is_coded(headers: &HeaderMap) -> bool {
    let told = headers.get(header::CONTENT_ENCODING).and_then(|told| told.to_str().ok());
    told.is_some_and(|told| CODINGS.iter().any(|coding| told.to_ascii_lowercase().contains(coding)))
}

/// What could not be changed is not shown as it is.
fn unreadable(asked: &HeaderMap) -> Response<Body> {
    let detail = "The page is coded in a way that the gateway can't read. With Busel set as the \
                  browser's proxy it can be opened.";
    problem::malformed(StatusCode::BAD_GATEWAY, detail, asked)
}

/// What a page begins with: the script that leads here what the page's scripts make, and shows what it kept back.
fn first(nonce: &str, origin: &Origin, age: Option<Duration>) -> String {
    let host = problem::escaped(origin.host().as_str());
    let age = age.map(|age| format!(" data-age=\"{}\"", age.as_secs())).unwrap_or_default();
    format!("<script src=\"{SCRIPT}\" nonce=\"{nonce}\" data-site=\"{host}\"{age}></script>")
}

/// What is changed in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Page,
    Style,
    /// Nothing.
    Other,
}

/// The kind of a body, and how its text is written. One that is shown and says nothing of itself may be a page.
fn kind(headers: &HeaderMap, is_shown: bool) -> (Kind, &'static Encoding) {
    let told = headers.get(header::CONTENT_TYPE).and_then(|told| told.to_str().ok());
    let told = told.unwrap_or_default();
    let (media, parameters) = told.split_once(';').unwrap_or((told, ""));
    let kind = match media.trim().to_ascii_lowercase().as_str() {
        "text/html" | "application/xhtml+xml" => Kind::Page,
        "text/css" => Kind::Style,
        media if !media.contains('/') && is_shown => Kind::Page,
        _ => Kind::Other,
    };
    let charset = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    let encoding = charset.and_then(|label| Encoding::for_label(label.as_bytes()));
    (kind, encoding.unwrap_or(UTF_8))
}

/// A style sheet, changed as a whole.
fn style(gateway: Gateway, origin: Origin, mut body: Body, encoding: &'static Encoding) -> Body {
    let changing = async move {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            bytes.extend_from_slice(&frame?.into_data().unwrap_or_default());
            if bytes.len() > MAX_STYLE {
                return Err(Failure::Protocol("the style sheet is too long".into()));
            }
        }
        let (text, _, _) = encoding.decode(&bytes);
        Ok(Frame::data(Bytes::from(css::rewritten(&text, |link| gateway.link(&origin, link)))))
    };
    StreamBody::new(stream::once(changing)).boxed_unsync()
}
