//! Bodies on their way through the door: a program's upload, and an answer. Neither is ever held
//! whole, and neither is changed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use busel_proto::failure::Failure;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::line::Fate;
use crate::decode::Cut;
use crate::request::Body;

/// A request's body as it comes; it fails if the program leaves or stops sending.
pub(super) struct Upload {
    body: Incoming,
    limit: Duration,
    fate: Arc<Fate>,
    pause: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Upload {
    pub(super) fn new(body: Incoming, limit: Duration, fate: Arc<Fate>) -> Self {
        Self { body, limit, fate, pause: None, waiting: false }
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = Instant::now() + self.limit;
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if !self.waiting {
            self.waiting = true;
            pause.as_mut().reset(until);
        }
        pause.as_mut().poll(cx)
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.waiting = false;
                if frame.is_none() || self.body.is_end_stream() {
                    self.fate.talking.store(false, Ordering::Relaxed);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(|_| Failure::CutOff)))
            }
            Poll::Pending => self.poll_pause(cx).map(|()| Some(Err(Failure::Stalled))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body on its way out. If it is cut, the connection ends in a way that no program can
/// take for the end of the body.
pub(super) struct Outgoing {
    pub(super) body: Body,
    /// Given if the connection's end would be taken for the body's.
    pub(super) fate: Option<Arc<Fate>>,
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let (Some(Err(_)), Some(fate)) = (&frame, &self.fate) {
            fate.cut.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Cut)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
