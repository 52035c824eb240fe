//! A web server that tells what it was sent, and breaks off in the middle where it is asked to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The name under which readers know it.
pub(crate) const ODD: &str = "odd.example";
/// The length that `/cut` promises.
pub(crate) const PROMISED: usize = 1_000_000;
/// What it sends of it.
pub(crate) const SENT: usize = 10_000;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The server, on a runtime of its own.
pub(crate) struct Odd {
    pub(crate) addr: SocketAddr,
    asked: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Odd {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::<AtomicUsize>::default();
        let count = asked.clone();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let count = count.clone();
                let service = service_fn(move |request| {
                    count.fetch_add(1, Ordering::SeqCst);
                    async move { Ok::<_, Infallible>(answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { addr, asked, _runtime: runtime }
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The flags by which a node finds it.
    pub(crate) fn flags(&self) -> [String; 2] {
        ["--connect-to".into(), format!("{ODD}:80:{}", self.addr)]
    }
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/cut" => cut(true),
        "/cut-chunked" => cut(false),
        _ => told(request).await,
    }
}

/// `METHOD framing length hash expect`, of what was sent.
async fn told(request: Request<Incoming>) -> Response<Body> {
    let method = request.method().clone();
    let has = |name| request.headers().contains_key(name);
    let framing = match (has(header::CONTENT_LENGTH), has(header::TRANSFER_ENCODING)) {
        (true, false) => "length",
        (false, true) => "chunked",
        (true, true) => "both",
        (false, false) => "none",
    };
    let expect = if has(header::EXPECT) { "expect" } else { "-" };
    let (mut hasher, mut len) = (blake3::Hasher::new(), 0);
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Response::new(Full::default().map_err(never).boxed_unsync());
        };
        if let Ok(bytes) = frame.into_data() {
            hasher.update(&bytes);
            len += bytes.len();
        }
    }
    let told = format!("{method} {framing} {len} {} {expect}\n", hasher.finalize());
    let mut response = Response::new(Full::from(told).map_err(never).boxed_unsync());
    if method == http::Method::PUT {
        *response.status_mut() = StatusCode::CREATED;
    }
    response
}

fn cut(with_length: bool) -> Response<Body> {
    let begin = stream::iter([Ok(Frame::data(Bytes::from(vec![b'x'; SENT])))]);
    // The first part goes out before the connection breaks.
    let end = stream::once(async {
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    });
    let mut response = Response::new(StreamBody::new(begin.chain(end)).boxed_unsync());
    if with_length {
        response.headers_mut().insert(header::CONTENT_LENGTH, PROMISED.into());
    }
    response
}

fn never(never: Infallible) -> std::io::Error {
    match never {}
}
