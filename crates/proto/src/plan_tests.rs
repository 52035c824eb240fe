//! The plan against simulated sources: each has a speed, a way there and back, and manners.

use proptest::prelude::*;

use super::*;

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
            Output::Cancel(order) => {
                world.cancelled.insert(order);
            }
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
    for manner in [READER, FILE] {
        let ran = run(&lines, 0..100 * MIB, manner);
        assert!(beyond(&ran, &lines, 100 * MIB) < 12, "{manner:?}: {ran:?}");
        let sent: u64 = ran.sent.iter().sum();
        assert!(sent < 102 * MIB, "{manner:?}: what one sends another need not: {ran:?}");
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
    plan.handle(Input::Joined(0, Some([0, 1].into_iter().collect())), Tick(0));
    plan.handle(Input::Joined(1, Some(Pieces::default())), Tick(0));
    let Output::Ask(order, 0, bytes) = plan.poll(Tick(0)) else { panic!("{plan:?}") };
    assert!(bytes.start < 2 * PIECE);
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
fn what_one_has_alone_is_divided_among_those_who_fetch_it() {
    const MANY: u64 = 480;
    for manner in [READER, FILE] {
        // Three who fetch it, each of whom knows the other two, and one who has it.
        let asked = [0, 1, 2].map(|own| {
            let mut plan = Plan::new(0..MANY * PIECE, u64::MAX, manner, [7; 32]);
            plan.handle(Input::Joined(9, None), Tick(0));
            let others: Vec<_> = (0..3).filter(|other| *other != own).collect();
            for other in &others {
                plan.handle(Input::Joined(*other, Some(Pieces::default())), Tick(0));
            }
            plan.divide(own as u64, others.iter().map(|other| (*other, *other as u64)));
            let mut asked = Vec::new();
            for ms in 0..100 {
                let now = Tick(ms * 50_000);
                while let Output::Ask(order, 9, bytes) = plan.poll(now) {
                    // A MiB in ten milliseconds: its orders are long.
                    for at in bytes.start / GROUP + 1..=bytes.end / GROUP {
                        let later = now + Duration::from_micros(160 * (at - bytes.start / GROUP));
                        plan.handle(Input::Came(order, at * GROUP), later);
                    }
                    asked.extend(pieces_of(&bytes));
                    if asked.len() >= 24 {
                        return asked;
                    }
                }
            }
            asked
        });
        let all: BTreeSet<_> = asked.iter().flatten().collect();
        assert!(asked.iter().all(|asked| asked.len() >= 24), "{manner:?}: {asked:?}");
        let twice = asked.iter().map(Vec::len).sum::<usize>() - all.len();
        assert!(twice <= 1, "{manner:?}: all but the first piece: {asked:?}");
    }
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
    assert_eq!(bytes.start, MIB + PIECE);
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
    assert!(matches!(plan.poll(Tick(9_000_000)), Output::Cancel(_)), "now it is: {plan:?}");
}

#[test]
fn who_reads_and_pauses_blames_nobody() {
    let (mut plan, order) = begun();
    plan.handle(Input::Came(order, MIB + GROUP), Tick(100_000));
    plan.handle(Input::Slept(Duration::from_secs(60)), Tick(60_100_000));
    assert!(matches!(plan.poll(Tick(60_100_000)), Output::Wait(_)), "{plan:?}");
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
    let lead = plan.begun(0, 0..2 * PIECE, ms(0));
    plan.handle(Input::Joined(0, None), ms(0));
    plan.handle(Input::Joined(1, None), ms(0));
    let Output::Ask(order, 1, bytes) = plan.poll(ms(0)) else { panic!("{plan:?}") };
    plan.handle(Input::Came(order, bytes.end), ms(100));
    let Output::Ask(order, 1, bytes) = plan.poll(ms(100)) else { panic!("{plan:?}") };
    while !matches!(plan.poll(ms(100)), Output::Wait(_)) {}
    for at in 1..=2 {
        plan.handle(Input::Came(lead, at * 4 * GROUP), ms(at * 1000));
        plan.handle(Input::Passed(at * 4 * GROUP), ms(at * 1000));
    }
    plan.handle(Input::Came(order, bytes.end), ms(2000 + ago));
    loop {
        match plan.poll(ms(2000 + ago)) {
            Output::Ask(_, 1, bytes) => return bytes.start,
            Output::Ask(..) | Output::Cancel(_) => {}
            other => panic!("{other:?}: {plan:?}"),
        }
    }
}

#[test]
fn what_a_reader_waits_for_is_asked_of_a_second_source_if_the_first_is_slower_than_usual() {
    // A window takes it four seconds, so that it is late after eight.
    assert!(beside_a_slow_one(700) > 2 * PIECE, "the first one is only slow");
    assert_eq!(beside_a_slow_one(8100), 0);
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
