//! The race of one request, driven: routes run as tasks, the winner's bytes are passed on, and if it
//! stalls, another way goes on from the byte reached.
//!
//! What to do when is [`busel_proto::race`]'s to say; this only does it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use busel_proto::failure::{Failure, Route};
use busel_proto::memory::Step;
use busel_proto::race::{Input, Output, Race};
use busel_proto::shape::{self, Span};
use busel_proto::sites::SiteList;
use busel_proto::time::Tick;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::clock;
use crate::decode;
use crate::fetch::of_copy;
use crate::hot::Page;
use crate::node::Node;
use crate::request::{Body, Request, Response, Timeline, Unanswered};
use crate::route::{Head, Item, Items, Lost, Resume, Started, Want, direct, injector, swarm};
use crate::save::Saver;

/// Pieces of a body waiting for the program that asked.
const BODY_QUEUE: usize = 4;
/// Events of routes waiting for the race.
const EVENT_QUEUE: usize = 16;

/// What each try of a route needs.
pub(crate) struct Tries {
    /// The site list, for a public request.
    pub(crate) sites: Option<Arc<SiteList>>,
    pub(crate) request: Arc<Request>,
    pub(crate) want: Want,
}

/// What a route's task tells the drive.
enum Told {
    Started(Route, Box<Started>),
    Lost(Route, Lost),
}

/// A race being driven.
pub(crate) struct Drive {
    node: Node,
    tries: Tries,
    race: Race,
    running: HashMap<Route, (AbortHandle, Tick)>,
    ready: HashMap<Route, Box<Started>>,
    old: Option<Old>,
    told: mpsc::Receiver<Told>,
    tell: mpsc::Sender<Told>,
    answer: Option<oneshot::Sender<Result<Response, Unanswered>>>,
    timeline: Timeline,
    winner: Option<Winner>,
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
}

impl Drive {
    /// Starts a race as a task of its own and returns once it has a head or gave up.
    pub(crate) async fn start(
        node: &Node,
        tries: Tries,
        plan: &[Step],
        hedged: bool,
        copy: Option<Arc<Page>>,
    ) -> Result<Response, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let (tell, told) = mpsc::channel(EVENT_QUEUE);
        let url = tries.request.url.clone();
        let drive = Self {
            node: node.clone(),
            race: Race::new(plan, hedged, copy.is_some()),
            tries,
            running: HashMap::new(),
            ready: HashMap::new(),
            old: copy.map(Old::Local),
            told,
            tell,
            answer: Some(answer),
            timeline: Timeline::default(),
            winner: None,
        };
        let stop = node.stop.clone();
        node.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = drive.run() => {}
            }
        });
        match answered.await {
            Ok(answer) => answer,
            // The node is being stopped.
            Err(_) => Err(Unanswered {
                url,
                tried: Vec::new(),
                private: None,
                timeline: Timeline::default(),
            }),
        }
    }

    async fn run(mut self) {
        self.race.handle(Input::Start, self.tick());
        loop {
            if self.winner.is_some() {
                self.race.handle(Input::Waiting, self.tick());
            }
            match self.race.poll() {
                Output::Start(route) => self.launch(route),
                Output::Cancel(route) => self.cancel(route),
                Output::Deliver(route) => self.deliver(route),
                Output::DeliverStale => return self.deliver_old().await,
                Output::GiveUp => return self.give_up().await,
                Output::Wait(until) => {
                    if !self.wait(until).await {
                        return self.timeline.set(self.race.events());
                    }
                }
            }
        }
    }

    /// Waits for the next thing to happen and tells the race. `false`: all is over.
    async fn wait(&mut self, until: Option<Tick>) -> bool {
        let clock = self.node.clock;
        let alarm = async {
            match until {
                Some(tick) => tokio::time::sleep_until(clock.instant(tick)).await,
                None => std::future::pending().await,
            }
        };
        let Self { winner, told, answer, .. } = self;
        let passed = tokio::select! {
            Some(told) = told.recv() => {
                self.hear(told);
                return true;
            }
            () = alarm => {
                self.race.handle(Input::Timeout, clock.tick());
                return true;
            }
            () = asker_gone(answer, winner.as_ref().map(|w| w.out.clone())) => return false,
            passed = next(winner) => passed,
        };
        match passed {
            Passed::On => self.race.handle(Input::Progress, clock.tick()),
            Passed::All => {
                self.race.handle(Input::Finished, clock.tick());
                self.timeline.set(self.race.events());
                if let Some(winner) = self.winner.take() {
                    winner.finish().await;
                }
                return false;
            }
            Passed::Broke(failure) => {
                let Some(winner) = &mut self.winner else { return true };
                let route = winner.route;
                // What broke is over; another way brings the next items, if any does.
                winner.items = stream::pending().boxed();
                self.remember_failure(route, &failure);
                self.race.handle(Input::Failed { route, failure, sent: true }, clock.tick());
            }
        }
        true
    }

    fn hear(&mut self, told: Told) {
        let now = self.tick();
        let host = self.tries.request.url.host();
        match told {
            Told::Started(route, started) => {
                let Some((_, since)) = self.running.remove(&route) else { return };
                self.node.memory().worked(&host, route, now - since, now);
                self.ready.insert(route, started);
                self.race.handle(Input::Head(route), now);
            }
            Told::Lost(route, lost) => {
                if self.running.remove(&route).is_none() {
                    return;
                }
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
        let host = self.tries.request.url.host();
        self.node.memory().failed(&host, route, failure, self.tick());
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
        let (node, tell) = (self.node.clone(), self.tell.clone());
        let mut want = self.tries.want.clone();
        if let Some(winner) = &self.winner {
            want.from = winner.at;
            want.resume = Some(winner.resume.clone());
        }
        let (request, sites) = (self.tries.request.clone(), self.tries.sites.clone());
        let task = self.node.tasks.spawn(async move {
            let started = match route {
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
            };
            let told = match started {
                Ok(started) => Told::Started(route, Box::new(started)),
                Err(lost) => Told::Lost(route, lost),
            };
            // If nobody hears it, the race is over.
            let _ = tell.send(told).await;
        });
        self.running.insert(route, (task.abort_handle(), self.tick()));
    }

    fn cancel(&mut self, route: Route) {
        if let Some((task, _)) = self.running.remove(&route) {
            task.abort();
        }
        self.ready.remove(&route);
    }

    fn deliver(&mut self, route: Route) {
        let Some(started) = self.ready.remove(&route) else { return };
        match &mut self.winner {
            None => self.begin(route, *started, false),
            Some(winner) => {
                winner.route = route;
                winner.items = started.items;
                if let Some(snapshot) = started.head.snapshot {
                    winner.snapshot.get_or_insert(snapshot);
                }
            }
        }
    }

    /// Sends the head to whoever asked, and gets ready to pass on the body.
    fn begin(&mut self, route: Route, started: Started, stale: bool) {
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
        };
        self.timeline.set(self.race.events());
        if let Some(answer) = self.answer.take() {
            // If nobody waits for it any more, the body's channel is closed and ends the drive.
            let _ = answer.send(Ok(response));
        }
        self.winner = Some(winner);
    }

    async fn deliver_old(mut self) {
        self.timeline.set(self.race.events());
        match self.old.take() {
            Some(Old::Local(page)) => {
                let mut response = of_copy(&self.node, &page, &self.tries.request, true).await;
                response.timeline = self.timeline.clone();
                if let Some(answer) = self.answer.take() {
                    let _ = answer.send(Ok(response));
                }
            }
            Some(Old::Swarm(started)) => {
                self.begin(Route::Swarm, *started, true);
                loop {
                    match next(&mut self.winner).await {
                        Passed::On => {}
                        Passed::All => break,
                        Passed::Broke(failure) => return self.cut(failure).await,
                    }
                }
                if let Some(winner) = self.winner.take() {
                    winner.finish().await;
                }
            }
            None => self.give_up().await,
        }
    }

    async fn give_up(mut self) {
        self.timeline.set(self.race.events());
        let tried: Vec<_> = self.race.failures().map(|(r, f)| (r, f.clone())).collect();
        if self.winner.is_some() {
            // Cut, never spliced: the program sees that the body is not whole.
            let failure = tried.last().map_or(Failure::CutOff, |(_, failure)| failure.clone());
            return self.cut(failure).await;
        }
        if let Some(answer) = self.answer.take() {
            let unanswered = Unanswered {
                url: self.tries.request.url.clone(),
                tried,
                private: None,
                timeline: self.timeline.clone(),
            };
            let _ = answer.send(Err(unanswered));
        }
    }

    async fn cut(&mut self, failure: Failure) {
        if let Some(winner) = self.winner.take() {
            // A program that is gone need not be told.
            let _ = winner.out.send(Err(failure)).await;
        }
    }

    fn tick(&self) -> Tick {
        self.node.clock.tick()
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        for (task, _) in self.running.values() {
            task.abort();
        }
    }
}

/// What became of one item of the winner.
enum Passed {
    On,
    All,
    Broke(Failure),
}

/// Takes the winner's next item and passes it on; waits for ever if there is no winner.
async fn next(winner: &mut Option<Winner>) -> Passed {
    match winner {
        Some(winner) => {
            let item = winner.items.next().await;
            winner.pass(item).await
        }
        None => std::future::pending().await,
    }
}

impl Winner {
    async fn pass(&mut self, item: Option<Result<Item, Failure>>) -> Passed {
        match item {
            None if self.end.is_some_and(|end| self.at < end) => Passed::Broke(Failure::CutOff),
            None => Passed::All,
            Some(Err(failure)) => Passed::Broke(failure),
            Some(Ok(Item::Signed(snapshot))) => {
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
        // A program that reads slowly is no stall: nothing is awaited from the route meanwhile.
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
        len: head.len,
    }
}

/// Returns when nobody waits for the answer, or for the rest of the body, any more.
async fn asker_gone(
    answer: &mut Option<oneshot::Sender<Result<Response, Unanswered>>>,
    out: Option<mpsc::Sender<Result<Frame<Bytes>, Failure>>>,
) {
    match (answer, out) {
        (_, Some(out)) => out.closed().await,
        (Some(answer), None) => answer.closed().await,
        (None, None) => std::future::pending().await,
    }
}
