//! The gateway: sites for a browser that knows nothing of Busel, each under a name of this device
//! ([`busel_proto::gateway`]). What comes is as it would come through the proxy; then what in it leads elsewhere is
//! led here, and the browser is told to load nothing else.

mod html;

use std::sync::Arc;

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
    if request.uri().path() == SCRIPT {
        return script();
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Some(page) = gateway.page(origin, path) else {
        let detail = "The site has no page of such a name.";
        return problem::malformed(StatusCode::BAD_REQUEST, detail, &asked);
    };
    match Caller::of(gateway, &asked) {
        Caller::Own if !asked.contains_key("service-worker") => {}
        Caller::Leads if request.method() == Method::GET => return threshold(&page),
        _ => {
            let detail = "Only pages that are open here may ask for others.";
            return problem::malformed(StatusCode::FORBIDDEN, detail, &asked);
        }
    }
    let (mut parts, body) = request.into_parts();
    fields::request(gateway, &mut parts.headers);
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
            Ok(response) => shown(response, &asked, visit.door.tells),
            Err(why) => return problem::unanswered(&why, &asked),
        }
    };
    changed(gateway, origin, &asked, response)
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
fn threshold(page: &PageUrl) -> Response<Body> {
    let (url, path) = (problem::escaped(page.as_str()), problem::escaped(page.path_and_query()));
    let body = format!(
        "<p>A page outside Busel leads to <bdi>{url}</bdi>.</p>\n\
         <p><a href=\"{path}\"><strong>Open it through Busel</strong></a></p>\n"
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

/// A site's answer as a browser is to have it here.
fn changed(
    gateway: Gateway,
    origin: &Origin,
    asked: &HeaderMap,
    response: Response<Body>,
) -> Response<Body> {
    let (mut parts, mut body) = response.into_parts();
    let dest = asked.get("sec-fetch-dest").and_then(|dest| dest.to_str().ok());
    let is_shown = matches!(dest, Some("document" | "iframe" | "frame" | "object" | "embed"));
    let nonce = BASE64URL_NOPAD.encode(&rand::random::<[u8; 16]>());
    let address = gateway.address_of(origin, SCRIPT).filter(|_| is_shown);
    let script = address.as_deref().map(|address| (address, nonce.as_str()));
    fields::answer(gateway, origin, &mut parts.headers, script);
    let whole = parts.status != StatusCode::PARTIAL_CONTENT && !body.is_end_stream();
    let Some((kind, encoding)) = kind(&parts.headers).filter(|_| whole) else {
        return Response::from_parts(parts, body);
    };
    for name in ["content-length", "accept-ranges", "content-md5", "digest", "repr-digest"] {
        parts.headers.remove(name);
    }
    if let Some(coding) = shape::coding(&parts.headers) {
        parts.headers.remove(header::CONTENT_ENCODING);
        body = decoded(body, coding);
    } else if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Response::from_parts(parts, body);
    }
    let body = match kind {
        Kind::Style => {
            let utf8 = HeaderValue::from_static("text/css; charset=utf-8");
            parts.headers.insert(header::CONTENT_TYPE, utf8);
            style(gateway, origin.clone(), body, encoding)
        }
        Kind::Page => match AsciiCompatibleEncoding::new(encoding) {
            Some(encoding) => {
                let age = parts.headers.get(header::AGE).and_then(|age| age.to_str().ok());
                let first = script.map(|(_, nonce)| first(nonce, origin, age));
                let script = script.map(|(at, nonce)| (at.to_owned(), nonce.to_owned()));
                let change = Change { gateway, origin: origin.clone(), first, script };
                change.page(body, encoding).boxed_unsync()
            }
            None => body,
        },
    };
    Response::from_parts(parts, body)
}

/// What a page begins with: the script that leads here what the page's scripts make, and shows what it kept back.
fn first(nonce: &str, origin: &Origin, age: Option<&str>) -> String {
    let host = problem::escaped(origin.host().as_str());
    let age = age.map(|age| format!(" data-age=\"{}\"", problem::escaped(age))).unwrap_or_default();
    format!("<script src=\"{SCRIPT}\" nonce=\"{nonce}\" data-site=\"{host}\"{age}></script>")
}

/// What is changed in its body.
enum Kind {
    Page,
    Style,
}

fn kind(headers: &HeaderMap) -> Option<(Kind, &'static Encoding)> {
    let told = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (media, parameters) = told.split_once(';').unwrap_or((told, ""));
    let kind = match media.trim().to_ascii_lowercase().as_str() {
        "text/html" | "application/xhtml+xml" => Kind::Page,
        "text/css" => Kind::Style,
        _ => return None,
    };
    let charset = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    let encoding = charset.and_then(|label| Encoding::for_label(label.as_bytes()));
    Some((kind, encoding.unwrap_or(UTF_8)))
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
