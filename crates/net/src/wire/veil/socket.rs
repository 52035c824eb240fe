//! Receiving: what the system gathered is cut into datagrams, and what is none of ours is dropped
//! before the endpoint sees it.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Poll};

use busel_proto::veil::sessions::{Now, Sessions};
use iroh::endpoint::transports::{CustomEndpoint, CustomSender, RecvInfo};
use iroh_base::CustomAddr;
use n0_watcher::Watchable;
use netwatch::UdpSocket;
use noq_udp::RecvMeta;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::sender::Sender;
use super::streams::Datagram;
use super::{Listen, Shared, canonical, door, inner_addr, lock};

/// What the system gathers into one buffer at most, and how many buffers it fills in one call.
const BUFFER: usize = 64 * 1024;
const BUFFERS: usize = 8;
/// Calls in a row that may bring nothing but junk before others get their turn.
const ROUNDS: usize = 8;
/// Ports by chance that are tried for one that is free for TCP, too.
const TRIES: usize = 8;

/// A socket for each family of addresses.
#[derive(Debug)]
pub(super) struct Socket {
    shared: Arc<Shared>,
    v4: Option<Arc<UdpSocket>>,
    v6: Option<Arc<UdpSocket>>,
    v6_first: bool,
    addrs: Watchable<Vec<CustomAddr>>,
    held: Held,
    /// What comes by streams, and whether its turn is next.
    streams: Option<mpsc::Receiver<Datagram>>,
    streams_first: bool,
    /// For answers of the veil's own.
    sender: Sender,
}

/// The socket on which a node listens, and its door for TCP at the same port. A port by chance is one
/// that both have.
fn listening(shared: &Arc<Shared>, listen: &Listen) -> io::Result<UdpSocket> {
    let mut tried = Vec::new();
    loop {
        let socket = UdpSocket::bind_full(listen.addr)?;
        let bound = socket.local_addr()?;
        if let Err(error) = door::open(shared, bound, &listen.secret) {
            if listen.addr.port() == 0 && tried.len() < TRIES {
                // Held until another port was found, so that it is another one.
                tried.push(socket);
                continue;
            }
            warn!(%error, "nobody can come by TCP: another program has the port of the veil");
        }
        // It is bound once.
        let _ = shared.bound.set(bound);
        return Ok(socket);
    }
}

/// What was received and not taken yet.
#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    metas: [RecvMeta; BUFFERS],
    /// Buffers that are filled, the one that is being cut, and the byte reached in it.
    filled: usize,
    at: usize,
    offset: usize,
}

impl Socket {
    pub(super) fn bind(shared: Arc<Shared>) -> io::Result<Self> {
        let mut ours = shared.listen.map(|listen| listening(&shared, &listen)).transpose()?;
        let any = [(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()];
        let [v4, v6] = any.map(|any: SocketAddr| {
            let is_ours = shared.listen.is_some_and(|l| l.addr.is_ipv4() == any.is_ipv4());
            if let Some(ours) = ours.take_if(|_| is_ours) {
                return Some(Arc::new(ours));
            }
            UdpSocket::bind_full(any)
                .inspect_err(|error| {
                    debug!(%error, v4 = any.is_ipv4(), "no veil over this family of addresses");
                })
                .ok()
                .map(Arc::new)
        });
        let weak = |socket: &Option<Arc<UdpSocket>>| {
            socket.as_ref().map(Arc::downgrade).unwrap_or_default()
        };
        *lock(&shared.sockets) = [weak(&v4), weak(&v6)];
        let addrs = shared.bound.get().map(|bound| inner_addr(*bound)).into_iter().collect();
        let addrs = Watchable::new(addrs);
        let sender = Sender::new(shared.clone(), v4.as_ref(), v6.as_ref());
        Ok(Self {
            streams: shared.streams.inbox(),
            shared,
            v4,
            v6,
            v6_first: false,
            addrs,
            held: Held::default(),
            streams_first: false,
            sender,
        })
    }

    /// Takes what came by streams into the endpoint's buffers. Returns how many were filled.
    fn take_streamed(&mut self, cx: &mut Context<'_>, into: &mut Into<'_, '_>) -> usize {
        let Some(streams) = &mut self.streams else { return 0 };
        let mut taken = 0;
        while taken < into.bufs.len() {
            let Poll::Ready(Some((from, datagram))) = streams.poll_recv(cx) else { break };
            taken += usize::from(into.put(taken, &datagram, from));
        }
        taken
    }

    /// Takes what came by UDP into the endpoint's buffers.
    fn poll_datagrams(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Into<'_, '_>,
    ) -> Poll<io::Result<usize>> {
        for _ in 0..ROUNDS {
            let now = self.shared.now();
            let (taken, owed) = {
                let mut sessions = self.shared.sessions();
                (self.held.take(&mut sessions, now, into), sessions.owed())
            };
            if !owed.is_empty() {
                self.sender.tell(owed, cx);
            }
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
            match self.receive(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Receives into the buffers, from the one socket first and then from the other.
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.v6_first = !self.v6_first;
        let mut order = [&self.v4, &self.v6];
        if self.v6_first {
            order.reverse();
        }
        let mut failed = None;
        for socket in order.into_iter().flatten() {
            match self.held.receive(socket, cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => failed = Some(error),
            }
        }
        failed.map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
    }
}

impl Default for Held {
    fn default() -> Self {
        let metas = [RecvMeta::default(); BUFFERS];
        Self { bytes: vec![0; BUFFER * BUFFERS], metas, filled: 0, at: 0, offset: 0 }
    }
}

impl Held {
    fn receive(&mut self, socket: &UdpSocket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffers = self.bytes.chunks_mut(BUFFER).map(IoSliceMut::new);
        let mut buffers: [IoSliceMut<'_>; BUFFERS] =
            std::array::from_fn(|_| buffers.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        socket.poll_recv_noq(cx, &mut buffers, &mut self.metas).map_ok(|filled| {
            (self.filled, self.at, self.offset) = (filled.min(BUFFERS), 0, 0);
        })
    }

    /// The next datagram and where it came from.
    fn next(&mut self) -> Option<(SocketAddr, &mut [u8])> {
        while self.at < self.filled && self.offset >= self.metas[self.at].len {
            (self.at, self.offset) = (self.at + 1, 0);
        }
        if self.at >= self.filled {
            return None;
        }
        let meta = &self.metas[self.at];
        let start = self.at * BUFFER + self.offset;
        let end = self.at * BUFFER + meta.len.min(self.offset + meta.stride.max(1)).min(BUFFER);
        self.offset += meta.stride.max(1);
        Some((canonical(meta.addr), self.bytes.get_mut(start..end)?))
    }

    /// Takes what is held into the endpoint's buffers. Returns how many were filled.
    fn take(&mut self, sessions: &mut Sessions, now: Now, into: &mut Into<'_, '_>) -> usize {
        let mut taken = 0;
        while taken < into.bufs.len() {
            let Some((from, datagram)) = self.next() else { break };
            let Some(len) = sessions.take(from, datagram, now) else { continue };
            taken += usize::from(into.put(taken, &datagram[..len], inner_addr(from)));
        }
        taken
    }
}

/// The endpoint's buffers.
struct Into<'a, 'b> {
    bufs: &'a mut [IoSliceMut<'b>],
    metas: &'a mut [RecvMeta],
    infos: &'a mut [RecvInfo],
}

impl Into<'_, '_> {
    /// Fills one; whether it fits.
    fn put(&mut self, at: usize, datagram: &[u8], from: CustomAddr) -> bool {
        let len = datagram.len();
        let Some(place) = self.bufs[at].get_mut(..len) else { return false };
        place.copy_from_slice(datagram);
        let meta = &mut self.metas[at];
        *meta = RecvMeta::default();
        (meta.len, meta.stride) = (len, len);
        self.infos[at] = RecvInfo::new(from, None);
        true
    }
}

impl CustomEndpoint for Socket {
    fn watch_local_addrs(&self) -> n0_watcher::Direct<Vec<CustomAddr>> {
        self.addrs.watch()
    }

    fn create_sender(&self) -> Arc<dyn CustomSender> {
        Arc::new(Sender::new(self.shared.clone(), self.v4.as_ref(), self.v6.as_ref()))
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
        infos: &mut [RecvInfo],
    ) -> Poll<io::Result<usize>> {
        let mut into = Into { bufs, metas, infos };
        self.streams_first = !self.streams_first;
        if self.streams_first {
            let taken = self.take_streamed(cx, &mut into);
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
        }
        match self.poll_datagrams(cx, &mut into) {
            Poll::Pending => {}
            ready => return ready,
        }
        match self.take_streamed(cx, &mut into) {
            0 => Poll::Pending,
            taken => Poll::Ready(Ok(taken)),
        }
    }

    fn max_transmit_segments(&self) -> NonZeroUsize {
        let sockets = [&self.v4, &self.v6].into_iter().flatten();
        sockets.map(|socket| socket.max_gso_segments()).min().unwrap_or(NonZeroUsize::MIN)
    }
}
