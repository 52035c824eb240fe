//! Signs of life: a node that lost its power, or whose line changed, does not say so, and QUIC waits for
//! half a minute until it gives a connection up. Who reads does not.
//!
//! While an answer is waited for something must come from the other side, if only the word that the
//! question has come. If nothing does the connection is doubted: nobody waits on it for a first answer any
//! more, and what comes next uses a new one. What has begun is left to QUIC, which may find another path
//! for it.

use std::time::Duration;

use busel_proto::failure::Failure;
use bytes::Bytes;
use iroh::endpoint::PathId;
use tracing::debug;

use super::{Connection, PATH_SILENT, Stream};
use crate::frame::{self, FrameError};

/// After a question nothing may come for so long, …
const LEAST: Duration = Duration::from_secs(2);
/// … or for so many times as long as the way there and back takes, …
const ROUND_TRIPS: u32 = 6;
/// … and later for so long: each side asks for a sign of life more often than that.
const LATER: Duration = PATH_SILENT.saturating_add(Duration::from_secs(1));

/// The other end of a stream, and whether anybody is there.
#[derive(Debug)]
pub struct OtherEnd(Connection);

impl OtherEnd {
    /// What `answer` brings, or that nothing comes from there any more. Something was asked just now.
    pub async fn answers<T>(
        &self,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            answer = answer => answer,
            () = self.0.doubted.cancelled() => Err(Failure::Silent),
            () = self.falls_silent() => {
                debug!(peer = ?self.0.peer(), "nothing comes on a connection any more");
                self.0.doubted.cancel();
                Err(Failure::Silent)
            }
        }
    }

    async fn falls_silent(&self) {
        let mut limit = LEAST.max(self.0.slowest() * ROUND_TRIPS);
        loop {
            let way = self.0.way();
            let before = self.0.heard(way);
            tokio::time::sleep(limit).await;
            // What was under way on a path that is gone is sent again on another.
            if self.0.heard(way).is_some_and(|heard| Some(heard) == before) {
                return;
            }
            limit = LATER;
        }
    }
}

/// What tells that somebody hears what is sent: datagrams that came, and the mean time there and back, which
/// changes with each word that something has come.
type Heard = (u64, Duration);

impl Connection {
    /// How long the slowest of its paths takes there and back.
    fn slowest(&self) -> Duration {
        self.inner.paths().iter().map(|path| path.rtt()).max().unwrap_or_default()
    }

    /// The path that what is said now takes, once it was decided. That others live is no help: QUIC says
    /// nothing again elsewhere before it gives this one up, which takes half a minute for a relay's.
    fn way(&self) -> Option<PathId> {
        self.inner.paths().iter().find(|path| path.is_selected()).map(|path| path.id())
    }

    /// What was heard on a path until now, or on all; `None` once the path is gone.
    fn heard(&self, path: Option<PathId>) -> Option<Heard> {
        let Some(path) = path else {
            return Some((self.inner.stats().udp_rx.datagrams, Duration::ZERO));
        };
        let paths = self.inner.paths();
        let stats = paths.get(path)?.stats();
        Some((stats.udp_rx.datagrams, stats.rtt))
    }
}

impl Stream {
    /// The other end.
    pub fn other_end(&self) -> OtherEnd {
        OtherEnd(self.line.0.clone())
    }

    /// Says `words`, and returns the frame of at most `most` bytes that is said then. `is_all` if no more
    /// will be said.
    pub async fn ask(&mut self, words: &[u8], is_all: bool, most: usize) -> Result<Bytes, Failure> {
        let answer = async {
            self.send.write_all(words).await.map_err(|_| Failure::CutOff)?;
            if is_all {
                let _ = self.send.finish();
            }
            frame::read(&mut self.recv, most).await.map_err(|error| match error {
                FrameError::Bad(error) => Failure::Protocol(error.to_string()),
                FrameError::Io(_) | FrameError::End => Failure::CutOff,
            })
        };
        let answer = OtherEnd(self.line.0.clone()).answers(answer).await;
        answer.map_err(|why| if why == Failure::CutOff { self.why(why) } else { why })
    }
}
