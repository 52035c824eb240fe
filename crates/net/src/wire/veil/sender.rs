//! Sending: each datagram gets its form, and as many as may go in one system call do.
//!
//! Long masked datagrams keep their length, so that a run of them stays a run for the system to
//! cut (GSO). All others go one by one; there are few.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use busel_proto::veil::frame::{Key, MASK_RANDOM, SEAL_RANDOM, Said};
use busel_proto::veil::lines::By;
use busel_proto::veil::sessions::{ASK, Form, Now, Way, YES};
use iroh::endpoint::transports::{CustomSender, Transmit};
use iroh_base::CustomAddr;
use netwatch::{UdpSender, UdpSocket};
use rand::Rng;
use tracing::trace;

use super::{Place, Shared};

/// Sends for one connection.
#[derive(Debug)]
pub(super) struct Sender {
    shared: Arc<Shared>,
    out: Mutex<Out>,
}

/// What is to be sent. At most one transmission waits here; the next is not taken before it went.
#[derive(Debug)]
struct Out {
    v4: Option<UdpSender>,
    v6: Option<UdpSender>,
    bytes: Vec<u8>,
    batches: VecDeque<Batch>,
}

/// Datagrams for one system call.
#[derive(Debug)]
struct Batch {
    to: SocketAddr,
    range: Range<usize>,
    /// The length of all but the last, which may be shorter; `None` for one that is alone.
    segment: Option<usize>,
}

impl Sender {
    pub(super) fn new(
        shared: Arc<Shared>,
        v4: Option<&Arc<UdpSocket>>,
        v6: Option<&Arc<UdpSocket>>,
    ) -> Self {
        let sender = |socket: &Arc<UdpSocket>| socket.clone().create_sender();
        let (v4, v6) = (v4.map(sender), v6.map(sender));
        let out = Out { v4, v6, bytes: Vec::new(), batches: VecDeque::new() };
        Self { shared, out: Mutex::new(out) }
    }
}

impl CustomSender for Sender {
    fn is_valid_send_addr(&self, addr: &CustomAddr) -> bool {
        Place::of(addr).is_some()
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        dst: &CustomAddr,
        _src: Option<&CustomAddr>,
        transmit: &Transmit<'_>,
    ) -> Poll<io::Result<()>> {
        let to = match Place::of(dst) {
            Some(Place::Node(to)) => to,
            Some(Place::Guest) => {
                self.stream(dst, transmit);
                return Poll::Ready(Ok(()));
            }
            None => return Poll::Ready(Err(io::ErrorKind::AddrNotAvailable.into())),
        };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        ready!(out.flush(cx));
        let now = self.shared.now();
        let (way, heard) = {
            let mut sessions = self.shared.sessions();
            (sessions.way(to, now, rand::random()), sessions.heard(&to))
        };
        let Some(way) = way else { return Poll::Ready(Ok(())) };
        let step = self.shared.step(to, heard, now);
        if step.keep || step.by == By::Tcp {
            self.stream(dst, transmit);
        }
        match step.by {
            By::Udp => out.take(to, &way, now, transmit),
            By::Tcp if step.ask => out.say(to, &way, now, &ASK),
            By::Tcp => return Poll::Ready(Ok(())),
        }
        // What can't go at once goes before the next transmission does.
        let _ = out.flush(cx);
        Poll::Ready(Ok(()))
    }
}

impl Sender {
    /// Sends by a stream, if there is one.
    fn stream(&self, to: &CustomAddr, transmit: &Transmit<'_>) {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(size) {
            self.shared.streams.send(to, datagram);
        }
    }

    /// Tells those who asked that it came through. Who can't be told at once asks again.
    pub(super) fn tell(&self, asked: Vec<SocketAddr>, cx: &mut Context<'_>) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.shared.now();
        for to in asked {
            let way = self.shared.sessions().way(to, now, rand::random());
            if let (Some(way), Poll::Ready(())) = (way, out.flush(cx)) {
                out.say(to, &way, now, &YES);
            }
        }
        let _ = out.flush(cx);
    }
}

impl Out {
    fn take(&mut self, to: SocketAddr, way: &Way, now: Now, transmit: &Transmit<'_>) {
        self.bytes.clear();
        if way.hello {
            self.seal(to, way, now, &[]);
        }
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(size) {
            match way.form(datagram) {
                Form::Sealed => self.seal(to, way, now, datagram),
                Form::Padded => self.pad(to, way.mask.as_deref(), datagram),
                Form::Whole => self.mask(to, way.mask.as_deref(), datagram, size),
                Form::Dropped => trace!(len = datagram.len(), "a datagram can't be hidden"),
            }
        }
    }

    /// Seals what is no packet, but the veil's own.
    fn say(&mut self, to: SocketAddr, way: &Way, now: Now, word: &[u8]) {
        self.bytes.clear();
        self.seal(to, way, now, word);
    }

    fn seal(&mut self, to: SocketAddr, way: &Way, now: Now, inner: &[u8]) {
        let mut random = [0; SEAL_RANDOM];
        rand::rng().fill_bytes(&mut random);
        let said = Said { at: now.time, back: way.back, inner };
        let Some(sealed) = way.seal.seal(&said, &random) else { return };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&sealed);
        self.alone(to, start);
    }

    fn pad(&mut self, to: SocketAddr, key: Option<&Key>, datagram: &[u8]) {
        let Some(key) = key else { return };
        let mut random = [0; MASK_RANDOM];
        rand::rng().fill_bytes(&mut random);
        let start = self.bytes.len();
        key.mask_padded(datagram, &random, &mut self.bytes);
        self.alone(to, start);
    }

    fn alone(&mut self, to: SocketAddr, start: usize) {
        self.batches.push_back(Batch { to, range: start..self.bytes.len(), segment: None });
    }

    fn mask(&mut self, to: SocketAddr, key: Option<&Key>, datagram: &[u8], size: usize) {
        let Some(key) = key else { return };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        key.mask_whole(&mut self.bytes[start..]);
        let end = self.bytes.len();
        match self.batches.back_mut() {
            // One that is shorter ends its run.
            Some(last) if last.segment == Some(size) && last.range.len() % size == 0 => {
                last.range.end = end;
            }
            _ => self.batches.push_back(Batch { to, range: start..end, segment: Some(size) }),
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(batch) = self.batches.pop_front() {
            let socket = if batch.to.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
            let Some(socket) = socket else { continue };
            let contents = &self.bytes[batch.range.clone()];
            let segment_size = batch.segment.filter(|size| *size < contents.len());
            let destination = batch.to;
            let transmit =
                noq_udp::Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
            match Pin::new(socket).poll_send(&transmit, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    trace!(%error, "a datagram was not sent");
                    if let Some(size) = segment_size {
                        // Not every network card cuts.
                        self.one_by_one(&batch, size);
                    }
                }
                Poll::Pending => {
                    self.batches.push_front(batch);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }

    fn one_by_one(&mut self, batch: &Batch, size: usize) {
        let (to, end) = (batch.to, batch.range.end);
        for start in batch.range.clone().step_by(size).rev() {
            let range = start..end.min(start + size);
            self.batches.push_front(Batch { to, range, segment: None });
        }
    }
}
