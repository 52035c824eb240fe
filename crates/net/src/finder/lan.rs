//! The finder `Lan`: nodes in the same networks, by beacons (`busel_proto::lan`).
//!
//! It listens on each link there is, follows links that come and go, and, if its owner chose so,
//! beacons. Listening sends nothing. What it hears are addresses of this hour and ids of this day:
//! they are kept here and go nowhere else, not among the saved nodes and not to other nodes.
//!
//! Whether a neighbour is spoken to is the owner's choice, too: whoever beacons in a café may be
//! there to see who answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use busel_proto::daily::{CHANCE, Day, MAX_BOX};
use busel_proto::id::PeerId;
use busel_proto::lan::{Beacon, GROUP_V4, GROUP_V6, Neighbour, Neighbours, PORT, Pace, addr_bytes};
use busel_proto::time::Tick;
use futures_util::future::{BoxFuture, FutureExt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

use super::Finder;
use crate::link::Link;
use crate::wire::Contact;

/// How often it is looked whether links have come or gone.
const LOOK: Duration = Duration::from_secs(10);

/// What a node does in its LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// Whether it beacons, and takes connections of neighbours.
    pub beacons: bool,
    /// Whether it speaks to neighbours that it hears.
    pub speaks: bool,
}

/// Hears the neighbours, and beacons.
#[derive(Debug)]
pub struct Lan {
    manners: Manners,
    began: Instant,
    neighbours: Mutex<Neighbours>,
    links: Mutex<Vec<Link>>,
    own: Mutex<Option<Own>>,
    asked: Notify,
}

/// What its beacons say of itself today.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    pub(crate) id: PeerId,
    /// By IPv4 and by IPv6.
    pub(crate) ports: [Option<u16>; 2],
}

impl Lan {
    /// One that has heard nobody yet.
    pub fn new(manners: Manners) -> Self {
        Self {
            manners,
            began: Instant::now(),
            neighbours: Mutex::default(),
            links: Mutex::new(Link::all()),
            own: Mutex::default(),
            asked: Notify::new(),
        }
    }

    /// What it does.
    pub fn manners(&self) -> Manners {
        self.manners
    }

    /// The neighbours heard lately.
    pub fn neighbours(&self) -> Vec<PeerId> {
        lock(&self.neighbours).list(self.tick()).iter().map(|neighbour| neighbour.id).collect()
    }

    /// Where a neighbour is.
    pub(crate) fn neighbour(&self, id: &PeerId) -> Option<Neighbour> {
        lock(&self.neighbours).find(id, self.tick())
    }

    /// The links that the device is on.
    pub(crate) fn links(&self) -> Vec<Link> {
        lock(&self.links).clone()
    }

    /// This is what it is now.
    pub(crate) fn is(&self, own: Own) {
        *lock(&self.own) = Some(own);
    }

    fn tick(&self) -> Tick {
        Tick(0) + self.began.elapsed()
    }

    async fn keep(self: &Arc<Self>) {
        let mut pace = Pace::new(self.tick(), rand::random());
        let mut listening = Listening::default();
        listening.follow(self, &self.links());
        loop {
            let until = pace.due() - self.tick();
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = tokio::time::sleep(until), if self.manners.beacons => {
                    self.beacon(pace.asks()).await;
                    pace.sent(self.tick(), self.neighbours().len(), rand::random());
                }
                () = self.asked.notified() => pace.asked(self.tick(), rand::random()),
            }
            let links = Link::all();
            if links != self.links() {
                debug!(links = links.len(), "the links have changed");
                listening.follow(self, &links);
                *lock(&self.links) = links;
                pace.moved(self.tick(), rand::random());
            }
        }
    }

    /// Beacons on all links.
    async fn beacon(&self, asks: bool) {
        let Some(own) = *lock(&self.own) else { return };
        for link in self.links() {
            let [v4, v6] = own.ports;
            let port = if link.addr.is_ipv4() { v4 } else { v6 };
            let Some(port) = port else { continue };
            let addr = addr_bytes(link.addr);
            let beacon = Beacon { id: own.id, port, addr, asks, veil: None };
            let chance: [u8; CHANCE] = rand::random();
            let Some(datagram) = beacon.seal(today(), &chance) else { continue };
            if let Err(error) = send(&link, &datagram).await {
                debug!(%error, "no beacon could be sent on a link");
            }
        }
    }

    fn hear(&self, from: SocketAddr, datagram: &[u8]) {
        let heard = lock(&self.neighbours).hear(from, datagram, self.tick(), today());
        match heard {
            Ok(heard) => {
                if heard.is_new {
                    debug!("a neighbour is heard");
                }
                if heard.asks && self.manners.beacons {
                    self.asked.notify_one();
                }
            }
            Err(error) => debug!(%error, "a datagram in the LAN was dropped"),
        }
    }

    async fn listen(self: Arc<Self>, socket: UdpSocket) {
        // One byte more than a beacon may have, so that a longer one is seen to be so.
        let mut buf = vec![0; MAX_BOX + 1];
        loop {
            match socket.recv_from(&mut buf).await {
                Ok((len, from)) => self.hear(from, &buf[..len]),
                Err(error) => {
                    debug!(%error, "listening in the LAN failed");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }
}

impl Finder for Arc<Lan> {
    fn name(&self) -> &'static str {
        "lan"
    }

    fn find(&self) -> BoxFuture<'_, Vec<Contact>> {
        // Neighbours are reached by the LAN wire alone.
        async { Vec::new() }.boxed()
    }

    fn known(&self) -> usize {
        self.neighbours().len()
    }

    fn run(&self, _: super::Found) -> BoxFuture<'_, ()> {
        self.keep().boxed()
    }
}

/// The sockets that listen, a task each; dropped, they end.
#[derive(Default)]
struct Listening {
    tasks: JoinSet<()>,
    by: BTreeMap<(String, bool), AbortHandle>,
}

impl Listening {
    /// Listens on these links, and on no others.
    fn follow(&mut self, lan: &Arc<Lan>, links: &[Link]) {
        let wanted: BTreeMap<_, _> =
            links.iter().map(|link| ((link.name.clone(), link.addr.is_ipv4()), link)).collect();
        let gone: BTreeSet<_> =
            self.by.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in gone {
            if let Some(task) = self.by.remove(&key) {
                task.abort();
            }
        }
        while self.tasks.try_join_next().is_some() {}
        for (key, link) in wanted {
            if self.by.contains_key(&key) {
                continue;
            }
            match listener(link) {
                Ok(socket) => {
                    let task = self.tasks.spawn(lan.clone().listen(socket));
                    self.by.insert(key, task);
                }
                Err(error) => debug!(%error, "no listening on a link"),
            }
        }
    }
}

/// A socket that hears the group on one link. It is bound to the group: what is sent to the device
/// itself it does not hear, so the port looks closed.
fn listener(link: &Link) -> io::Result<UdpSocket> {
    let (domain, addr): (_, SocketAddr) = match link.addr {
        IpAddr::V4(_) => (Domain::IPV4, SocketAddrV4::new(GROUP_V4, PORT).into()),
        IpAddr::V6(_) => (Domain::IPV6, SocketAddrV6::new(GROUP_V6, PORT, 0, link.scope).into()),
    };
    let socket = udp(domain)?;
    socket.set_reuse_address(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.bind_device(Some(link.name.as_bytes()))?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

/// Sends to all hosts of one link, from a port that nothing else of this node has.
async fn send(link: &Link, datagram: &[u8]) -> io::Result<()> {
    let (socket, group): (_, SocketAddr) = match link.addr {
        IpAddr::V4(own) => {
            let socket = udp(Domain::IPV4)?;
            socket.bind(&SocketAddrV4::new(own, 0).into())?;
            socket.set_multicast_if_v4(&own)?;
            socket.set_multicast_ttl_v4(1)?;
            socket.set_multicast_loop_v4(false)?;
            (socket, SocketAddrV4::new(GROUP_V4, PORT).into())
        }
        IpAddr::V6(own) => {
            let socket = udp(Domain::IPV6)?;
            socket.bind(&scoped(own, link.scope).into())?;
            socket.set_multicast_if_v6(link.scope)?;
            socket.set_multicast_hops_v6(1)?;
            socket.set_multicast_loop_v6(false)?;
            (socket, SocketAddrV6::new(GROUP_V6, PORT, 0, link.scope).into())
        }
    };
    UdpSocket::from_std(socket.into())?.send_to(datagram, group).await.map(drop)
}

fn scoped(addr: Ipv6Addr, scope: u32) -> SocketAddrV6 {
    SocketAddrV6::new(addr, 0, 0, scope)
}

fn udp(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

pub(crate) fn today() -> Day {
    Day::of(crate::wall::now())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
