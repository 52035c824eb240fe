//! The race of one request, driven: routes run inside it until one has a head, the winner's bytes
//! are passed on, and if it stalls, another way goes on from the byte reached.
//!
//! What to do when is [`busel_proto::race`]'s to say; this only does it. How the body gets to the
//! program, and to the store, is in [`body`].

mod body;

use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;

use busel_proto::failure::{Failure, Route};
use busel_proto::holders::MOST_NAMED;
use busel_proto::memory::Step;
use busel_proto::page::HostName;
use busel_proto::race::{Input, Output, Race};
use busel_proto::shape::{self, Shape, Span};
use busel_proto::sites::SiteList;
use busel_proto::time::Tick;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};

use self::body::Winner;
use crate::clock;
use crate::decode;
use crate::fetch::of_copy;
use crate::hot::Page;
use crate::node::Node;
use crate::request::{Request, Response, Timeline, Unanswered};
use crate::route::{Head, Lost, Started, Want, direct, injector, swarm};

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
    /// How often injectors were asked.
    injectors_asked: u8,
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

/// How the wait for a head ended.
enum First {
    /// A route won; the copy may be an old one.
    Won { route: Route, started: Box<Started>, stale: bool },
    /// Our own old copy has to do.
    Copy(Arc<Page>),
}

impl Drive {
    /// Runs a race until it has a head or gives up; the response's body goes on with it.
    pub(crate) async fn start(
        node: &Node,
        tries: Tries,
        plan: &[Step],
        hedged: bool,
        copy: Option<Arc<Page>>,
    ) -> Result<Response, Unanswered> {
        let mut drive = Box::new(Self {
            node: node.clone(),
            host: tries.request.url.host(),
            race: Race::new(plan, hedged, copy.is_some()),
            tries,
            running: Vec::with_capacity(plan.len()),
            ready: Vec::new(),
            old: copy.clone().map(Old::Local),
            timeline: Timeline::default(),
            winner: None,
            injectors_asked: 0,
        });
        let first = tokio::select! {
            biased;
            first = drive.until_head() => first,
            () = node.stop.cancelled() => Err(drive.unanswered()),
        };
        match first? {
            First::Won { started, .. } if drive.begins_too_late(&started.head) => {
                drop(started);
                let mut tries = drive.tries;
                tries.want.from = 0;
                Box::pin(Self::start(node, tries, plan, hedged, copy)).await
            }
            First::Won { route, started, stale } => Ok(drive.answer(route, *started, stale)),
            First::Copy(page) => {
                let mut response = of_copy(node, &page, &drive.tries.request, true).await;
                response.timeline = drive.timeline;
                Ok(response)
            }
        }
    }

    async fn until_head(&mut self) -> Result<First, Unanswered> {
        self.race.handle(Input::Start, self.tick());
        loop {
            match self.race.poll() {
                Output::Start(route) => self.launch(route),
                Output::Cancel(route) => self.cancel(route),
                Output::Deliver(route) => {
                    if let Some(started) = self.take_ready(route) {
                        let started = Box::new(started);
                        return Ok(First::Won { route, started, stale: false });
                    }
                }
                Output::DeliverStale => {
                    return match self.old.take() {
                        Some(Old::Local(page)) => Ok(First::Copy(page)),
                        Some(Old::Swarm(started)) => {
                            Ok(First::Won { route: Route::Swarm, started, stale: true })
                        }
                        None => Err(self.unanswered()),
                    };
                }
                Output::GiveUp => return Err(self.unanswered()),
                Output::Wait(until) => self.wait(until).await,
            }
        }
    }

    /// Waits for a route or for the time that the race named.
    async fn wait(&mut self, until: Option<Tick>) {
        let clock = self.node.clock;
        tokio::select! {
            biased;
            (at, ended) = first_to_end(&mut self.running) => self.hear(at, ended),
            () = clock.alarm(until) => self.race.handle(Input::Timeout, clock.tick()),
        }
    }

    fn hear(&mut self, at: usize, ended: Result<Started, Lost>) {
        let Running { route, since, .. } = self.running.swap_remove(at);
        let now = self.tick();
        match ended {
            // Whichever way it comes, only the same version is gone on with.
            Ok(started) if self.winner.as_ref().is_some_and(|w| !w.fits(&started.head)) => {
                let failure = Failure::CannotResume;
                self.race.handle(Input::Failed { route, failure, sent: true }, now);
            }
            Ok(started) => {
                self.node.networks.worked(&self.host, route, now - since);
                self.ready.push((route, started));
                self.race.handle(Input::Head(route), now);
            }
            Err(lost) => {
                self.node.way_failed(&self.host, route, &lost.failure);
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
            winner.ask_on(&mut want);
            self.node.suspect_move();
        }
        if route == Route::Injector {
            // More than it makes a difference for is nobody's business.
            want.asked_before = self.injectors_asked.min(MOST_NAMED);
            self.injectors_asked = self.injectors_asked.saturating_add(1);
        }
        let (request, sites) = (self.tries.request.clone(), self.tries.sites.clone());
        let head = async move {
            match route {
                Route::Local => Err(Failure::NoCopy.into()),
                Route::Direct => {
                    let body = request.body.clone();
                    direct::start(&node.direct, want, body, sites.as_deref()).await
                }
                Route::Tunnel => {
                    let body = request.body.clone();
                    direct::start(&node.tunnelled, want, body, sites.as_deref()).await
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

    /// The head as the program gets it, and a body that the drive goes on with.
    fn answer(mut self: Box<Self>, route: Route, started: Started, stale: bool) -> Response {
        let Started { head, items } = started;
        let request = &self.tries.request;
        // What the origin cut out itself is passed on as it is.
        let shape = (!head.shaped).then(|| shape_of(request, &head));
        let span = match shape.as_ref().map(|shape| &shape.span) {
            None => given_part(&head).unwrap_or(0..u64::MAX),
            Some(Span::Part(range)) if *range != (0..head.len.unwrap_or(0)) => range.clone(),
            // A range that is all of it is kept as a whole is.
            Some(Span::Whole | Span::Part(_)) => 0..u64::MAX,
            Some(Span::Nothing) => 0..0,
        };
        let bodiless = request.method == Method::HEAD || matches!(head.status, 204 | 304);
        let kept = matches!(route, Route::Swarm | Route::Injector)
            && head.offset == 0
            && span == (0..u64::MAX)
            && !bodiless;
        let mut winner = Winner::new(route, &head, items, span, bodiless);
        let Head { mut status, mut headers, authority, fetched_at, snapshot, .. } = head;
        (winner.kept, winner.stale, winner.snapshot) = (kept, stale, snapshot);
        self.winner = Some(winner);
        self.timeline.set(self.race.events());
        let timeline = self.timeline.clone();
        let mut body = if kept { self.kept_body() } else { self.body() };
        if let Some(shape) = shape {
            shape.apply(&mut headers);
            status = shape.status;
            if let Some(coding) = shape.decode {
                body = decode::decoded(body, coding);
            }
        }
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let age = fetched_at.map(|at| clock::now().since(at));
        Response { status, headers, body, route, authority, age, stale, timeline }
    }

    /// Whether the part that was asked for turns out not to be what is to be shown: the page has
    /// changed since, or must be decoded first.
    fn begins_too_late(&self, head: &Head) -> bool {
        let begin = || match shape_of(&self.tries.request, head).span {
            Span::Whole => 0,
            Span::Part(range) => range.start,
            Span::Nothing => u64::MAX,
        };
        !head.shaped && head.offset > 0 && head.offset > begin()
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

    fn tick(&self) -> Tick {
        self.node.clock.tick()
    }
}

fn shape_of(request: &Request, head: &Head) -> Shape {
    shape::shape(&request.method, &request.headers, head.status, &head.headers, head.len)
}

/// The part that the origin itself cut out.
fn given_part(head: &Head) -> Option<Range<u64>> {
    let part = shape::content_range(&head.headers).filter(|_| head.status == 206)?;
    Some(part.bytes)
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
