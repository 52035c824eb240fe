//! The veil wire: QUIC over UDP, in datagrams that look like nothing.
//!
//! What a datagram looks like, and who gets an answer, is `busel_proto::veil`. Here are the sockets:
//! an iroh custom transport, which is outside iroh's semver and stays behind [`Wire`]. Many datagrams
//! go in one system call, as iroh's own IP transport sends them.
//!
//! A node that listens has a veil secret, which its invite names. One that does not has a port by
//! chance and only dials; whoever sends to that port without having been dialled gets no answer.

mod sender;
mod socket;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use busel_proto::time::{Tick, UnixTime};
use busel_proto::veil::VeilSecret;
use busel_proto::veil::sessions::{Now, Sessions};
use iroh::TransportAddr;
use iroh::endpoint::transports::{CustomEndpoint, CustomTransport};
use iroh_base::CustomAddr;

use super::{Contact, Wire, WireError};
use socket::Socket;

/// Marks addresses of this wire inside the endpoint; never on a line.
const ID: u64 = 0x6275_7365_6c76;

/// Obfuscated UDP.
#[derive(Debug)]
pub struct Veil {
    /// That of the endpoint that was set up last: sessions are an address's, and each endpoint has its
    /// own.
    shared: Mutex<Arc<Shared>>,
}

/// Where a node listens, and the secret by which others open sessions to it.
#[derive(Debug, Clone, Copy)]
pub struct Listen {
    /// The address; port 0 takes any free one.
    pub addr: SocketAddr,
    /// The veil secret.
    pub secret: VeilSecret,
}

#[derive(Debug)]
pub(super) struct Shared {
    listen: Option<SocketAddr>,
    bound: OnceLock<SocketAddr>,
    sessions: Mutex<Sessions>,
    started: Instant,
    /// Whether an endpoint was set up with it.
    in_use: AtomicBool,
}

impl Veil {
    /// A wire that only dials, or one that listens, too.
    pub fn new(listen: Option<Listen>) -> Self {
        Self { shared: Mutex::new(Arc::new(Shared::new(listen))) }
    }

    /// Where it listens, once the endpoint is bound; `None` if it only dials.
    pub fn listens(&self) -> Option<SocketAddr> {
        self.shared().bound.get().copied()
    }

    fn shared(&self) -> Arc<Shared> {
        lock(&self.shared).clone()
    }
}

impl Wire for Veil {
    fn name(&self) -> &'static str {
        "veil"
    }

    fn set_up(
        &self,
        builder: iroh::endpoint::Builder,
    ) -> Result<iroh::endpoint::Builder, WireError> {
        let mut shared = lock(&self.shared);
        // One that listens is there once.
        if shared.listen.is_none() && shared.in_use.swap(true, Ordering::Relaxed) {
            *shared = Arc::new(Shared::new(None));
            shared.in_use.store(true, Ordering::Relaxed);
        }
        Ok(builder.add_custom_transport(Arc::new(Transport(shared.clone()))))
    }

    fn addresses(&self, contact: &Contact) -> Vec<TransportAddr> {
        let Some(ticket) = &contact.veil else { return Vec::new() };
        let shared = self.shared();
        let mut sessions = shared.sessions();
        ticket
            .addrs()
            .map(|addr| {
                let addr = canonical(addr);
                sessions.learn(addr, &ticket.secret);
                TransportAddr::Custom(inner_addr(addr))
            })
            .collect()
    }
}

impl Shared {
    fn new(listen: Option<Listen>) -> Self {
        let secret = listen.as_ref().map(|listen| &listen.secret);
        let sessions = Sessions::new(secret, rand::random(), wall());
        Self {
            listen: listen.map(|listen| listen.addr),
            bound: OnceLock::new(),
            sessions: Mutex::new(sessions),
            started: Instant::now(),
            in_use: AtomicBool::new(false),
        }
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        lock(&self.sessions)
    }

    pub(super) fn now(&self) -> Now {
        let micros = self.started.elapsed().as_micros();
        Now { time: wall(), tick: Tick(u64::try_from(micros).unwrap_or(u64::MAX)) }
    }
}

/// What the endpoint binds.
#[derive(Debug)]
struct Transport(Arc<Shared>);

impl CustomTransport for Transport {
    fn bind(&self) -> std::io::Result<Box<dyn CustomEndpoint>> {
        Ok(Box::new(Socket::bind(self.0.clone())?))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wall() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixTime(since.map_or(0, |since| since.as_secs()))
}

/// An IPv4 address that was written as IPv6 is the IPv4 one.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// What stands for an address inside the endpoint.
pub(super) fn inner_addr(addr: SocketAddr) -> CustomAddr {
    let ip = match addr.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        std::net::IpAddr::V6(ip) => ip,
    };
    let mut data = [0; 18];
    data[..16].copy_from_slice(&ip.octets());
    data[16..].copy_from_slice(&addr.port().to_be_bytes());
    CustomAddr::from_parts(ID, &data)
}

/// The address that stands behind one of the endpoint.
pub(super) fn outer_addr(addr: &CustomAddr) -> Option<SocketAddr> {
    let (ip, port) = addr.data().split_first_chunk::<16>().filter(|_| addr.id() == ID)?;
    let port = u16::from_be_bytes(port.try_into().ok()?);
    Some(canonical(SocketAddr::new(Ipv6Addr::from(*ip).into(), port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_endpoint() {
        for text in ["192.0.2.1:443", "[2001:db8::1]:9"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(outer_addr(&inner_addr(addr)), Some(addr));
        }
        assert_eq!(outer_addr(&CustomAddr::from_parts(ID + 1, &[0; 18])), None);
        assert_eq!(outer_addr(&CustomAddr::from_parts(ID, &[0; 17])), None);
    }
}
