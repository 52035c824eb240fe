//! The race under any sequence of events, with the invariants of `race_tests` and more: it never
//! spins, and left alone it comes to rest.

use std::collections::BTreeSet;
use std::time::Duration;

use busel_proto::failure::{Failure, Route};
use busel_proto::memory::Step;
use busel_proto::race::{Input, Output, Race};
use busel_proto::time::Tick;

/// How often one route may be started for one request.
const STARTS: usize = 3;

/// What an observer knows of a race.
struct Watch {
    race: Race,
    hedged: bool,
    running: BTreeSet<Route>,
    delivering: Option<Route>,
    over: bool,
    starts: usize,
}

/// Four bytes of set-up (flags, number of routes, two of patience), then three per event: what, who
/// and why, how much later.
///
/// Whatever happens in whatever order: no route is started twice at once or too often, at most one
/// delivers at a time, a cancelled one is never delivered, nothing is done after the end, there is
/// always a next moment while nobody delivers, and no moment is waited for a second time.
pub fn race(data: &[u8]) {
    let Some(([flags, routes, first, step], events)) = data.split_first_chunk::<4>() else {
        return;
    };
    let plan: Vec<Step> = (0..usize::from(routes % 6))
        .map(|at| Step {
            route: Route::ALL[(at + usize::from(routes / 6)) % 5],
            patience: Duration::from_millis(u64::from(*first) + at as u64 * u64::from(*step)),
        })
        .collect();
    let (hedged, stale) = (flags & 1 == 1, flags & 2 == 2);
    let mut watch = Watch {
        race: Race::new(&plan, hedged, stale),
        hedged,
        running: BTreeSet::new(),
        delivering: None,
        over: false,
        starts: 0,
    };
    let mut now = Tick(0);
    watch.race.handle(Input::Start, now);
    let mut wake = watch.drain();
    for event in events.chunks_exact(3).take(200) {
        let (what, who, wait) = (event[0], event[1], event[2]);
        // Mostly small steps; the largest goes to the moment that the machine waits for.
        now = match (wait, wake) {
            (255, Some(at)) => at.max(now),
            (wait, _) => now + Duration::from_millis(u64::from(wait) * u64::from(wait)),
        };
        let input = input(what, who);
        watch.before(&input);
        watch.race.handle(input.clone(), now);
        wake = watch.drain();
        if input == Input::Finished {
            watch.over = true;
        }
        if input == Input::Timeout {
            assert!(wake.is_none_or(|at| at > now), "it waits for {wake:?}, which is past");
        }
    }
    assert!(watch.starts <= STARTS * plan.len());

    // Left alone, it comes to rest.
    for _ in 0..=STARTS * plan.len() * 2 + 4 {
        let Some(at) = wake else { return };
        now = now.max(at);
        watch.race.handle(Input::Timeout, now);
        wake = watch.drain();
    }
    panic!("it never comes to rest");
}

impl Watch {
    /// What the shell knows when it reports `input`.
    fn before(&mut self, input: &Input) {
        if let Input::Failed { route, .. } | Input::Stale(route) = input {
            self.running.remove(route);
            self.delivering.take_if(|delivering| delivering == route);
        }
    }

    fn drain(&mut self) -> Option<Tick> {
        loop {
            let output = self.race.poll();
            let Output::Wait(wake) = output else {
                assert!(!self.over, "{output:?} after the end");
                self.take(&output);
                continue;
            };
            assert!(!self.over || wake.is_none(), "it waits after the end");
            return wake;
        }
    }

    fn take(&mut self, output: &Output) {
        match output {
            Output::Start(route) => {
                assert!(self.running.insert(*route), "{route} was started twice");
                self.starts += 1;
            }
            Output::Cancel(route) => {
                self.running.remove(route);
                self.delivering.take_if(|delivering| delivering == route);
            }
            Output::Deliver(route) => {
                assert!(self.running.contains(route), "{route} was not running");
                assert_eq!(self.delivering.replace(*route), None, "two deliver at once");
            }
            Output::DeliverStale | Output::GiveUp => {
                assert!(self.running.is_empty(), "{:?} still run at the end", self.running);
                self.over = true;
            }
            Output::Wait(_) => {}
        }
        assert!(self.hedged || self.running.len() <= 1, "hedged, though it may not be");
    }
}

fn input(what: u8, who: u8) -> Input {
    let route = Route::ALL[usize::from(who % 5)];
    let failures = [
        Failure::Reset,
        Failure::CannotResume,
        Failure::NobodyHasIt,
        Failure::CutOff,
        Failure::NotAuthentic(String::new()),
    ];
    match what % 10 {
        0 | 1 => Input::Timeout,
        2 | 3 => Input::Head(route),
        4 | 5 => Input::Failed {
            route,
            failure: failures[usize::from(who / 5 % 5)].clone(),
            sent: who >= 128,
        },
        6 => Input::Stale(route),
        7 => Input::Waiting,
        8 => Input::Progress,
        _ => Input::Finished,
    }
}
