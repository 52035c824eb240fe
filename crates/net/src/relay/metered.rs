//! A stream whose bytes somebody pays for, both ways: a relay's owner, who gives so many a day and a
//! second. What is beyond that waits, or the stream ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A wait shorter than this is left to be added to the next one: timers are not that fine.
const LEAST_WAIT: Duration = Duration::from_millis(2);

/// Who pays for what is carried.
pub trait Meter: Send + Sync + std::fmt::Debug {
    /// Whether anything is carried now.
    fn may(&self) -> bool;

    /// Takes so many bytes; says after which wait there may be more, or that there may be none.
    fn take(&self, bytes: usize) -> Result<Duration, OutOfBytes>;
}

/// No more is carried now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no more is carried for others now")]
pub struct OutOfBytes;

/// A stream under a meter; without one it is passed through.
pub(super) struct Metered<S> {
    inner: S,
    meter: Option<Arc<dyn Meter>>,
    rest: Pin<Box<Sleep>>,
}

impl<S> Metered<S> {
    pub(super) fn new(inner: S, meter: Option<Arc<dyn Meter>>) -> Self {
        Self { inner, meter, rest: Box::pin(sleep_until(Instant::now())) }
    }

    fn pay(&mut self, bytes: usize) -> io::Result<()> {
        let Some(meter) = self.meter.as_ref().filter(|_| bytes > 0) else { return Ok(()) };
        let wait = meter.take(bytes).map_err(io::Error::other)?;
        if wait >= LEAST_WAIT {
            self.rest.as_mut().reset(Instant::now() + wait);
        }
        Ok(())
    }

    fn rested(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.meter {
            Some(_) if !self.rest.is_elapsed() => self.rest.as_mut().poll(cx),
            Some(_) | None => Poll::Ready(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.rested(cx));
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        Poll::Ready(self.pay(buf.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.rested(cx));
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        Poll::Ready(self.pay(written).map(|()| written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// A second for each byte, up to so many.
    #[derive(Debug)]
    struct Purse(Mutex<usize>);

    impl Meter for Purse {
        fn may(&self) -> bool {
            *self.0.lock().unwrap() > 0
        }

        fn take(&self, bytes: usize) -> Result<Duration, OutOfBytes> {
            let mut left = self.0.lock().unwrap();
            *left = left.checked_sub(bytes).ok_or(OutOfBytes)?;
            Ok(Duration::from_secs(bytes as u64))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn both_ways_are_paid_for_and_what_is_beyond_ends_it() {
        let (near, mut far) = duplex(64);
        let mut near = Metered::new(near, Some(Arc::new(Purse(Mutex::new(10)))));
        let since = Instant::now();
        near.write_all(b"1234").await.unwrap();
        far.write_all(b"56").await.unwrap();
        let mut read = [0; 2];
        near.read_exact(&mut read).await.unwrap();
        assert_eq!((&read, since.elapsed().as_secs()), (b"56", 4), "the read waits for the write");
        near.write_all(b"7890").await.unwrap();
        assert_eq!(since.elapsed().as_secs(), 6);
        assert!(near.write_all(b"x").await.is_err(), "all is used up");
        far.write_all(b"y").await.unwrap();
        assert!(near.read(&mut read).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_meter_nothing_waits() {
        let (near, mut far) = duplex(64);
        let mut near = Metered::new(near, None);
        let since = Instant::now();
        near.write_all(b"1234").await.unwrap();
        let mut read = [0; 4];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!((&read, since.elapsed()), (b"1234", Duration::ZERO));
    }
}
