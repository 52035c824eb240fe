//! The line to one relay: how a TLS connection to it is made, and what was learned in doing so.
//!
//! The plainest way is tried first; where its hello is reset or swallowed, the same is tried with the
//! hello split, then with the relay's other names. What worked is remembered. Which is tried when
//! is [`Approaches`]'s to say.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use busel_proto::carrier::approach::{Approach, Approaches};
use busel_proto::carrier::{Client, Habit};
use busel_proto::failure::Failure;
use busel_proto::invite::RelayTicket;
use busel_proto::page::HostName;
use busel_proto::time::Tick;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::hello::Hello;
use crate::carrier::Carrier;
use crate::dial::{BESIDE, CONNECT_LIMIT, Dialer};
use crate::shake::{Duplex, Shaker};

/// A TLS handshake takes at most this long.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// A connection to a relay.
pub(super) type Tls = Box<dyn Duplex>;

/// A way in.
type Way = [u8; 16];
/// Ways into one relay that are tried in turn.
const MAX_WAYS: usize = 8;

/// The line to one relay.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) ticket: RelayTicket,
    dialer: Dialer,
    start: Instant,
    approaches: Mutex<Approaches>,
    habit: Mutex<Habit>,
    /// The ways in, that which is used now first; and which of them the relay did not know.
    ways: Mutex<Vec<(Way, bool)>>,
    /// The session over it, if there is one.
    live: Mutex<Weak<Carrier<Client>>>,
}

impl Line {
    pub(super) fn new(ticket: RelayTicket, dialer: Dialer) -> Arc<Self> {
        Arc::new(Self {
            ways: Mutex::new(vec![(ticket.secret, false)]),
            ticket,
            dialer,
            start: Instant::now(),
            approaches: Mutex::default(),
            habit: Mutex::default(),
            live: Mutex::default(),
        })
    }

    /// The way in to try now.
    pub(super) fn way(&self) -> Way {
        lock(&self.ways).first().map_or(self.ticket.secret, |(way, _)| *way)
    }

    /// All of them.
    pub(super) fn ways(&self) -> Vec<Way> {
        lock(&self.ways).iter().map(|(way, _)| *way).collect()
    }

    /// Learns of another one. What works stays in use; for one too many the oldest that does not goes.
    pub(super) fn add_way(&self, way: Way) {
        let mut ways = lock(&self.ways);
        if ways.iter().any(|(known, _)| *known == way) {
            return;
        }
        if ways.len() >= MAX_WAYS {
            match ways.iter().position(|(_, unknown)| *unknown) {
                Some(at) => drop(ways.remove(at)),
                None => return,
            }
        }
        let at = ways.iter().position(|(_, unknown)| *unknown).unwrap_or(ways.len());
        ways.insert(at, (way, false));
    }

    /// The relay does not know this way in: the next one is tried.
    pub(super) fn turned_away(&self, way: Way) {
        let mut ways = lock(&self.ways);
        if let Some(at) = ways.iter().position(|(known, _)| *known == way) {
            ways.remove(at);
            ways.push((way, true));
        }
    }

    /// The relay knows it.
    pub(super) fn let_in(&self, way: Way) {
        let mut ways = lock(&self.ways);
        ways.iter_mut()
            .filter(|(known, _)| *known == way)
            .for_each(|(_, unknown)| *unknown = false);
    }

    /// Whether the relay knows none of them.
    pub(super) fn is_turned_away(&self) -> bool {
        lock(&self.ways).iter().all(|(_, unknown)| *unknown)
    }

    fn now(&self) -> Tick {
        Tick(0) + self.start.elapsed()
    }

    /// A carrier's end over this line.
    pub(super) fn carrier(&self) -> Arc<Carrier<Client>> {
        let habit = lock(&self.habit).clone();
        let carrier = Carrier::new(self.start, |now| Client::new(habit, rand::random(), now));
        *lock(&self.live) = Arc::downgrade(&carrier);
        carrier
    }

    /// Keeps what a session has learned.
    pub(super) fn learn(&self, carrier: &Carrier<Client>) {
        let learned = carrier.end().habit().clone();
        *lock(&self.habit) = learned;
    }

    /// How long the relay takes to answer, if there is a session that knows.
    pub(super) fn rtt(&self) -> Option<Duration> {
        let live = lock(&self.live).upgrade()?;
        let end = live.end();
        end.is_well().then(|| end.rtt()).flatten()
    }

    /// A TLS connection to the relay.
    pub(super) async fn connect(&self) -> Result<Tls, Failure> {
        let names = 1 + self.ticket.also.len();
        let order =
            lock(&self.approaches).order(names, self.dialer.further().is_some(), self.now());
        let mut last = Failure::Silent;
        let mut tries = pin!(FuturesUnordered::new());
        // A way on which not even a connection comes about is not tried with other hellos.
        let mut dead = [false; 2];
        for approach in order {
            if dead[usize::from(approach.upstream)] {
                continue;
            }
            let began = Instant::now();
            let stream = tokio::select! {
                dialled = self.dial(approach.upstream) => dialled,
                Some((approach, Ok(tls))) = tries.next() => return Ok(self.worked(approach, tls)),
            };
            match stream {
                Ok(stream) => tries.push(self.shake(approach, stream)),
                Err(failure) => {
                    dead[usize::from(approach.upstream)] = true;
                    last = failure;
                    continue;
                }
            }
            let patience = Approaches::patience(Some(began.elapsed()));
            // Until it fails, or has had its time.
            while let Ok(Some((approach, done))) =
                tokio::time::timeout(patience, tries.next()).await
            {
                match done {
                    Ok(tls) => return Ok(self.worked(approach, tls)),
                    Err(failure) => last = failure,
                }
            }
        }
        while let Some((approach, done)) = tries.next().await {
            match done {
                Ok(tls) => return Ok(self.worked(approach, tls)),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    fn worked(&self, approach: Approach, tls: Tls) -> Tls {
        lock(&self.approaches).worked(approach, self.now());
        tls
    }

    async fn shake(
        &self,
        approach: Approach,
        stream: TcpStream,
    ) -> (Approach, Result<Tls, Failure>) {
        let name = self.name(approach.name);
        let done = async {
            let stream = Hello::new(stream, approach.split.then(|| name.clone()));
            Shaker::pinned(self.ticket.pin).shake(name, stream).await.map(|shaken| shaken.io)
        };
        let done = tokio::time::timeout(HANDSHAKE_LIMIT, done).await;
        (approach, done.unwrap_or(Err(Failure::Silent)))
    }

    /// The relay's names, in the order in which they are tried.
    fn name(&self, at: usize) -> &HostName {
        let also = at.checked_sub(1).and_then(|at| self.ticket.also.get(at));
        also.unwrap_or(&self.ticket.sni)
    }

    /// A relay that is named and not numbered is looked up by the upstream proxy, if there is one,
    /// else by the system.
    async fn dial(&self, through_upstream: bool) -> Result<TcpStream, Failure> {
        let further = self.dialer.further();
        let limit = if further.is_some() && !through_upstream { BESIDE } else { CONNECT_LIMIT };
        let dialer = further.filter(|_| through_upstream).unwrap_or_else(|| self.dialer.plain());
        let dialled = tokio::time::timeout(limit, dial(&dialer, &self.ticket.addr)).await;
        dialled.unwrap_or(Err(Failure::Silent))
    }
}

async fn dial(dialer: &Dialer, addr: &str) -> Result<TcpStream, Failure> {
    if let Ok(addr) = addr.parse() {
        return dialer.dial(addr).await;
    }
    if dialer.is_upstream() {
        let (host, port) = addr.rsplit_once(':').ok_or(Failure::NameUnanswered)?;
        let port = port.parse().map_err(|_| Failure::NameUnanswered)?;
        return dialer.dial_name(host, port).await;
    }
    let found = tokio::net::lookup_host(addr).await.map_err(|_| Failure::NameUnanswered)?;
    dialer.dial_any(&found.collect::<Vec<_>>()).await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
