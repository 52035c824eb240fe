//! The web server in front of a site: HTTPS (HTTP/1.1 and HTTP/2) and plain HTTP, on loopback
//! ports that the system chooses. It answers as a well-kept news server would, with validators and
//! ranges, and counts what it was asked, so that the demo can show how often the origin was hit.
//!
//! Not here: virtual hosts, compression, several ranges in one answer, anything but GET and HEAD.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::DropGuard;

use super::{DemoCa, Owner, Page, Site};

/// Connections served at once, over both ports.
const MAX_CONNECTIONS: usize = 512;
/// How long a TLS handshake, or a request's head, may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The largest request head.
const MAX_HEAD: usize = 32 << 10;

/// A running server. Dropping it, or [`SiteServer::stop`], closes its ports and connections.
pub(crate) struct SiteServer {
    https: SocketAddr,
    http: SocketAddr,
    desk: Arc<Desk>,
    owner: Owner,
    _stop: DropGuard,
}

impl SiteServer {
    /// Serves the site under a certificate for `host` that `ca` issues.
    pub(crate) async fn start(site: Arc<Site>, host: &str, ca: &DemoCa) -> anyhow::Result<Self> {
        let tls = TlsAcceptor::from(tls_config(host, ca)?);
        let (https, https_at) = listen().await?;
        let (http, http_at) = listen().await?;
        let owner = Owner::default();
        let desk = Arc::new(Desk::new(site));
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        for (listener, tls) in [(https, Some(tls)), (http, None)] {
            let (desk, tasks) = (Arc::clone(&desk), owner.clone());
            owner.serve_within(listener, Arc::clone(&slots), move |stream| {
                serve(stream, tls.clone(), Arc::clone(&desk), tasks.clone())
            });
        }
        Ok(Self { https: https_at, http: http_at, desk, _stop: owner.guard(), owner })
    }

    /// Where HTTPS is served.
    pub(crate) fn https_addr(&self) -> SocketAddr {
        self.https
    }

    /// Where plain HTTP is served.
    pub(crate) fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// How many requests came in, on both ports, whatever was answered.
    pub(crate) fn requests(&self) -> u64 {
        self.desk.asked.load(Ordering::Relaxed)
    }

    /// How many requests for one page came in, conditional and partial ones counted.
    pub(crate) fn requests_for(&self, path: &str) -> u64 {
        let path = self.desk.site.find(path).map(|(path, _)| path);
        let count = path.and_then(|path| self.desk.by_path.get(path));
        count.map_or(0, |c| c.load(Ordering::Relaxed))
    }

    /// Closes the ports and cuts every connection, and returns when all is gone.
    pub(crate) async fn stop(self) {
        self.owner.stop().await;
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, desk: Arc<Desk>, owner: Owner) {
    // Without it a small answer may wait; the connection works all the same.
    stream.set_nodelay(true).ok();
    let Some(tls) = tls else {
        return talk(stream, desk, owner).await;
    };
    match timeout(PATIENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => talk(stream, desk, owner).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake with the demo's site failed"),
        Err(_) => tracing::debug!("a TLS handshake with the demo's site took too long"),
    }
}

async fn talk<S>(stream: S, desk: Arc<Desk>, owner: Owner)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut server = auto::Builder::new(owner);
    server.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MAX_HEAD);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PATIENCE)
        .max_concurrent_streams(100)
        .max_header_list_size(MAX_HEAD as u32);
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = desk.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    if let Err(error) = server.serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(%error, "a connection to the demo's site ended");
    }
}

/// Answers requests and counts them.
struct Desk {
    site: Arc<Site>,
    asked: AtomicU64,
    by_path: BTreeMap<String, AtomicU64>,
}

impl Desk {
    fn new(site: Arc<Site>) -> Self {
        let by_path = site.paths().map(|p| (p.to_owned(), AtomicU64::new(0)));
        Self { by_path: by_path.collect(), asked: AtomicU64::new(0), site }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (method, path) = (request.method(), request.uri().path());
        if method != Method::GET && method != Method::HEAD {
            let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(header::ALLOW, allowed);
            return refusal;
        }
        let mut response = match self.site.find(path) {
            Some((listed, page)) => {
                if let Some(count) = self.by_path.get(listed) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                page_response(page, method, request.headers())
            }
            None => self.missing(path),
        };
        if method == Method::HEAD {
            *response.body_mut() = Full::default();
        }
        response
    }

    /// Sends `/dir` to `/dir/`; anything else isn't there.
    fn missing(&self, path: &str) -> Response<Full<Bytes>> {
        let with_slash = super::canonical(&format!("{path}/"));
        // A path of two slashes would be taken for another host.
        if self.site.find(&with_slash).is_some()
            && !with_slash.starts_with("//")
            && let Ok(to) = HeaderValue::try_from(with_slash)
        {
            let mut moved = plain(StatusCode::MOVED_PERMANENTLY, "");
            moved.headers_mut().insert(header::LOCATION, to);
            return moved;
        }
        plain(StatusCode::NOT_FOUND, "no such page\n")
    }
}

fn page_response(page: &Page, method: &Method, asked: &HeaderMap) -> Response<Full<Bytes>> {
    let total = page.body.len();
    let (status, part) = if unchanged(page, asked) {
        (StatusCode::NOT_MODIFIED, 0..0)
    } else {
        match wanted(page, method, asked) {
            Wanted::Whole => (StatusCode::OK, 0..total),
            Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
            Wanted::Outside => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
        }
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::ETAG, value(&page.etag));
    headers.insert(header::LAST_MODIFIED, value(&page.last_modified));
    headers.insert(header::CACHE_CONTROL, value("max-age=60"));
    headers.insert(header::ACCEPT_RANGES, value("bytes"));
    if status == StatusCode::NOT_MODIFIED {
        return response;
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.len()));
    match status {
        StatusCode::PARTIAL_CONTENT => {
            let range = format!("bytes {}-{}/{total}", part.start, part.end - 1);
            headers.insert(header::CONTENT_RANGE, value(&range));
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            headers.insert(header::CONTENT_RANGE, value(&format!("bytes */{total}")));
            return response;
        }
        _ => {}
    }
    headers.insert(header::CONTENT_TYPE, value(page.content_type));
    *response.body_mut() = Full::new(page.body.slice(part));
    response
}

/// Whether the client's copy is still good. A date counts only if it is the very one that we gave.
fn unchanged(page: &Page, asked: &HeaderMap) -> bool {
    if asked.contains_key(header::IF_NONE_MATCH) {
        let tags = asked.get_all(header::IF_NONE_MATCH).iter();
        return tags
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag == page.etag);
    }
    let since = asked.get(header::IF_MODIFIED_SINCE);
    since.is_some_and(|since| since.as_bytes() == page.last_modified.as_bytes())
}

#[derive(Debug, PartialEq)]
enum Wanted {
    Whole,
    Part(Range<usize>),
    Outside,
}

fn wanted(page: &Page, method: &Method, asked: &HeaderMap) -> Wanted {
    if method != Method::GET {
        return Wanted::Whole;
    }
    if let Some(good) = asked.get(header::IF_RANGE)
        && good.as_bytes() != page.etag.as_bytes()
        && good.as_bytes() != page.last_modified.as_bytes()
    {
        return Wanted::Whole;
    }
    let range = asked.get(header::RANGE).and_then(|v| v.to_str().ok());
    range.map_or(Wanted::Whole, |range| parse_range(range, page.body.len()))
}

/// One byte range. What is malformed, or asks for several, is ignored, as RFC 9110 allows.
fn parse_range(range: &str, total: usize) -> Wanted {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .filter(|r| !r.contains(','))
        .and_then(|r| r.trim().split_once('-'))
    else {
        return Wanted::Whole;
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) || (first.is_empty() && last.is_empty()) {
        return Wanted::Whole;
    }
    // Digits that don't fit lie beyond any page.
    let number = |s: &str| s.parse().unwrap_or(usize::MAX);
    let part = match (first, last) {
        ("", count) => total.saturating_sub(number(count))..total,
        (first, "") => number(first)..total,
        (first, last) if number(last) < number(first) => return Wanted::Whole,
        (first, last) => number(first)..number(last).saturating_add(1).min(total),
    };
    if part.start < part.end { Wanted::Part(part) } else { Wanted::Outside }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    response
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).expect("the site's own headers are visible ASCII")
}

async fn listen() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("the demo's site can't listen on loopback")?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

fn tls_config(host: &str, ca: &DemoCa) -> anyhow::Result<Arc<ServerConfig>> {
    let (chain, key) = ca.issue(host)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use super::*;

    const HOST: &str = "news.example";

    struct World {
        site: Arc<Site>,
        ca: DemoCa,
        server: SiteServer,
    }

    async fn world() -> World {
        let site = Arc::new(Site::generated(1));
        let ca = DemoCa::new().expect("a CA");
        let server = SiteServer::start(Arc::clone(&site), HOST, &ca).await;
        World { site, ca, server: server.expect("started") }
    }

    type Answer = (StatusCode, HeaderMap, Bytes);

    /// One request over HTTPS, by HTTP/2 or HTTP/1.1.
    async fn ask(world: &World, h2: bool, request: http::request::Builder) -> Answer {
        let mut roots = RootCertStore::empty();
        roots.add(world.ca.cert_der()).expect("a good root");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let tcp = TcpStream::connect(world.server.https_addr()).await;
        let name = HOST.try_into().expect("a name");
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp.expect("connected"));
        let tls = TokioIo::new(tls.await.expect("a verified handshake"));
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let response = if h2 {
            let exec = hyper_util::rt::TokioExecutor::new();
            let (mut send, conn) =
                hyper::client::conn::http2::handshake(exec, tls).await.expect("h2");
            tokio::spawn(conn);
            send.send_request(request).await
        } else {
            let (mut send, conn) = hyper::client::conn::http1::handshake(tls).await.expect("h1");
            tokio::spawn(conn);
            send.send_request(request).await
        };
        let (head, body) = response.expect("an answer").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (head.status, head.headers, body)
    }

    fn get(path: &str) -> http::request::Builder {
        Request::get(format!("https://{HOST}{path}")).header(header::HOST, HOST)
    }

    #[tokio::test]
    async fn pages_come_whole_by_both_protocols_and_are_counted() {
        let world = world().await;
        for h2 in [false, true] {
            let (status, headers, body) = ask(&world, h2, get("/en/?from=test")).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(body, world.site.get("/en/").expect("listed").body);
            assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
            assert_eq!(headers[header::CACHE_CONTROL], "max-age=60");
        }
        let head = Request::head(format!("https://{HOST}/en/")).header(header::HOST, HOST);
        let (status, headers, body) = ask(&world, false, head).await;
        let len = world.site.get("/en/").expect("listed").body.len();
        assert_eq!((status, body.len()), (StatusCode::OK, 0));
        assert_eq!(headers[header::CONTENT_LENGTH], len.to_string());
        assert_eq!(ask(&world, true, get("/nothing")).await.0, StatusCode::NOT_FOUND);
        let (status, headers, _) = ask(&world, false, get("/en")).await;
        assert_eq!(status, StatusCode::MOVED_PERMANENTLY);
        assert_eq!(headers[header::LOCATION], "/en/");
        let post = Request::post(format!("https://{HOST}/")).header(header::HOST, HOST);
        let (status, ..) = ask(&world, false, post).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(world.server.requests(), 6);
        assert_eq!(world.server.requests_for("/en/"), 3);
    }

    #[tokio::test]
    async fn validators_and_ranges_work() {
        let world = world().await;
        let path = "/media/valley.mp4";
        let page = world.site.get(path).expect("the film");
        let ask = |name, value: &str| ask(&world, true, get(path).header(name, value));
        let (status, headers, body) = ask(header::RANGE, "bytes=100-299").await;
        assert_eq!(status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(body, page.body.slice(100..300));
        let total = page.body.len();
        assert_eq!(headers[header::CONTENT_RANGE], format!("bytes 100-299/{total}"));
        let (status, headers, _) = ask(header::RANGE, "bytes=99999999-").await;
        assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(headers[header::CONTENT_RANGE], format!("bytes */{total}"));
        let (status, _, body) =
            ask(header::IF_NONE_MATCH, &format!("\"x\", W/{}", page.etag)).await;
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
        let (status, ..) = ask(header::IF_MODIFIED_SINCE, &page.last_modified).await;
        assert_eq!(status, StatusCode::NOT_MODIFIED);
        for (tag, expected) in
            [(page.etag.as_str(), StatusCode::PARTIAL_CONTENT), ("\"old\"", StatusCode::OK)]
        {
            let request =
                get(path).header(header::RANGE, "bytes=-10").header(header::IF_RANGE, tag);
            assert_eq!(super::tests::ask(&world, false, request).await.0, expected);
        }
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let part = |a, b| Wanted::Part(a..b);
        for (range, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=5-", part(5, 10)),
            ("bytes=-3", part(7, 10)),
            ("bytes=-99", part(0, 10)),
            ("bytes=8-99999999999999999999999", part(8, 10)),
            ("bytes=10-", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
        ] {
            assert_eq!(parse_range(range, 10), expected, "{range}");
        }
    }

    #[tokio::test]
    async fn plain_http_serves_the_same_and_stop_closes_all() {
        let world = world().await;
        let tcp = TcpStream::connect(world.server.http_addr()).await;
        let (mut send, conn) =
            hyper::client::conn::http1::handshake(TokioIo::new(tcp.expect("connected")))
                .await
                .expect("h1");
        let conn = tokio::spawn(conn);
        let request = Request::get("/").header(header::HOST, HOST);
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let response = send.send_request(request).await.expect("an answer");
        let body = response.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes(), world.site.get("/").expect("front").body);
        let (https, http) = (world.server.https_addr(), world.server.http_addr());
        world.server.stop().await;
        timeout(Duration::from_secs(5), conn)
            .await
            .expect("the open connection was cut")
            .expect("no panic")
            .ok();
        for at in [https, http] {
            assert!(TcpStream::connect(at).await.is_err(), "{at} is closed");
        }
    }
}
