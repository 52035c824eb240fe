//! Opening TCP connections: the one place where this device does, so that an upstream proxy, a
//! test network or a later VPN needs one seam.
//!
//! It takes addresses: resolving, and distrusting what was resolved, is the caller's. Names it takes
//! only where an upstream proxy is to look them up, so that no query leaves the device around it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use busel_proto::failure::Failure;
use fast_socks5::client::{Config, Socks5Stream};
use fast_socks5::{ReplyError, SocksError};
use tokio::net::TcpStream;

/// A connection attempt is given up after this long; the race does not wait for it.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Opens TCP connections, directly or through an upstream SOCKS5 proxy.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    upstream: Option<SocketAddr>,
}

impl Dialer {
    /// Dials through the SOCKS5 proxy (RFC 1928, no authentication) at this address.
    pub fn through(upstream: SocketAddr) -> Self {
        Self { upstream: Some(upstream) }
    }

    /// Whether all goes through an upstream proxy.
    pub fn is_upstream(&self) -> bool {
        self.upstream.is_some()
    }

    /// Connects to `addr`, without delay of small writes.
    pub async fn dial(&self, addr: SocketAddr) -> Result<TcpStream, Failure> {
        ready(async {
            match self.upstream {
                None => TcpStream::connect(addr).await.map_err(|e| of_io(&e)),
                Some(upstream) => through_socks(upstream, addr.ip().to_string(), addr.port()).await,
            }
        })
        .await
    }

    /// Connects to `host`, which the upstream proxy looks up. Without one there is nobody to do so.
    pub async fn dial_name(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let upstream = self.upstream.ok_or(Failure::NameUnanswered)?;
        ready(through_socks(upstream, host.to_owned(), port)).await
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

async fn through_socks(
    upstream: SocketAddr,
    host: String,
    port: u16,
) -> Result<TcpStream, Failure> {
    let mut config = Config::default();
    config.set_connect_timeout(CONNECT_LIMIT);
    Socks5Stream::connect(upstream, host, port, config).await.map(Socks5Stream::get_socket).map_err(
        |error| match error {
            SocksError::ReplyError(ReplyError::ConnectionRefused) => Failure::Refused,
            SocksError::ReplyError(ReplyError::TtlExpired | ReplyError::ConnectionTimeout) => {
                Failure::Silent
            }
            SocksError::Io(error) => of_io(&error),
            _ => Failure::Unreachable,
        },
    )
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
}
