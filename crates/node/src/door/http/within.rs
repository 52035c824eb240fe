//! A browser's TLS to a listed site, which ends here: the reader's own authority vouches for the site, so that
//! what is asked of it can come by every way. What the browser asks of one site is never taken for another.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use busel_proto::failure::Failure;
use busel_proto::page::HostName;
use http::{Response, StatusCode, Uri, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::copy_bidirectional;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::fields::{keep_end_to_end, remove_all, wants_upgrade};
use super::{Answer, MAX_HEAD, Visit, http1, problem};
use crate::origin::Io;
use crate::request::{Body, full};

/// Requests that one browser may have open at once, as nginx and others let it.
const MAX_STREAMS: u32 = 128;

/// The site that a browser believes it speaks to.
pub(super) struct Site {
    pub(super) host: HostName,
    pub(super) port: u16,
    pub(super) tls: Arc<ServerConfig>,
}

/// Speaks to a browser as its site does, until either ends.
pub(super) async fn speak(visit: Arc<Visit>, client: Box<dyn Io>, site: Site) {
    let limits = visit.door.limits;
    let accepting = TlsAcceptor::from(site.tls.clone()).accept(client);
    let client = match timeout(limits.head, accepting).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => {
            debug!(%error, "a program does not believe this authority");
            if is_doubt(&error) {
                visit.door.behind.doubted(&site.host);
            }
            return;
        }
        Err(_) => return,
    };
    let h2 = client.get_ref().1.alpn_protocol() == Some(b"h2");
    let (client, within) = (TokioIo::new(client), Arc::new((visit.clone(), site)));
    let service = service_fn(move |request| {
        let within = within.clone();
        async move { Ok::<_, Infallible>(answer(&within.0, &within.1, request).await) }
    });
    let ended = if h2 {
        let mut serving = http2::Builder::new(Tasks(visit.door.tasks.clone()));
        serving
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(MAX_HEAD).expect("64 KiB"))
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(limits.head);
        let serving = serving.serve_connection(client, service);
        visit.door.see_out(serving, |it| it.graceful_shutdown(), &visit.fate).await
    } else {
        let serving = http1(limits).serve_connection(client, service).with_upgrades();
        visit.door.see_out(serving, |it| it.graceful_shutdown(), &visit.fate).await
    };
    if let Err(error) = ended {
        debug!(%error, "a connection to a listed site broke");
    }
}

async fn answer(visit: &Arc<Visit>, site: &Site, request: http::Request<Incoming>) -> Answer {
    let version = request.version();
    let (mut parts, body) = request.into_parts();
    let response = match site.uri(&parts) {
        Some(_) if asks_upgrade(&parts, &body) => {
            let request = http::Request::from_parts(parts, body);
            upgrade(visit, &site.host, site.port, request).await
        }
        Some(uri) => {
            parts.uri = uri;
            visit.dispatch(http::Request::from_parts(parts, body)).await
        }
        None => {
            let detail = "This connection was made to another site.";
            problem::malformed(StatusCode::MISDIRECTED_REQUEST, detail, &parts.headers)
        }
    };
    visit.finish(response, version)
}

/// Whether a program said in the handshake that it does not believe the certificate.
fn is_doubt(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::AlertReceived(_)))
}

pub(super) fn asks_upgrade(parts: &http::request::Parts, body: &Incoming) -> bool {
    parts.version == Version::HTTP_11 && wants_upgrade(&parts.headers) && body.is_end_stream()
}

/// Another protocol, a WebSocket say: asked of the site itself, and left to the two once it agrees.
pub(super) async fn upgrade(
    visit: &Arc<Visit>,
    host: &HostName,
    port: u16,
    mut request: http::Request<Incoming>,
) -> Response<Body> {
    let near = hyper::upgrade::on(&mut request);
    let (mut parts, _) = request.into_parts();
    remove_all(&mut parts.headers, |name| name.as_str().starts_with("proxy-"));
    let headers = parts.headers.clone();
    let asked = http::Request::from_parts(parts, ());
    let mut response = match visit.door.behind.upgrade(asked, host, port).await {
        Ok(response) => response,
        Err(failure) => {
            let detail = format!("The site can't be asked for another protocol: {failure}.");
            return problem::malformed(StatusCode::BAD_GATEWAY, &detail, &headers);
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        keep_end_to_end(response.headers_mut());
        return response.map(|body| body.map_err(|_| Failure::CutOff).boxed_unsync());
    }
    let far = hyper::upgrade::on(&mut response);
    let visit = visit.clone();
    visit.door.tasks.clone().spawn(async move {
        let both = async {
            let (near, far) = tokio::try_join!(near, far).map_err(io::Error::other)?;
            copy_bidirectional(&mut TokioIo::new(near), &mut TokioIo::new(far)).await
        };
        tokio::select! {
            ended = both => if let Err(error) = ended {
                debug!(%error, "another protocol broke");
            },
            () = visit.door.stop.cancelled() => {}
        }
    });
    response.map(|_| full(""))
}

impl Site {
    /// The whole address that a request means; `None` if that is of another site.
    fn uri(&self, parts: &http::request::Parts) -> Option<Uri> {
        let named = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let asked = match (parts.uri.authority(), parts.version) {
            (Some(authority), _) => authority.as_str(),
            (None, Version::HTTP_2) => return None,
            (None, _) => named?,
        };
        let asked: http::uri::Authority = asked.parse().ok()?;
        let host = HostName::parse(asked.host()).ok()?;
        if host != self.host || asked.port_u16().unwrap_or(443) != self.port {
            return None;
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        if !path.starts_with('/') {
            return None;
        }
        let authority = match self.port {
            443 => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        };
        format!("https://{authority}{path}").parse().ok()
    }
}

/// Runs what a connection needs beside it among the door's tasks.
#[derive(Clone)]
struct Tasks(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
