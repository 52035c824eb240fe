//! The socket under a connection of the door, and how it ends: with a plain end, with a pause for
//! what the program still sends, or with a reset. It reads and writes as it is told, nothing else.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// What became of a connection, as far as its end depends on it.
#[derive(Default)]
pub(super) struct Fate {
    /// A request was read.
    pub(super) served: AtomicBool,
    /// The program sent bytes that are no whole request yet: it may go on sending.
    pub(super) talking: AtomicBool,
    /// It carries a tunnel: its two directions end apart.
    pub(super) tunnel: AtomicBool,
    /// A body that ends with the connection was cut: it must end in a reset.
    pub(super) cut: AtomicBool,
}

/// A program's connection. Closed while the program still sends (a head or a body that we don't
/// take), it is read for a while after our last byte, or the system would answer with a reset that
/// destroys what we said.
pub(super) struct Line {
    stream: TcpStream,
    fate: Arc<Fate>,
    linger: Duration,
    closing: Option<Closing>,
}

struct Closing {
    /// Bytes that are still read.
    left: usize,
    /// When to give up; `None` as long as nothing is expected and nothing was found.
    until: Option<Pin<Box<Sleep>>>,
}

impl Line {
    pub(super) fn new(stream: TcpStream, fate: Arc<Fate>, linger: Duration) -> Self {
        Self { stream, fate, linger, closing: None }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(closing) = &mut self.closing else { return Poll::Ready(()) };
        let mut space = [0; 4096];
        while closing.left > 0 {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    closing.left = closing.left.saturating_sub(buffer.filled().len());
                    let linger = self.linger;
                    closing.until.get_or_insert_with(|| Box::pin(sleep(linger)));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    return match &mut closing.until {
                        Some(until) => until.as_mut().poll(cx),
                        None => Poll::Ready(()),
                    };
                }
            }
        }
        Poll::Ready(())
    }
}

/// The most that is read of what a program sends after we have closed.
const LINGER_BYTES: usize = 1024 * 1024;

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.fate.talking.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fate.cut.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        if self.fate.tunnel.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            let talking = self.fate.talking.load(Ordering::Relaxed);
            let until = talking.then(|| Box::pin(sleep(self.linger)));
            self.closing = Some(Closing { left: LINGER_BYTES, until });
        }
        self.poll_linger(cx).map(Ok)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.fate.cut.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}
