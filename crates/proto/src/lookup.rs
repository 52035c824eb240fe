//! In which order resolvers are asked for one name, how long each is waited for, and when the asking
//! ends.
//!
//! Two rules beside speed. What an encrypted resolver has answered is not asked again in clear text,
//! where the provider would see the name: that it does not exist is an answer, and so is an address that
//! no public site can have, by which many resolvers say that they block it. That the resolver could not
//! find out (SERVFAIL) is none: as with silence the next is asked, in clear text too unless the name is
//! hidden. And a bad moment of an encrypted resolver does not put one in clear text before it; only one
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

/// One name being looked up.
#[derive(Debug)]
pub struct Lookup {
    left: VecDeque<(Step, Kind)>,
    asked: Option<Kind>,
    failure: Failure,
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
            let rank = (standing == Standing::Dead, run, standing, at);
            ranked.push((rank, Step { at, limit }, *kind));
        }
        ranked.retain(|(_, _, kind)| !hidden || *kind == Kind::Encrypted);
        ranked.sort_by_key(|(rank, _, _)| *rank);
        let left = ranked.into_iter().map(|(_, step, kind)| (step, kind)).collect();
        Self { left, asked: None, failure: Failure::NameUnanswered }
    }

    /// Whom to ask next; `None` if there is nobody left, and [`Lookup::failure`] says why.
    pub fn next_step(&mut self) -> Option<Step> {
        let (step, kind) = self.left.pop_front()?;
        self.asked = Some(kind);
        Some(step)
    }

    /// The one asked last brought no address.
    pub fn failed(&mut self, failure: Failure) {
        let answered = matches!(failure, Failure::NameUnknown | Failure::NamePoisoned);
        if answered && self.asked == Some(Kind::Encrypted) {
            self.left.retain(|(_, kind)| *kind == Kind::Encrypted);
        }
        // An answer says more than silence.
        if self.failure == Failure::NameUnanswered || failure != Failure::NameUnanswered {
            self.failure = failure;
        }
    }

    /// Why there is no address.
    pub fn failure(self) -> Failure {
        self.failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: [Kind; 3] = [Kind::Encrypted, Kind::Encrypted, Kind::Clear];

    fn all(mut lookup: Lookup) -> Vec<(usize, Duration)> {
        std::iter::from_fn(|| lookup.next_step()).map(|step| (step.at, step.limit)).collect()
    }

    const NOW: Tick = Tick(20_000_000);

    /// Each failed so often, with some seconds in between, up to now.
    fn failing(times: &[u64; 3]) -> Favour<usize> {
        let mut favour = Favour::default();
        for (at, times) in times.iter().enumerate() {
            for n in (0..*times).rev() {
                favour.failed(&at, Tick(NOW.0 - n * 6_000_000));
            }
        }
        favour
    }

    #[test]
    fn what_an_encrypted_resolver_answered_is_not_asked_for_in_clear_text() {
        for answer in [Failure::NameUnknown, Failure::NamePoisoned] {
            let mut lookup = Lookup::new(&USUAL, false, &Favour::default(), Tick(0));
            assert_eq!(lookup.next_step().map(|step| step.at), Some(0));
            lookup.failed(answer.clone());
            assert_eq!(lookup.next_step().map(|step| step.at), Some(1));
            lookup.failed(Failure::NameUnanswered);
            assert_eq!(lookup.next_step(), None);
            assert_eq!(lookup.failure(), answer);
        }
    }

    #[test]
    fn silence_is_no_answer_and_the_next_is_asked() {
        let mut lookup = Lookup::new(&USUAL, false, &Favour::default(), Tick(0));
        for at in 0..3 {
            assert_eq!(lookup.next_step().map(|step| step.at), Some(at));
            lookup.failed(Failure::NameUnanswered);
        }
        assert_eq!(lookup.failure(), Failure::NameUnanswered);
    }

    #[test]
    fn in_clear_text_the_next_may_know_better() {
        let kinds = [Kind::Clear, Kind::Clear];
        let mut lookup = Lookup::new(&kinds, false, &Favour::default(), Tick(0));
        lookup.next_step();
        lookup.failed(Failure::NameUnknown);
        assert_eq!(lookup.next_step().map(|step| step.at), Some(1));
    }

    #[test]
    fn a_hidden_name_is_never_asked_for_in_clear_text() {
        let lookup = Lookup::new(&USUAL, true, &failing(&[3, 3, 0]), NOW);
        assert_eq!(all(lookup), [(0, SHORT_LIMIT), (1, SHORT_LIMIT)]);
        assert_eq!(all(Lookup::new(&[Kind::Clear], true, &Favour::default(), Tick(0))), []);
    }

    #[test]
    fn a_bad_moment_costs_little_and_shows_no_name() {
        let order = |times| all(Lookup::new(&USUAL, false, &failing(&times), NOW));
        assert_eq!(order([1, 0, 0]), [(1, LIMIT), (0, SHORT_LIMIT), (2, LIMIT)]);
        assert_eq!(order([1, 2, 0]), [(0, SHORT_LIMIT), (1, SHORT_LIMIT), (2, LIMIT)]);
        assert_eq!(order([3, 3, 0]), [(2, LIMIT), (0, SHORT_LIMIT), (1, SHORT_LIMIT)]);
    }
}
