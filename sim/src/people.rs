//! Who is there: readers at home and on the move, helpers who let others use their lines, and how far all
//! of them are from each other.

use std::time::Duration;

use crate::chance::Chance;

/// A node, by its number.
pub(crate) type Id = usize;

/// Bytes a second of so many megabits.
pub(crate) const fn mbit(n: u64) -> u64 {
    n * 125_000
}

/// Lines of readers and of helpers: down, up, how far it is to the provider in milliseconds, and how many of a
/// hundred have such a one.
const READERS: [(u64, u64, u64, u32); 4] = [
    (mbit(10), mbit(1), 25, 20),
    (mbit(20), mbit(5), 35, 40),
    (mbit(100), mbit(20), 8, 25),
    (mbit(300), mbit(100), 4, 15),
];
const HELPERS: [(u64, u64, u64, u32); 3] =
    [(mbit(50), mbit(10), 12, 30), (mbit(100), mbit(20), 8, 50), (mbit(300), mbit(100), 4, 20)];
/// Providers, and how far it is from one to another and within one, one way.
const PROVIDERS: usize = 5;
const APART: Duration = Duration::from_millis(12);
const WITHIN: Duration = Duration::from_millis(3);
/// How far it is abroad beyond that.
const ABROAD: Duration = Duration::from_millis(25);

/// How a node treats others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// As it is made.
    Honest,
    /// What it sends is not so.
    Lies,
    /// It says that it has a thing, and then sends nothing.
    Stalls,
}

/// One node.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// Whether it helps others.
    pub(crate) open: bool,
    /// Bytes a second.
    pub(crate) down: u64,
    pub(crate) up: u64,
    /// How far it is to its provider, one way.
    pub(crate) access: Duration,
    pub(crate) provider: usize,
    pub(crate) manners: Manners,
    /// Open nodes that it asks: a quiet one through its guards, which come first.
    pub(crate) known: Vec<Id>,
}

/// How far it is from one to another, one way.
pub(crate) fn distance(a: &Person, b: &Person) -> Duration {
    let between = if a.provider == b.provider { WITHIN } else { APART };
    let abroad = if (a.provider == PROVIDERS) == (b.provider == PROVIDERS) {
        Duration::ZERO
    } else {
        ABROAD
    };
    a.access + between + abroad + b.access
}

/// So many people, of whom so many in a thousand help, and so many in a thousand of these mean no good. The
/// injector comes last.
pub(crate) fn draw(chance: &mut Chance, count: usize, open: u32, hostile: u32) -> Vec<Person> {
    let mut people: Vec<_> = (0..count).map(|_| person(chance, open, hostile)).collect();
    people.push(Person {
        open: false,
        down: mbit(1000),
        up: mbit(1000),
        access: Duration::from_millis(1),
        provider: PROVIDERS,
        manners: Manners::Honest,
        known: Vec::new(),
    });
    people
}

fn person(chance: &mut Chance, open: u32, hostile: u32) -> Person {
    let open = chance.hits(open);
    let lines: &[_] = if open { &HELPERS } else { &READERS };
    let mut lot = u32::try_from(chance.below(100)).unwrap_or_default();
    let line = lines.iter().find(|line| {
        let drawn = lot < line.3;
        lot = lot.saturating_sub(line.3);
        drawn
    });
    let (down, up, access, _) = *line.unwrap_or(&lines[0]);
    let manners = match (open && chance.hits(hostile), chance.hits(500)) {
        (false, _) => Manners::Honest,
        (true, true) => Manners::Lies,
        (true, false) => Manners::Stalls,
    };
    let access = Duration::from_millis(access);
    Person { open, down, up, access, provider: chance.below(PROVIDERS), manners, known: Vec::new() }
}
