//! A DoH server (RFC 8484) in a host, behind TLS of the world's authority, over HTTP/1.1 and HTTP/2:
//! the way around a lying resolver. It knows the world's names and nothing else.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use hickory_proto::op::Message;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::tls::serving;
use super::{Ca, Zone};
use crate::world::{Host, World};

/// The longest question.
const MAX_QUESTION: usize = 4096;
const KIND: &str = "application/dns-message";

/// A running server; it ends when this is dropped.
pub struct Doh {
    task: JoinHandle<()>,
}

impl Doh {
    /// Starts it on port 443 of a host, at the path `/dns-query` of this name.
    pub fn start(
        world: &World,
        host: &Host,
        ca: &Ca,
        name: &str,
        zone: Zone,
    ) -> anyhow::Result<Self> {
        let acceptor = acceptor(ca, name)?;
        let listener = host.listen(443)?;
        let _inside = world.tasks().enter();
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { task: tokio::spawn(serve(listener, acceptor, Arc::new(zone))) })
    }
}

impl Drop for Doh {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(ca: &Ca, name: &str) -> anyhow::Result<TlsAcceptor> {
    let mut config = serving(ca, &[name])?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, zone: Arc<Zone>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (acceptor, zone) = (acceptor.clone(), Arc::clone(&zone));
        tokio::spawn(async move {
            // A handshake or a connection that is cut is the client's affair.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let zone = Arc::clone(&zone);
                async move { Ok::<_, std::convert::Infallible>(respond(&zone, request).await) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn respond(zone: &Zone, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let answer = match question(request).await {
        Ok(asked) => zone.answer(&asked).to_vec().ok(),
        Err(_) => None,
    };
    let mut response = Response::new(Full::default());
    match answer {
        Some(answer) => {
            *response.body_mut() = Full::from(answer);
            let kind = header::HeaderValue::from_static(KIND);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

async fn question(request: Request<Incoming>) -> anyhow::Result<Message> {
    anyhow::ensure!(request.uri().path() == "/dns-query", "another path");
    let bytes = if request.method() == Method::GET {
        let query = request.uri().query().unwrap_or_default();
        let asked = query.split('&').find_map(|part| part.strip_prefix("dns="));
        BASE64URL_NOPAD.decode(asked.context("no question")?.as_bytes())?
    } else {
        let body = Limited::new(request.into_body(), MAX_QUESTION).collect().await;
        body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes().to_vec()
    };
    Ok(Message::from_vec(&bytes)?)
}
