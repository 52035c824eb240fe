//! What a poisoned name leads to: a page that says that the site is blocked, over HTTP, and over
//! HTTPS under a certificate that the censor's own authority forges for whichever name is asked.
//! A browser that verifies refuses it, and that it can be told from the true site is the point.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Owner;
use crate::demo::site::DemoCa;

/// Connections at once, on each port.
const MAX_CONNECTIONS: usize = 256;
/// Forged certificates that are kept.
const MAX_FORGED: usize = 256;
/// How long a handshake or a request's head may take.
const PATIENCE: Duration = Duration::from_secs(10);

const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
<title>Access restricted</title></head>\n<body style=\"font:1.1rem sans-serif;margin:15vh auto;\
max-width:34rem\"><h1>Access to this site is restricted</h1>\n<p>By order of the ministry this \
resource is blocked. The order is not shown.</p>\n<p lang=\"be\">Паводле загаду міністэрства \
доступ да гэтага рэсурсу абмежаваны.</p></body></html>\n";

/// Where the pages are served.
#[derive(Clone, Copy)]
pub(super) struct Pages {
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
}

/// Serves the page on two loopback ports.
pub(super) async fn start(owner: &Owner) -> anyhow::Result<Pages> {
    let (plain, http) = listen().await?;
    let (secure, https) = listen().await?;
    let tls = TlsAcceptor::from(Arc::new(tls_config()?));
    owner.serve(plain, MAX_CONNECTIONS, |stream| serve(stream, None));
    owner.serve(secure, MAX_CONNECTIONS, move |stream| serve(stream, Some(tls.clone())));
    Ok(Pages { http, https })
}

async fn listen() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the block page can't listen")?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>) {
    let Some(tls) = tls else {
        return talk(stream).await;
    };
    // That the handshake fails is what a good client does.
    if let Ok(Ok(stream)) = timeout(PATIENCE, tls.accept(stream)).await {
        talk(stream).await;
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service_fn(block))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the block page ended");
    }
}

async fn block(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from(PAGE));
    // Real block pages often say 200, which is what makes them hard to tell from pages.
    *response.status_mut() = StatusCode::OK;
    let html = header::HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    Ok(response)
}

fn tls_config() -> anyhow::Result<ServerConfig> {
    let forger = Forger {
        ca: DemoCa::named("National Certification Authority (the demo's censor)")?,
        forged: Mutex::default(),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(forger));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Makes a certificate for any name that is asked for.
struct Forger {
    ca: DemoCa,
    forged: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Forger {
    fn forge(&self, name: &str) -> anyhow::Result<Arc<CertifiedKey>> {
        let (chain, key) = self.ca.issue(name)?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        Ok(Arc::new(key))
    }
}

impl ResolvesServerCert for Forger {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or("blocked.invalid");
        let mut forged = self.forged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = forged.get(name) {
            return Some(Arc::clone(key));
        }
        let key = self.forge(name).ok()?;
        if forged.len() >= MAX_FORGED {
            forged.clear();
        }
        forged.insert(name.to_owned(), Arc::clone(&key));
        Some(key)
    }
}

impl std::fmt::Debug for Forger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forger").finish_non_exhaustive()
    }
}
