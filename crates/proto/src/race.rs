//! The race: which route starts when, who won, who is cancelled, and what happens if the winner
//! stalls half way.
//!
//! One mutation, then drain: call [`Race::handle`], then [`Race::poll`] until it says
//! [`Output::Wait`]. The routes themselves, sockets and all, are the shell's.
//!
//! * The first route starts at once; the next one when the first failed, or when it was silent for
//!   as long as it usually takes ([`crate::memory::Step::patience`]).
//! * The first good *head* wins and the others are cancelled.
//! * A winner whose body stalls or breaks is replaced: the others are started again, to continue at
//!   the byte reached. Whether they can without splicing two versions is checked by the shell, which
//!   reports [`Failure::CannotResume`] if not.
//! * A way over other nodes that failed as things do while these come and go is tried again after a
//!   rest, as long as the request is young: what is alive is found, though it was not a moment ago.
//! * A request that is not idempotent is never hedged, and is tried again only if no byte of it was
//!   sent.

use std::collections::VecDeque;
use std::time::Duration;

use crate::failure::{Failure, Route};
use crate::memory::Step;
use crate::time::Tick;

/// A route that gives no head for this long is given up, whatever else happens.
pub const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// With a stale copy at hand, this is the longest that a reader waits for a fresh one.
pub const STALE_AFTER: Duration = Duration::from_secs(5);
/// A body counts as stalled after eight times the longest pause it made before, within these.
const STALL: (Duration, Duration) = (Duration::from_millis(1500), Duration::from_secs(10));
/// A winner that stalled, and that nothing replaces, is waited for this long; then, if it brings a
/// copy, which others may have too, its route starts anew. A site's own silence is the site's affair.
const ALONE: Duration = Duration::from_secs(30);
/// How often one route is started for one request.
const MAX_STARTS: u8 = 3;
/// So often if it failed in passing. Before it is started again it rests so long, and twice as long each
/// time, up to this …
const MAX_TRIES: u8 = 5;
const LEAST_REST: Duration = Duration::from_millis(500);
const MOST_REST: Duration = Duration::from_secs(4);
/// … and not later than so long after the beginning, or after the winner broke.
const TRY_WITHIN: Duration = Duration::from_secs(10);
/// Events kept for the timeline.
const MAX_EVENTS: usize = 64;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Begin.
    Start,
    /// The time that [`Output::Wait`] named has come.
    Timeout,
    /// A route has a good head (while resuming: has the next byte).
    Head(Route),
    /// A route failed. `sent` says whether a byte of the request may have reached a server.
    Failed {
        /// The route.
        route: Route,
        /// Why.
        failure: Failure,
        /// Whether a byte of the request was sent.
        sent: bool,
    },
    /// A route has only an old copy: it is held as the last resort.
    Stale(Route),
    /// The winner is being waited for: its next byte is due.
    Waiting,
    /// The winner delivered bytes.
    Progress,
    /// The whole body is there.
    Finished,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Start this route; once there was a winner, from the byte reached.
    Start(Route),
    /// Stop this route and forget what it brings.
    Cancel(Route),
    /// Deliver what this route brings.
    Deliver(Route),
    /// Deliver the stale copy.
    DeliverStale,
    /// Nothing can be had; the reasons are in [`Race::failures`]. After a winner: cut the body.
    GiveUp,
    /// Nothing to do until something happens or this moment comes.
    Wait(Option<Tick>),
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Tick,
    /// Which route.
    pub route: Route,
    /// What it did.
    pub what: What,
}

/// What a route did in the race.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Was started.
    Started,
    /// Was started to continue a body.
    Resumed,
    /// Won.
    Won,
    /// Was cancelled: another was first.
    Cancelled,
    /// Failed.
    Failed(Failure),
    /// Stopped delivering.
    Stalled,
    /// Delivered all.
    Finished,
}

/// The machine. See the module's text.
#[derive(Debug)]
pub struct Race {
    lanes: Vec<Lane>,
    hedged: bool,
    stale: bool,
    phase: Phase,
    next_start: Option<Tick>,
    stale_at: Option<Tick>,
    waiting_since: Option<Tick>,
    longest_pause: Duration,
    /// When it began, or had to begin anew.
    began: Tick,
    /// The winner stalled, and nothing is left to replace it.
    alone: bool,
    out: VecDeque<Output>,
    events: Vec<Event>,
}

#[derive(Debug)]
struct Lane {
    route: Route,
    patience: Duration,
    state: State,
    starts: u8,
    failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Running(Tick),
    /// It failed in passing, and is started again then.
    Resting(Tick),
    Winner,
    Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before the first head.
    Heads,
    /// The winner delivers.
    Body,
    /// The winner stalled or broke; others were started to go on.
    Rescue,
    Over,
}

impl Race {
    /// A race over `plan`. `hedged`: several routes may be tried at once (GET and HEAD, and a
    /// tunnel whose first flight may be replayed). `stale`: an old copy is at hand.
    pub fn new(plan: &[Step], hedged: bool, stale: bool) -> Self {
        let lanes = plan
            .iter()
            .map(|step| Lane {
                route: step.route,
                patience: step.patience,
                state: State::Idle,
                starts: 0,
                failure: None,
            })
            .collect();
        Self {
            lanes,
            hedged,
            stale,
            phase: Phase::Heads,
            next_start: None,
            stale_at: None,
            waiting_since: None,
            longest_pause: Duration::ZERO,
            began: Tick(0),
            alone: false,
            out: VecDeque::new(),
            events: Vec::new(),
        }
    }

    /// Takes what happened at `now`.
    pub fn handle(&mut self, input: Input, now: Tick) {
        if self.phase == Phase::Over {
            return;
        }
        match input {
            Input::Start => {
                self.began = now;
                self.stale_at = self.stale.then(|| now + STALE_AFTER);
                self.start_next(now);
            }
            Input::Timeout => self.timeout(now),
            Input::Head(route) => self.head(route, now),
            Input::Failed { route, failure, sent } => self.failed(route, failure, sent, now),
            Input::Stale(route) => {
                self.stale = true;
                self.stale_at.get_or_insert(now + STALE_AFTER);
                self.failed(route, Failure::OnlyStale, true, now);
            }
            Input::Waiting => {
                self.waiting_since.get_or_insert(now);
            }
            Input::Progress => self.progress(now),
            Input::Finished => self.finished(now),
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Output {
        self.out.pop_front().unwrap_or_else(|| Output::Wait(self.deadline()))
    }

    /// Why each route failed, in the order of the plan.
    pub fn failures(&self) -> impl Iterator<Item = (Route, &Failure)> {
        self.lanes.iter().filter_map(|lane| Some((lane.route, lane.failure.as_ref()?)))
    }

    /// The timeline so far.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    fn deadline(&self) -> Option<Tick> {
        if self.phase == Phase::Over {
            return None;
        }
        let running = self.lanes.iter().filter_map(|lane| match lane.state {
            State::Running(since) => Some(since + HEAD_LIMIT),
            State::Resting(until) => Some(until),
            State::Idle | State::Winner | State::Out => None,
        });
        let stall = match self.phase {
            Phase::Body => self.waiting_since.map(|since| since + self.stall()),
            Phase::Heads | Phase::Rescue | Phase::Over => None,
        };
        // Once there is a winner, an old copy is not waited with any more.
        let stale_at = self.stale_at.filter(|_| self.phase == Phase::Heads);
        running.chain(self.next_start).chain(stale_at).chain(stall).min()
    }

    fn timeout(&mut self, now: Tick) {
        for at in 0..self.lanes.len() {
            let lane = &self.lanes[at];
            let State::Running(since) = lane.state else { continue };
            if since + HEAD_LIMIT <= now {
                let route = lane.route;
                self.out.push_back(Output::Cancel(route));
                self.failed(route, Failure::Silent, true, now);
            }
        }
        self.start_rested(now);
        if self.next_start.is_some_and(|at| at <= now) {
            self.start_next(now);
        }
        if self.phase == Phase::Heads && self.stale_at.is_some_and(|at| at <= now) {
            self.end(Output::DeliverStale, now);
        }
        let stalled = self.waiting_since.is_some_and(|since| since + self.stall() <= now);
        if self.phase == Phase::Body
            && stalled
            && let Some(route) = self.winner()
        {
            self.stalled(route, now);
        }
    }

    fn stalled(&mut self, route: Route, now: Tick) {
        self.note(route, What::Stalled, now);
        if !std::mem::take(&mut self.alone) {
            return self.rescue(now);
        }
        if matches!(route, Route::Swarm | Route::Injector) {
            self.out.push_back(Output::Cancel(route));
            self.failed(route, Failure::Stalled, true, now);
        } else {
            self.wait_alone();
        }
    }

    fn wait_alone(&mut self) {
        (self.phase, self.alone, self.waiting_since) = (Phase::Body, true, None);
    }

    fn head(&mut self, route: Route, now: Tick) {
        let Some(at) = self.running(route) else { return };
        if let (Phase::Rescue, Some(old)) = (self.phase, self.winner()) {
            self.set(old, State::Out, Some(Failure::Stalled));
            self.out.push_back(Output::Cancel(old));
        }
        self.lanes[at].state = State::Winner;
        self.note(route, What::Won, now);
        self.cancel_running(now);
        self.phase = Phase::Body;
        self.next_start = None;
        self.stale_at = None;
        self.waiting_since = None;
        self.alone = false;
        self.out.push_back(Output::Deliver(route));
    }

    fn failed(&mut self, route: Route, failure: Failure, sent: bool, now: Tick) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.route == route) else { return };
        let was = lane.state;
        if !matches!(was, State::Running(_) | State::Winner) {
            return;
        }
        lane.state = State::Out;
        lane.failure = Some(failure.clone());
        let rests = was != State::Winner && failure.is_passing();
        self.note(route, What::Failed(failure), now);
        if rests {
            self.rest(route, now);
        }
        if was == State::Winner {
            self.waiting_since = None;
            self.put_last(route);
            self.rescue(now);
        } else if sent && !self.hedged {
            self.end(Output::GiveUp, now);
        } else {
            self.start_next(now);
        }
    }

    /// Has a way over other nodes tried again later. With an old copy at hand nobody waits for that.
    fn rest(&mut self, route: Route, now: Tick) {
        let over_nodes = matches!(route, Route::Swarm | Route::Injector | Route::Tunnel);
        let shown = self.stale && self.phase == Phase::Heads;
        if !self.hedged || !over_nodes || shown {
            return;
        }
        let last = self.began + TRY_WITHIN;
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.route == route) else { return };
        let doubled = LEAST_REST * 2_u32.saturating_pow(u32::from(lane.starts.saturating_sub(1)));
        let until = now + doubled.min(MOST_REST);
        if lane.starts < MAX_TRIES && until <= last {
            lane.state = State::Resting(until);
        }
    }

    /// Starts those that have rested.
    fn start_rested(&mut self, now: Tick) {
        for at in 0..self.lanes.len() {
            let lane = &mut self.lanes[at];
            if matches!(lane.state, State::Resting(until) if until <= now) {
                lane.state = State::Running(now);
                lane.starts += 1;
                let route = lane.route;
                self.note(route, What::Resumed, now);
                self.out.push_back(Output::Start(route));
            }
        }
    }

    fn progress(&mut self, now: Tick) {
        self.alone = false;
        if let Some(since) = self.waiting_since.take() {
            self.longest_pause = self.longest_pause.max(now - since);
        }
        if self.phase == Phase::Rescue && self.winner().is_some() {
            // It came back by itself: it has the right bytes, so it goes on.
            self.cancel_running(now);
            self.next_start = None;
            self.phase = Phase::Body;
        }
    }

    fn finished(&mut self, now: Tick) {
        if let Some(route) = self.winner() {
            self.note(route, What::Finished, now);
        }
        self.cancel_running(now);
        self.phase = Phase::Over;
    }

    /// Starts all over from the byte reached, the winner aside.
    fn rescue(&mut self, now: Tick) {
        if !self.hedged {
            if self.winner().is_none() {
                self.end(Output::GiveUp, now);
            } else {
                self.waiting_since = None;
            }
            return;
        }
        self.phase = Phase::Rescue;
        self.began = now;
        for lane in &mut self.lanes {
            // A way that was cancelled, or that failed without a word about the content, may try
            // again; one whose content does not continue ours may not.
            let hopeless = matches!(
                lane.failure,
                Some(Failure::CannotResume | Failure::NotAuthentic(_) | Failure::NotAllowed(_))
            );
            if lane.state == State::Out && lane.starts < MAX_STARTS && !hopeless {
                lane.state = State::Idle;
            }
        }
        self.start_next(now);
    }

    fn start_next(&mut self, now: Tick) {
        self.next_start = None;
        if !self.hedged && self.lanes.iter().any(|l| matches!(l.state, State::Running(_))) {
            return;
        }
        let resumed = self.phase == Phase::Rescue;
        while let Some(lane) = self.lanes.iter_mut().find(|lane| lane.state == State::Idle) {
            lane.state = State::Running(now);
            lane.starts += 1;
            let (route, patience) = (lane.route, lane.patience);
            self.note(route, if resumed { What::Resumed } else { What::Started }, now);
            self.out.push_back(Output::Start(route));
            if !self.hedged {
                return;
            }
            if patience > Duration::ZERO {
                self.next_start = Some(now + patience);
                return;
            }
        }
        let alive = |lane: &Lane| matches!(lane.state, State::Running(_) | State::Winner);
        let rests = self.lanes.iter().any(|lane| matches!(lane.state, State::Resting(_)));
        let stale = self.stale && self.phase == Phase::Heads;
        match self.lanes.iter().any(alive) {
            false if stale => self.end(Output::DeliverStale, now),
            false if !rests => self.end(Output::GiveUp, now),
            true if self.phase == Phase::Rescue && !rests && self.running_count() == 0 => {
                self.wait_alone();
            }
            true | false => {}
        }
    }

    fn end(&mut self, output: Output, now: Tick) {
        self.cancel_running(now);
        self.phase = Phase::Over;
        self.out.push_back(output);
    }

    fn cancel_running(&mut self, now: Tick) {
        for at in 0..self.lanes.len() {
            if let State::Resting(_) = self.lanes[at].state {
                self.lanes[at].state = State::Out;
            }
            if let State::Running(_) = self.lanes[at].state {
                self.lanes[at].state = State::Out;
                let route = self.lanes[at].route;
                self.note(route, What::Cancelled, now);
                self.out.push_back(Output::Cancel(route));
            }
        }
    }

    fn winner(&self) -> Option<Route> {
        self.lanes.iter().find(|lane| lane.state == State::Winner).map(|lane| lane.route)
    }

    fn running(&self, route: Route) -> Option<usize> {
        self.lanes
            .iter()
            .position(|lane| lane.route == route && matches!(lane.state, State::Running(_)))
    }

    fn running_count(&self) -> usize {
        self.lanes.iter().filter(|lane| matches!(lane.state, State::Running(_))).count()
    }

    fn set(&mut self, route: Route, state: State, failure: Option<Failure>) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.route == route) {
            lane.state = state;
            lane.failure = failure;
        }
    }

    fn put_last(&mut self, route: Route) {
        if let Some(at) = self.lanes.iter().position(|lane| lane.route == route) {
            self.lanes[at..].rotate_left(1);
        }
    }

    fn stall(&self) -> Duration {
        if self.alone {
            return ALONE;
        }
        (self.longest_pause * 8).clamp(STALL.0, STALL.1)
    }

    fn note(&mut self, route: Route, what: What, at: Tick) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(Event { at, route, what });
        }
    }
}

#[cfg(test)]
#[path = "race_tests.rs"]
mod tests;
