//! The relay wire: datagrams through a relay, over a WebSocket in TLS.
//!
//! iroh would put its own TLS inside any proxy tunnel, and censors look for TLS in TLS. So the
//! endpoint is given relay URLs of plain `http` with names that mean nothing outside this process,
//! and one proxy: ours, in this process. It knows the ticket behind each name, dials the relay, adds
//! the only TLS, checks the pin, and puts the relay's secret into the path. Whoever connects to the
//! proxy without its random credentials is refused, else it would be an open door on the device.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use busel_proto::failure::Failure;
use busel_proto::invite::RelayTicket;
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use iroh::{RelayConfig, RelayMap, RelayMode, RelayUrl, TransportAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{Contact, Wire, WireError};
use crate::dial::Dialer;
use crate::tls;

/// The path under which iroh's client asks for the relay.
const INNER_PATH: &str = "/relay";
/// A connection to a relay that is not set up by then is given up.
const SET_UP_LIMIT: Duration = Duration::from_secs(15);

/// The relay wire and its in-process proxy.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    dialer: Dialer,
    /// Tickets by the name that stands for them.
    tickets: Mutex<BTreeMap<String, RelayTicket>>,
    credentials: String,
    /// Ends what was connected before the device moved to another network.
    here: Mutex<CancellationToken>,
}

impl Relay {
    /// Starts the proxy, with the relays known so far.
    pub async fn start(dialer: Dialer, tickets: &[RelayTicket]) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            dialer,
            here: Mutex::new(stop.child_token()),
            tickets: Mutex::new(tickets.iter().map(|t| (t.inner_name(), t.clone())).collect()),
            credentials: HEXLOWER.encode(&rand::random::<[u8; 16]>()),
        });
        tasks.spawn(accept(listener, shared.clone(), stop.clone(), tasks.clone()));
        Ok(Self { shared, addr, stop, tasks })
    }

    /// Whether a relay is there: connects to it, checks its pin, and says nothing more.
    pub async fn reach(&self, ticket: &RelayTicket) -> Result<(), Failure> {
        self.shared.connect(ticket).await.map(drop)
    }

    /// Ends the proxy and all it carries.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The URL that stands for a relay inside the endpoint.
pub(crate) fn inner_url(ticket: &RelayTicket) -> RelayUrl {
    format!("http://{}", ticket.inner_name())
        .parse()
        .expect("the inner name is letters, digits and dots")
}

impl Wire for Relay {
    fn name(&self) -> &'static str {
        "relay"
    }

    fn set_up(
        &self,
        builder: iroh::endpoint::Builder,
    ) -> Result<iroh::endpoint::Builder, WireError> {
        let proxy = format!("http://busel:{}@{}", self.shared.credentials, self.addr)
            .parse()
            .expect("a proxy URL of hex and an address");
        let map: RelayMap = lock(&self.shared.tickets)
            .values()
            .map(|ticket| RelayConfig::new(inner_url(ticket), None))
            .collect();
        Ok(builder.relay_mode(RelayMode::Custom(map)).proxy_url(proxy))
    }

    fn addresses(&self, contact: &Contact) -> Vec<TransportAddr> {
        contact.relay.iter().map(|ticket| TransportAddr::Relay(inner_url(ticket))).collect()
    }

    fn learn(&self, relay: &RelayTicket) -> Option<RelayUrl> {
        let known = lock(&self.shared.tickets).insert(relay.inner_name(), relay.clone());
        known.is_none().then(|| inner_url(relay))
    }

    fn moved(&self) {
        let next = self.stop.child_token();
        std::mem::replace(&mut *lock(&self.shared.here), next).cancel();
    }

    fn relay(&self, url: &RelayUrl) -> Option<RelayTicket> {
        // iroh writes the name of a relay with a trailing dot.
        let name = url.host_str()?.trim_end_matches('.');
        lock(&self.shared.tickets).get(name).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Failing to set an option is no reason to lose a connection.
                    let _ = stream.set_nodelay(true);
                    stream
                }
                Err(error) => {
                    debug!(%error, "relay proxy: accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (shared, stop, carried) = (shared.clone(), stop.clone(), tasks.clone());
        tasks.spawn(async move {
            let service = service_fn(move |request| {
                let (shared, tasks) = (shared.clone(), carried.clone());
                async move { Ok::<_, Infallible>(shared.answer(request, &tasks).await) }
            });
            let serve = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::select! {
                () = stop.cancelled() => {}
                _ = serve => {}
            }
        });
    }
}

type Body = Full<Bytes>;

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>, tasks: &TaskTracker) -> Response<Body> {
        if !self.is_ours(request.headers().get(header::PROXY_AUTHORIZATION)) {
            return status(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        }
        let ticket = request.uri().host().and_then(|host| lock(&self.tickets).get(host).cloned());
        let Some(ticket) = ticket else { return status(StatusCode::NOT_FOUND) };
        let here = lock(&self.here).clone();
        let connecting = tokio::time::timeout(SET_UP_LIMIT, self.connect(&ticket));
        let set_up = here.run_until_cancelled(connecting).await;
        let relay = match set_up.and_then(Result::ok).unwrap_or(Err(Failure::Silent)) {
            Ok(relay) => relay,
            Err(failure) => {
                debug!(%failure, "relay can't be reached");
                return status(StatusCode::BAD_GATEWAY);
            }
        };
        if request.method() == Method::CONNECT {
            tasks.spawn(async move {
                tokio::select! {
                    () = here.cancelled() => {}
                    carried = carry(request, relay, &ticket) => {
                        if let Err(error) = carried {
                            debug!(%error, "relay connection ended");
                        }
                    }
                }
            });
            status(StatusCode::OK)
        } else {
            forward(request, relay, &ticket).await.unwrap_or_else(|error| {
                debug!(%error, "relay did not answer");
                status(StatusCode::BAD_GATEWAY)
            })
        }
    }

    fn is_ours(&self, given: Option<&HeaderValue>) -> bool {
        let expected = BASE64.encode(format!("busel:{}", self.credentials).as_bytes());
        given.is_some_and(|given| given.as_bytes() == format!("Basic {expected}").as_bytes())
    }

    /// A relay that is named and not numbered is looked up by the upstream proxy, if there is one,
    /// else by the system.
    async fn dial(&self, addr: &str) -> Result<TcpStream, Failure> {
        if let Ok(addr) = addr.parse() {
            return self.dialer.dial(addr).await;
        }
        if self.dialer.is_upstream() {
            let (host, port) = addr.rsplit_once(':').ok_or(Failure::NameUnanswered)?;
            let port = port.parse().map_err(|_| Failure::NameUnanswered)?;
            return self.dialer.dial_name(host, port).await;
        }
        let found = tokio::net::lookup_host(addr).await.map_err(|_| Failure::NameUnanswered)?;
        self.dialer.dial_any(&found.collect::<Vec<_>>()).await
    }

    async fn connect(&self, ticket: &RelayTicket) -> Result<TlsStream<TcpStream>, Failure> {
        let stream = self.dial(&ticket.addr).await?;
        let name = ticket.sni.as_str().to_owned();
        let name = name.try_into().map_err(|_| Failure::Protocol("no server name".into()))?;
        TlsConnector::from(tls::pinned_config(ticket.pin)).connect(name, stream).await.map_err(
            |error| match error.get_ref() {
                Some(inner) if inner.is::<rustls::Error>() => Failure::ForgedCertificate,
                _ => crate::dial::of_io(&error),
            },
        )
    }
}

/// Carries the endpoint's connection to its relay, with the way in put into its first line.
async fn carry(
    request: Request<Incoming>,
    mut relay: TlsStream<TcpStream>,
    ticket: &RelayTicket,
) -> io::Result<()> {
    let upgraded = hyper::upgrade::on(request).await.map_err(io::Error::other)?;
    let mut inner = TokioIo::new(upgraded);
    let line = format!("GET {INNER_PATH} ");
    let mut first = vec![0; line.len()];
    inner.read_exact(&mut first).await?;
    if first != line.as_bytes() {
        return Err(io::Error::other("the endpoint did not ask for its relay"));
    }
    let secret = HEXLOWER.encode(&ticket.secret);
    relay.write_all(format!("GET /{secret}{INNER_PATH} ").as_bytes()).await?;
    tokio::io::copy_bidirectional(&mut inner, &mut relay).await?;
    Ok(())
}

/// Forwards one of the endpoint's probes, by which it chooses its home relay.
async fn forward(
    request: Request<Incoming>,
    relay: TlsStream<TcpStream>,
    ticket: &RelayTicket,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    const MAX_ANSWER: usize = 4096;
    let path = format!("/{}{}", HEXLOWER.encode(&ticket.secret), request.uri().path());
    let outgoing = Request::builder()
        .method(request.method())
        .uri(path)
        .header(header::HOST, ticket.sni.as_str())
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(relay)).await?;
    let exchange = async {
        let response = sender.send_request(outgoing).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        let mut answer = status(parts.status);
        *answer.body_mut() = Full::new(body);
        Ok(answer)
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => {
            ended?;
            exchange.await
        }
    }
}
