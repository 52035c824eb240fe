//! Talking to origins: HTTP/1.1 and HTTP/2 over TCP or a tunnel, TLS verified, connections kept.
//!
//! The route `Direct` and the injector use it over this device's own connections, the route
//! `Tunnel` over another node's. It forwards requests; it decides nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use busel_net::dial::{Dialer, beside, of_io};
pub use busel_net::shake::Duplex as Io;
use busel_net::shake::Shaker;
use busel_proto::failure::Failure;
use busel_proto::network::Reach;
use busel_proto::page::{HostName, PageUrl};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body_util::BodyExt;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::request::{Body, RequestBody};
use crate::resolve::Names;

/// A TLS handshake takes at most this long.
const TLS_LIMIT: Duration = Duration::from_secs(15);
/// Idle connections kept to one host, and for how long.
const IDLE: (usize, Duration) = (32, Duration::from_secs(60));
/// The largest response head.
const MAX_HEAD: usize = 64 * 1024;

/// Opens connections to hosts: this device's own, or another node's by tunnel.
pub trait Way: Send + Sync + 'static {
    /// Connects to `host`.
    fn connect(
        &self,
        host: HostName,
        port: u16,
    ) -> BoxFuture<'static, Result<Box<dyn Io>, Failure>>;

    /// Connects to `host` by a further way, if there is one, for where the first fails.
    fn connect_otherwise(
        &self,
        host: HostName,
        port: u16,
    ) -> Option<BoxFuture<'static, Result<Box<dyn Io>, Failure>>> {
        let _ = (host, port);
        None
    }
}

/// This device's own connections.
#[derive(Debug, Clone)]
pub struct Own {
    /// Resolves names.
    pub names: Arc<Names>,
    /// Opens connections.
    pub dialer: Dialer,
    /// Where to.
    pub reach: Arc<Reach>,
    /// Whether somebody else says where to. Then each address is judged before it is connected to,
    /// so that the name can't be left to an upstream proxy.
    pub for_others: bool,
}

impl Own {
    /// Connects to the first address of `host` that answers.
    pub async fn dial(&self, host: &HostName, port: u16) -> Result<tokio::net::TcpStream, Failure> {
        let named = host.ip().is_none() && !self.names.is_fixed(host, port);
        if named && !self.for_others && self.dialer.is_upstream() {
            // At the proxy's end such a name is another host, and the proxy need not learn it. An onion
            // service is none of the own network: the proxy alone can reach it.
            if host.is_local() && !host.as_str().ends_with(".onion") {
                let why = "hosts of the own network are not told to the upstream proxy";
                return Err(Failure::NotAllowed(why.into()));
            }
            return self.dialer.dial_name(host.as_str(), port).await;
        }
        let addrs: Vec<SocketAddr> = self.names.resolve(host, port, &self.reach).await?;
        self.dialer.dial_any(&addrs).await
    }
}

impl Way for Own {
    fn connect(
        &self,
        host: HostName,
        port: u16,
    ) -> BoxFuture<'static, Result<Box<dyn Io>, Failure>> {
        // A block shows only in the handshake, so that the connector, not the dialer, tries both.
        let own = Self { dialer: self.dialer.plain(), ..self.clone() };
        Box::pin(async move { Ok(Box::new(own.dial(&host, port).await?) as Box<dyn Io>) })
    }

    fn connect_otherwise(
        &self,
        host: HostName,
        port: u16,
    ) -> Option<BoxFuture<'static, Result<Box<dyn Io>, Failure>>> {
        let own = Self { dialer: self.dialer.further()?, ..self.clone() };
        Some(Box::pin(async move { Ok(Box::new(own.dial(&host, port).await?) as Box<dyn Io>) }))
    }
}

/// A client of origins over one [`Way`].
#[derive(Clone)]
pub struct Origin {
    connector: Connector,
    client: Arc<Mutex<Client<Connector, RequestBody>>>,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Origin")
    }
}

/// Why an origin did not answer, and whether a byte of the request may have reached it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Why.
    pub failure: Failure,
    /// Whether a byte of the request may have been sent.
    pub sent: bool,
}

impl Origin {
    /// A client that connects by `way` and trusts `roots` for TLS.
    pub fn new(way: Arc<dyn Way>, roots: Arc<rustls::RootCertStore>) -> Self {
        let connector = Connector { way, tls: Shaker::of_the_web(roots) };
        let client = Arc::new(Mutex::new(client(connector.clone())));
        Self { connector, client }
    }

    /// Keeps no connection that there is for the next request: the device is on another network.
    pub fn renew(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) =
            client(self.connector.clone());
    }

    /// Sends a request and returns the response once its head is there.
    pub async fn send(
        &self,
        method: Method,
        url: &PageUrl,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<Response<Body>, Failed> {
        let uri: Uri = url.as_str().parse().map_err(|_| Failed {
            failure: Failure::Protocol("the address is no HTTP address".into()),
            sent: false,
        })?;
        // A server may close a kept connection just as a request is sent on it. A GET is made again,
        // once, on a connection of its own; what a filter did is not tried a second time.
        let safe = matches!(method, Method::GET | Method::HEAD) && !body.touched();
        let again = safe.then(|| request(&method, &uri, headers.clone(), body.clone()));
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sent = client.request(request(&method, &uri, headers, body.clone())).await;
        let mut response = sent.map_err(|e| failed(&e, &body));
        let closed = |f: &Failed| f.sent && matches!(f.failure, Failure::Protocol(_));
        if let (Some(again), true) = (again, response.as_ref().is_err_and(closed)) {
            response = client.request(again).await.map_err(|e| failed(&e, &body));
        }
        let response = response?;
        Ok(response.map(|body| body.map_err(|e| of_hyper(&e)).boxed_unsync()))
    }
}

fn client(connector: Connector) -> Client<Connector, RequestBody> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE.1)
        .pool_max_idle_per_host(IDLE.0)
        .http1_max_buf_size(MAX_HEAD)
        .http2_max_header_list_size(u32::try_from(MAX_HEAD).expect("64 KiB"))
        .retry_canceled_requests(true)
        .build(connector)
}

fn request(
    method: &Method,
    uri: &Uri,
    headers: HeaderMap,
    body: RequestBody,
) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri.clone();
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    request
}

fn failed(error: &ClientError, body: &RequestBody) -> Failed {
    let failure = cause(error);
    Failed { failure, sent: !error.is_connect() || body.touched() }
}

/// What lies at the bottom of an error: our own connect failure, or an I/O error.
fn cause(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(refused) = error.downcast_ref::<ConnectError>() {
            return refused.0.clone();
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return of_io(io);
        }
        if let Some(hyper) = error.downcast_ref::<hyper::Error>()
            && hyper.is_incomplete_message()
        {
            return Failure::CutOff;
        }
        at = error.source();
    }
    Failure::Protocol(error.to_string())
}

fn of_hyper(error: &hyper::Error) -> Failure {
    match cause(error) {
        // A body that ends before its length is cut, whatever the layer below says.
        Failure::Protocol(_) if error.is_body_write_aborted() => Failure::CutOff,
        failure => failure,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct ConnectError(Failure);

#[derive(Clone)]
struct Connector {
    way: Arc<dyn Way>,
    tls: Shaker,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Link;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Link, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.connect(&uri).await.map_err(ConnectError) })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> Result<Link, Failure> {
        let malformed = || Failure::Protocol("no host in the address".into());
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or_else(malformed)?;
        let host = HostName::parse(host).map_err(|_| malformed())?;
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let first = self.link(self.way.connect(host.clone(), port), secure, &host);
        match self.way.connect_otherwise(host.clone(), port) {
            None => first.await,
            Some(further) => beside(first, self.link(further, secure, &host)).await,
        }
    }

    async fn link(
        &self,
        connected: BoxFuture<'static, Result<Box<dyn Io>, Failure>>,
        secure: bool,
        host: &HostName,
    ) -> Result<Link, Failure> {
        let io = connected.await?;
        if !secure {
            return Ok(Link { io: TokioIo::new(io), h2: false });
        }
        let (io, h2) = handshake(&self.tls, host, io).await?;
        Ok(Link { io: TokioIo::new(io), h2 })
    }
}

/// Adds TLS.
pub(crate) async fn handshake(
    tls: &Shaker,
    host: &HostName,
    io: Box<dyn Io>,
) -> Result<(Box<dyn Io>, bool), Failure> {
    let shaken = tokio::time::timeout(TLS_LIMIT, tls.shake(host, io)).await;
    shaken.unwrap_or(Err(Failure::Silent)).map(|shaken| (shaken.io, shaken.h2))
}

/// A connection as the pool sees it.
struct Link {
    io: TokioIo<Box<dyn Io>>,
    h2: bool,
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        if self.h2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

/// A QUIC stream as [`Io`].
pub(crate) struct StreamIo(pub(crate) busel_net::endpoint::Stream);

impl AsyncRead for StreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.0.recv), cx, buf)
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.0.send), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.0.send), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.0.send), cx)
    }
}

/// TLS that verifies against `roots`.
pub(crate) fn client_config(roots: Arc<rustls::RootCertStore>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The authorities that vouch for sites: Mozilla's, and files the owner adds.
pub fn roots(extra: &[std::path::PathBuf]) -> io::Result<Arc<rustls::RootCertStore>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut store = rustls::RootCertStore::empty();
    store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for path in extra {
        let bad = |e: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display()))
        };
        for cert in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
            let cert = cert.map_err(|e| bad(e.to_string()))?;
            store.add(cert).map_err(|e| bad(e.to_string()))?;
        }
    }
    Ok(Arc::new(store))
}
