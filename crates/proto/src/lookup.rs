//! Which resolvers are asked for one name, when each is, how long it is waited for, and when the asking
//! ends.
//!
//! Encrypted ones are asked one beside the other: the next when the one before has had its usual time,
//! and the first good answer wins. Two rules beside speed. What an encrypted resolver has answered is not
//! asked again in clear text, where the provider would see the name: that it does not exist is an answer,
//! and so is an address that no public site can have, by which many resolvers say that they block it.
//! That the resolver could not find out (SERVFAIL) is none: as with silence the next is asked, in clear
//! text too unless the name is hidden, but not before each encrypted one that was asked has had all its
//! time. And a bad moment of an encrypted resolver does not put one in clear text before it; only one
//! that is dead is passed over.

use std::collections::VecDeque;
use std::time::Duration;

use crate::failure::Failure;
use crate::favour::{Favour, Standing};
use crate::time::Tick;

/// A resolver is waited for this long …
pub const LIMIT: Duration = Duration::from_secs(4);
/// … and one that failed lately for this long.
pub const SHORT_LIMIT: Duration = Duration::from_millis(800);
/// The next is asked beside it after its usual time, but not sooner than the first of these and not
/// later than the second.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(750));

/// What a resolver shows to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The provider sees that it is asked, not what for.
    Encrypted,
    /// The provider sees the name, if the resolver is not its own anyway.
    Clear,
}

/// A resolver to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which one, as numbered in the list.
    pub at: usize,
    /// How long it is waited for.
    pub limit: Duration,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Ask this one.
    Ask(Step),
    /// Forget what this one says.
    Drop(usize),
    /// Wait for an answer, at most until then.
    Wait(Option<Tick>),
    /// There is nobody left, and [`Lookup::failure`] says why.
    GiveUp,
}

/// One name being looked up: `poll` it until it waits, tell it what failed.
#[derive(Debug)]
pub struct Lookup {
    left: VecDeque<Asked>,
    running: Vec<Asked>,
    dropped: Vec<usize>,
    next_at: Option<Tick>,
    failure: Failure,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    step: Step,
    kind: Kind,
    patience: Duration,
}

impl Lookup {
    /// A lookup by `resolvers`, in this order but for those that fail. `hidden`: the provider must not
    /// see the name.
    pub fn new(resolvers: &[Kind], hidden: bool, favour: &Favour<usize>, now: Tick) -> Self {
        // Runs of one kind, in which those that fail go last; the dead go last of all.
        let mut run = 0;
        let mut ranked = Vec::with_capacity(resolvers.len());
        for (at, kind) in resolvers.iter().enumerate() {
            run += usize::from(at > 0 && resolvers[at - 1] != *kind);
            let standing = favour.standing(&at, now);
            let limit = if standing == Standing::Good { LIMIT } else { SHORT_LIMIT };
            let patience = favour.patience(&at, now).clamp(PATIENCE.0, PATIENCE.1);
            let rank = (standing == Standing::Dead, run, standing, at);
            ranked.push((rank, Asked { step: Step { at, limit }, kind: *kind, patience }));
        }
        ranked.retain(|(_, asked)| !hidden || asked.kind == Kind::Encrypted);
        ranked.sort_by_key(|(rank, _)| *rank);
        Self {
            left: ranked.into_iter().map(|(_, asked)| asked).collect(),
            running: Vec::new(),
            dropped: Vec::new(),
            next_at: None,
            failure: Failure::NameUnanswered,
        }
    }

    /// What to do at `now`.
    pub fn poll(&mut self, now: Tick) -> Output {
        if let Some(at) = self.dropped.pop() {
            return Output::Drop(at);
        }
        let encrypted = self.running.iter().any(|asked| asked.kind == Kind::Encrypted);
        // The name is not shown while there is hope that it need not be.
        let next = self.left.front().copied();
        let next = next.filter(|next| next.kind == Kind::Encrypted || !encrypted);
        let due = self.running.is_empty() || self.next_at.is_none_or(|at| at <= now);
        if let Some(next) = next.filter(|_| due) {
            self.left.pop_front();
            self.running.push(next);
            self.next_at = Some(now + next.patience);
            return Output::Ask(next.step);
        }
        match self.running.is_empty() {
            true => Output::GiveUp,
            false => Output::Wait(self.next_at.filter(|_| next.is_some())),
        }
    }

    /// One brought no address.
    pub fn failed(&mut self, at: usize, failure: Failure) {
        let Some(place) = self.running.iter().position(|asked| asked.step.at == at) else { return };
        let kind = self.running.remove(place).kind;
        self.next_at = None;
        let answered = matches!(failure, Failure::NameUnknown | Failure::NamePoisoned);
        if answered && kind == Kind::Encrypted {
            self.left.retain(|asked| asked.kind == Kind::Encrypted);
            let clear = self.running.extract_if(.., |asked| asked.kind == Kind::Clear);
            self.dropped.extend(clear.map(|asked| asked.step.at));
        }
        // An answer says more than silence.
        if self.failure == Failure::NameUnanswered || failure != Failure::NameUnanswered {
            self.failure = failure;
        }
    }

    /// Those that were asked before `winner` and have still not answered.
    pub fn overtaken(&self, winner: usize) -> impl Iterator<Item = usize> {
        self.running.iter().map(|asked| asked.step.at).take_while(move |at| *at != winner)
    }

    /// Why there is no address.
    pub fn failure(self) -> Failure {
        self.failure
    }
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
