//! Several who can do the same, asked one beside the other: the next is started when the one before
//! has had its time or has failed, and the first good answer wins.
//!
//! Between routes [`crate::race`] does so, and much more; this is for nodes within one route.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Tick;

/// The machine: `poll` it until it waits, tell it what failed.
#[derive(Debug)]
pub struct Stagger {
    left: VecDeque<(usize, Duration)>,
    running: Vec<usize>,
    next_at: Option<Tick>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Ask this one.
    Start(usize),
    /// Wait for an answer, at most until then.
    Wait(Option<Tick>),
    /// All have failed.
    GiveUp,
}

impl Stagger {
    /// As many as there are patiences, in this order: each has so long before the next is started.
    pub fn new(patiences: impl IntoIterator<Item = Duration>) -> Self {
        let left = patiences.into_iter().enumerate().collect();
        Self { left, running: Vec::new(), next_at: None }
    }

    /// What to do at `now`.
    pub fn poll(&mut self, now: Tick) -> Output {
        let due = self.running.is_empty() || self.next_at.is_none_or(|at| at <= now);
        if due && let Some((at, patience)) = self.left.pop_front() {
            self.running.push(at);
            self.next_at = Some(now + patience);
            return Output::Start(at);
        }
        match self.running.is_empty() {
            true => Output::GiveUp,
            false => Output::Wait(self.next_at.filter(|_| !self.left.is_empty())),
        }
    }

    /// One has failed: the next is due, if it was the last one; else that one still has its time.
    pub fn failed(&mut self, at: usize) {
        if self.running.last() == Some(&at) {
            self.next_at = None;
        }
        self.running.retain(|running| *running != at);
    }

    /// Those that were started before `winner` and have still not answered.
    pub fn overtaken(&self, winner: usize) -> impl Iterator<Item = usize> {
        self.running.iter().copied().take_while(move |at| *at != winner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn at(ms: u64) -> Tick {
        Tick(0) + MS(ms)
    }

    fn three() -> Stagger {
        Stagger::new([MS(100), MS(50), MS(70)])
    }

    #[test]
    fn each_has_its_time_before_the_next_is_asked_beside_it() {
        let mut stagger = three();
        assert_eq!(stagger.poll(at(0)), Output::Start(0));
        assert_eq!(stagger.poll(at(0)), Output::Wait(Some(at(100))));
        assert_eq!(stagger.poll(at(99)), Output::Wait(Some(at(100))));
        assert_eq!(stagger.poll(at(100)), Output::Start(1));
        assert_eq!(stagger.poll(at(100)), Output::Wait(Some(at(150))));
        assert_eq!(stagger.poll(at(151)), Output::Start(2));
        assert_eq!(stagger.poll(at(151)), Output::Wait(None), "there is nobody else");
        assert_eq!(stagger.overtaken(2).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(stagger.overtaken(0).count(), 0);
    }

    #[test]
    fn who_fails_is_not_waited_for() {
        let mut stagger = three();
        assert_eq!(stagger.poll(at(0)), Output::Start(0));
        stagger.failed(0);
        assert_eq!(stagger.poll(at(1)), Output::Start(1));
        assert_eq!(stagger.poll(at(1)), Output::Wait(Some(at(51))));
        assert_eq!(stagger.poll(at(60)), Output::Start(2));
        stagger.failed(1);
        assert_eq!(stagger.poll(at(61)), Output::Wait(None));
        stagger.failed(2);
        assert_eq!(stagger.poll(at(62)), Output::GiveUp);
        assert_eq!(Stagger::new([]).poll(at(0)), Output::GiveUp);
    }

    #[test]
    fn who_fails_late_takes_nobody_elses_time() {
        let mut stagger = three();
        assert_eq!(stagger.poll(at(0)), Output::Start(0));
        assert_eq!(stagger.poll(at(100)), Output::Start(1));
        stagger.failed(0);
        assert_eq!(stagger.poll(at(101)), Output::Wait(Some(at(150))));
        assert_eq!(stagger.poll(at(150)), Output::Start(2));
    }
}
