//! The race in simulated time.

use proptest::prelude::*;

use super::*;
use crate::failure::Route::{Direct, Injector, Swarm};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn at(ms: u64) -> Tick {
    Tick(ms * 1000)
}

fn plan() -> Vec<Step> {
    [(Direct, 100), (Swarm, 50), (Injector, 200)]
        .map(|(route, patience)| Step { route, patience: MS(patience) })
        .into()
}

fn started(hedged: bool, stale: bool) -> Race {
    let mut race = Race::new(&plan(), hedged, stale);
    race.handle(Input::Start, at(0));
    race
}

fn drain(race: &mut Race) -> Vec<Output> {
    let mut all = Vec::new();
    loop {
        match race.poll() {
            Output::Wait(_) => return all,
            output => all.push(output),
        }
    }
}

fn next_wake(race: &mut Race) -> Tick {
    match race.poll() {
        Output::Wait(Some(tick)) => tick,
        other => panic!("expected a deadline, got {other:?}"),
    }
}

fn fail(route: Route, failure: Failure) -> Input {
    Input::Failed { route, failure, sent: true }
}

#[test]
fn the_second_way_starts_when_the_first_is_silent_for_its_usual_time() {
    let mut race = started(true, false);
    assert_eq!(drain(&mut race), [Output::Start(Direct)]);
    assert_eq!(next_wake(&mut race), at(100));
    race.handle(Input::Timeout, at(100));
    assert_eq!(drain(&mut race), [Output::Start(Swarm)]);
    assert_eq!(next_wake(&mut race), at(150));
}

#[test]
fn a_failure_starts_the_next_way_at_once() {
    let mut race = started(true, false);
    drain(&mut race);
    race.handle(fail(Direct, Failure::Reset), at(3));
    assert_eq!(drain(&mut race), [Output::Start(Swarm)]);
}

#[test]
fn the_first_head_wins_and_the_others_are_cancelled() {
    let mut race = started(true, false);
    race.handle(Input::Timeout, at(100));
    drain(&mut race);
    race.handle(Input::Head(Swarm), at(120));
    assert_eq!(drain(&mut race), [Output::Cancel(Direct), Output::Deliver(Swarm)]);
    race.handle(Input::Head(Direct), at(121));
    assert_eq!(drain(&mut race), []);
}

#[test]
fn when_all_fail_it_gives_up_and_says_why() {
    let mut race = started(true, false);
    race.handle(fail(Direct, Failure::Reset), at(1));
    race.handle(fail(Swarm, Failure::NobodyHasIt), at(2));
    drain(&mut race);
    race.handle(fail(Injector, Failure::NotCertified), at(3));
    assert_eq!(drain(&mut race), [Output::GiveUp]);
    let why: Vec<_> = race.failures().map(|(r, f)| (r, f.clone())).collect();
    let expected = [
        (Direct, Failure::Reset),
        (Swarm, Failure::NobodyHasIt),
        (Injector, Failure::NotCertified),
    ];
    assert_eq!(why, expected);
}

#[test]
fn a_way_over_nodes_that_failed_in_passing_is_tried_again_while_the_request_is_young() {
    let mut race = started(true, false);
    race.handle(fail(Direct, Failure::Unreachable), at(1));
    race.handle(fail(Swarm, Failure::NobodyHasIt), at(2));
    drain(&mut race);
    let (mut now, mut tries) = (3, 1);
    loop {
        race.handle(fail(Injector, Failure::Unreachable), at(now));
        match drain(&mut race)[..] {
            [] => {}
            [Output::GiveUp] => break,
            ref other => panic!("{other:?}"),
        }
        now = next_wake(&mut race).0 / 1000;
        race.handle(Input::Timeout, at(now));
        assert_eq!(drain(&mut race), [Output::Start(Injector)], "nothing else is");
        tries += 1;
    }
    assert_eq!((tries, now), (MAX_TRIES, 3 + 500 + 1000 + 2000 + 4000));

    // One that is silent for long is tried as long as there is time.
    let mut race = Race::new(&plan()[2..], true, false);
    race.handle(Input::Start, at(0));
    race.handle(fail(Injector, Failure::CutOff), at(7_000));
    race.handle(Input::Timeout, at(7_500));
    assert_eq!(drain(&mut race), [Output::Start(Injector), Output::Start(Injector)]);
    race.handle(fail(Injector, Failure::Silent), at(9_500));
    assert_eq!(drain(&mut race), [Output::GiveUp]);
}

#[test]
fn who_rests_is_forgotten_when_another_wins_and_waits_with_no_old_copy() {
    let mut race = started(true, false);
    race.handle(fail(Direct, Failure::Reset), at(1));
    race.handle(fail(Swarm, Failure::Busy("x".into())), at(2));
    drain(&mut race);
    race.handle(Input::Head(Injector), at(3));
    assert_eq!(drain(&mut race), [Output::Deliver(Injector)]);
    race.handle(Input::Timeout, at(20_000));
    assert_eq!(drain(&mut race), []);

    let mut race = started(true, false);
    race.handle(fail(Direct, Failure::Reset), at(1));
    race.handle(fail(Swarm, Failure::Unreachable), at(2));
    drain(&mut race);
    race.handle(Input::Stale(Injector), at(3));
    assert_eq!(drain(&mut race), [Output::DeliverStale]);
}

#[test]
fn a_broken_body_is_gone_on_with_by_who_comes_back() {
    let mut race = Race::new(&plan()[2..], true, false);
    race.handle(Input::Start, at(0));
    race.handle(Input::Head(Injector), at(10));
    drain(&mut race);
    race.handle(fail(Injector, Failure::CutOff), at(60_000));
    assert_eq!(drain(&mut race), [Output::Start(Injector)]);
    race.handle(fail(Injector, Failure::Unreachable), at(60_001));
    let rested = next_wake(&mut race);
    assert!(rested > at(60_001));
    race.handle(Input::Timeout, rested);
    assert_eq!(drain(&mut race), [Output::Start(Injector)]);
    race.handle(Input::Head(Injector), rested);
    assert_eq!(drain(&mut race), [Output::Deliver(Injector)]);
}

#[test]
fn a_stale_copy_is_shown_when_all_fail_or_the_wait_is_long() {
    let mut race = started(true, true);
    for route in [Direct, Swarm, Injector] {
        race.handle(fail(route, Failure::Unreachable), at(1));
    }
    assert_eq!(drain(&mut race).last(), Some(&Output::DeliverStale));

    let mut race = started(true, true);
    drain(&mut race);
    race.handle(Input::Timeout, at(5000));
    assert_eq!(drain(&mut race).last(), Some(&Output::DeliverStale));
}

#[test]
fn an_old_copy_found_on_the_way_is_the_last_resort() {
    let mut race = started(true, false);
    race.handle(fail(Direct, Failure::Reset), at(1));
    race.handle(Input::Stale(Swarm), at(2));
    drain(&mut race);
    race.handle(fail(Injector, Failure::Unreachable), at(3));
    assert_eq!(drain(&mut race), [Output::DeliverStale]);
}

#[test]
fn an_old_copy_found_while_a_body_is_rescued_wakes_nobody() {
    let mut race = started(true, false);
    race.handle(Input::Head(Direct), at(10));
    race.handle(fail(Direct, Failure::CutOff), at(20));
    race.handle(Input::Stale(Swarm), at(30));
    drain(&mut race);
    let late = at(40) + HEAD_LIMIT;
    race.handle(Input::Timeout, late);
    drain(&mut race);
    assert!(next_wake(&mut race) > late, "it would be woken at once, again and again");
}

#[test]
fn a_post_is_tried_again_only_if_no_byte_of_it_was_sent() {
    let mut race = started(false, false);
    assert_eq!(drain(&mut race), [Output::Start(Direct)]);
    race.handle(Input::Timeout, at(5000));
    assert_eq!(drain(&mut race), [], "a POST is never hedged");
    race.handle(Input::Failed { route: Direct, failure: Failure::Refused, sent: false }, at(5001));
    assert_eq!(drain(&mut race), [Output::Start(Swarm)]);
    race.handle(fail(Swarm, Failure::Reset), at(5002));
    assert_eq!(drain(&mut race), [Output::GiveUp]);
}

#[test]
fn a_stalled_body_is_continued_by_another_way() {
    let mut race = started(true, false);
    race.handle(Input::Head(Direct), at(10));
    race.handle(Input::Waiting, at(10));
    race.handle(Input::Progress, at(20));
    race.handle(Input::Waiting, at(30));
    drain(&mut race);
    assert_eq!(next_wake(&mut race), at(30) + STALL.0);
    race.handle(Input::Timeout, at(30) + STALL.0);
    assert_eq!(drain(&mut race), [Output::Start(Swarm)]);
    race.handle(Input::Head(Swarm), at(1600));
    assert_eq!(drain(&mut race), [Output::Cancel(Direct), Output::Deliver(Swarm)]);
}

#[test]
fn a_body_that_comes_back_by_itself_goes_on() {
    let mut race = started(true, false);
    race.handle(Input::Head(Direct), at(10));
    race.handle(Input::Waiting, at(10));
    race.handle(Input::Timeout, at(10) + STALL.0);
    drain(&mut race);
    race.handle(Input::Progress, at(1600));
    assert_eq!(drain(&mut race), [Output::Cancel(Swarm)]);
    race.handle(Input::Waiting, at(1601));
    assert_eq!(next_wake(&mut race), at(1601) + STALL.1.min((at(1600) - at(10)) * 8));
}

#[test]
fn a_broken_body_that_nobody_can_continue_is_cut() {
    let mut race = started(true, false);
    race.handle(Input::Head(Direct), at(10));
    drain(&mut race);
    race.handle(fail(Direct, Failure::CutOff), at(20));
    race.handle(fail(Swarm, Failure::NobodyHasIt), at(21));
    race.handle(fail(Injector, Failure::CannotResume), at(22));
    // The broken way itself is asked once more for the rest, last, before the body is cut.
    let outputs = drain(&mut race);
    assert_eq!(outputs, [Swarm, Injector, Direct].map(Output::Start));
    race.handle(fail(Direct, Failure::Refused), at(23));
    assert_eq!(drain(&mut race).last(), Some(&Output::GiveUp));
}

#[test]
fn copies_that_stop_with_nobody_else_are_asked_for_anew_and_a_site_is_waited_for() {
    for (only, again) in [(Swarm, true), (Direct, false)] {
        let plan = [Step { route: only, patience: MS(100) }];
        let mut race = Race::new(&plan, true, false);
        race.handle(Input::Start, at(0));
        race.handle(Input::Head(only), at(100));
        drain(&mut race);
        race.handle(Input::Waiting, at(100));
        let stalled = next_wake(&mut race);
        race.handle(Input::Timeout, stalled);
        assert_eq!(drain(&mut race), []);
        race.handle(Input::Waiting, stalled);
        let given_up = next_wake(&mut race);
        assert_eq!(given_up, stalled + ALONE);
        race.handle(Input::Timeout, given_up);
        let anew = [Output::Cancel(only), Output::Start(only)];
        assert_eq!(drain(&mut race), if again { &anew[..] } else { &[] });
    }
}

#[test]
fn a_way_that_never_answers_is_given_up() {
    let mut race = Race::new(&plan()[..1], true, false);
    race.handle(Input::Start, at(0));
    drain(&mut race);
    race.handle(Input::Timeout, at(0) + HEAD_LIMIT);
    assert_eq!(drain(&mut race), [Output::Cancel(Direct), Output::GiveUp]);
}

fn any_input() -> impl Strategy<Value = Input> {
    let route = prop_oneof![Just(Direct), Just(Swarm), Just(Injector)];
    let failure = prop_oneof![
        Just(Failure::Reset),
        Just(Failure::CannotResume),
        Just(Failure::NobodyHasIt),
        Just(Failure::CutOff),
    ];
    prop_oneof![
        Just(Input::Timeout),
        route.clone().prop_map(Input::Stale),
        route.clone().prop_map(Input::Head),
        (route, failure, any::<bool>()).prop_map(|(route, failure, sent)| Input::Failed {
            route,
            failure,
            sent
        }),
        Just(Input::Waiting),
        Just(Input::Progress),
        Just(Input::Finished),
    ]
}

proptest! {
    /// Whatever happens in whatever order: a route is never started twice at once, at most one
    /// delivers at a time, a cancelled one is never delivered, and the race ends for good.
    #[test]
    fn invariants_hold_under_any_input(
        inputs in prop::collection::vec((any_input(), 0u64..40_000), 0..60),
        hedged: bool,
        stale: bool,
    ) {
        let mut race = started(hedged, stale);
        let mut now = 0;
        let mut running = std::collections::BTreeSet::new();
        let mut delivering = None;
        let mut over = false;
        let mut starts = 0;
        for (input, wait) in inputs {
            for output in drain(&mut race) {
                prop_assert!(!over, "{output:?} after the end");
                match output {
                    Output::Start(route) => {
                        prop_assert!(running.insert(route), "{route} started twice");
                        starts += 1;
                    }
                    Output::Cancel(route) => {
                        running.remove(&route);
                        if delivering == Some(route) {
                            delivering = None;
                        }
                    }
                    Output::Deliver(route) => {
                        prop_assert!(running.contains(&route));
                        prop_assert_eq!(delivering.replace(route), None);
                    }
                    Output::DeliverStale | Output::GiveUp => over = true,
                    Output::Wait(_) => unreachable!("drained"),
                }
                prop_assert!(hedged || running.len() <= 1);
            }
            if let Input::Failed { route, .. } | Input::Stale(route) = &input {
                running.remove(route);
                if delivering == Some(*route) {
                    delivering = None;
                }
            }
            now += wait;
            race.handle(input, at(now));
        }
        prop_assert!(starts <= 3 * usize::from(MAX_TRIES));
    }
}
