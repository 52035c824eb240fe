//! The relay wire: datagrams through a relay, over a WebSocket in TLS.
//!
//! iroh would put its own TLS inside any proxy tunnel, and censors look for TLS in TLS. So the
//! endpoint is given relay URLs of plain `http` with names that mean nothing outside this process,
//! and one proxy: ours, in this process. It knows the ticket behind each name, dials the relay, adds
//! the only TLS, checks the pin, and carries the stream ([`session`]). Whoever connects to the proxy
//! without its random credentials is refused, else it would be an open door on the device.

mod hello;
mod homes;
mod line;
mod session;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

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
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{Contact, Wire, WireError};
use crate::dial::Dialer;
use homes::Homes;
use line::{Line, Tls};

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
    /// The lines to relays, by the names that stand for these.
    lines: Mutex<BTreeMap<String, Arc<Line>>>,
    credentials: String,
    /// If not all may be asked how near they are.
    homes: OnceLock<Homes>,
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
            lines: Mutex::default(),
            dialer,
            homes: OnceLock::new(),
            here: Mutex::new(stop.child_token()),
            credentials: HEXLOWER.encode(&rand::random::<[u8; 16]>()),
        });
        for ticket in tickets {
            shared.note(ticket);
        }
        tasks.spawn(accept(listener, shared.clone(), stop.clone(), tasks.clone()));
        Ok(Self { shared, addr, stop, tasks })
    }

    /// Asks only a few relays how near they are, always the same as far as that can be. `kept` is what
    /// [`Relay::news`] gave.
    pub fn keep_to_few(&self, kept: Option<&[u8]>) {
        let homes = Homes::new(kept);
        homes.choose(lock(&self.shared.lines).values().map(|line| &line.ticket));
        let _ = self.shared.homes.set(homes);
    }

    /// What is to be kept of that over a restart, if it is new.
    pub fn news(&self) -> Option<Vec<u8>> {
        self.shared.homes.get()?.news()
    }

    /// Whether a relay is there: connects to it, checks its pin, and says nothing more.
    pub async fn reach(&self, ticket: &RelayTicket) -> Result<(), Failure> {
        let known = lock(&self.shared.lines).get(&ticket.inner_name()).cloned();
        let line = known.unwrap_or_else(|| Line::new(ticket.clone(), self.shared.dialer.clone()));
        line.connect().await.map(drop)
    }

    /// The relays, by where they are, and whether each took this node for a stranger when it last came:
    /// then its ways in were taken back, or have run out.
    pub fn standing(&self) -> Vec<(RelayTicket, bool)> {
        let lines = lock(&self.shared.lines);
        lines.values().map(|line| (line.ticket.clone(), line.is_turned_away())).collect()
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

/// Whether a relay is there by this way: connects to it, checks its pin, and says nothing more.
pub async fn reaches(ticket: &RelayTicket, dialer: Dialer) -> Result<(), Failure> {
    Line::new(ticket.bare(), dialer).connect().await.map(drop)
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
        let map: RelayMap = lock(&self.shared.lines)
            .values()
            .map(|line| RelayConfig::new(inner_url(&line.ticket), None))
            .collect();
        Ok(builder.relay_mode(RelayMode::Custom(map)).proxy_url(proxy))
    }

    fn addresses(&self, contact: &Contact) -> Vec<TransportAddr> {
        contact.relay.iter().map(|ticket| TransportAddr::Relay(inner_url(ticket))).collect()
    }

    fn learn(&self, relay: &RelayTicket) -> Option<RelayUrl> {
        self.shared.note(relay).then(|| inner_url(relay))
    }

    fn moved(&self) {
        let next = self.stop.child_token();
        std::mem::replace(&mut *lock(&self.shared.here), next).cancel();
    }

    fn relay(&self, url: &RelayUrl) -> Option<RelayTicket> {
        // iroh writes the name of a relay with a trailing dot.
        let name = url.host_str()?.trim_end_matches('.');
        lock(&self.shared.lines).get(name).map(|line| line.ticket.clone())
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
    /// Notes a relay, or another way into one that is known. Returns whether it is new.
    fn note(&self, relay: &RelayTicket) -> bool {
        let mut lines = lock(&self.lines);
        let known = lines.get(&relay.inner_name()).cloned();
        // An older invite may know fewer names.
        let more = |line: &Line| line.ticket.also != relay.also && !relay.also.is_empty();
        match &known {
            Some(line) if !more(line) => line.add_way(relay.secret),
            _ => {
                let line = Line::new(relay.bare(), self.dialer.clone());
                let ways = known.iter().flat_map(|old| old.ways());
                ways.for_each(|way| line.add_way(way));
                lines.insert(relay.inner_name(), line);
            }
        }
        known.is_none()
    }

    async fn answer(&self, request: Request<Incoming>, tasks: &TaskTracker) -> Response<Body> {
        if !self.is_ours(request.headers().get(header::PROXY_AUTHORIZATION)) {
            return status(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        }
        let line = request.uri().host().and_then(|host| lock(&self.lines).get(host).cloned());
        let Some(line) = line else { return status(StatusCode::NOT_FOUND) };
        let connects = request.method() == Method::CONNECT;
        if !connects && !self.may_ask(&line) {
            return status(StatusCode::BAD_GATEWAY);
        }
        if let Some(rtt) = line.rtt().filter(|_| !connects) {
            // A session knows already what the probe wants to know; another connection would be seen.
            self.did(&line, Some(rtt));
            tokio::time::sleep(rtt).await;
            return status(StatusCode::OK);
        }
        let trying = Trying { shared: self, line: &line, since: Some(Instant::now()) };
        let here = lock(&self.here).clone();
        let connecting = tokio::time::timeout(SET_UP_LIMIT, line.connect());
        let set_up = here.run_until_cancelled(connecting).await;
        let relay = match set_up.and_then(Result::ok).unwrap_or(Err(Failure::Silent)) {
            Ok(relay) => relay,
            Err(failure) => {
                debug!(%failure, "relay can't be reached");
                return status(StatusCode::BAD_GATEWAY);
            }
        };
        if connects {
            trying.worked();
            let line = line.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = here.cancelled() => {}
                    carried = session::carry(request, line, relay) => {
                        if let Err(error) = carried {
                            debug!(%error, "relay connection ended");
                        }
                    }
                }
            });
            status(StatusCode::OK)
        } else {
            let answer = forward(request, relay, &line).await.unwrap_or_else(|error| {
                debug!(%error, "relay did not answer");
                status(StatusCode::BAD_GATEWAY)
            });
            if answer.status().is_success() {
                trying.worked();
            }
            answer
        }
    }

    /// Whether a relay may be asked how near it is.
    fn may_ask(&self, line: &Line) -> bool {
        let Some(homes) = self.homes.get() else { return true };
        let all = lock(&self.lines).clone();
        homes.have(&line.ticket, all.values().map(|line| &line.ticket))
    }

    fn did(&self, line: &Line, took: Option<Duration>) {
        self.homes.get().iter().for_each(|homes| homes.did(&line.ticket, took));
    }

    fn is_ours(&self, given: Option<&HeaderValue>) -> bool {
        let expected = BASE64.encode(format!("busel:{}", self.credentials).as_bytes());
        given.is_some_and(|given| given.as_bytes() == format!("Basic {expected}").as_bytes())
    }
}

/// That a relay is being tried. Whoever wanted to know may go before it ends: then that failed.
struct Trying<'a> {
    shared: &'a Shared,
    line: &'a Line,
    since: Option<Instant>,
}

impl Trying<'_> {
    fn worked(mut self) {
        let took = self.since.take().map(|since| since.elapsed());
        self.shared.did(self.line, took);
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if self.since.is_some() {
            self.shared.did(self.line, None);
        }
    }
}

/// Forwards one of the endpoint's probes, by which it chooses its home relay.
async fn forward(
    request: Request<Incoming>,
    relay: Tls,
    line: &Line,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    const MAX_ANSWER: usize = 4096;
    let way = line.way();
    let path = format!("/{}{}", HEXLOWER.encode(&way), request.uri().path());
    let outgoing = Request::builder()
        .method(request.method())
        .uri(path)
        .header(header::HOST, line.ticket.sni.as_str())
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(relay)).await?;
    let exchange = async {
        let response = sender.send_request(outgoing).await?;
        let (parts, body) = response.into_parts();
        if !parts.status.is_success() {
            line.turned_away(way);
        }
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
