//! An HTTPS origin that counts what it is asked, and can be cut off and come back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use busel_node::Body;
use busel_node::request::full;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

type Handler = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// An HTTPS origin.
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    served: Arc<Served>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Served {
    acceptor: TlsAcceptor,
    requests: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    handler: Mutex<Handler>,
}

/// A request as the origin saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
}

impl Origin {
    pub(crate) async fn start(tls: Arc<rustls::ServerConfig>, at: SocketAddr) -> Self {
        let handler: Handler = Arc::new(|request| {
            let answer = page(format!("the page {}", request.uri().path()));
            Box::pin(async move { answer })
        });
        let served = Arc::new(Served {
            acceptor: TlsAcceptor::from(tls),
            requests: AtomicUsize::new(0),
            seen: Mutex::default(),
            handler: Mutex::new(handler),
        });
        let listener = TcpListener::bind(at).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(serve(listener, served.clone()));
        Self { addr, served, task: Mutex::new(Some(task)) }
    }

    /// Answers differently from now on.
    pub(crate) fn answer(
        &self,
        handler: impl Fn(Request<Incoming>) -> Response<Body> + Send + Sync + 'static,
    ) {
        self.answer_later(move |request| {
            let answer = handler(request);
            async move { answer }
        });
    }

    /// Answers differently from now on, once it has waited for something.
    pub(crate) fn answer_later<F>(
        &self,
        handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        *self.served.handler.lock().unwrap() = handler;
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.served.requests.load(Ordering::SeqCst)
    }

    /// The requests that came.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.served.seen.lock().unwrap().clone()
    }

    /// Cuts it off: its connections break, new ones are refused.
    pub(crate) async fn cut(&self) {
        let task = self.task.lock().unwrap().take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }

    /// Brings it back where it was.
    pub(crate) async fn back(&self) {
        let listener = TcpListener::bind(self.addr).await.unwrap();
        *self.task.lock().unwrap() = Some(tokio::spawn(serve(listener, self.served.clone())));
    }
}

async fn serve(listener: TcpListener, served: Arc<Served>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let served = served.clone();
        connections.spawn(async move {
            let Ok(stream) = served.acceptor.accept(stream).await else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                served.requests.fetch_add(1, Ordering::SeqCst);
                served.seen.lock().unwrap().push(Seen { headers: request.headers().clone() });
                let handler = served.handler.lock().unwrap().clone();
                async move { Ok::<_, Infallible>(handler(request).await) }
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// A cacheable page.
pub(crate) fn page(body: impl Into<Bytes>) -> Response<Body> {
    page_tagged("\"v1\"", body)
}

/// A cacheable page with this `ETag`.
pub(crate) fn page_tagged(etag: &str, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder()
        .header("content-type", "text/html")
        .header("cache-control", "max-age=600")
        .header("etag", etag)
        .body(full(body))
        .unwrap()
}

/// As [`page_tagged`], for an origin that serves the rest of a body (RFC 9110 §14.2, `If-Range`).
pub(crate) fn page_in_parts(request: &HeaderMap, etag: &str, body: &Bytes) -> Response<Body> {
    let mut response = page_tagged(etag, body.clone());
    let range = request.get("range").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let from: Option<usize> =
        range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    if let Some(from) = from
        && request.get("if-range").is_none_or(|tag| tag == etag)
    {
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        response.headers_mut().insert("content-range", range.parse().unwrap());
        *response.body_mut() = full(body.slice(from..));
    }
    response
}
