//! The LAN wire: QUIC over UDP between neighbours, and nobody else.
//!
//! It sends only to hosts of a link that this device is on, and takes only what comes from one. A
//! node that does not beacon takes nothing but answers of those it spoke to first: a scan of the LAN
//! finds no port of it.
//!
//! What travels is plain QUIC: whoever listens in the LAN sees that it is, though not what is in it.
//! It is no `Wire`, because the endpoint that it carries is another, with an id of the day (see
//! `near`); the veil can take its place, and a beacon has room for its key.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use iroh::endpoint::transports::{
    CustomEndpoint, CustomSender, CustomTransport, RecvInfo, Transmit,
};
use iroh_base::CustomAddr;
use n0_watcher::Watchable;
use noq_udp::RecvMeta;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use crate::link::Link;

/// What stands for this wire in addresses inside the endpoint.
const ID: u64 = 0x6275_6c61_6e00_0001;
/// So long after something was sent to a host, what it sends is an answer.
const ANSWER: Duration = Duration::from_secs(120);
/// Hosts that are being spoken to.
const MAX_SPOKEN: usize = 256;
/// Datagrams that are dropped in a row before others have a turn.
const MAX_DROPPED: usize = 64;

/// The sockets of one day.
#[derive(Debug, Clone)]
pub(crate) struct LanWire(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    /// Whether it takes what it did not ask for.
    answers: bool,
    links: Mutex<Vec<Link>>,
    spoken: Mutex<BTreeMap<SocketAddr, Instant>>,
    /// Where it is reached is told by beacons only, never by the connection itself.
    addrs: Watchable<Vec<CustomAddr>>,
}

impl LanWire {
    /// New sockets, at ports that the system picks. An error if it has neither IPv4 nor IPv6.
    pub(crate) fn new(answers: bool, links: Vec<Link>) -> io::Result<Self> {
        let v4 = socket(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, 0).into());
        let v6 = socket(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, 0).into());
        let (v4, v6) = match (v4, v6) {
            (Err(error), Err(_)) => return Err(error),
            (v4, v6) => (v4.ok(), v6.ok()),
        };
        let (links, addrs) = (Mutex::new(links), Watchable::new(Vec::new()));
        let inner = Inner { v4, v6, answers, links, spoken: Mutex::default(), addrs };
        Ok(Self(Arc::new(inner)))
    }

    /// The ports where it is reached, by IPv4 and by IPv6.
    pub(crate) fn ports(&self) -> [Option<u16>; 2] {
        [&self.0.v4, &self.0.v6]
            .map(|socket| socket.as_ref()?.local_addr().ok().map(|addr| addr.port()))
    }

    /// The device is on these links now.
    pub(crate) fn moved(&self, links: Vec<Link>) {
        *lock(&self.0.links) = links;
    }
}

fn socket(domain: Domain, addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

/// A neighbour's address as the endpoint knows it.
pub(crate) fn custom(addr: SocketAddr) -> CustomAddr {
    let mut data = addr.port().to_be_bytes().to_vec();
    match addr {
        SocketAddr::V4(addr) => data.extend(addr.ip().octets()),
        SocketAddr::V6(addr) => {
            data.extend(addr.ip().octets());
            data.extend(addr.scope_id().to_be_bytes());
        }
    }
    CustomAddr::from_parts(ID, &data)
}

/// Whether an address inside the endpoint is one of this wire.
pub(crate) fn is_lan(addr: &CustomAddr) -> bool {
    addr.id() == ID
}

fn plain(addr: &CustomAddr) -> Option<SocketAddr> {
    let (port, rest) = addr.data().split_first_chunk::<2>().filter(|_| addr.id() == ID)?;
    let port = u16::from_be_bytes(*port);
    if let Ok(v4) = <[u8; 4]>::try_from(rest) {
        return Some((Ipv4Addr::from(v4), port).into());
    }
    let (v6, scope) = rest.split_first_chunk::<16>()?;
    let scope = u32::from_be_bytes(scope.try_into().ok()?);
    Some(SocketAddrV6::new(Ipv6Addr::from(*v6), port, 0, scope).into())
}

impl Inner {
    fn socket(&self, to: SocketAddr) -> Option<&UdpSocket> {
        if to.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    fn is_near(&self, addr: SocketAddr) -> bool {
        let scope = if let SocketAddr::V6(addr) = addr { addr.scope_id() } else { 0 };
        lock(&self.links).iter().any(|link| link.has(addr.ip(), scope))
    }

    /// Whether what comes from there is taken.
    fn takes(&self, from: SocketAddr) -> bool {
        let spoken = || lock(&self.spoken).get(&from).is_some_and(|at| at.elapsed() < ANSWER);
        self.is_near(from) && (self.answers || spoken())
    }

    fn speaks(&self, to: SocketAddr) {
        let mut spoken = lock(&self.spoken);
        if spoken.len() >= MAX_SPOKEN && !spoken.contains_key(&to) {
            spoken.retain(|_, at| at.elapsed() < ANSWER);
        }
        if spoken.len() < MAX_SPOKEN || spoken.contains_key(&to) {
            spoken.insert(to, Instant::now());
        }
    }

    /// The next datagram of one socket that is taken.
    fn poll_one(
        &self,
        socket: &UdpSocket,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        for _ in 0..MAX_DROPPED {
            let mut read = ReadBuf::new(buf);
            let from = match ready!(socket.poll_recv_from(cx, &mut read)) {
                Ok(from) => from,
                // The system's word that an earlier datagram did not arrive.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Poll::Ready(Err(error)),
            };
            let len = read.filled().len();
            if len > 0 && self.takes(from) {
                return Poll::Ready(Ok((len, from)));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl CustomTransport for LanWire {
    fn bind(&self) -> io::Result<Box<dyn CustomEndpoint>> {
        Ok(Box::new(self.clone()))
    }
}

impl CustomEndpoint for LanWire {
    fn watch_local_addrs(&self) -> n0_watcher::Direct<Vec<CustomAddr>> {
        self.0.addrs.watch()
    }

    fn create_sender(&self) -> Arc<dyn CustomSender> {
        Arc::new(self.clone())
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
        metas: &mut [RecvMeta],
        infos: &mut [RecvInfo],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        let slots = bufs.iter_mut().zip(metas).zip(infos);
        let mut sockets = [self.0.v4.as_ref(), self.0.v6.as_ref()].into_iter().flatten();
        let mut socket = sockets.next();
        for ((buf, meta), info) in slots {
            while let Some(from) = socket {
                match self.0.poll_one(from, cx, buf) {
                    Poll::Ready(Ok((len, addr))) => {
                        (meta.len, meta.stride, meta.addr) = (len, len, addr);
                        *info = RecvInfo::new(custom(addr), None);
                        filled += 1;
                        break;
                    }
                    Poll::Ready(Err(error)) if filled == 0 => return Poll::Ready(Err(error)),
                    Poll::Ready(Err(_)) | Poll::Pending => socket = sockets.next(),
                }
            }
        }
        if filled > 0 { Poll::Ready(Ok(filled)) } else { Poll::Pending }
    }
}

impl CustomSender for LanWire {
    fn is_valid_send_addr(&self, addr: &CustomAddr) -> bool {
        plain(addr).is_some_and(|addr| self.0.socket(addr).is_some())
    }

    fn poll_send(
        &self,
        _: &mut Context<'_>,
        to: &CustomAddr,
        _: Option<&CustomAddr>,
        transmit: &Transmit<'_>,
    ) -> Poll<io::Result<()>> {
        let to = plain(to).filter(|to| self.0.is_near(*to));
        let Some((to, socket)) = to.and_then(|to| Some((to, self.0.socket(to)?))) else {
            return Poll::Ready(Err(io::ErrorKind::HostUnreachable.into()));
        };
        self.0.speaks(to);
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(size) {
            match socket.try_send_to(datagram, to) {
                Ok(_) => {}
                // Lost as on any line; QUIC slows down and sends it again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_form_inside_the_endpoint() {
        for addr in ["192.168.1.10:99", "[fe80::1%3]:4000"] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert_eq!(plain(&custom(addr)), Some(addr));
        }
        assert_eq!(plain(&CustomAddr::from_parts(ID, &[1, 2, 3])), None);
        assert_eq!(plain(&CustomAddr::from_parts(ID + 1, &[0; 6])), None);
    }

    #[tokio::test]
    async fn only_neighbours_are_heard_and_by_a_silent_node_only_those_it_spoke_to() {
        let near: SocketAddr = "192.168.1.10:99".parse().unwrap();
        let far: SocketAddr = "198.51.100.1:99".parse().unwrap();
        let open = LanWire::new(true, vec![Link::fake("192.168.1.77")]).unwrap().0;
        assert!(open.takes(near) && !open.takes(far));
        let silent = LanWire::new(false, vec![Link::fake("192.168.1.77")]).unwrap().0;
        assert!(!silent.takes(near));
        silent.speaks(near);
        assert!(silent.takes(near));
        for port in 1..=u16::try_from(MAX_SPOKEN).unwrap() + 9 {
            silent.speaks(SocketAddr::new(near.ip(), 1000 + port));
        }
        assert_eq!(lock(&silent.spoken).len(), MAX_SPOKEN);
    }
}
