//! Streams: where no UDP comes through, datagrams go over TCP instead, in records of
//! [`busel_proto::veil::record`].
//!
//! To the endpoint nothing changes: what is sent to a node's veil address goes by the one or the other,
//! and what comes by a stream that we dialled is as if it had come by UDP from there. A stream that
//! somebody made to us is an address of its own; QUIC takes it for a NAT's new mapping.
//!
//! QUIC's own control of congestion stays in force: each stream has a short queue, and what does not
//! fit is lost, as on a line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busel_proto::veil::VeilSecret;
use busel_proto::veil::hello::{HELLO_RANDOM, HelloKey, Keys, SALT};
use busel_proto::veil::record::{Reader, Writer};
use iroh_base::CustomAddr;
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{Shared, inner_addr, lock};
use crate::dial::Dialer;

/// Datagrams that wait for one stream, and from all of them for the endpoint.
const OUT_QUEUE: usize = 128;
const IN_QUEUE: usize = 512;
/// Datagrams of one record, at most.
const BATCH: usize = 12;
/// From dialling to the first record of the other end.
const DIAL_LIMIT: Duration = Duration::from_secs(8);
/// A write that takes longer is the end of a stream …
const WRITE_LIMIT: Duration = Duration::from_secs(20);
/// … and so is such a silence, on a stream that we dialled and on one that was made to us: who still
/// uses it says something every few seconds.
const SILENCE: (Duration, Duration) = (Duration::from_secs(40), Duration::from_secs(90));
/// Bytes that the system takes beyond those that are on their way.
#[cfg(any(target_os = "android", target_os = "linux"))]
const AHEAD: u32 = 64 * 1024;

/// A datagram, and where it came from or goes to.
pub(super) type Datagram = (CustomAddr, Vec<u8>);

/// All streams, either side's.
#[derive(Debug)]
pub(super) struct Streams {
    open: Mutex<BTreeMap<CustomAddr, mpsc::Sender<Vec<u8>>>>,
    came: mpsc::Sender<Datagram>,
    /// For whoever binds the endpoint.
    inbox: Mutex<Option<mpsc::Receiver<Datagram>>>,
    pub(super) stop: CancellationToken,
    /// Ends what was dialled before the device moved to another network.
    here: Mutex<CancellationToken>,
    pub(super) tasks: TaskTracker,
}

impl Streams {
    pub(super) fn new() -> Self {
        let (came, inbox) = mpsc::channel(IN_QUEUE);
        let stop = CancellationToken::new();
        Self {
            open: Mutex::default(),
            came,
            inbox: Mutex::new(Some(inbox)),
            here: Mutex::new(stop.child_token()),
            stop,
            tasks: TaskTracker::new(),
        }
    }

    /// Gives up what was dialled on the last network.
    pub(super) fn moved(&self) {
        std::mem::replace(&mut *lock(&self.here), self.stop.child_token()).cancel();
    }

    /// What comes by streams; once.
    pub(super) fn inbox(&self) -> Option<mpsc::Receiver<Datagram>> {
        lock(&self.inbox).take()
    }

    /// Sends a datagram by the stream there is, or that is being dialled.
    pub(super) fn send(&self, to: &CustomAddr, datagram: &[u8]) {
        if let Some(queue) = lock(&self.open).get(to) {
            // What does not fit is lost.
            let _ = queue.try_send(datagram.to_vec());
        }
    }

    fn begin(&self, at: CustomAddr) -> (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>) {
        let (queue, out) = mpsc::channel(OUT_QUEUE);
        lock(&self.open).insert(at, queue.clone());
        (queue, out)
    }

    fn end(&self, at: &CustomAddr, queue: &mpsc::Sender<Vec<u8>>) {
        let mut open = lock(&self.open);
        if open.get(at).is_some_and(|other| other.same_channel(queue)) {
            open.remove(at);
        }
    }
}

/// Dials a stream to a node that listens at `to`, and carries what is sent there until it ends.
pub(super) fn dial(shared: &Arc<Shared>, to: SocketAddr, secret: VeilSecret) {
    let (shared, at) = (shared.clone(), inner_addr(to));
    let (queue, out) = shared.streams.begin(at.clone());
    let stop = lock(&shared.streams.here).clone();
    let tracker = shared.streams.tasks.clone();
    tracker.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = carry_dialled(&shared, to, &secret, &at, out) => {}
        }
        shared.streams.end(&at, &queue);
        shared.line(&to, |line, _, now| line.is_gone(now, rand::random()));
    });
}

async fn carry_dialled(
    shared: &Arc<Shared>,
    to: SocketAddr,
    secret: &VeilSecret,
    at: &CustomAddr,
    out: mpsc::Receiver<Vec<u8>>,
) {
    let dialled = timeout(DIAL_LIMIT, Dialer::default().dial(to)).await;
    let Ok(Ok(mut stream)) = dialled else { return debug!("no stream to a veil address") };
    let mut random = [0; HELLO_RANDOM];
    rand::rng().fill_bytes(&mut random);
    let back = VeilSecret(rand::random());
    let made = HelloKey::of(secret).make(shared.now().time, back, &random);
    let Some((hello, keys)) = made else { return };
    if !matches!(timeout(WRITE_LIMIT, stream.write_all(&hello)).await, Ok(Ok(()))) {
        return;
    }
    let (read, write) = halves(stream);
    let reading = async {
        let (reader, read) = timeout(DIAL_LIMIT, answered(read, &keys)).await.ok()??;
        shared.line(&to, |line, heard, now| line.stands(heard, now, rand::random()));
        receive(read, reader, at, &shared.streams.came, SILENCE.0).await;
        Some(())
    };
    tokio::select! {
        _ = reading => {}
        () = send(write, keys.up_writer(), out) => {}
    }
}

/// Waits for the other end's first record, which only who has the secret can make.
async fn answered(mut read: OwnedReadHalf, keys: &Keys) -> Option<(Reader, OwnedReadHalf)> {
    let mut salt = [0; SALT];
    read.read_exact(&mut salt).await.ok()?;
    let mut reader = keys.down_reader(&salt);
    let mut buffer = vec![0; 4096];
    loop {
        let len = read.read(&mut buffer).await.ok().filter(|len| *len > 0)?;
        reader.take(&buffer[..len]);
        if reader.is_next_known().ok()? {
            return Some((reader, read));
        }
    }
}

/// Carries a stream that a guest made to us, after what they said already.
pub(super) async fn carry_accepted(
    shared: &Arc<Shared>,
    at: CustomAddr,
    stream: TcpStream,
    keys: &Keys,
    said: &[u8],
) {
    let (queue, out) = shared.streams.begin(at.clone());
    let salt: [u8; SALT] = rand::random();
    let mut reader = keys.up_reader();
    reader.take(said);
    let (read, mut write) = halves(stream);
    let mut writer = keys.down_writer(&salt);
    let mut first = salt.to_vec();
    writer.seal::<[u8; 0]>(&[], rand::random(), &mut first);
    let writing = async {
        if matches!(timeout(WRITE_LIMIT, write.write_all(&first)).await, Ok(Ok(()))) {
            send(write, writer, out).await;
        }
    };
    tokio::select! {
        () = receive(read, reader, &at, &shared.streams.came, SILENCE.1) => {}
        () = writing => {}
    }
    shared.streams.end(&at, &queue);
}

/// The halves of a stream whose queue is ours to keep short.
fn halves(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    // Failing to set an option is no reason to lose a connection.
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "android", target_os = "linux"))]
    let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(AHEAD);
    stream.into_split()
}

async fn send(mut write: OwnedWriteHalf, mut writer: Writer, mut out: mpsc::Receiver<Vec<u8>>) {
    let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), Vec::new());
    while out.recv_many(&mut batch, BATCH).await > 0 {
        bytes.clear();
        let mut left = &batch[..];
        while !left.is_empty() {
            let taken = writer.seal(left, rand::random(), &mut bytes).max(1);
            left = left.get(taken..).unwrap_or_default();
        }
        batch.clear();
        if !matches!(timeout(WRITE_LIMIT, write.write_all(&bytes)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn receive(
    mut read: OwnedReadHalf,
    mut reader: Reader,
    from: &CustomAddr,
    came: &mpsc::Sender<Datagram>,
    silence: Duration,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        loop {
            let datagrams = match reader.record() {
                Ok(Some(datagrams)) => datagrams,
                Ok(None) => break,
                Err(broken) => return debug!(%broken, "given up"),
            };
            for datagram in datagrams {
                if came.send((from.clone(), datagram)).await.is_err() {
                    return;
                }
            }
        }
        match timeout(silence, read.read(&mut buffer)).await {
            Ok(Ok(len)) if len > 0 => reader.take(&buffer[..len]),
            _ => return,
        }
    }
}
