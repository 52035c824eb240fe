//! A site at the other end of a tunnel, heard byte by byte: where it is cut off on its way
//! ([`busel_proto::records`]), reading fails, so that the program loads again, by another way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use busel_proto::records::Records;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::clock::Clock;
use crate::origin::Io;

/// A server of which each byte is heard.
pub(super) struct Heard {
    io: Box<dyn Io>,
    records: Records,
    clock: Clock,
    alarm: Option<Pin<Box<Sleep>>>,
    is_cut_off: bool,
}

impl Heard {
    /// One of which these bytes were heard already.
    pub(super) fn new(io: Box<dyn Io>, first: &[u8], clock: Clock) -> Self {
        let mut records = Records::default();
        records.heard(first);
        Self { io, records, clock, alarm: None, is_cut_off: false }
    }

    /// Whether it was cut off.
    pub(super) fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// Ready once it counts as cut off.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.records.waits(self.clock.tick());
        let Some(due) = self.records.due() else { return Poll::Pending };
        let due = self.clock.instant(due);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        alarm.as_mut().poll(cx)
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(cx, buf) {
            self.records.heard(&buf.filled()[before..]);
            return Poll::Ready(read);
        }
        ready!(self.poll_silence(cx));
        self.is_cut_off = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
