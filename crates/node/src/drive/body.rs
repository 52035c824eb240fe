//! The body of an answer, passed on from the route that won.
//!
//! What is not kept is driven by whoever reads it: no task, no queue, and it ends with its reader.
//! What is kept (a signed copy) has a task of the node's, since it is to be stored though the reader
//! may leave before the last signature. Either way a body that can't be gone on with is cut, never
//! spliced.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use busel_proto::failure::{Failure, Route};
use busel_proto::race::{Input, Output};
use busel_proto::shape;
use busel_proto::snapshot::Snapshot;
use busel_proto::time::Tick;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::{Drive, first_to_end};
use crate::request::Body;
use crate::route::{Head, Item, Items, Resume, Want};

/// Pieces of a kept body waiting for the program that asked.
const QUEUE: usize = 4;

/// The route that delivers.
pub(super) struct Winner {
    route: Route,
    items: Items,
    /// Where in the whole body the next byte stands.
    at: u64,
    /// Where the body ends, if that can be known.
    end: Option<u64>,
    /// The part that the program wants, in the same counting.
    span: Range<u64>,
    /// What was begun, so that only the same is continued.
    resume: Resume,
    /// Whether the body is to be stored, under this snapshot once it is there.
    pub(super) kept: bool,
    pub(super) snapshot: Option<Snapshot>,
    /// An old copy, shown for want of anything better.
    pub(super) stale: bool,
}

/// What became of one item of the winner.
enum Passed {
    Data(Bytes),
    Nothing,
    All,
    Broke(Failure),
}

impl Drive {
    /// The body, driven by its reader.
    pub(super) fn body(self: Box<Self>) -> Body {
        let pieces = stream::unfold(self, |mut drive| async move {
            let piece = drive.next_piece().await?;
            Some((piece.map(Frame::data), drive))
        });
        StreamBody::new(pieces).boxed_unsync()
    }

    /// The body, driven by a task that stores it too.
    pub(super) fn kept_body(self: Box<Self>) -> Body {
        let (out, pieces) = mpsc::channel(QUEUE);
        let whole = Arc::new(AtomicBool::new(false));
        let node = self.node.clone();
        let keep = self.keep(out, Arc::clone(&whole));
        node.tasks.clone().spawn(async move {
            tokio::select! {
                () = node.stop.cancelled() => {}
                () = keep => {}
            }
        });
        queued(pieces, whole)
    }

    async fn keep(
        mut self: Box<Self>,
        out: mpsc::Sender<Result<Frame<Bytes>, Failure>>,
        whole: Arc<AtomicBool>,
    ) {
        let saver = self.node.saver();
        loop {
            let piece = tokio::select! {
                biased;
                piece = self.next_piece() => piece,
                // A program that has all it wants may leave before the signature has come.
                () = out.closed(), if !self.all_passed() => return,
            };
            match piece {
                Some(Ok(bytes)) => {
                    let sent = out.send(Ok(Frame::data(bytes.clone()))).await;
                    if sent.is_err() && !self.all_passed() {
                        return;
                    }
                    saver.data(bytes).await;
                }
                Some(Err(failure)) => {
                    // A program that is gone need not be told.
                    let _ = out.send(Err(failure)).await;
                    return;
                }
                None => break,
            }
        }
        whole.store(true, Ordering::Release);
        if let Some(snapshot) = self.winner.and_then(|winner| winner.snapshot) {
            saver.finish(snapshot).await;
        }
    }

    /// The next bytes for the program; then, if the rest can't be had, why; then nothing.
    ///
    /// If the future is dropped, an item may be lost: then the body must not be gone on with.
    async fn next_piece(&mut self) -> Option<Result<Bytes, Failure>> {
        let mut piece = None;
        loop {
            if piece.is_none() {
                if self.winner.as_ref()?.is_over() {
                    self.finished();
                    return None;
                }
                self.race.handle(Input::Waiting, self.tick());
            }
            match self.race.poll() {
                Output::Start(route) => self.launch(route),
                Output::Cancel(route) => self.cancel_body(route),
                Output::Deliver(route) => self.switch_to(route),
                Output::DeliverStale | Output::GiveUp => return Some(Err(self.cut())),
                // What the piece changed is done before its reader, who may pause, has it.
                Output::Wait(_) if piece.is_some() => return piece,
                Output::Wait(until) => match self.wait_for_piece(until).await {
                    Some(Err(failure)) => return Some(Err(failure)),
                    next => piece = next,
                },
            }
        }
    }

    /// Waits for the winner's next item, another route, or the time that the race named.
    async fn wait_for_piece(&mut self, until: Option<Tick>) -> Option<Result<Bytes, Failure>> {
        let (clock, stop) = (self.node.clock, self.node.stop.clone());
        let winner = self.winner.as_mut()?;
        let item = tokio::select! {
            biased;
            item = winner.items.next() => item,
            (at, ended) = first_to_end(&mut self.running) => {
                self.hear(at, ended);
                return None;
            }
            () = clock.alarm(until) => {
                self.race.handle(Input::Timeout, clock.tick());
                return None;
            }
            () = stop.cancelled() => {
                self.cut();
                return Some(Err(Failure::CutOff));
            }
        };
        // A program that reads slowly is no stall: the route has done its part.
        if matches!(item, Some(Ok(_))) {
            self.race.handle(Input::Progress, clock.tick());
        }
        let piece = match winner.pass(item) {
            Passed::Nothing => None,
            Passed::Data(bytes) => Some(Ok(bytes)),
            Passed::All => {
                winner.span.end = winner.at;
                None
            }
            Passed::Broke(failure) => return self.broke(failure),
        };
        if winner.is_over() {
            // A reader that knows the length may not ask again.
            self.finished();
        }
        piece
    }

    fn finished(&mut self) {
        self.race.handle(Input::Finished, self.tick());
        self.timeline.set(self.race.events());
    }

    /// A way that is not waited for any more, be it the one that delivered.
    fn cancel_body(&mut self, route: Route) {
        self.cancel(route);
        if let Some(winner) = self.winner.as_mut().filter(|winner| winner.route == route) {
            winner.items = stream::pending().boxed();
        }
    }

    /// The winner broke: another way brings the next items, if any does.
    fn broke(&mut self, failure: Failure) -> Option<Result<Bytes, Failure>> {
        let winner = self.winner.as_mut()?;
        let (route, stale) = (winner.route, winner.stale);
        winner.items = stream::pending().boxed();
        self.node.way_failed(&self.host, route, &failure);
        let now = self.tick();
        self.race.handle(Input::Failed { route, failure, sent: true }, now);
        // With an old copy the race has ended: nobody can go on with it.
        stale.then(|| Err(self.cut()))
    }

    fn switch_to(&mut self, route: Route) {
        let (Some(started), Some(winner)) = (self.take_ready(route), &mut self.winner) else {
            return;
        };
        let replaced = std::mem::replace(&mut winner.route, route);
        winner.items = started.items;
        winner.resume.peers.extend(started.head.peer);
        if let Some(snapshot) = started.head.snapshot {
            winner.snapshot.get_or_insert(snapshot);
        }
        // What had to be replaced is not waited for so long the next time.
        if replaced != route {
            self.node.way_failed(&self.host, replaced, &Failure::Stalled);
        }
    }

    /// Ends the body, for the program to see that it is not whole.
    fn cut(&mut self) -> Failure {
        self.timeline.set(self.race.events());
        self.winner = None;
        let failure = self.race.failures().last().map(|(_, failure)| failure.clone());
        failure.unwrap_or(Failure::CutOff)
    }

    /// Whether only the signature of a body to be kept is missing.
    fn all_passed(&self) -> bool {
        self.winner.as_ref().is_some_and(Winner::all_passed)
    }
}

impl Winner {
    /// `bodiless`: the length in the head is not that of what follows it.
    pub(super) fn new(
        route: Route,
        head: &Head,
        items: Items,
        span: Range<u64>,
        bodiless: bool,
    ) -> Self {
        // Of parts whose places aren't said none can be continued: they end where HTTP says.
        let parts = head.status == 206 && shape::content_range(&head.headers).is_none();
        let etag = shape::strong_etag(&head.headers).filter(|_| !parts).cloned();
        let coding = head.headers.get(http::header::CONTENT_ENCODING).cloned();
        Self {
            route,
            items,
            at: head.offset,
            end: head.len.filter(|_| !parts && !bodiless),
            span,
            resume: Resume {
                root: head.root(),
                etag,
                coding,
                len: head.len,
                authority: head.authority.clone(),
                peers: head.peer.into_iter().collect(),
            },
            kept: false,
            snapshot: None,
            stale: false,
        }
    }

    /// Whether this head goes on with what was begun.
    pub(super) fn fits(&self, head: &Head) -> bool {
        self.resume.fits(head)
    }

    /// Makes `want` one for the rest.
    pub(super) fn ask_on(&self, want: &mut Want) {
        want.from = self.at;
        want.resume = Some(self.resume.clone());
    }

    fn all_passed(&self) -> bool {
        self.end.is_some_and(|end| self.at >= end)
    }

    /// Whether nothing more is wanted: not even, for a body to be kept, its signature.
    fn is_over(&self) -> bool {
        let signed = !self.kept || self.snapshot.is_some();
        self.at >= self.span.end || (self.all_passed() && signed)
    }

    fn pass(&mut self, item: Option<Result<Item, Failure>>) -> Passed {
        match item {
            None if self.end.is_some_and(|end| self.at < end) => Passed::Broke(Failure::CutOff),
            None => Passed::All,
            Some(Err(failure)) => Passed::Broke(failure),
            Some(Ok(Item::Signed(snapshot))) => {
                if self.resume.root.is_some_and(|root| root != snapshot.head().root) {
                    let why = "the signature is for another version".to_owned();
                    return Passed::Broke(Failure::NotAuthentic(why));
                }
                self.snapshot = Some(*snapshot);
                Passed::Nothing
            }
            Some(Ok(Item::Data(bytes))) => self.pass_data(&bytes),
        }
    }

    fn pass_data(&mut self, bytes: &Bytes) -> Passed {
        let begin = self.at;
        self.at += bytes.len() as u64;
        let within = |n: u64| {
            let n = n.saturating_sub(begin);
            usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len())
        };
        let wanted = bytes.slice(within(self.span.start)..within(self.span.end));
        if wanted.is_empty() { Passed::Nothing } else { Passed::Data(wanted) }
    }
}

/// A kept body as the program reads it. If its task ends before the body does, whyever, it is cut:
/// it must not look whole.
fn queued(
    mut pieces: mpsc::Receiver<Result<Frame<Bytes>, Failure>>,
    whole: Arc<AtomicBool>,
) -> Body {
    let mut cut = false;
    let frames = stream::poll_fn(move |cx| match pieces.poll_recv(cx) {
        Poll::Ready(None) if !cut && !whole.load(Ordering::Acquire) => {
            cut = true;
            Poll::Ready(Some(Err(Failure::CutOff)))
        }
        Poll::Ready(Some(Err(failure))) => {
            cut = true;
            Poll::Ready(Some(Err(failure)))
        }
        passed => passed,
    });
    StreamBody::new(frames).boxed_unsync()
}
