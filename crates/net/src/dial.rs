//! Opening TCP connections: the one place where this device does, so that an upstream proxy, a
//! test network or a later VPN needs one seam.
//!
//! It takes addresses: resolving, and distrusting what was resolved, is the caller's. Names it takes
//! only where an upstream proxy is to look them up, so that no query leaves the device around it.

pub mod found;
mod upstream;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use busel_proto::failure::Failure;
use tokio::net::TcpStream;

use found::Found;

pub use upstream::Upstream;

/// A connection attempt is given up after this long; the race does not wait for it.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Where an upstream proxy is a further way, it is tried beside the plain one after this long.
pub const BESIDE: Duration = Duration::from_secs(3);

/// Opens TCP connections: directly, through an upstream proxy, or through it where else nothing leads.
#[derive(Debug, Clone, Default)]
pub struct Dialer(Way);

#[derive(Debug, Clone, Default)]
enum Way {
    #[default]
    Plain,
    /// Through a proxy and in no other way; if it was found, who wants to know that it fails.
    Through(Arc<Upstream>, Option<Arc<Found>>),
    /// Through a proxy where the plain way fails.
    Also(Arc<Upstream>),
    /// Through what was found on this device where the plain way fails, while there is something.
    Found(Arc<Found>),
}

impl Dialer {
    /// Dials through this proxy and in no other way.
    pub fn through(upstream: Upstream) -> Self {
        Self(Way::Through(Arc::new(upstream), None))
    }

    /// Dials directly, and through this proxy where that fails.
    pub fn also_through(upstream: Upstream) -> Self {
        Self(Way::Also(Arc::new(upstream)))
    }

    /// Dials directly, and where that fails through what was found on this device, if anything was.
    pub fn also_found(found: Arc<Found>) -> Self {
        Self(Way::Found(found))
    }

    /// Whether all goes through an upstream proxy.
    pub fn is_upstream(&self) -> bool {
        matches!(self.0, Way::Through(..))
    }

    /// The dialer through the upstream proxy alone, where that is a further way.
    pub fn further(&self) -> Option<Self> {
        match &self.0 {
            Way::Plain | Way::Through(..) => None,
            Way::Also(upstream) => Some(Self(Way::Through(upstream.clone(), None))),
            Way::Found(found) => Some(Self(Way::Through(found.best()?, Some(found.clone())))),
        }
    }

    /// The dialer without that further way.
    #[must_use]
    pub fn plain(&self) -> Self {
        if self.is_upstream() { self.clone() } else { Self::default() }
    }

    /// Connects to `addr`, without delay of small writes.
    pub async fn dial(&self, addr: SocketAddr) -> Result<TcpStream, Failure> {
        let plain = self.plain();
        match self.further() {
            None => plain.dial_one(addr).await,
            Some(further) => beside(plain.dial_one(addr), further.dial_one(addr)).await,
        }
    }

    async fn dial_one(&self, addr: SocketAddr) -> Result<TcpStream, Failure> {
        match &self.0 {
            Way::Through(upstream, found) => {
                through(upstream, found.as_deref(), &addr.ip().to_string(), addr.port()).await
            }
            _ => ready(async { TcpStream::connect(addr).await.map_err(|e| of_io(&e)) }).await,
        }
    }

    /// Connects to `host`, which the upstream proxy looks up. Without one there is nobody to do so.
    pub async fn dial_name(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        match &self.0 {
            Way::Through(upstream, found) => through(upstream, found.as_deref(), host, port).await,
            Way::Also(upstream) => through(upstream, None, host, port).await,
            Way::Plain | Way::Found(_) => Err(Failure::NameUnanswered),
        }
    }

    /// Connects to the first of `addrs` that answers: each is given a moment, then the next is
    /// tried beside it (RFC 8305).
    pub async fn dial_any(&self, addrs: &[SocketAddr]) -> Result<TcpStream, Failure> {
        const STAGGER: Duration = Duration::from_millis(250);
        let mut tries = tokio::task::JoinSet::new();
        let mut last = Failure::Unreachable;
        let mut next = addrs.iter();
        loop {
            if let Some(addr) = next.next() {
                let (dialer, addr) = (self.clone(), *addr);
                tries.spawn(async move { dialer.dial(addr).await });
            } else if tries.is_empty() {
                return Err(last);
            }
            let more = next.len() > 0;
            tokio::select! {
                Some(done) = tries.join_next() => match done {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(failure)) => last = failure,
                    Err(_) => last = Failure::Unreachable,
                },
                () = tokio::time::sleep(STAGGER), if more => {}
            }
        }
    }
}

/// The first of two ways that leads: the second is tried when the first has failed, or has had its
/// time. If both fail, the first one's failure is told.
pub async fn beside<T>(
    first: impl Future<Output = Result<T, Failure>>,
    second: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    match tokio::time::timeout(BESIDE, &mut first).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(failure)) => return second.await.map_err(|_| failure),
        Err(_) => {}
    }
    tokio::select! {
        done = &mut first => match done {
            Ok(done) => Ok(done),
            Err(failure) => second.await.map_err(|_| failure),
        },
        done = &mut second => match done {
            Ok(done) => Ok(done),
            Err(_) => first.await,
        },
    }
}

async fn through(
    upstream: &Upstream,
    found: Option<&Found>,
    host: &str,
    port: u16,
) -> Result<TcpStream, Failure> {
    let done = ready(upstream.connect(host, port)).await;
    if let (Some(found), Err(_)) = (found, &done) {
        found.doubt(upstream);
    }
    done
}

async fn ready(
    connect: impl Future<Output = Result<TcpStream, Failure>>,
) -> Result<TcpStream, Failure> {
    let stream = match tokio::time::timeout(CONNECT_LIMIT, connect).await {
        Ok(connected) => connected?,
        Err(_) => return Err(Failure::Silent),
    };
    // Failing to set an option is no reason to lose a connection.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// What an I/O error says of the way.
pub fn of_io(error: &io::Error) -> Failure {
    use io::ErrorKind as K;
    match error.kind() {
        K::ConnectionRefused => Failure::Refused,
        K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => Failure::Reset,
        K::UnexpectedEof => Failure::CutOff,
        K::TimedOut => Failure::Silent,
        K::NetworkUnreachable | K::HostUnreachable | K::AddrNotAvailable | K::NetworkDown => {
            Failure::Unreachable
        }
        _ => Failure::Protocol(error.kind().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_refused_connection_says_so() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(Dialer::default().dial(closed).await.unwrap_err(), Failure::Refused);
    }

    #[tokio::test]
    async fn the_second_address_is_tried_when_the_first_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let stream = Dialer::default().dial_any(&[closed, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert_eq!(Dialer::default().dial_any(&[]).await.unwrap_err(), Failure::Unreachable);
    }

    #[tokio::test]
    async fn a_further_way_is_taken_where_the_first_fails_and_blamed_for_nothing() {
        let refused = || std::future::ready(Err::<u8, _>(Failure::Refused));
        assert_eq!(beside(refused(), async { Ok(1) }).await, Ok(1));
        assert_eq!(beside(refused(), async { Err(Failure::Silent) }).await, Err(Failure::Refused));
        assert_eq!(beside(async { Ok(2) }, refused()).await, Ok(2));
    }
}
