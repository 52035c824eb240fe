//! The race of one request, driven: routes run as tasks, the winner's bytes are passed on, and if it
//! stalls, another way goes on from the byte reached.
//!
//! What to do when is [`busel_proto::race`]'s to say; this only does it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use busel_proto::failure::{Failure, Route};
use busel_proto::memory::Step;
use busel_proto::page::HostName;
use busel_proto::race::{Input, Output, Race};
use busel_proto::shape::{self, Span};
use busel_proto::sites::SiteList;
use busel_proto::time::Tick;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use futures_util::{FutureExt, StreamExt};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::clock::{self, Clock};
use crate::decode;
use crate::fetch::of_copy;
use crate::hot::Page;
use crate::node::Node;
use crate::request::{Body, Request, Response, Timeline, Unanswered};
use crate::route::{Head, Item, Items, Lost, Resume, Started, Want, direct, injector, swarm};
use crate::save::Saver;

/// Pieces of a body waiting for the program that asked.
const BODY_QUEUE: usize = 4;
/// What each try of a route needs.
pub(crate) struct Tries {
    /// The site list, for a public request.
    pub(crate) sites: Option<Arc<SiteList>>,
    pub(crate) request: Arc<Request>,
    pub(crate) want: Want,
}

/// A race being driven. Dropping it drops all that its routes have under way.
pub(crate) struct Drive {
    node: Node,
    host: HostName,
    tries: Tries,
    race: Race,
    running: Vec<Running>,
    ready: Vec<(Route, Started)>,
    old: Option<Old>,
    timeline: Timeline,
    winner: Option<Winner>,
}

/// A route on its way to a head.
struct Running {
    route: Route,
    since: Tick,
    head: BoxFuture<'static, Result<Started, Lost>>,
}

/// An old copy, kept as the last resort.
enum Old {
    Local(Arc<Page>),
    Swarm(Box<Started>),
}

/// The route that delivers.
struct Winner {
    route: Route,
    items: Items,
    /// Where in the whole body the next byte stands.
    at: u64,
    /// Where the body ends, if that can be known.
    end: Option<u64>,
    /// The part that the program wants, in the same counting.
    span: Range<u64>,
    out: mpsc::Sender<Result<Frame<Bytes>, Failure>>,
    /// Set when all was passed on: only then does the program see the body end.
    whole: Arc<AtomicBool>,
    saver: Option<Saver>,
    snapshot: Option<busel_proto::snapshot::Snapshot>,
    /// What was begun, so that only the same is continued.
    resume: Resume,
    /// An old copy, shown for want of anything better.
    stale: bool,
}

impl Drive {
    /// Runs a race until it has a head or gives up. The body is passed on by a task of the node's.
    pub(crate) async fn start(
        node: &Node,
        tries: Tries,
        plan: &[Step],
        hedged: bool,
        copy: Option<Arc<Page>>,
    ) -> Result<Response, Unanswered> {
        let mut drive = Self {
            node: node.clone(),
            host: tries.request.url.host(),
            race: Race::new(plan, hedged, copy.is_some()),
            tries,
            running: Vec::with_capacity(plan.len()),
            ready: Vec::new(),
            old: copy.map(Old::Local),
            timeline: Timeline::default(),
            winner: None,
        };
        let answer = tokio::select! {
            answer = drive.until_head() => answer,
            () = node.stop.cancelled() => Err(drive.unanswered()),
        };
        if drive.winner.is_some() {
            let stop = node.stop.clone();
            node.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = drive.pass_body() => {}
                }
            });
        }
        answer
    }

    async fn until_head(&mut self) -> Result<Response, Unanswered> {
        self.race.handle(Input::Start, self.tick());
        loop {
            match self.race.poll() {
                Output::Start(route) => self.launch(route),
                Output::Cancel(route) => self.cancel(route),
                Output::Deliver(route) => {
                    if let Some(started) = self.take_ready(route) {
                        return Ok(self.begin(route, started, false));
                    }
                }
                Output::DeliverStale => return self.deliver_old().await,
                Output::GiveUp => return Err(self.unanswered()),
                Output::Wait(until) => self.wait(until).await,
            }
        }
    }

    /// Waits for a route or for the time that the race named.
    async fn wait(&mut self, until: Option<Tick>) {
        let clock = self.node.clock;
        tokio::select! {
            (at, ended) = first_to_end(&mut self.running) => self.hear(at, ended),
            () = alarm(clock, until) => self.race.handle(Input::Timeout, clock.tick()),
        }
    }

    /// Passes on the winner's body, and goes on by another way if it stalls or breaks.
    async fn pass_body(mut self) {
        loop {
            self.race.handle(Input::Waiting, self.tick());
            match self.race.poll() {
                Output::Start(route) => self.launch(route),
                Output::Cancel(route) => self.cancel(route),
                Output::Deliver(route) => self.switch_to(route),
                Output::DeliverStale | Output::GiveUp => return self.cut().await,
                Output::Wait(until) => {
                    if !self.wait_for_body(until).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for the winner's next item, another route, or the time that the race named. `false`: all
    /// is over.
    async fn wait_for_body(&mut self, until: Option<Tick>) -> bool {
        let clock = self.node.clock;
        let Some(winner) = &mut self.winner else { return false };
        // Only waiting is raced here: an item that was taken is passed on whatever else happens.
        let item = tokio::select! {
            item = winner.items.next() => item,
            (at, ended) = first_to_end(&mut self.running) => {
                self.hear(at, ended);
                return true;
            }
            () = alarm(clock, until) => {
                self.race.handle(Input::Timeout, clock.tick());
                return true;
            }
            // A program that has all it wants may leave before the signature has come.
            () = winner.out.closed(), if !winner.all_passed() => return false,
        };
        // A program that reads slowly is no stall: the route has done its part.
        if matches!(item, Some(Ok(_))) {
            self.race.handle(Input::Progress, clock.tick());
        }
        match winner.pass(item).await {
            Passed::On => true,
            Passed::All => {
                self.race.handle(Input::Finished, clock.tick());
                self.timeline.set(self.race.events());
                if let Some(winner) = self.winner.take() {
                    winner.finish().await;
                }
                false
            }
            Passed::Broke(failure) => {
                let (route, stale) = (winner.route, winner.stale);
                // What broke is over; another way brings the next items, if any does.
                winner.items = stream::pending().boxed();
                self.remember_failure(route, &failure);
                self.race.handle(Input::Failed { route, failure, sent: true }, clock.tick());
                if stale {
                    // The race ended when the old copy was chosen: nobody can go on with it.
                    self.cut().await;
                }
                !stale
            }
        }
    }

    fn hear(&mut self, at: usize, ended: Result<Started, Lost>) {
        let Running { route, since, .. } = self.running.swap_remove(at);
        let now = self.tick();
        match ended {
            // Whichever way it comes, only the same version is gone on with.
            Ok(started) if self.winner.as_ref().is_some_and(|w| !w.resume.fits(&started.head)) => {
                let failure = Failure::CannotResume;
                self.race.handle(Input::Failed { route, failure, sent: true }, now);
            }
            Ok(started) => {
                self.node.memory().worked(&self.host, route, now - since, now);
                self.ready.push((route, started));
                self.race.handle(Input::Head(route), now);
            }
            Err(lost) => {
                self.remember_failure(route, &lost.failure);
                if let (Some(stale), None) = (lost.stale, &self.winner) {
                    self.keep_newer(stale);
                    self.race.handle(Input::Stale(route), now);
                } else {
                    let input = Input::Failed { route, failure: lost.failure, sent: lost.sent };
                    self.race.handle(input, now);
                }
            }
        }
    }

    fn remember_failure(&self, route: Route, failure: &Failure) {
        self.node.memory().failed(&self.host, route, failure, self.tick());
    }

    /// Of two old copies the newer one is the last resort.
    fn keep_newer(&mut self, stale: Box<Started>) {
        let ours = match &self.old {
            Some(Old::Local(page)) => Some(page.snapshot.head().fetched_at),
            Some(Old::Swarm(old)) => old.head.fetched_at,
            None => None,
        };
        if ours < stale.head.fetched_at {
            self.old = Some(Old::Swarm(stale));
        }
    }

    fn launch(&mut self, route: Route) {
        let node = self.node.clone();
        let mut want = self.tries.want.clone();
        if let Some(winner) = &self.winner {
            want.from = winner.at;
            want.resume = Some(winner.resume.clone());
        }
        let (request, sites) = (self.tries.request.clone(), self.tries.sites.clone());
        let head = async move {
            match route {
                Route::Local => Err(Failure::NoCopy.into()),
                Route::Direct => {
                    let body = request.body.clone();
                    direct::start(&node.direct, &want, body, sites.as_deref()).await
                }
                Route::Tunnel => {
                    let body = request.body.clone();
                    direct::start(&node.tunnelled, &want, body, sites.as_deref()).await
                }
                Route::Swarm => swarm::start(&node, &want).await,
                Route::Injector => injector::start(&node, &want).await,
            }
        };
        self.running.push(Running { route, since: self.tick(), head: head.boxed() });
    }

    fn cancel(&mut self, route: Route) {
        self.running.retain(|running| running.route != route);
        self.ready.retain(|(ready, _)| *ready != route);
    }

    fn take_ready(&mut self, route: Route) -> Option<Started> {
        let at = self.ready.iter().position(|(ready, _)| *ready == route)?;
        Some(self.ready.swap_remove(at).1)
    }

    fn switch_to(&mut self, route: Route) {
        let (Some(started), Some(winner)) = (self.take_ready(route), &mut self.winner) else {
            return;
        };
        let replaced = std::mem::replace(&mut winner.route, route);
        winner.items = started.items;
        if let Some(snapshot) = started.head.snapshot {
            winner.snapshot.get_or_insert(snapshot);
        }
        // What had to be replaced is not waited for so long the next time.
        self.remember_failure(replaced, &Failure::Stalled);
    }

    /// The head for whoever asked; the body is to be passed on.
    fn begin(&mut self, route: Route, started: Started, stale: bool) -> Response {
        let request = &self.tries.request;
        let Started { head, items } = started;
        let shape = (!head.shaped).then(|| {
            shape::shape(&request.method, &request.headers, head.status, &head.headers, head.len)
        });
        let mut headers = head.headers.clone();
        let (mut status, mut span, mut decode) = (head.status, 0..u64::MAX, None);
        if let Some(shape) = shape {
            shape.apply(&mut headers);
            status = shape.status;
            decode = shape.decode;
            span = match shape.span {
                Span::Nothing => 0..0,
                Span::Whole => 0..u64::MAX,
                Span::Part(range) => range,
            };
        }
        let (out, passed) = mpsc::channel(BODY_QUEUE);
        let whole = Arc::new(AtomicBool::new(false));
        let body = passed_on(passed, whole.clone());
        let body = match decode {
            Some(coding) => decode::decoded(body, coding),
            None => body,
        };
        let response = Response {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            headers,
            body,
            route,
            authority: head.authority.clone(),
            age: head.fetched_at.map(|at| clock::now().since(at)),
            stale,
            timeline: self.timeline.clone(),
        };
        let bodiless = request.method == Method::HEAD || matches!(head.status, 204 | 304);
        // A part that the origin cut out itself ends where HTTP says.
        let part = head.shaped && head.status == 206;
        let end = head.len.filter(|_| !bodiless && !part);
        let from_start_to_end = head.offset == 0 && span == (0..u64::MAX) && !bodiless;
        let keeps = matches!(route, Route::Swarm | Route::Injector) && from_start_to_end;
        let winner = Winner {
            route,
            items,
            at: head.offset,
            end,
            span,
            out,
            whole,
            saver: keeps.then(|| self.node.saver()),
            resume: resumable(&head, part),
            snapshot: head.snapshot,
            stale,
        };
        self.timeline.set(self.race.events());
        self.winner = Some(winner);
        response
    }

    async fn deliver_old(&mut self) -> Result<Response, Unanswered> {
        self.timeline.set(self.race.events());
        match self.old.take() {
            Some(Old::Local(page)) => {
                let mut response = of_copy(&self.node, &page, &self.tries.request, true).await;
                response.timeline = self.timeline.clone();
                Ok(response)
            }
            Some(Old::Swarm(started)) => Ok(self.begin(Route::Swarm, *started, true)),
            None => Err(self.unanswered()),
        }
    }

    fn unanswered(&self) -> Unanswered {
        self.timeline.set(self.race.events());
        Unanswered {
            url: self.tries.request.url.clone(),
            tried: self.race.failures().map(|(r, f)| (r, f.clone())).collect(),
            private: None,
            timeline: self.timeline.clone(),
        }
    }

    /// Cuts the body, never splices: the program sees that it is not whole.
    async fn cut(&mut self) {
        self.timeline.set(self.race.events());
        let failure = self.race.failures().last().map(|(_, failure)| failure.clone());
        if let Some(winner) = self.winner.take() {
            // A program that is gone need not be told.
            let _ = winner.out.send(Err(failure.unwrap_or(Failure::CutOff))).await;
        }
    }

    fn tick(&self) -> Tick {
        self.node.clock.tick()
    }
}

/// What became of one item of the winner.
enum Passed {
    On,
    All,
    Broke(Failure),
}

/// The first of these routes that has a head or fails, by its place; waits for ever if there is none.
/// Nothing is lost if the wait is given up.
async fn first_to_end(running: &mut [Running]) -> (usize, Result<Started, Lost>) {
    std::future::poll_fn(|cx| {
        for (at, running) in running.iter_mut().enumerate() {
            if let Poll::Ready(ended) = running.head.poll_unpin(cx) {
                return Poll::Ready((at, ended));
            }
        }
        Poll::Pending
    })
    .await
}

async fn alarm(clock: Clock, until: Option<Tick>) {
    match until {
        Some(tick) => tokio::time::sleep_until(clock.instant(tick)).await,
        None => std::future::pending().await,
    }
}

impl Winner {
    /// Whether only the end, or the signature, of a body to be kept is missing.
    fn all_passed(&self) -> bool {
        self.saver.is_some() && self.end.is_some_and(|end| self.at >= end)
    }

    async fn pass(&mut self, item: Option<Result<Item, Failure>>) -> Passed {
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
                Passed::On
            }
            Some(Ok(Item::Data(bytes))) => self.pass_data(bytes).await,
        }
    }

    async fn pass_data(&mut self, bytes: Bytes) -> Passed {
        let begin = self.at;
        self.at += bytes.len() as u64;
        let within = |n: u64| {
            let n = n.saturating_sub(begin);
            usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len())
        };
        let wanted = bytes.slice(within(self.span.start)..within(self.span.end));
        if !wanted.is_empty() && self.out.send(Ok(Frame::data(wanted))).await.is_err() {
            return Passed::All;
        }
        if let Some(saver) = &self.saver {
            saver.data(bytes).await;
        }
        if self.at >= self.span.end { Passed::All } else { Passed::On }
    }

    /// The body is whole: kept, if it was signed.
    async fn finish(self) {
        self.whole.store(true, Ordering::Release);
        if let (Some(saver), Some(snapshot)) = (self.saver, self.snapshot) {
            saver.finish(snapshot).await;
        }
    }
}

/// The body as the program reads it. If its drive ends before the body does, whyever, it is cut: it
/// must not look whole.
fn passed_on(
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

/// What the rest of a body must fit. A part that the origin cut out can't be continued: its bytes
/// are counted from another place.
fn resumable(head: &Head, part: bool) -> Resume {
    Resume {
        root: head.root(),
        etag: shape::strong_etag(&head.headers).filter(|_| !part).cloned(),
        coding: head.headers.get(http::header::CONTENT_ENCODING).cloned(),
        len: head.len,
    }
}
