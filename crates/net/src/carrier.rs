//! Pumps the bytes of a carrier ([`busel_proto::carrier`]) between its stream and its legs.
//!
//! One future per session holds all of it: the stream's two directions, each leg, and the timer. It
//! decides nothing; whoever opens or takes legs, the relay wire or the relay, hands them in.

use std::io;
use std::ops::DerefMut;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use busel_proto::carrier::{Broken, Client, ClientOutput, LegId, Server, ServerOutput, Session};
use busel_proto::time::Tick;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What is read at once.
const BUFFER: usize = 16 * 1024;
/// A write that the line does not take for this long fails.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Bytes both ways, whatever carries them.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Either end of a carrier, as the pump sees it.
pub(crate) trait End: DerefMut<Target = Session> + Send + 'static {
    /// Bytes came on a leg.
    fn received(&mut self, leg: LegId, bytes: &[u8], now: Tick) -> Result<(), Broken>;
    /// A leg is closed.
    fn lost(&mut self, leg: LegId, reset: bool, now: Tick);
    /// What to do.
    fn step(&mut self, now: Tick) -> ClientOutput;
}

impl End for Client {
    fn received(&mut self, leg: LegId, bytes: &[u8], now: Tick) -> Result<(), Broken> {
        Self::received(self, leg, bytes, now)
    }

    fn lost(&mut self, leg: LegId, reset: bool, now: Tick) {
        Self::lost(self, leg, reset, now);
    }

    fn step(&mut self, now: Tick) -> ClientOutput {
        self.poll(now)
    }
}

impl End for Server {
    fn received(&mut self, leg: LegId, bytes: &[u8], now: Tick) -> Result<(), Broken> {
        Self::received(self, leg, bytes, now)
    }

    fn lost(&mut self, leg: LegId, _: bool, now: Tick) {
        Self::lost(self, leg, now);
    }

    fn step(&mut self, now: Tick) -> ClientOutput {
        match self.poll(now) {
            ServerOutput::Drop(leg) => ClientOutput::Drop(leg),
            ServerOutput::Wait(until) => ClientOutput::Wait(until),
            ServerOutput::Over => ClientOutput::Over,
        }
    }
}

/// A carrier's end and whoever waits for it to change.
#[derive(Debug)]
pub(crate) struct Carrier<E> {
    end: Mutex<E>,
    changed: watch::Sender<()>,
    start: Instant,
}

/// A leg's whole life; ends when the leg does.
pub(crate) type Life = BoxFuture<'static, ()>;

/// A leg that somebody else opened.
pub(crate) type Arrival = (LegId, Life);

impl<E: End> Carrier<E> {
    /// A carrier over an end that begins now.
    /// Time is counted from `start`.
    pub(crate) fn new(start: Instant, end: impl FnOnce(Tick) -> E) -> Arc<Self> {
        let end = Mutex::new(end(Tick(0) + start.elapsed()));
        Arc::new(Self { end, changed: watch::Sender::new(()), start })
    }

    pub(crate) fn now(&self) -> Tick {
        Tick(0) + self.start.elapsed()
    }

    pub(crate) fn end(&self) -> MutexGuard<'_, E> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all who wait to look again.
    pub(crate) fn bump(&self) {
        self.changed.send_replace(());
    }

    /// Carries `inner` until the session is over. `open` opens a leg that the end asks for; legs that
    /// others opened arrive.
    pub(crate) async fn run(
        self: Arc<Self>,
        inner: impl Io,
        mut arrivals: mpsc::Receiver<Arrival>,
        open: impl Fn(LegId, bool) -> Life,
    ) {
        let mut legs = FuturesUnordered::new();
        let mut tokens: Vec<(LegId, CancellationToken)> = Vec::new();
        let mut changed = self.changed.subscribe();
        let mut inner = pin!(self.carry(inner));
        let mut carried = false;
        loop {
            let next = self.end().step(self.now());
            let wait = match next {
                ClientOutput::Open { leg, known } => {
                    let token = CancellationToken::new();
                    tokens.push((leg, token.clone()));
                    legs.push(until(token, leg, open(leg, known)));
                    continue;
                }
                ClientOutput::Drop(leg) => {
                    let gone = tokens.extract_if(.., |(id, _)| *id == leg);
                    gone.for_each(|(_, token)| token.cancel());
                    continue;
                }
                ClientOutput::Over => return,
                ClientOutput::Wait(until) => until.map(|at| at - self.now()),
            };
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => self.bump(),
                Some(leg) = legs.next(), if !legs.is_empty() => tokens.retain(|(id, _)| *id != leg),
                () = &mut inner, if !carried => carried = true,
                Some((leg, life)) = arrivals.recv() => {
                    let token = CancellationToken::new();
                    tokens.push((leg, token.clone()));
                    legs.push(until(token, leg, life));
                }
            }
        }
    }

    /// Pumps the stream itself, both ways.
    async fn carry(&self, inner: impl Io) {
        let (read, write) = tokio::io::split(inner);
        tokio::join!(self.take_in(read), self.give_out(write));
    }

    async fn take_in(&self, mut from: impl AsyncRead + Unpin) {
        let mut changed = self.changed.subscribe();
        let mut buffer = vec![0; BUFFER];
        loop {
            let room = self.end().room().min(BUFFER);
            if room == 0 {
                // The sender lives as long as this carrier.
                let _ = changed.changed().await;
                continue;
            }
            let read = from.read(&mut buffer[..room]).await.unwrap_or(0);
            if read == 0 {
                self.end().finish();
                return self.bump();
            }
            self.end().write(&buffer[..read]);
            self.bump();
        }
    }

    /// What nobody takes any more is let go, so that the other side comes to its end.
    async fn give_out(&self, mut to: impl AsyncWrite + Unpin) {
        let mut changed = self.changed.subscribe();
        let mut taken = true;
        loop {
            let next = self.end().read();
            match next {
                Some(bytes) if taken => {
                    taken = to.write_all(&bytes).await.is_ok();
                    self.bump();
                }
                Some(_) => {}
                None if self.end().is_read() => {
                    // It may be closed already.
                    let _ = to.shutdown().await;
                    return;
                }
                None => {
                    let _ = changed.changed().await;
                }
            }
        }
    }

    /// Pumps an open leg until it is closed. `before` came with what opened it.
    pub(crate) async fn pump(&self, leg: LegId, io: impl Io, before: &[u8]) {
        let ended = self.try_pump(leg, io, before).await;
        let now = self.now();
        self.end().lost(leg, ended.is_err(), now);
        self.bump();
    }

    async fn try_pump(&self, leg: LegId, io: impl Io, before: &[u8]) -> io::Result<()> {
        self.received(leg, before)?;
        let (read, write) = tokio::io::split(io);
        tokio::select! {
            ended = self.pump_in(leg, read) => ended,
            Err(error) = self.pump_out(leg, write) => Err(error),
        }
    }

    fn received(&self, leg: LegId, bytes: &[u8]) -> io::Result<()> {
        if !bytes.is_empty() {
            let now = self.now();
            self.end().received(leg, bytes, now).map_err(io::Error::other)?;
            self.bump();
        }
        Ok(())
    }

    async fn pump_in(&self, leg: LegId, mut from: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            match from.read(&mut buffer).await? {
                0 => return Ok(()),
                read => self.received(leg, &buffer[..read])?,
            }
        }
    }

    /// Ends only in failure: the other end closes last.
    async fn pump_out(&self, leg: LegId, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
        let mut changed = self.changed.subscribe();
        loop {
            let (next, ended) = {
                let (now, mut end) = (self.now(), self.end());
                (end.transmit(leg, now), end.is_ended(leg))
            };
            let quiet = next.is_none();
            if let Some(bytes) = next {
                let write = async {
                    to.write_all(&bytes).await?;
                    to.flush().await
                };
                tokio::time::timeout(WRITE_LIMIT, write).await??;
            }
            if ended {
                // Another leg speaks from here on.
                self.bump();
                to.shutdown().await?;
                std::future::pending::<()>().await;
            } else if quiet {
                let _ = changed.changed().await;
            }
        }
    }
}

async fn until(token: CancellationToken, leg: LegId, life: Life) -> LegId {
    tokio::select! {
        () = token.cancelled() => {}
        () = life => {}
    }
    leg
}
