//! Tests of [`super`]: raw clients, and the real curl, against a door with nothing real behind it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_compression::tokio::bufread::GzipEncoder;
use busel_proto::failure::Route;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::*;
use crate::request::{Authority, Timeline};

#[path = "http/gateway/tests.rs"]
mod gateway;

/// Answers by path, whatever the host.
#[derive(Default)]
struct Fake {
    /// What was asked: method, URL and header fields.
    seen: Mutex<Vec<(Method, String, HeaderMap)>>,
    /// What a tunnel got after it had ended its own side.
    tunnelled: Mutex<String>,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Fake {
    fn last(&self) -> (Method, String, HeaderMap) {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

impl Behind for Fake {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, Unanswered>> {
        let seen = (request.method.clone(), request.url.to_string(), request.headers.clone());
        self.seen.lock().unwrap().push(seen);
        async move {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            let answer = answer(request).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            answer
        }
        .boxed()
    }

    fn tunnel(&self, client: Box<dyn Io>, host: HostName, port: u16) -> BoxFuture<'_, ()> {
        async move {
            let (mut read, mut write) = tokio::io::split(client);
            if host.as_str() == "first.example" {
                // This side ends first; the program has sent, and still sends.
                sleep(Duration::from_millis(50)).await;
                write.shutdown().await.unwrap();
                let mut out = String::new();
                read.read_to_string(&mut out).await.unwrap();
                *self.tunnelled.lock().unwrap() = out;
                return;
            }
            write.write_all(format!("{host} {port}\n").as_bytes()).await.unwrap();
            if port == 70 {
                return write.shutdown().await.unwrap();
            }
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.write_all(b"bye").await;
            let _ = write.shutdown().await;
        }
        .boxed()
    }

    fn vouch(&self, _: &HostName, _: u16) -> Option<Arc<ServerConfig>> {
        None
    }

    fn doubted(&self, _: &HostName) {}

    fn upgrade<'a>(
        &'a self,
        request: http::Request<()>,
        host: &'a HostName,
        port: u16,
    ) -> BoxFuture<'a, Result<http::Response<Incoming>, Failure>> {
        let asked = format!("{host}:{port}{}", request.uri());
        self.seen.lock().unwrap().push((
            request.method().clone(),
            asked,
            request.headers().clone(),
        ));
        std::future::ready(Err(Failure::Silent)).boxed()
    }
}

async fn answer(request: Request) -> Result<Response, Unanswered> {
    let mut response = Response {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: full(format!("hello {}", request.url.path_and_query())),
        route: Route::Injector,
        authority: Authority::Injector { label: "Навіны 100%".into(), tls: true },
        age: Some(Duration::from_secs(7)),
        stale: true,
        timeline: Timeline::default(),
    };
    match request.url.as_url().path() {
        "/echo" => response.body = request.body.boxed_unsync(),
        "/count" => {
            let (mut body, mut sum) = (request.body, 0);
            while let Some(Ok(frame)) = body.frame().await {
                sum += frame.into_data().map_or(0, |data| data.len());
            }
            response.body = full(format!("{sum}"));
        }
        "/ignore" => {}
        "/upload" => {
            let failure = request.body.collect().await.err();
            response.body = full(format!("{failure:?}"));
        }
        "/stream" => response.body = pieces(["one", "two", "three"], None),
        "/cut" => response.body = pieces(["one", "two"], Some(Failure::Stalled)),
        "/cut-length" => {
            response.headers.insert("content-length", HeaderValue::from_static("100"));
            response.body = pieces(["one", "two"], Some(Failure::Stalled));
        }
        "/head" => {
            response.headers.insert("content-length", HeaderValue::from_static("12345"));
            response.body = full("");
        }
        "/bare" => response.body = pieces([], None),
        "/page" => {
            let page = b"<a href='https://cdn.example/'>x</a>".repeat(1000);
            let mut packed = Vec::new();
            GzipEncoder::new(&page[..]).read_to_end(&mut packed).await.unwrap();
            for (name, value) in [("content-type", "text/html"), ("content-encoding", "gzip")] {
                response.headers.append(name, HeaderValue::from_static(value));
            }
            response.body = full(packed);
        }
        "/unnamed" => response.body = full("<a href='https://cdn.example/'>x</a>"),
        path @ ("/packed" | "/wide") => {
            let wide = path == "/wide";
            let kind = if wide { "text/html; charset=utf-16" } else { "text/html" };
            response.headers.insert("content-type", HeaderValue::from_static(kind));
            if !wide {
                response.headers.insert("content-encoding", HeaderValue::from_static("zstd"));
            }
            response.body = full("<a href='https://cdn.example/'>x</a>");
        }
        "/style" => {
            let style = "a{b:url(https://cdn.example/)} /* навіны */";
            let (style, _, _) = encoding_rs::WINDOWS_1251.encode(style);
            let kind = HeaderValue::from_static("text/css; charset=windows-1251");
            response.headers.insert("content-type", kind);
            response.body = full(style.into_owned());
        }
        "/wait" => sleep(Duration::from_millis(20)).await,
        "/forge" => {
            for (name, value) in [
                ("busel-route", "local"),
                ("busel-authority", "site"),
                ("busel-other", "x"),
                ("connection", "x-hop, keep-alive"),
                ("x-hop", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-authenticate", "Basic"),
                ("age", "99"),
                ("x-end", "1"),
            ] {
                response.headers.append(name, HeaderValue::from_static(value));
            }
        }
        "/informational" => response.status = StatusCode::CONTINUE,
        "/missing" => {
            let tried = vec![(Route::Direct, Failure::Silent)];
            let timeline = Timeline::default();
            return Err(Unanswered { url: request.url, tried, private: None, timeline });
        }
        _ => {}
    }
    Ok(response)
}

fn pieces<const N: usize>(parts: [&'static str; N], end: Option<Failure>) -> Body {
    let parts = parts.map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes()))));
    // With a pause, or all would leave in one piece.
    let parts = stream::iter(parts).chain(stream::iter(end.map(Err)));
    StreamBody::new(parts.then(|part| sleep(Duration::from_millis(5)).map(|()| part)))
        .boxed_unsync()
}

fn local() -> DoorConfig {
    DoorConfig { tells: true, ..DoorConfig::new("127.0.0.1:0".parse().unwrap()) }
}

fn quick() -> Limits {
    let limit = Duration::from_millis(300);
    Limits { head: limit, upload: limit, linger: Duration::from_secs(1) }
}

async fn door() -> (HttpDoor, Arc<Fake>) {
    door_with(local(), Limits::default()).await
}

async fn door_with(config: DoorConfig, limits: Limits) -> (HttpDoor, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    let door = HttpDoor::open_within(config, fake.clone(), limits).await.unwrap();
    (door, fake)
}

/// Sends these bytes and reads until the door closes.
async fn talk(door: &HttpDoor, bytes: impl AsRef<[u8]>) -> String {
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    client.write_all(bytes.as_ref()).await.unwrap();
    rest(&mut client).await.unwrap()
}

async fn rest(client: &mut TcpStream) -> io::Result<String> {
    let mut out = Vec::new();
    timeout(Duration::from_secs(10), client.read_to_end(&mut out)).await.expect("in time")?;
    Ok(String::from_utf8(out).unwrap())
}

/// Reads until `end` has come.
async fn until(client: &mut TcpStream, end: &str) -> String {
    let mut out = String::new();
    while !out.ends_with(end) {
        let read = timeout(Duration::from_secs(10), client.read_u8()).await.expect("in time");
        out.push(char::from(read.unwrap_or_else(|e| panic!("{e} after {out:?}"))));
    }
    out
}

fn get(path: &str) -> String {
    format!("GET http://news.example{path} HTTP/1.1\r\nHost: other.example\r\n\r\n")
}

fn closing(path: &str) -> String {
    format!("GET http://news.example{path} HTTP/1.1\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn a_connection_serves_request_after_request() {
    let (door, fake) = door().await;
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    for path in ["/1", "/2?x=y", "/stream"] {
        client.write_all(get(path).as_bytes()).await.unwrap();
        let end = if path == "/stream" { "0\r\n\r\n".into() } else { format!("hello {path}") };
        assert!(until(&mut client, &end).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    let (method, url, headers) = fake.last();
    assert_eq!((method, &*url), (Method::GET, "http://news.example/stream"));
    assert!(headers.is_empty(), "{headers:?}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (door, _) = door().await;
    let out = talk(&door, get("/wait?1") + &get("/2") + &closing("/3")).await;
    let at = |text| out.find(text).unwrap();
    assert!(at("hello /wait?1") < at("hello /2") && at("hello /2") < at("hello /3"));
}

#[tokio::test]
async fn an_old_client_gets_a_body_that_ends_with_the_connection() {
    let (door, _) = door().await;
    let out = talk(&door, "GET http://news.example/stream HTTP/1.0\r\n\r\n").await;
    assert!(out.starts_with("HTTP/1.0 200 OK\r\n"), "{out}");
    assert!(!out.contains("chunked"));
    assert!(out.ends_with("\r\n\r\nonetwothree"), "{out}");
}

#[tokio::test]
async fn each_answer_says_where_it_came_from_and_no_site_can_forge_that() {
    let (door, _) = door().await;
    let out = talk(&door, closing("/forge")).await;
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.contains(&"busel-route: injector"), "{out}");
    let label = "%D0%9D%D0%B0%D0%B2%D1%96%D0%BD%D1%8B 100%25";
    assert!(lines.contains(&&*format!("busel-authority: injector \"{label}\"")), "{out}");
    assert!(lines.contains(&"busel-stale: 1"));
    assert!(lines.contains(&"age: 7"));
    assert!(lines.contains(&"x-end: 1"));
    for gone in ["local", "busel-other", "x-hop", "keep-alive", "proxy-", "age: 99", "via"] {
        assert!(!out.contains(gone), "{gone}: {out}");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_request_end_here() {
    let (door, fake) = door().await;
    let request = "GET http://news.example/ HTTP/1.1\r\nHost: news.example\r\n\
        Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\nTE: trailers\r\n\
        Connection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 300\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAA\r\nTrailer: x\r\nUser-Agent: test\r\nCookie: a=b\r\n\r\n";
    assert!(talk(&door, request).await.starts_with("HTTP/1.1 200"));
    let (_, _, headers) = fake.last();
    let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["user-agent", "cookie"]);
}

#[tokio::test]
async fn bodies_stream_both_ways_before_they_end() {
    let (door, fake) = door().await;
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    let head = "POST https://news.example/echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    for word in ["first", "other"] {
        client.write_all(format!("5\r\n{word}\r\n").as_bytes()).await.unwrap();
        until(&mut client, &format!("5\r\n{word}\r\n")).await;
    }
    client.write_all(b"0\r\n\r\n").await.unwrap();
    until(&mut client, "0\r\n\r\n").await;
    let (method, url, headers) = fake.last();
    assert_eq!((method, &*url), (Method::POST, "https://news.example/echo"));
    assert!(headers.is_empty());
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it_when_the_body_is_wanted() {
    let (door, _) = door().await;
    let head = |path| {
        format!(
            "POST http://news.example{path} HTTP/1.1\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\n\r\n"
        )
    };
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    client.write_all(head("/count").as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"12345").await.unwrap();
    assert!(until(&mut client, "\r\n\r\n5").await.starts_with("HTTP/1.1 200"));

    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    client.write_all(head("/ignore").as_bytes()).await.unwrap();
    assert!(until(&mut client, "hello /ignore").await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&mut client).await.unwrap(), "", "closed: the body may or may not come");
}

#[tokio::test]
async fn a_head_request_gets_the_length_and_no_body() {
    let (door, _) = door().await;
    let head =
        |path| format!("HEAD http://news.example{path} HTTP/1.1\r\nConnection: close\r\n\r\n");
    let out = talk(&door, head("/head")).await;
    assert!(out.contains("content-length: 12345\r\n") && out.ends_with("\r\n\r\n"), "{out}");
    let out = talk(&door, head("/bare")).await;
    assert!(!out.contains("content-length") && out.ends_with("\r\n\r\n"), "{out}");
    let out = talk(&door, head("/missing")).await;
    assert!(out.starts_with("HTTP/1.1 504") && out.ends_with("\r\n\r\n"), "{out}");
}

#[tokio::test]
async fn a_head_of_64_kib_is_too_large_and_the_door_lives_on() {
    let (door, _) = door().await;
    let via = "1.1 proxy, ".repeat(64 * 1024 / 11 + 1);
    let request = format!("GET http://news.example/ HTTP/1.1\r\nVia: {via}\r\n\r\n");
    for _ in 0..20 {
        let out = talk(&door, &request).await;
        assert!(out.starts_with("HTTP/1.1 431 "), "{out}");
    }
    // The rest of a head that was refused must not destroy the answer.
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    client.write_all(&[request.as_bytes(), &[b'x'; 40_000]].concat()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    for _ in 0..3 {
        client.write_all(&[b'x'; 100_000]).await.expect("the door still reads");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(rest(&mut client).await.unwrap().starts_with("HTTP/1.1 431 "));
    let half = format!("{}\r\nConnection: close\r\n\r\n", &request[..40 * 1024]);
    assert!(talk(&door, half).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn nonsense_is_refused() {
    let (door, fake) = door().await;
    for junk in [
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7f\x03\x03\r\n\r\n",
        "hello there\r\n\r\n",
        "GET\r\n\r\n",
        "GET http://news.example/ HTTP/9.9\r\n\r\n",
        "GET http://news.example/ HTTP/1.1\r\nbad header\r\n\r\n",
        "GET http://news.example/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET http://user:pw@news.example/ HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET http://:80/ HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET news.example:80 HTTP/1.1\r\nConnection: close\r\n\r\n",
        "CONNECT news.example HTTP/1.1\r\nConnection: close\r\n\r\n",
        "CONNECT news.example:0 HTTP/1.1\r\nConnection: close\r\n\r\n",
        "CONNECT me@news.example:443 HTTP/1.1\r\nConnection: close\r\n\r\n",
        "CONNECT /x HTTP/1.1\r\nConnection: close\r\n\r\n",
    ] {
        let out = talk(&door, junk).await;
        assert!(out.starts_with("HTTP/1.1 400 "), "{junk:?}: {out}");
    }
    assert!(fake.seen.lock().unwrap().is_empty());
    for (request, status) in [
        ("GET ftp://news.example/ HTTP/1.1\r\nConnection: close\r\n\r\n", 501),
        (
            "GET http://news.example/ HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            501,
        ),
        ("GET /page HTTP/1.1\r\nHost: news.example\r\nConnection: close\r\n\r\n", 421),
        ("GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 404),
        ("POST / HTTP/1.1\r\nConnection: close\r\n\r\n", 405),
        ("OPTIONS * HTTP/1.1\r\nConnection: close\r\n\r\n", 200),
        (
            "TRACE http://news.example/ HTTP/1.1\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n",
            405,
        ),
        ("GET http://news.example/informational HTTP/1.1\r\nConnection: close\r\n\r\n", 502),
    ] {
        let mut client = TcpStream::connect(door.addr()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let out = rest(&mut client).await.unwrap();
        assert!(out.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {out}");
    }
}

#[tokio::test]
async fn max_forwards_counts_down() {
    let (door, fake) = door().await;
    let request = "OPTIONS http://news.example/ HTTP/1.1\r\nMax-Forwards: 3\r\n\
        Connection: close\r\n\r\n";
    talk(&door, request).await;
    assert_eq!(fake.last().2["max-forwards"], "2");
}

#[tokio::test]
async fn a_slow_head_is_given_up_and_so_is_a_slow_body() {
    let (door, _) = door_with(local(), quick()).await;
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    for byte in "GET http://news.example/ HTTP/1.1\r\n".bytes() {
        sleep(Duration::from_millis(20)).await;
        if client.write_all(&[byte]).await.is_err() {
            break;
        }
    }
    assert!(matches!(rest(&mut client).await.as_deref(), Ok("") | Err(_)));

    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    let head = "POST http://news.example/upload HTTP/1.1\r\nContent-Length: 9\r\n\r\n123";
    client.write_all(head.as_bytes()).await.unwrap();
    until(&mut client, "Some(Stalled)").await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_told() {
    let (door, _) = door().await;
    let head = "POST http://news.example/upload HTTP/1.1\r\nContent-Length: 9\r\n\r\n123";
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    client.write_all(head.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    assert!(rest(&mut client).await.unwrap().ends_with("Some(CutOff)"));
}

#[tokio::test]
async fn a_body_cut_half_way_never_looks_complete() {
    let (door, _) = door().await;
    let out = talk(&door, get("/cut")).await;
    assert!(out.contains("3\r\ntwo\r\n") && !out.contains("\r\n0\r\n"), "{out}");
    let out = talk(&door, get("/cut-length")).await;
    assert!(out.contains("content-length: 100\r\n") && out.ends_with("onetwo"), "{out}");
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    let old = "GET http://news.example/cut HTTP/1.0\r\n\r\n";
    client.write_all(old.as_bytes()).await.unwrap();
    let end = rest(&mut client).await;
    assert_eq!(end.map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn connect_becomes_a_tunnel_whose_directions_end_apart() {
    let (door, _) = door().await;
    for (version, target, told) in [
        ("1.1", "News.Example:443", "news.example 443\n"),
        ("1.1", "[2001:DB8::1]:80", "2001:db8::1 80\n"),
        ("1.0", "news.example:443", "news.example 443\n"),
    ] {
        let mut client = TcpStream::connect(door.addr()).await.unwrap();
        // The first flight comes with the request.
        let head = format!("CONNECT {target} HTTP/{version}\r\nHost: {target}\r\n\r\nfirst ");
        client.write_all(head.as_bytes()).await.unwrap();
        let head = until(&mut client, "\r\n\r\n").await;
        assert!(head.starts_with(&format!("HTTP/{version} 200 OK\r\n")), "{head}");
        assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
        client.write_all(b"second").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await.unwrap(), format!("{told}first secondbye"));
    }
}

#[tokio::test]
async fn a_tunnel_that_has_ended_its_side_still_gets_what_the_program_sends() {
    let (door, fake) = door().await;
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    client.write_all(b"CONNECT first.example:1 HTTP/1.1\r\n\r\n").await.unwrap();
    until(&mut client, "\r\n\r\n").await;
    client.write_all(b"first ").await.unwrap();
    assert_eq!(rest(&mut client).await.unwrap(), "");
    client.write_all(b"second").await.unwrap();
    drop(client);
    timeout(Duration::from_secs(5), async {
        while fake.tunnelled.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("in time");
    assert_eq!(*fake.tunnelled.lock().unwrap(), "first second");
}

#[tokio::test]
async fn a_program_that_has_said_all_still_gets_its_answer() {
    let (door, _) = door().await;
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    client.write_all(get("/wait").as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    assert!(rest(&mut client).await.unwrap().ends_with("hello /wait"));
}

#[tokio::test]
async fn a_request_for_the_door_itself_goes_nowhere() {
    let (door, fake) = door().await;
    let port = door.addr().port();
    for host in ["127.0.0.1", "localhost", "a.LOCALHOST", "0.0.0.0", "[::ffff:127.0.0.1]", "[::]"] {
        let request = format!("GET http://{host}:{port}/ HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(talk(&door, request).await.starts_with("HTTP/1.1 508 "), "{host}");
        let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(talk(&door, request).await.starts_with("HTTP/1.1 508 "), "{host}");
    }
    assert!(fake.seen.lock().unwrap().is_empty());
    let out = talk(&door, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(out.starts_with("HTTP/1.1 200 ") && out.contains(&format!("127.0.0.1:{port}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_at_once_are_all_served_within_the_limit() {
    let config = DoorConfig { max_connections: 256, ..local() };
    let (door, fake) = door_with(config, Limits::default()).await;
    let addr = door.addr();
    // Fewer where the system allows a process fewer open files.
    let count = 2000.min(open_files() - 512);
    let mut clients = JoinSet::new();
    for number in 0..count {
        clients.spawn(async move {
            let mut client = TcpStream::connect(addr).await.unwrap();
            client.write_all(get(&format!("/wait?{number}")).as_bytes()).await.unwrap();
            // Kept open by the client: the door must make room itself.
            let out = rest_of(&mut client, &format!("hello /wait?{number}")).await;
            (client, out)
        });
    }
    let mut open = Vec::new();
    while let Some(done) = clients.join_next().await {
        let (client, served) = done.unwrap();
        assert!(served);
        open.push(client);
    }
    assert_eq!(open.len(), count);
    let most = fake.most.load(Ordering::SeqCst);
    assert!((100..=256).contains(&most), "{most} at once");
}

fn open_files() -> usize {
    let Ok(limits) = std::fs::read_to_string("/proc/self/limits") else { return 1024 };
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(1024)
}

async fn rest_of(client: &mut TcpStream, end: &str) -> bool {
    let mut out = Vec::new();
    let read = async {
        while !out.ends_with(end.as_bytes()) {
            if client.read_buf(&mut out).await.unwrap() == 0 {
                return false;
            }
        }
        true
    };
    timeout(Duration::from_secs(60), read).await.unwrap()
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_another() {
    let config = DoorConfig { max_connections: 1, ..local() };
    let (door, _) = door_with(config, Limits::default()).await;
    let mut idle = TcpStream::connect(door.addr()).await.unwrap();
    idle.write_all(get("/1").as_bytes()).await.unwrap();
    until(&mut idle, "hello /1").await;
    assert!(talk(&door, closing("/2")).await.ends_with("hello /2"));
    assert_eq!(rest(&mut idle).await.unwrap(), "");
}

#[tokio::test]
async fn a_closed_door_is_closed_and_its_tasks_have_ended() {
    let (door, _) = door().await;
    let addr = door.addr();
    let mut idle = TcpStream::connect(addr).await.unwrap();
    idle.write_all(get("/1").as_bytes()).await.unwrap();
    until(&mut idle, "hello /1").await;
    let mut tunnel = TcpStream::connect(addr).await.unwrap();
    tunnel.write_all(b"CONNECT news.example:443 HTTP/1.1\r\n\r\n").await.unwrap();
    until(&mut tunnel, "443\n").await;
    timeout(Duration::from_secs(3), door.close()).await.expect("in time");
    assert_eq!(rest(&mut idle).await.unwrap(), "");
    assert_eq!(rest(&mut tunnel).await.unwrap(), "");
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_door_that_can_not_be_opened_says_why() {
    let open = |config| HttpDoor::open(config, Arc::new(Fake::default()));
    let (first, _) = door().await;
    let taken = DoorConfig::new(first.addr());
    assert!(matches!(open(taken).await.err(), Some(DoorError::InUse(_))));
    let mut public = DoorConfig::new("0.0.0.0:0".parse().unwrap());
    assert!(matches!(open(public.clone()).await.err(), Some(DoorError::NotLoopback(_))));
    public.allow_remote = true;
    assert!(matches!(open(public.clone()).await.err(), Some(DoorError::NotLoopback(_))));
    public.credentials = Some("me:pw".into());
    assert!(open(public).await.is_ok());
    let nowhere = DoorConfig {
        allow_remote: true,
        credentials: Some("me:pw".into()),
        ..DoorConfig::new("192.0.2.1:0".parse().unwrap())
    };
    assert!(matches!(open(nowhere).await.err(), Some(DoorError::Listen(..))));
}

#[tokio::test]
async fn credentials_are_asked_for_where_no_user_is_told() {
    let credentials = Some("me:pa:ss".into());
    let config = DoorConfig { same_user_only: false, credentials, ..local() };
    let (door, fake) = door_with(config, Limits::default()).await;
    let with = |value: &str| {
        format!(
            "GET http://news.example/ HTTP/1.1\r\nProxy-Authorization: {value}\r\n\
             Connection: close\r\n\r\n"
        )
    };
    for wrong in
        ["Basic", "Basic ", "Basic bWU6cGE6c3M=x", "Bearer bWU6cGE6c3M=", "Basic bWU6cGE6c3k="]
    {
        let out = talk(&door, with(wrong)).await;
        assert!(out.starts_with("HTTP/1.1 407 "), "{wrong}: {out}");
        assert!(out.contains("proxy-authenticate: Basic realm="), "{out}");
    }
    assert!(talk(&door, closing("/")).await.starts_with("HTTP/1.1 407 "));
    assert!(fake.seen.lock().unwrap().is_empty());
    assert!(talk(&door, with("basic  bWU6cGE6c3M=")).await.starts_with("HTTP/1.1 200 "));
    assert!(fake.last().2.is_empty());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn another_user_is_refused() {
    if owner::own_uid() != 0 {
        return;
    }
    let (door, fake) = door().await;
    let proxy = format!("http://{}", door.addr());
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "-p", "-x", &proxy, "https://news.example/"]).uid(65534);
    let out = command.output().await.unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("HTTP/1.1 403 "), "{out:?}");
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "-x", &proxy, "http://news.example/"]).uid(65534);
    let out = String::from_utf8(command.output().await.unwrap().stdout).unwrap();
    assert!(out.starts_with("HTTP/1.1 403 ") && out.contains("connection: close"), "{out}");
    assert!(fake.seen.lock().unwrap().is_empty());
}

/// What curl writes with these arguments, and its exit code.
async fn curl(door: &HttpDoor, args: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "-x", &format!("http://{}", door.addr())]);
    let out = command.args(args).kill_on_drop(true).output().await.unwrap();
    (String::from_utf8(out.stdout).unwrap(), out.status.code())
}

#[tokio::test]
async fn curl_gets_posts_and_uploads() {
    let (door, fake) = door().await;
    let ok = |text: &str| (text.to_owned(), Some(0));
    assert_eq!(curl(&door, &["http://news.example/a"]).await, ok("hello /a"));
    assert_eq!(curl(&door, &["-0", "http://news.example/stream"]).await, ok("onetwothree"));
    let post = ["-d", "a=b", "http://news.example/echo"];
    assert_eq!(curl(&door, &post).await, ok("a=b"));
    assert_eq!(fake.last().2["content-length"], "3");
    let chunked = ["-d", "a=b", "-H", "Transfer-Encoding: chunked", "http://news.example/echo"];
    assert_eq!(curl(&door, &chunked).await, ok("a=b"));
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        assert_eq!(curl(&door, &["-X", method, "http://news.example/m"]).await, ok("hello /m"));
        assert_eq!(fake.last().0, method);
    }
    let (head, _) = curl(&door, &["-I", "http://news.example/head"]).await;
    assert!(head.to_lowercase().contains("content-length: 12345"), "{head}");
    let reused = ["-w", "%{num_connects} ", "http://news.example/1", "http://news.example/2"];
    assert_eq!(curl(&door, &reused).await, ok("hello /11 hello /20 "));
}

#[tokio::test]
async fn curl_uploads_much_with_100_continue() {
    let (door, _) = door().await;
    let dir = std::env::temp_dir().join(format!("busel-door-{}", std::process::id()));
    std::fs::write(&dir, vec![b'x'; 20_000_000]).unwrap();
    let file = dir.to_str().unwrap().to_owned();
    let put = ["-T", &file, "-H", "Expect: 100-continue", "http://news.example/count"];
    assert_eq!(curl(&door, &put).await, ("20000000".to_owned(), Some(0)));
    std::fs::remove_file(dir).unwrap();
}

#[tokio::test]
async fn curl_notices_a_cut_body() {
    let (door, _) = door().await;
    for (args, code) in [
        (vec!["http://news.example/cut"], 18),
        (vec!["http://news.example/cut-length"], 18),
        (vec!["-0", "http://news.example/cut"], 56),
    ] {
        assert_eq!(curl(&door, &args).await.1, Some(code), "{args:?}");
    }
}

#[tokio::test]
async fn curl_shows_why_a_page_can_not_be_had() {
    let (door, _) = door().await;
    let args = ["-w", " %{http_code} %{content_type}", "http://news.example/missing"];
    let (out, _) = curl(&door, &args).await;
    assert!(out.ends_with(" 504 application/problem+json"), "{out}");
    let args = ["-H", "Accept: text/html", "http://news.example/missing"];
    let (out, _) = curl(&door, &args).await;
    assert!(out.contains("nothing came back"), "{out}");
    let via = format!("Via: {}", "1.1 proxy, ".repeat(6000));
    let (out, _) = curl(&door, &["-w", "%{http_code}", "-H", &via, "http://news.example/"]).await;
    assert_eq!(out, "431");
}

/// What a SOCKS5 client says first, and then to connect to a host by name.
fn socks(methods: &[u8], command: u8, host: &str, port: u16) -> (Vec<u8>, Vec<u8>) {
    let greeting = [&[5, u8::try_from(methods.len()).unwrap()], methods].concat();
    let len = u8::try_from(host.len()).unwrap();
    let ask = [&[5, command, 0, 3, len], host.as_bytes(), &port.to_be_bytes()].concat();
    (greeting, ask)
}

async fn exactly<const N: usize>(client: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    let read = timeout(Duration::from_secs(10), client.read_exact(&mut bytes)).await;
    read.expect("in time").unwrap();
    bytes
}

#[tokio::test]
async fn socks_is_spoken_at_the_same_door() {
    let (door, _) = door().await;
    for (command, host, port, reply) in [
        (1, "far.example", 25, 0),
        (1, "far.example", 0, 4),
        (2, "far.example", 1, 7),
        (3, "", 0, 7),
    ] {
        let (greeting, ask) = socks(&[0, 2], command, host, port);
        let mut client = TcpStream::connect(door.addr()).await.unwrap();
        client.write_all(&greeting).await.unwrap();
        assert_eq!(exactly(&mut client).await, [5, 0]);
        client.write_all(&ask).await.unwrap();
        let [version, said, ..] = exactly::<10>(&mut client).await;
        assert_eq!((version, said), (5, reply), "{command} {host}:{port}");
        if said == 0 {
            client.write_all(b"hello").await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(rest(&mut client).await.unwrap(), "far.example 25\nhellobye");
        }
    }
    let (_, ask) = socks(&[0], 1, "127.0.0.1", door.addr().port());
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    client.write_all(&[&[5, 1, 0], &ask[..]].concat()).await.unwrap();
    assert_eq!(exactly::<4>(&mut client).await[..], [5, 0, 5, 2], "no loop");
}

#[tokio::test]
async fn the_real_curl_speaks_socks_with_names_and_addresses() {
    let (door, _) = door().await;
    for host in ["far.example", "198.51.100.7", "[2001:db8::1]"] {
        let (proxy, url) = (format!("socks5h://{}", door.addr()), format!("gopher://{host}:70/"));
        let args = ["-sS", "--max-time", "10", "--proxy", &proxy, &url];
        let out = Command::new("curl").args(args).output().await.unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        let name = host.trim_matches(['[', ']']);
        assert!(text.starts_with(&format!("{name} 70\n")), "{text} {:?}", out.stderr);
    }
}

#[tokio::test]
async fn socks_asks_for_credentials_where_http_does() {
    let credentials = Some("me:pa:ss".into());
    let config = DoorConfig { same_user_only: false, credentials, ..local() };
    let (door, _) = door_with(config, Limits::default()).await;
    for (password, fits) in [("pa:ss", true), ("pass", false), ("PA:SS", false)] {
        let mut client = TcpStream::connect(door.addr()).await.unwrap();
        client.write_all(&[5, 2, 0, 2]).await.unwrap();
        assert_eq!(exactly(&mut client).await, [5, 2]);
        let len = u8::try_from(password.len()).unwrap();
        let shown = [&[1, 2], b"me".as_slice(), &[len], password.as_bytes()].concat();
        client.write_all(&shown).await.unwrap();
        let [version, said] = exactly(&mut client).await;
        assert_eq!((version, said == 0), (1, fits), "{password}");
    }
    let mut client = TcpStream::connect(door.addr()).await.unwrap();
    client.write_all(&[5, 1, 0]).await.unwrap();
    assert_eq!(exactly(&mut client).await, [5, 0xff]);
}

#[tokio::test]
async fn a_browser_is_told_to_ask_here_and_nowhere_else() {
    let (door, _) = door().await;
    let out = talk(&door, "GET /proxy.pac HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(out.contains("content-type: application/x-ns-proxy-autoconfig"), "{out}");
    let at = door.addr();
    assert!(out.contains(&format!("return \"PROXY {at}\";")), "{out}");
}
