//! Resolvers beside each other in simulated time, and what may be asked in clear text.

use super::*;

const USUAL: [Kind; 3] = [Kind::Encrypted, Kind::Encrypted, Kind::Clear];
const MS: fn(u64) -> Duration = Duration::from_millis;
const NOW: Tick = Tick(20_000_000);

fn fresh(kinds: &[Kind]) -> Lookup {
    Lookup::new(kinds, false, &Favour::default(), NOW)
}

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

/// Whom it asks now; panics if it wants something else.
fn asked(lookup: &mut Lookup, now: Tick) -> usize {
    match lookup.poll(now) {
        Output::Ask(step) => step.at,
        other => panic!("{other:?}"),
    }
}

/// All whom it asks if each fails at the end of its time, with when that is.
fn silent(mut lookup: Lookup) -> Vec<(usize, Duration)> {
    let (mut now, mut ends, mut all) = (NOW, Vec::<(Tick, usize)>::new(), Vec::new());
    loop {
        let until = match lookup.poll(now) {
            Output::Ask(step) => {
                all.push((step.at, now - NOW));
                ends.push((now + step.limit, step.at));
                continue;
            }
            Output::Drop(at) => panic!("nobody answered, and {at} is dropped"),
            Output::GiveUp => return all,
            Output::Wait(until) => until,
        };
        let (end, at) = *ends.iter().min().expect("somebody is waited for");
        if until.is_some_and(|until| until < end) {
            now = until.unwrap();
            continue;
        }
        now = end;
        ends.retain(|(_, other)| *other != at);
        lookup.failed(at, Failure::NameUnanswered);
    }
}

#[test]
fn encrypted_ones_are_asked_beside_each_other_and_one_in_clear_text_after_all_their_time() {
    assert_eq!(silent(fresh(&USUAL)), [(0, MS(0)), (1, MS(750)), (2, MS(4750))]);
}

#[test]
fn the_next_is_asked_when_the_first_had_its_usual_time() {
    let mut favour = Favour::default();
    favour.worked(&0, MS(200), NOW);
    let lookup = Lookup::new(&USUAL, false, &favour, NOW);
    assert_eq!(silent(lookup)[1], (1, MS(400)));
    favour.worked(&0, MS(1), NOW);
    favour.worked(&0, MS(1), NOW);
    favour.worked(&0, MS(1), NOW);
    let lookup = Lookup::new(&USUAL, false, &favour, NOW);
    assert_eq!(silent(lookup)[1], (1, PATIENCE.0));
}

#[test]
fn who_fails_is_not_waited_for() {
    let mut lookup = fresh(&USUAL);
    assert_eq!(asked(&mut lookup, NOW), 0);
    lookup.failed(0, Failure::NameUnanswered);
    assert_eq!(asked(&mut lookup, NOW), 1);
    assert_eq!(lookup.poll(NOW + LIMIT), Output::Wait(None), "the name is not shown yet");
    lookup.failed(1, Failure::NameUnanswered);
    assert_eq!(asked(&mut lookup, NOW + LIMIT), 2);
    assert_eq!(lookup.overtaken(2).count(), 0);
}

#[test]
fn those_that_another_overtook_are_known() {
    let mut lookup = fresh(&USUAL);
    asked(&mut lookup, NOW);
    asked(&mut lookup, NOW + MS(750));
    assert_eq!(lookup.overtaken(1).collect::<Vec<_>>(), [0]);
    assert_eq!(lookup.overtaken(0).count(), 0);
}

#[test]
fn what_an_encrypted_resolver_answered_is_not_asked_for_in_clear_text() {
    for answer in [Failure::NameUnknown, Failure::NamePoisoned] {
        let mut lookup = fresh(&USUAL);
        assert_eq!(asked(&mut lookup, NOW), 0);
        lookup.failed(0, answer.clone());
        assert_eq!(asked(&mut lookup, NOW), 1);
        lookup.failed(1, Failure::NameUnanswered);
        assert_eq!(lookup.poll(NOW), Output::GiveUp);
        assert_eq!(lookup.failure(), answer);
    }
    // Be it that the other one, asked beside it, is still silent.
    let mut lookup = fresh(&USUAL);
    asked(&mut lookup, NOW);
    asked(&mut lookup, NOW + MS(750));
    lookup.failed(1, Failure::NameUnknown);
    assert_eq!(lookup.poll(NOW + MS(800)), Output::Wait(None));
    lookup.failed(0, Failure::NameUnanswered);
    assert_eq!(lookup.poll(NOW + LIMIT), Output::GiveUp);
}

#[test]
fn an_encrypted_answer_ends_the_asking_in_clear_text() {
    // The dead are asked beside the last one; now and then one lives again.
    let mut lookup = Lookup::new(&USUAL, false, &failing(&[3, 3, 0]), NOW);
    assert_eq!(asked(&mut lookup, NOW), 2);
    assert_eq!(asked(&mut lookup, NOW + LIMIT), 0);
    lookup.failed(0, Failure::NameUnknown);
    assert_eq!(lookup.poll(NOW + LIMIT), Output::Drop(2));
    assert_eq!(asked(&mut lookup, NOW + LIMIT), 1);
}

#[test]
fn silence_is_no_answer_and_the_next_is_asked() {
    let mut lookup = fresh(&USUAL);
    for at in 0..3 {
        assert_eq!(asked(&mut lookup, NOW), at);
        lookup.failed(at, Failure::NameUnanswered);
    }
    assert_eq!(lookup.poll(NOW), Output::GiveUp);
    assert_eq!(lookup.failure(), Failure::NameUnanswered);
}

#[test]
fn in_clear_text_the_next_may_know_better() {
    let mut lookup = fresh(&[Kind::Clear, Kind::Clear]);
    asked(&mut lookup, NOW);
    lookup.failed(0, Failure::NameUnknown);
    assert_eq!(asked(&mut lookup, NOW), 1);
}

#[test]
fn a_hidden_name_is_never_asked_for_in_clear_text() {
    let at = |lookup| silent(lookup).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(at(Lookup::new(&USUAL, true, &failing(&[3, 3, 0]), NOW)), [0, 1]);
    assert_eq!(at(Lookup::new(&[Kind::Clear], true, &Favour::default(), NOW)), []);
}

#[test]
fn a_bad_moment_costs_little_and_shows_no_name() {
    let order = |times| silent(Lookup::new(&USUAL, false, &failing(&times), NOW));
    assert_eq!(order([1, 0, 0]), [(1, MS(0)), (0, MS(750)), (2, LIMIT)]);
    assert_eq!(order([1, 2, 0]), [(0, MS(0)), (1, MS(250)), (2, MS(1050))]);
    assert_eq!(order([3, 3, 0]), [(2, MS(0)), (0, MS(750)), (1, MS(1000))]);
}
