//! The plan against simulated sources: each has a speed, a way there and back, and manners.

use proptest::prelude::*;

use super::*;
use crate::id::Hash;
use crate::superseed::SuperSeed;

const MIB: u64 = 1 << 20;

/// A source that sends what it is asked for, order after order.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Bytes a second.
    speed: u64,
    /// There and back.
    rtt: Duration,
    /// From when on it sends nothing any more.
    until: Option<Tick>,
    /// Whether what it sends is not so.
    lies: bool,
}

impl Line {
    fn new(mbit: u64, rtt_ms: u64) -> Self {
        let (speed, rtt) = (mbit * 125_000, Duration::from_millis(rtt_ms));
        Self { speed, rtt, until: None, lies: false }
    }

    fn silent_after(self, ms: u64) -> Self {
        Self { until: Some(Tick(ms * 1000)), ..self }
    }

    fn lying(self) -> Self {
        Self { lies: true, ..self }
    }
}

/// What a transfer came to.
#[derive(Debug)]
struct Ran {
    took: Duration,
    /// Bytes that each source sent.
    sent: Vec<u64>,
    /// The most bytes that were there and could not be passed on yet.
    held: u64,
    lost: bool,
}

/// Windows of orders on their way, by the time of their arrival.
type Events = std::collections::BTreeMap<(Tick, u64), (Source, Order, u64)>;

struct World<'l> {
    lines: &'l [Line],
    /// Until when each line is taken.
    busy: Vec<Tick>,
    events: Events,
    serial: u64,
    cancelled: std::collections::BTreeSet<Order>,
    sent: Vec<u64>,
}

impl World<'_> {
    fn ask(&mut self, order: Order, source: Source, bytes: Range<u64>, now: Tick) {
        let line = self.lines[source];
        let mut at = (now + line.rtt).max(self.busy[source]);
        let mut byte = bytes.start;
        while byte < bytes.end {
            let next = (byte / GROUP * GROUP + 4 * GROUP).min(bytes.end);
            at = at + Duration::from_micros((next - byte) * 1_000_000 / line.speed);
            if line.until.is_some_and(|until| at >= until) {
                break;
            }
            self.events.insert((at, self.serial), (source, order, next));
            self.serial += 1;
            self.sent[source] += next - byte;
            byte = next;
        }
        self.busy[source] = at;
    }
}

fn run(lines: &[Line], want: Range<u64>, manner: Manner) -> Ran {
    let mut plan = Plan::new(want.clone(), ahead(manner), manner, [7; 32]);
    if manner == FILE {
        plan.gives_on();
    }
    let mut seed = SuperSeed::new([5; 32]);
    let mut world = World {
        lines,
        busy: vec![Tick(0); lines.len()],
        events: Events::new(),
        serial: 0,
        cancelled: Default::default(),
        sent: vec![0; lines.len()],
    };
    let mut now = Tick(0);
    let (mut there, mut shown, mut held) = (Pieces::default(), want.start, 0);
    let mut arrived = std::collections::BTreeMap::<Order, (u64, u64)>::new();
    (0..lines.len()).for_each(|source| plan.handle(Input::Joined(source, None), now));
    let mut lost = false;
    for _ in 0..1_000_000 {
        match plan.poll(now) {
            Output::Ask(order, source, bytes) => {
                assert!(bytes.start % GROUP == 0 && bytes.start < bytes.end, "{bytes:?}");
                assert!(bytes.end % GROUP == 0 || bytes.end == want.end, "{bytes:?}");
                arrived.insert(order, (bytes.start, bytes.end));
                world.ask(order, source, bytes, now);
            }
            Output::Choose(order, source, of, most) => {
                let chosen = seed.choose(Hash([1; 32]), &of, most, now).unwrap();
                let bytes = chosen.start * PIECE..(chosen.end * PIECE).min(want.end);
                arrived.insert(order, (bytes.start, bytes.end));
                world.ask(order, source, bytes.clone(), now);
                plan.handle(Input::Chose(order, bytes), now);
            }
            Output::Cancel(order) => {
                world.cancelled.insert(order);
            }
            Output::Late(_) => {}
            Output::Done => break,
            Output::Lost => {
                lost = true;
                break;
            }
            Output::Wait(until) => {
                let next = world.events.first_key_value().map(|((at, _), _)| *at);
                let Some(to) = next.into_iter().chain(until).min() else {
                    panic!("it waits for nothing: {plan:?}");
                };
                now = now.max(to);
                if next != Some(to) {
                    plan.handle(Input::Timeout, now);
                    continue;
                }
                let Some((_, (source, order, to))) = world.events.pop_first() else { continue };
                if world.cancelled.contains(&order) {
                    continue;
                }
                if world.lines[source].lies {
                    plan.handle(Input::Left(source), now);
                    continue;
                }
                let (from, _) = std::mem::replace(arrived.get_mut(&order).unwrap(), (to, 0));
                plan.handle(Input::Came(order, to), now);
                let end = if to >= want.end { to.div_ceil(PIECE) } else { to / PIECE };
                (from / PIECE..end).for_each(|piece| there.add(piece));
                let left = shown / PIECE..want.end.div_ceil(PIECE);
                held = held.max(left.filter(|piece| there.has(*piece)).count() as u64 * PIECE);
                while shown < want.end && there.has(shown / PIECE) {
                    shown = ((shown / PIECE + 1) * PIECE).min(want.end);
                }
                plan.handle(Input::Passed(shown), now);
            }
        }
    }
    assert!(lost || plan.is_done(), "it came to no end: {plan:?}");
    Ran { took: now - Tick(0), sent: world.sent, held, lost }
}

const READER: Manner = Manner::InOrder;
const FILE: Manner = Manner::RarestFirst;

/// So many bytes may lie there before those that are missing.
fn ahead(manner: Manner) -> u64 {
    if manner == READER { 8 * MIB } else { u64::MAX }
}

/// So much longer than all lines together need, in per cent.
fn beyond(ran: &Ran, lines: &[Line], bytes: u64) -> u64 {
    let all: u64 = lines.iter().map(|line| line.speed).sum();
    let ideal = bytes * 1_000_000 / all;
    (u64::try_from(ran.took.as_micros()).unwrap() * 100 / ideal).saturating_sub(100)
}

#[test]
fn one_source_is_kept_busy() {
    for line in [Line::new(100, 100), Line::new(5, 30), Line::new(1000, 5)] {
        let ran = run(&[line], 0..100 * MIB, READER);
        assert!(beyond(&ran, &[line], 100 * MIB) < 15, "{line:?}: {ran:?}");
        assert_eq!(ran.sent[0], 100 * MIB);
    }
}

#[test]
fn several_sources_are_as_quick_as_all_of_them_together() {
    let lines = [Line::new(20, 40), Line::new(20, 80), Line::new(5, 200), Line::new(50, 20)];
    // A reader is not let wait for the slower ones at the end.
    for (manner, twice) in [(READER, 6), (FILE, 2)] {
        let ran = run(&lines, 0..100 * MIB, manner);
        assert!(beyond(&ran, &lines, 100 * MIB) < 12, "{manner:?}: {ran:?}");
        let sent: u64 = ran.sent.iter().sum();
        assert!(sent < (100 + twice) * MIB, "{manner:?}: what one sends another need not: {ran:?}");
    }
}

#[test]
fn a_reader_is_shown_the_beginning_first_and_no_more_is_held_than_said() {
    let lines = [Line::new(20, 40), Line::new(1, 300), Line::new(20, 40)];
    let ran = run(&lines, 0..64 * MIB, READER);
    assert!(ran.held <= 8 * MIB + PIECE, "{ran:?}");
}

#[test]
fn who_falls_silent_is_replaced() {
    let lines = [Line::new(20, 40), Line::new(20, 40).silent_after(3000), Line::new(20, 40)];
    let left = [lines[0], lines[2]];
    for manner in [READER, FILE] {
        let ran = run(&lines, 0..50 * MIB, manner);
        assert!(beyond(&ran, &left, 50 * MIB) < 15, "{manner:?}: {ran:?}");
    }
}

#[test]
fn who_never_says_anything_holds_little_up() {
    let lines = [Line::new(20, 40), Line::new(20, 40).silent_after(0), Line::new(20, 40)];
    let ran = run(&lines, 0..20 * MIB, READER);
    assert!(beyond(&ran, &[lines[0], lines[2]], 20 * MIB) < 20, "{ran:?}");
}

#[test]
fn who_lies_is_asked_no_more() {
    let lines = [Line::new(100, 10).lying(), Line::new(20, 40)];
    let ran = run(&lines, 0..20 * MIB, READER);
    assert!(!ran.lost && beyond(&ran, &lines[1..], 20 * MIB) < 15, "{ran:?}");
    let ran = run(&lines[..1], 0..20 * MIB, READER);
    assert!(ran.lost, "there is nobody left: {ran:?}");
}

#[test]
fn who_has_died_alone_is_given_up_in_the_end() {
    let ran = run(&[Line::new(20, 40).silent_after(1000)], 0..20 * MIB, READER);
    assert!(ran.lost && ran.took < Duration::from_secs(60), "{ran:?}");
}

#[test]
fn a_part_begins_and_ends_where_it_is_wanted() {
    let lines = [Line::new(20, 40), Line::new(20, 40)];
    for want in [5..6, 300_000..300_001, 70_000..3 * MIB + 5, MIB..2 * MIB] {
        let ran = run(&lines, want.clone(), READER);
        let sent: u64 = ran.sent.iter().sum();
        assert!(sent < want.end - want.start + 2 * GROUP, "{want:?}: {ran:?}");
    }
}

#[test]
fn only_who_has_a_piece_is_asked_for_it() {
    let mut plan = Plan::new(0..8 * PIECE, ahead(FILE), FILE, [7; 32]);
    plan.handle(Input::Joined(0, Some([0, 2].into_iter().collect())), Tick(0));
    plan.handle(Input::Joined(1, Some(Pieces::default())), Tick(0));
    let Output::Ask(order, 0, bytes) = plan.poll(Tick(0)) else { panic!("{plan:?}") };
    assert!([0, 2 * PIECE].contains(&bytes.start) && bytes.end == bytes.start + PIECE);
    assert!(matches!(plan.poll(Tick(0)), Output::Wait(_)), "nobody has more");
    plan.handle(Input::Has(1, 5), Tick(0));
    let asked = plan.poll(Tick(0));
    assert!(matches!(&asked, Output::Ask(_, 1, bytes) if bytes.start == 5 * PIECE), "{asked:?}");
    plan.handle(Input::Has(1, 9), Tick(0));
    plan.handle(Input::Came(order, bytes.end), Tick(1000));
    assert!(matches!(plan.poll(Tick(1000)), Output::Ask(_, 0, _)));
}

#[test]
fn the_rarest_is_asked_for_first() {
    for seed in 0..8 {
        let mut plan = Plan::new(0..4 * PIECE, ahead(FILE), FILE, [seed; 32]);
        let common: Pieces = [0, 1, 3].into_iter().collect();
        plan.handle(Input::Joined(0, None), Tick(0));
        plan.handle(Input::Joined(1, Some(common)), Tick(0));
        let Output::Ask(_, 0, bytes) = plan.poll(Tick(0)) else { panic!("{plan:?}") };
        assert_eq!(bytes.start, 2 * PIECE);
    }
}

#[test]
fn who_has_all_gives_each_of_those_who_fetch_it_something_else() {
    const MANY: u64 = 480;
    for manner in [READER, FILE] {
        // Three who fetch it and know nothing of each other, each somebody else, and one who has it.
        let mut seed = SuperSeed::new([3; 32]);
        let asked = [0, 1, 2].map(|_| {
            let mut plan = Plan::new(0..MANY * PIECE, u64::MAX, manner, [7; 32]);
            plan.gives_on();
            plan.handle(Input::Joined(9, None), Tick(0));
            plan.handle(Input::Joined(1, Some(Pieces::default())), Tick(0));
            let mut asked = Vec::new();
            for ms in 0..100 {
                let now = Tick(ms * 50_000);
                while let Output::Choose(order, 9, of, most) = plan.poll(now) {
                    let chosen = seed.choose(Hash([1; 32]), &of, most, now).unwrap();
                    let bytes = chosen.start * PIECE..chosen.end * PIECE;
                    plan.handle(Input::Chose(order, bytes.clone()), now);
                    // A MiB in ten milliseconds: its orders are long.
                    for at in bytes.start / GROUP + 1..=bytes.end / GROUP {
                        let later = now + Duration::from_micros(160 * (at - bytes.start / GROUP));
                        plan.handle(Input::Came(order, at * GROUP), later);
                    }
                    asked.extend(chosen);
                    if asked.len() >= 24 {
                        return asked;
                    }
                }
            }
            asked
        });
        let all: BTreeSet<_> = asked.iter().flatten().collect();
        assert!(asked.iter().all(|asked| asked.len() >= 24), "{manner:?}: {asked:?}");
        assert_eq!(asked.iter().map(Vec::len).sum::<usize>(), all.len(), "{manner:?}: {asked:?}");
    }
}

#[test]
fn who_has_all_may_choose_though_all_lack_one_piece_more_than_others() {
    let mut plan = Plan::new(0..200 * PIECE, u64::MAX, FILE, [7; 32]);
    plan.gives_on();
    plan.handle(Input::Joined(9, None), Tick(0));
    let others = (0..200).filter(|piece| *piece != 42).collect();
    plan.handle(Input::Joined(1, Some(others)), Tick(0));
    let mut outputs = std::iter::repeat_with(|| plan.poll(Tick(0))).take(3);
    let of = outputs.find_map(|output| match output {
        Output::Choose(_, 9, of, _) => Some(of),
        _ => None,
    });
    assert!(of.is_some_and(|of| of.contains(&42) && of.len() >= LEAST_NAMED));
}

/// One that gives on what it gets has let the source 9 choose.
fn choosing() -> (Plan, Order, Vec<u64>) {
    let mut plan = Plan::new(0..8 * PIECE, u64::MAX, FILE, [7; 32]);
    plan.gives_on();
    plan.handle(Input::Joined(9, None), Tick(0));
    let Output::Choose(order, 9, of, FIRST_PIECES) = plan.poll(Tick(0)) else { panic!("{plan:?}") };
    (plan, order, of)
}

#[test]
fn who_chooses_what_it_may_not_is_asked_no_more() {
    for bytes in
        [8 * PIECE..9 * PIECE, 0..0, 0..100 * PIECE, GROUP..PIECE, 0..PIECE - GROUP, 0..8 * PIECE]
    {
        let (mut plan, order, of) = choosing();
        assert_eq!(of, (0..8).collect::<Vec<_>>());
        plan.handle(Input::Chose(order, bytes), Tick(1000));
        assert!(!plan.knows(9), "{plan:?}");
    }
}

#[test]
fn what_came_from_others_before_it_was_chosen_is_not_wanted_twice() {
    let (mut plan, order, _) = choosing();
    plan.handle(Input::There(3), Tick(1000));
    plan.handle(Input::Chose(order, 3 * PIECE..4 * PIECE), Tick(1000));
    assert_eq!(plan.poll(Tick(1000)), Output::Cancel(order));
    assert!(plan.knows(9) && matches!(plan.poll(Tick(1000)), Output::Choose(..)), "{plan:?}");
}

#[test]
fn who_never_chooses_is_asked_no_more() {
    let (mut plan, _, _) = choosing();
    assert_eq!(plan.poll(Tick(0) + LIMITS.1), Output::Cancel(1));
    assert!(!plan.knows(9), "{plan:?}");
}

#[test]
fn what_was_begun_before_is_gone_on_with() {
    let mut plan = Plan::new(0..8 * MIB, ahead(READER), READER, [7; 32]);
    let lead = plan.begun(3, 0..MIB, Tick(0));
    plan.handle(Input::Joined(3, None), Tick(0));
    plan.handle(Input::Joined(4, None), Tick(0));
    let Output::Ask(_, 4, bytes) = plan.poll(Tick(0)) else { panic!("{plan:?}") };
    assert_eq!(bytes.start, MIB);
    assert!(matches!(plan.poll(Tick(0)), Output::Wait(_)));
    plan.handle(Input::Came(lead, GROUP), Tick(40_000));
    let Output::Ask(_, 3, bytes) = plan.poll(Tick(40_000)) else { panic!("{plan:?}") };
    assert_eq!(bytes.start, MIB + FIRST_PIECES * PIECE);
}

/// A plan whose first source has sent the lead quickly and has all, and what it is asked for then.
fn begun() -> (Plan, Order) {
    let mut plan = Plan::new(0..8 * MIB, ahead(READER), READER, [7; 32]);
    let lead = plan.begun(0, 0..MIB, Tick(0));
    (1..=16).for_each(|n| plan.handle(Input::Came(lead, n * MIB / 16), Tick(n * 1000)));
    plan.handle(Input::Passed(MIB), Tick(16_000));
    plan.handle(Input::Joined(0, None), Tick(17_000));
    let Output::Ask(order, 0, _) = plan.poll(Tick(17_000)) else { panic!("{plan:?}") };
    while !matches!(plan.poll(Tick(17_000)), Output::Wait(_)) {}
    (plan, order)
}

#[test]
fn the_way_there_and_back_is_no_silence() {
    let (mut plan, _) = begun();
    assert!(matches!(plan.poll(Tick(1_500_000)), Output::Wait(Some(_))), "{plan:?}");
    assert_eq!(plan.poll(Tick(9_000_000)), Output::Late(0), "now it is: {plan:?}");
}

#[test]
fn what_is_late_may_come_from_others_or_still_from_who_was_asked() {
    let (mut plan, order) = begun();
    assert_eq!(plan.poll(Tick(9_000_000)), Output::Late(0));
    while !matches!(plan.poll(Tick(9_000_000)), Output::Wait(_)) {}
    plan.handle(Input::Joined(1, None), Tick(9_100_000));
    let Output::Ask(_, 1, bytes) = plan.poll(Tick(9_100_000)) else { panic!("{plan:?}") };
    assert_eq!(bytes.start, MIB, "what is late first");
    plan.handle(Input::Came(order, MIB + FIRST_PIECES * PIECE), Tick(9_200_000));
    assert!(matches!(plan.poll(Tick(9_200_000)), Output::Cancel(_)), "it came after all");
    assert!(plan.knows(0));
}

#[test]
fn one_order_that_hangs_is_given_up_though_its_source_goes_on() {
    let (mut plan, order) = begun();
    let hung = order + 1;
    assert_eq!(plan.poll(Tick(9_000_000)), Output::Late(0));
    let mut now = Tick(9_000_000);
    let mut again = false;
    while !again {
        now = now + Duration::from_secs(1);
        assert!(now < Tick(60_000_000), "{plan:?}");
        match plan.poll(now) {
            Output::Ask(order, 0, bytes) => {
                again = order > hung && bytes.start == MIB + FIRST_PIECES * PIECE;
                plan.handle(Input::Came(order, bytes.end), now);
            }
            Output::Cancel(_) | Output::Wait(_) => {}
            other => panic!("{other:?}: {plan:?}"),
        }
    }
    assert!(plan.knows(0));
}

#[test]
fn who_is_late_for_long_is_asked_no_more() {
    let (mut plan, _) = begun();
    let mut now = Tick(0);
    while plan.knows(0) {
        assert!(now < Tick(60_000_000), "{plan:?}");
        now = now + Duration::from_secs(1);
        while !matches!(plan.poll(now), Output::Wait(_) | Output::Lost) {}
    }
    assert_eq!(plan.poll(now), Output::Lost);
}

#[test]
fn who_reads_and_pauses_blames_nobody() {
    let (mut plan, order) = begun();
    plan.handle(Input::Came(order, MIB + GROUP), Tick(100_000));
    plan.handle(Input::Slept(Duration::from_secs(60)), Tick(60_100_000));
    assert!(matches!(plan.poll(Tick(60_100_000)), Output::Wait(_)), "{plan:?}");
}

#[test]
fn a_pause_ends_no_order_that_is_late() {
    let (mut plan, _) = begun();
    assert_eq!(plan.poll(Tick(9_000_000)), Output::Late(0));
    plan.handle(Input::Slept(Duration::from_secs(60)), Tick(69_000_000));
    loop {
        match plan.poll(Tick(69_000_000)) {
            Output::Wait(_) => break,
            other => assert!(!matches!(other, Output::Cancel(_)), "{other:?}"),
        }
    }
    assert!(plan.knows(0));
}

#[test]
fn a_slow_line_is_not_a_dead_one() {
    let line = Line { speed: 30_000, ..Line::new(1, 400) };
    let ran = run(&[line], 0..2 * MIB, READER);
    assert!(!ran.lost && beyond(&ran, &[line], 2 * MIB) < 20, "{ran:?}");
}

/// What the second source is asked for when the first is slow with the next piece, whose last bytes came so many
/// milliseconds ago.
fn beside_a_slow_one(ago: u64) -> u64 {
    let ms = |ms: u64| Tick(ms * 1000);
    let mut plan = Plan::new(0..64 * MIB, ahead(READER), READER, [7; 32]);
    let lead = plan.begun(0, 0..8 * PIECE, ms(0));
    plan.handle(Input::Joined(0, None), ms(0));
    plan.handle(Input::Joined(1, None), ms(0));
    let Output::Ask(order, 1, bytes) = plan.poll(ms(0)) else { panic!("{plan:?}") };
    plan.handle(Input::Came(order, bytes.end), ms(100));
    let Output::Ask(order, 1, bytes) = plan.poll(ms(100)) else { panic!("{plan:?}") };
    while !matches!(plan.poll(ms(100)), Output::Wait(_)) {}
    for at in 1..=2 {
        plan.handle(Input::Came(lead, at * PIECE), ms(at * 1000));
        plan.handle(Input::Passed(at * PIECE), ms(at * 1000));
    }
    plan.handle(Input::Came(order, bytes.end), ms(2000 + ago));
    loop {
        match plan.poll(ms(2000 + ago)) {
            Output::Ask(_, 1, bytes) => return bytes.start,
            Output::Ask(..) | Output::Cancel(_) | Output::Late(_) => {}
            other => panic!("{other:?}: {plan:?}"),
        }
    }
}

#[test]
fn what_a_reader_waits_for_is_asked_of_a_second_source_if_the_first_is_slower_than_usual() {
    // A window takes it four seconds, so that it is late after eight.
    assert!(beside_a_slow_one(700) > 8 * PIECE, "the first one is only slow");
    assert_eq!(beside_a_slow_one(8100), 2 * PIECE);
}

#[test]
fn news_that_failed_stop_nothing_that_comes() {
    let mut plan = Plan::new(0..8 * MIB, ahead(READER), READER, [7; 32]);
    let lead = plan.begun(0, 0..MIB, Tick(0));
    plan.handle(Input::Settled(0), Tick(1000));
    assert!(matches!(plan.poll(Tick(1000)), Output::Wait(Some(_))) && !plan.hopes());
    plan.handle(Input::Came(lead, MIB), Tick(2000));
    assert!(matches!(plan.poll(Tick(2000)), Output::Wait(None)), "{plan:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn it_ends_whatever_the_sources_do(
        lines in prop::collection::vec((1u64..50, 1u64..400, prop::option::of(0u64..20_000), prop::bool::weighted(0.2)), 1..8),
        from in 0u64..3 * MIB,
        len in 1u64..12 * MIB,
        rarest: bool,
    ) {
        let mut all: Vec<_> = lines.into_iter().map(|(mbit, rtt, until, lies)| Line {
            until: until.map(|ms| Tick(ms * 1000)),
            lies,
            ..Line::new(mbit, rtt)
        }).collect();
        // One that is good is enough.
        all.push(Line::new(10, 50));
        let manner = if rarest { FILE } else { READER };
        let ran = run(&all, from..from + len, manner);
        prop_assert!(!ran.lost, "{ran:?}");
    }
}
