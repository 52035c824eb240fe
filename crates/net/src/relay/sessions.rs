//! The carriers of a relay's clients: who knows the way in may begin one, and comes back to it with
//! its token. Behind each, iroh's relay service is served as on a connection of its own.
//!
//! iroh's service takes TCP streams only, so that each session has a pair on loopback.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use busel_proto::carrier::Server;
use busel_proto::way_in::Place;
use data_encoding::HEXLOWER;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use iroh_relay::server::http_server::{RelayService, RelayServiceWithNotify};
use iroh_relay::server::streams::MaybeTlsStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::metered::{Meter, Metered};
use super::ways::Entrance;
use crate::carrier::{Arrival, Carrier};

/// Sessions at once.
const MAX_SESSIONS: usize = 4096;
/// Of them by one way in of a batch: some devices of one reader, and what has not ended yet.
const MAX_BY_ONE: usize = 16;
/// Legs that wait to be taken by their session.
const MAX_ARRIVALS: usize = 4;
/// An upgrade that is not through by then is given up; so is the relay service's first request.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);

type Token = [u8; 16];

/// What a leg's first request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    token: Token,
    /// Whether the session may be new.
    first: bool,
}

impl Entry {
    /// Reads the path behind the secret, of a request that wants to switch protocols.
    pub(super) fn parse<B>(path: &str, request: &Request<B>) -> Option<Self> {
        let upgrade = request.headers().get(header::UPGRADE)?;
        let (token, which) = path.split_once('/')?;
        let token = HEXLOWER.decode(token.as_bytes()).ok()?.try_into().ok()?;
        let first = match which {
            "first" => true,
            "next" => false,
            _ => return None,
        };
        let sound = request.method() == Method::GET && upgrade.as_bytes() == b"websocket";
        sound.then_some(Self { token, first })
    }
}

/// All sessions.
#[derive(Clone)]
pub(super) struct Sessions {
    service: RelayService,
    meter: Option<Arc<dyn Meter>>,
    live: Arc<Mutex<HashMap<Token, Live>>>,
    /// The ways in that were used since the start.
    used: Arc<Mutex<BTreeSet<Place>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// How the ways in of a batch were used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// How many were used since the relay started.
    pub used: usize,
    /// How many are in use now.
    pub now: usize,
}

/// One session.
#[derive(Clone)]
struct Live {
    carrier: Arc<Carrier<Server>>,
    arrivals: mpsc::Sender<Arrival>,
    entrance: Entrance,
    /// Ends it.
    out: CancellationToken,
}

impl Sessions {
    pub(super) fn new(
        service: RelayService,
        meter: Option<Arc<dyn Meter>>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self { service, meter, live: Arc::default(), used: Arc::default(), stop, tasks }
    }

    /// Ends the sessions that came by other ways than these.
    pub(super) fn keep(&self, good: &BTreeSet<Entrance>) {
        let all = lock(&self.live);
        all.values().filter(|live| !good.contains(&live.entrance)).for_each(|l| l.out.cancel());
    }

    /// How the ways in of each batch were used.
    pub(super) fn uses(&self) -> BTreeMap<u32, Use> {
        let mut uses = BTreeMap::<u32, Use>::new();
        for place in lock(&self.used).iter() {
            uses.entry(place.batch).or_default().used += 1;
        }
        let given = |live: &Live| match live.entrance {
            Entrance::Given(place) => Some(place),
            Entrance::Shared => None,
        };
        let now: BTreeSet<Place> = lock(&self.live).values().filter_map(given).collect();
        for place in now {
            uses.entry(place.batch).or_default().now += 1;
        }
        uses
    }

    /// Lets a leg in; gives the request back if it has no session here, or there is no place for a
    /// new one.
    pub(super) fn enter(
        &self,
        entry: Entry,
        entrance: Entrance,
        request: Request<Incoming>,
    ) -> Result<Response<()>, Box<Request<Incoming>>> {
        let Some(live) = self.session(entry, entrance) else { return Err(Box::new(request)) };
        self.run(async move {
            let upgraded = tokio::time::timeout(UPGRADE_LIMIT, hyper::upgrade::on(request)).await;
            let Ok(Ok(upgraded)) = upgraded else { return };
            let carrier = live.carrier.clone();
            let now = carrier.now();
            let leg = carrier.end().opened(now);
            carrier.bump();
            let life = async move { carrier.pump(leg, TokioIo::new(upgraded), &[]).await };
            // A session that has ended, or that is stormed, takes no more.
            if live.arrivals.try_send((leg, Box::pin(life))).is_err() {
                live.carrier.end().lost(leg, now);
            }
        });
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let fields = response.headers_mut();
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        Ok(response)
    }

    fn session(&self, entry: Entry, entrance: Entrance) -> Option<Live> {
        let mut all = lock(&self.live);
        if let Some(live) = all.get(&entry.token) {
            // Whoever goes on comes by the way by which it began.
            return (live.entrance == entrance).then(|| live.clone());
        }
        let paid = self.meter.as_ref().is_none_or(|meter| meter.may());
        if !entry.first || !paid || all.len() >= MAX_SESSIONS {
            return None;
        }
        if let Entrance::Given(place) = entrance {
            let same = all.values().filter(|live| live.entrance == entrance).count();
            if same >= MAX_BY_ONE {
                return None;
            }
            lock(&self.used).insert(place);
        }
        let (arrivals, incoming) = mpsc::channel(MAX_ARRIVALS);
        let carrier = Carrier::new(Instant::now(), |now| Server::new(rand::random(), now));
        let out = self.stop.child_token();
        let live = Live { carrier: carrier.clone(), arrivals, entrance, out: out.clone() };
        all.insert(entry.token, live.clone());
        let sessions = self.clone();
        let guard = Forget(self.live.clone(), entry.token);
        self.run(async move {
            tokio::select! {
                () = out.cancelled() => {}
                served = sessions.serve(carrier, incoming) => {
                    if let Err(error) = served {
                        debug!(%error, "relay: no stream for a session");
                    }
                }
            }
            drop(guard);
        });
        Some(live)
    }

    /// Serves iroh's relay service behind a carrier, until the session is over.
    async fn serve(
        &self,
        carrier: Arc<Carrier<Server>>,
        arrivals: mpsc::Receiver<Arrival>,
    ) -> io::Result<()> {
        let (near, far) = pair().await?;
        let near = Metered::new(near, self.meter.clone());
        let service = RelayServiceWithNotify::new(self.service.clone(), Arc::new(Notify::new()));
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(UPGRADE_LIMIT)
            .serve_connection(TokioIo::new(MaybeTlsStream::Plain(far)), service)
            .with_upgrades();
        // Once it is upgraded, the service goes on by itself.
        let served = async {
            if let Err(error) = served.await {
                debug!(%error, "relay: session's service ended");
            }
            std::future::pending::<()>().await;
        };
        let no_legs = |_, _| -> crate::carrier::Life { Box::pin(std::future::ready(())) };
        tokio::select! {
            () = served => {}
            () = carrier.run(near, arrivals, no_legs) => {}
        }
        Ok(())
    }

    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// Takes a session out of the table, however it ends.
struct Forget(Arc<Mutex<HashMap<Token, Live>>>, Token);

impl Drop for Forget {
    fn drop(&mut self) {
        lock(&self.0).remove(&self.1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both ends of a TCP connection to ourselves.
async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    let (near, accepted) = tokio::try_join!(TcpStream::connect(addr), listener.accept())?;
    let (far, from) = accepted;
    near.set_nodelay(true)?;
    // Somebody else on this machine may have been quicker.
    if near.local_addr()? != from {
        return Err(io::Error::other("a stranger connected"));
    }
    Ok((near, far))
}
