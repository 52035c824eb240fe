//! A tunnel of opaque bytes: CONNECT. The client's first flight is held and replayed to the next
//! way until a server byte arrives, so that a reset on the server name goes unseen.
//!
//! Replayed is only what [`busel_proto::flight`] says may be: a TLS ClientHello. Anything else goes
//! out once, by the first way that connects.
//!
//! A forger answers as quickly as the site, and what it shows can't be seen from here. So the direct
//! way of a hello has to be proven beside it ([`crate::prove`]). If all that is left is a forger, the
//! program is shown just that, and judges by itself.
//!
//! A site that answers may be frozen later: that is noticed by [`cut`], the tunnel is closed, and the
//! next one goes by another way.

mod cut;

use std::collections::HashMap;
use std::time::Duration;

use busel_net::dial::of_io;
use busel_proto::failure::{Failure, Route};
use busel_proto::flight::{MAX_FLIGHT, may_replay};
use busel_proto::page::HostName;
use busel_proto::race::{Input, Output, Race};
use bytes::{Bytes, BytesMut};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes,
};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::debug;

use self::cut::Heard;
use crate::node::Node;
use crate::origin::Io;
use crate::route::tunnel;

/// A client that says nothing for so long may be waiting for the server to speak first.
const QUIET: Duration = Duration::from_millis(500);
/// On the port of TLS the client speaks first, however long it takes: browsers open connections
/// ahead of need.
const QUIET_TLS: Duration = Duration::from_secs(300);
/// Bytes copied at once, each way.
const COPY: usize = 64 * 1024;

/// Carries `client` to `host` by the first way that answers, until either side ends.
pub(crate) async fn carry(
    node: &Node,
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    host: HostName,
    port: u16,
) {
    let mut flight = BytesMut::new();
    let quiet = if port == 443 { QUIET_TLS } else { QUIET };
    let first = tokio::time::timeout(quiet, client.read_buf(&mut flight)).await;
    if matches!(first, Ok(Ok(0) | Err(_))) {
        return;
    }
    node.look_around().await;
    let mut carrier = Carrier::new(node, host.clone(), port, &flight);
    let raced = match carrier.race(&mut client, &mut flight).await {
        Err(why) if is_forged(&why) => as_it_is(node, &host, port, &flight).await,
        raced => raced,
    };
    match raced {
        Ok(won) => {
            if client.write_all(&won.first).await.is_ok() {
                copy(node, client, won, &host, port).await;
            }
        }
        Err(why) => debug!(?why, "no way for a tunnel"),
    }
}

/// Copies until either side ends, which is between client and server, or the line cuts them off.
async fn copy(
    node: &Node,
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    won: Won,
    host: &HostName,
    port: u16,
) {
    let mut server = Heard::new(won.io, &won.first, node.clock);
    let copied = copy_bidirectional_with_sizes(&mut client, &mut server, COPY, COPY).await;
    if server.is_cut_off() {
        debug!(route = ?won.route, "a tunnel was cut off");
        node.way_failed(host, won.route, &Failure::Stalled);
    }
    match copied {
        Ok((said, _)) => node.prover.proven().ended(host, port, said),
        Err(error) => debug!(%error, "a tunnel ended"),
    }
}

fn is_forged(why: &[(Route, Failure)]) -> bool {
    why.contains(&(Route::Direct, Failure::ForgedCertificate))
}

/// Connects to whoever answers directly, for the program to judge.
async fn as_it_is(node: &Node, host: &HostName, port: u16, flight: &[u8]) -> Raced {
    let failed = |failure| vec![(Route::Direct, failure)];
    let mut io = node.own.dial(host, port).await.map_err(failed)?;
    io.write_all(flight).await.map_err(|e| failed(of_io(&e)))?;
    Ok(Won { route: Route::Direct, io: Box::new(io), first: Bytes::new() })
}

/// The way that won, or why each failed.
type Raced = Result<Won, Vec<(Route, Failure)>>;

/// The connection of the way that won, and the first bytes of its answer.
struct Won {
    route: Route,
    io: Box<dyn Io>,
    first: Bytes,
}

/// What the client said so far, shared by the ways that are tried.
type Flight = watch::Sender<Bytes>;

struct Carrier<'a> {
    node: &'a Node,
    host: HostName,
    port: u16,
    race: Race,
    flight: Flight,
    running: HashMap<Route, (AbortHandle, busel_proto::time::Tick)>,
    tell: mpsc::Sender<Told>,
    told: mpsc::Receiver<Told>,
    ready: HashMap<Route, Answered>,
    /// Whether more ways than one may be sent the flight.
    replays: bool,
}

enum Told {
    Answered(Route, Answered),
    Failed(Route, Failure, bool),
}

/// A connection that a server answered on.
struct Answered {
    io: Box<dyn Io>,
    /// Bytes of the flight that were sent.
    sent: usize,
    /// The first bytes of the answer.
    first: Bytes,
}

impl<'a> Carrier<'a> {
    fn new(node: &'a Node, host: HostName, port: u16, flight: &[u8]) -> Self {
        let plan = node.networks.plan(&host, &node.private_routes(&host));
        let (tell, told) = mpsc::channel(8);
        let replays = !flight.is_empty() && may_replay(flight);
        Self {
            node,
            host,
            port,
            race: Race::new(&plan, replays, false),
            flight: watch::Sender::new(Bytes::copy_from_slice(flight)),
            running: HashMap::new(),
            tell,
            told,
            ready: HashMap::new(),
            replays,
        }
    }

    async fn race(
        &mut self,
        client: &mut (impl AsyncRead + Unpin),
        flight: &mut BytesMut,
    ) -> Raced {
        self.race.handle(Input::Start, self.node.clock.tick());
        let mut client_open = true;
        loop {
            let until = match self.race.poll() {
                Output::Start(route) => {
                    self.launch(route);
                    continue;
                }
                Output::Cancel(route) => {
                    self.cancel(route);
                    continue;
                }
                Output::Deliver(route) => {
                    let Some(mut answered) = self.ready.remove(&route) else { continue };
                    // What was said since, and must not be said twice.
                    if answered.io.write_all(&flight[answered.sent..]).await.is_err() {
                        return Err(vec![(route, Failure::Reset)]);
                    }
                    return Ok(Won { route, io: answered.io, first: answered.first });
                }
                Output::DeliverStale | Output::GiveUp => {
                    return Err(self.race.failures().map(|(r, f)| (r, f.clone())).collect());
                }
                Output::Wait(until) => until,
            };
            let clock = self.node.clock;
            // More than a flight is not held: the client waits until a way is found.
            let more = self.replays && client_open && flight.len() < MAX_FLIGHT;
            tokio::select! {
                Some(told) = self.told.recv() => self.hear(told),
                () = clock.alarm(until) => self.race.handle(Input::Timeout, clock.tick()),
                read = client.read_buf(flight), if more => match read {
                    Ok(1..) => self.grow(flight),
                    Ok(0) => client_open = false,
                    Err(_) => return Err(Vec::new()),
                },
            }
        }
    }

    /// The client said more before any server answered.
    fn grow(&mut self, flight: &BytesMut) {
        if may_replay(flight) {
            self.flight.send_replace(flight.clone().freeze());
        } else {
            // From here on these bytes must go out once: they wait for the way that answers.
            self.replays = false;
        }
    }

    fn launch(&mut self, route: Route) {
        let (node, host, port) = (self.node.clone(), self.host.clone(), self.port);
        let (tell, flight) = (self.tell.clone(), self.flight.subscribe());
        let replays = self.replays;
        let task = self.node.tasks.spawn(async move {
            let answering = async {
                match connect(&node, route, &host, port).await {
                    Err(failure) => Told::Failed(route, failure, false),
                    Ok(io) => answer(route, io, flight, replays).await,
                }
            };
            let told = if route == Route::Direct && replays {
                proven(&node, &host, port, answering).await
            } else {
                answering.await
            };
            let _ = tell.send(told).await;
        });
        self.running.insert(route, (task.abort_handle(), self.node.clock.tick()));
    }

    fn cancel(&mut self, route: Route) {
        if let Some((task, _)) = self.running.remove(&route) {
            task.abort();
        }
        self.ready.remove(&route);
    }

    fn hear(&mut self, told: Told) {
        let now = self.node.clock.tick();
        match told {
            Told::Answered(route, answered) => {
                let Some((_, since)) = self.running.remove(&route) else { return };
                self.node.networks.worked(&self.host, route, now - since);
                self.ready.insert(route, answered);
                self.race.handle(Input::Head(route), now);
            }
            Told::Failed(route, failure, sent) => {
                if self.running.remove(&route).is_none() {
                    return;
                }
                self.node.way_failed(&self.host, route, &failure);
                self.race.handle(Input::Failed { route, failure, sent }, now);
            }
        }
    }
}

impl Drop for Carrier<'_> {
    fn drop(&mut self) {
        for (task, _) in self.running.values() {
            task.abort();
        }
    }
}

async fn connect(
    node: &Node,
    route: Route,
    host: &HostName,
    port: u16,
) -> Result<Box<dyn Io>, Failure> {
    match route {
        Route::Direct => Ok(Box::new(node.own.dial(host, port).await?)),
        Route::Tunnel => Ok(Box::new(tunnel::open(node, host, port).await?)),
        Route::Local | Route::Swarm | Route::Injector => {
            Err(Failure::NotAllowed("this way carries no tunnels".into()))
        }
    }
}

/// The direct answer, unless it is a forger's. Nothing of it is passed on before that is known.
async fn proven(
    node: &Node,
    host: &HostName,
    port: u16,
    answering: impl Future<Output = Told>,
) -> Told {
    let forged = || Told::Failed(Route::Direct, Failure::ForgedCertificate, true);
    let proving = node.prover.is_forged(host, port, node.clock);
    tokio::pin!(answering, proving);
    tokio::select! {
        is_forged = &mut proving => if is_forged { forged() } else { answering.await },
        told = &mut answering => match told {
            Told::Answered(..) if proving.await => forged(),
            told => told,
        }
    }
}

/// Sends the flight, and what is added to it, until the server answers. A flight that must not be
/// replayed commits the tunnel to this way once it is sent.
async fn answer(
    route: Route,
    mut io: Box<dyn Io>,
    mut flight: watch::Receiver<Bytes>,
    replays: bool,
) -> Told {
    let mut sent = 0;
    let mut first = BytesMut::with_capacity(MAX_FLIGHT);
    loop {
        let said = flight.borrow_and_update().clone();
        if let Err(error) = io.write_all(&said[sent..]).await {
            return Told::Failed(route, of_io(&error), true);
        }
        sent = said.len();
        if !replays {
            return Told::Answered(route, Answered { io, sent, first: Bytes::new() });
        }
        tokio::select! {
            read = io.read_buf(&mut first) => return match read {
                Ok(0) => Told::Failed(route, Failure::Reset, true),
                Ok(_) => Told::Answered(route, Answered { io, sent, first: first.freeze() }),
                Err(error) => Told::Failed(route, of_io(&error), true),
            },
            changed = flight.changed() => {
                if changed.is_err() {
                    return Told::Failed(route, Failure::CutOff, true);
                }
            }
        }
    }
}
