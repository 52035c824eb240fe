//! Who has what a crowd asks an injector for, and how many should have it.
//!
//! An injector that many ask for one page does not send it to each of them. It has open nodes hold it, more
//! of them the more ask, and names some of these to who asks ([`crate::sealed::Part::Held`]). It knows them because
//! it asked them: that a node holds a page says nothing of what its owner reads, and no node says by itself what it has.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::id::{Hash, SnapshotKey};
use crate::time::Tick;

/// So many holders are named to one who asks, and no fewer.
pub const NAMED: usize = 2;
/// Who asks again, since those sent nothing, is told of two by lot, if there are so many that they are hardly the same …
const MANY: usize = 4 * NAMED;
/// … and who was told so often is told no more: it is sent the body.
pub const MOST_NAMED: u8 = 2;
/// Of a body that is shorter than this, in bytes, none are: finding them costs more than to send it. None is asked to
/// hold a longer one than that.
pub const LENGTHS: RangeInclusive<u64> = 32 * 1024..=64 << 20;
/// A page that was asked for so often …
const HOT: usize = 3;
/// … within this time is to be held by as many as asked, …
const RECENT: Duration = Duration::from_secs(60);
/// … up to so many, whom the injector sends it itself, since nobody else could yet, …
const SEEDS: usize = 12;
/// … and by one for so many who asked …
const PER_HOLDER: usize = 3;
/// … within this time, …
const LATELY: Duration = Duration::from_secs(5);
/// … up to so many, so many of whom are loading it at a time.
const MOST: usize = 512;
const MOST_LOADING: usize = 256;
/// Who asked is counted up to so many.
const MOST_COUNTED: usize = 2048;
/// Who said that it holds a page is believed to for so long; then it is asked again, if it is needed.
const HELD_FOR: Duration = Duration::from_secs(600);
/// Who was asked to hold it has to by then. Who does not want to is not asked again for as long.
const LOADS_FOR: Duration = Duration::from_secs(120);
/// Pages at most. The one that nobody has asked for longest goes first.
const MAX_PAGES: usize = 1024;

/// The holders of all pages; a node is named by `P`.
#[derive(Debug)]
pub struct Holders<P> {
    pages: BTreeMap<SnapshotKey, Page<P>>,
    chance: ChaCha8Rng,
}

#[derive(Debug)]
struct Page<P> {
    /// The body that they hold.
    root: Hash,
    /// When it was asked for, and by whom.
    asked: VecDeque<(Tick, P)>,
    holders: Vec<Holder<P>>,
    /// To so many of them the injector has sent it.
    seeds: usize,
}

#[derive(Debug)]
struct Holder<P> {
    node: P,
    since: Tick,
    state: State,
}

/// What a node has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// That it has all of it.
    Whole,
    /// Nothing yet, but it was reached.
    Loads,
    /// Not even that: it is being asked.
    Asked,
    /// That it does not hold it.
    Declined,
}

impl State {
    /// How long that counts.
    fn lasts(self) -> Duration {
        if self == Self::Whole { HELD_FOR } else { LOADS_FOR }
    }
}

impl<P> Page<P> {
    fn count(&self, of: impl Fn(State) -> bool) -> usize {
        self.holders.iter().filter(|holder| of(holder.state)).count()
    }

    fn holder(&mut self, node: P) -> Option<&mut Holder<P>>
    where
        P: Eq,
    {
        self.holders.iter_mut().find(|holder| holder.node == node)
    }
}

impl<P: Copy + Eq> Holders<P> {
    /// None yet. `seed` draws whom who asks is told of.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { pages: BTreeMap::new(), chance: ChaCha8Rng::from_seed(seed) }
    }

    /// Somebody asks for a page, whose body this is now. Who asks again within a moment counts once.
    pub fn asked(&mut self, key: SnapshotKey, root: Hash, asker: P, now: Tick) {
        if !self.pages.contains_key(&key) && self.pages.len() >= MAX_PAGES {
            let last = |page: &Page<P>| page.asked.back().map(|(at, _)| *at);
            let oldest = self.pages.iter().min_by_key(|(_, page)| last(page)).map(|(key, _)| *key);
            oldest.map(|key| self.pages.remove(&key));
        }
        let new = || Page { root, asked: VecDeque::new(), holders: Vec::new(), seeds: 0 };
        let page = self.pages.entry(key).or_insert_with(new);
        if page.root != root {
            (page.root, page.holders, page.seeds) = (root, Vec::new(), 0);
        }
        page.asked.retain(|(at, _)| now - *at < RECENT);
        page.holders.retain(|holder| now - holder.since < holder.state.lasts());
        if lately(page, now).any(|other| other == asker) {
            return;
        }
        if page.asked.len() >= MOST_COUNTED {
            page.asked.pop_front();
        }
        page.asked.push_back((now, asker));
    }

    /// How many more nodes should be asked to hold it.
    pub fn lacks(&self, key: &SnapshotKey, now: Tick) -> usize {
        let Some(page) = self.pages.get(key) else { return 0 };
        let recent = page.asked.len();
        if recent < HOT {
            return 0;
        }
        let wanted = recent.min(SEEDS).max(lately(page, now).count() / PER_HOLDER).min(MOST);
        let loading = page.count(|state| matches!(state, State::Loads | State::Asked));
        let lacks = wanted.saturating_sub(page.count(|state| state != State::Declined));
        lacks.min(MOST_LOADING.saturating_sub(loading))
    }

    /// Chooses those of `nodes` that are to be asked to hold it: the first ones that were not asked lately.
    pub fn choose(
        &mut self,
        key: &SnapshotKey,
        nodes: impl IntoIterator<Item = P>,
        now: Tick,
    ) -> Vec<P> {
        let lacks = self.lacks(key, now);
        let Some(page) = self.pages.get_mut(key) else { return Vec::new() };
        let mut chosen = Vec::new();
        for node in nodes {
            if chosen.len() >= lacks || page.holders.len() >= MOST {
                break;
            }
            if page.holder(node).is_none() {
                page.holders.push(Holder { node, since: now, state: State::Asked });
                chosen.push(node);
            }
        }
        chosen
    }

    /// A node that was asked was reached: what it gets it gives on before it has all of it. These others it is told
    /// of; if they are none, the injector sends it the body itself.
    pub fn loads(&mut self, key: &SnapshotKey, root: Hash, node: P) -> Vec<P> {
        let named = self.named(key, root, 0);
        let Some(page) = self.pages.get_mut(key).filter(|page| page.root == root) else {
            return Vec::new();
        };
        if let Some(holder) = page.holder(node) {
            holder.state = State::Loads;
        }
        if page.seeds < SEEDS || named.is_empty() {
            page.seeds = page.seeds.saturating_add(1);
            return Vec::new();
        }
        named
    }

    /// A node that was asked has this body, or does not want to hold it, or could not get it.
    pub fn said(&mut self, key: &SnapshotKey, root: Hash, node: P, holds: bool, now: Tick) {
        let Some(page) = self.pages.get_mut(key).filter(|page| page.root == root) else { return };
        if let Some(holder) = page.holder(node) {
            holder.since = now;
            holder.state = if holds { State::Whole } else { State::Declined };
        }
    }

    /// Some who hold it, by lot; whoever asks for the first time is told of one at least who has all of it, if there is
    /// one. None, if there are too few for one who has asked so often before.
    pub fn named(&mut self, key: &SnapshotKey, root: Hash, before: u8) -> Vec<P> {
        let Some(page) = self.pages.get(key).filter(|page| page.root == root) else {
            return Vec::new();
        };
        let nameable = |holder: &&Holder<P>| holder.state <= State::Loads;
        let mut left: Vec<_> = page.holders.iter().filter(nameable).collect();
        let enough = if before == 0 { NAMED } else { MANY };
        if left.len() < enough || before >= MOST_NAMED {
            return Vec::new();
        }
        let mut lot = |among: usize| {
            let lot = self.chance.next_u64() % among as u64;
            usize::try_from(lot).unwrap_or(0)
        };
        let mut named: [_; NAMED] = std::array::from_fn(|_| left.swap_remove(lot(left.len())));
        // Who are loading it may all have nothing yet.
        if before == 0 && named.iter().all(|holder| holder.state == State::Loads) {
            left.retain(|holder| holder.state == State::Whole);
            if !left.is_empty() {
                named[0] = left[lot(left.len())];
            }
        }
        named.sort_by_key(|holder| holder.state);
        named.iter().map(|holder| holder.node).collect()
    }
}

/// Who asked lately.
fn lately<P: Copy>(page: &Page<P>, now: Tick) -> impl Iterator<Item = P> {
    let asked = page.asked.iter().rev().take_while(move |(at, _)| now - *at < LATELY);
    asked.map(|(_, asker)| *asker)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SnapshotKey = SnapshotKey([1; 32]);
    const ROOT: Hash = Hash([2; 32]);
    const SECOND: Duration = Duration::from_secs(1);

    /// So many ask, one each `pause`, from `at` on.
    fn crowd(holders: &mut Holders<usize>, many: usize, pause: Duration, at: Tick) -> Tick {
        let mut now = at;
        for asker in 0..many {
            holders.asked(KEY, ROOT, asker, now);
            now = now + pause;
        }
        now
    }

    /// As many as are lacking come to hold it, of these.
    fn hold(holders: &mut Holders<usize>, nodes: std::ops::Range<usize>, now: Tick) {
        load(holders, nodes.clone(), now);
        nodes.for_each(|node| holders.said(&KEY, ROOT, node, true, now));
    }

    fn load(holders: &mut Holders<usize>, nodes: std::ops::Range<usize>, now: Tick) {
        let chosen = holders.choose(&KEY, nodes.clone(), now);
        assert_eq!(chosen, Vec::from_iter(nodes), "so many are lacking");
        for node in chosen {
            holders.loads(&KEY, ROOT, node);
        }
    }

    #[test]
    fn what_few_ask_for_nobody_is_asked_to_hold() {
        let mut holders = Holders::new([0; 32]);
        let mut now = Tick(0);
        for _ in 0..100 {
            now = crowd(&mut holders, 1, SECOND * 35, now);
            assert_eq!(holders.lacks(&KEY, now), 0);
        }
        assert_eq!(holders.lacks(&SnapshotKey([9; 32]), now), 0);
    }

    #[test]
    fn the_more_ask_the_more_hold_it() {
        let mut holders = Holders::new([0; 32]);
        let now = crowd(&mut holders, 5, SECOND * 2, Tick(0));
        assert_eq!(holders.lacks(&KEY, now), 5);
        hold(&mut holders, 0..5, now);
        assert_eq!(holders.lacks(&KEY, now), 0);
        let now = crowd(&mut holders, 20, SECOND, now);
        assert_eq!(holders.lacks(&KEY, now), SEEDS - 5);
        let now = crowd(&mut holders, 1000, SECOND / 100, now);
        assert_eq!(holders.lacks(&KEY, now), 499 / PER_HOLDER - 5);
        let now = crowd(&mut holders, 100_000, SECOND / 10_000, now);
        assert_eq!(holders.lacks(&KEY, now), MOST_LOADING, "not all at once");
        let mut count = 5;
        while holders.lacks(&KEY, now) > 0 {
            hold(&mut holders, count..count + 1, now);
            count += 1;
        }
        assert_eq!(count, MOST);
    }

    #[test]
    fn one_who_asks_without_end_makes_no_crowd() {
        let mut holders = Holders::new([0; 32]);
        for n in 0..100_000 {
            holders.asked(KEY, ROOT, 1, Tick(0) + SECOND / 1000 * n);
        }
        assert!(holders.lacks(&KEY, Tick(0) + SECOND * 100) <= SEEDS);
        assert!(holders.pages[&KEY].asked.len() <= 12);
    }

    #[test]
    fn who_is_asked_is_asked_once_and_not_named_before_it_was_reached() {
        let mut holders = Holders::new([0; 32]);
        let now = crowd(&mut holders, 12, SECOND, Tick(0));
        assert_eq!(holders.choose(&KEY, [1, 2, 1, 3], now), [1, 2, 3]);
        assert!(holders.choose(&KEY, [1, 2, 3], now).is_empty());
        assert!(holders.named(&KEY, ROOT, 0).is_empty());
        holders.loads(&KEY, ROOT, 2);
        holders.loads(&KEY, ROOT, 3);
        let mut named = holders.named(&KEY, ROOT, 0);
        named.sort_unstable();
        assert_eq!(named, [2, 3]);
    }

    #[test]
    fn the_first_ones_are_sent_it_and_the_others_are_told_of_those() {
        let mut holders = Holders::new([0; 32]);
        let now = crowd(&mut holders, 1000, SECOND / 100, Tick(0));
        let nodes = Vec::from_iter(0..100);
        assert_eq!(holders.choose(&KEY, nodes.iter().copied(), now), nodes);
        let told = nodes.iter().map(|node| holders.loads(&KEY, ROOT, *node));
        let told = told.collect::<Vec<_>>();
        assert!(told[..SEEDS].iter().all(Vec::is_empty));
        let others = |node: usize| move |told: &usize| *told < node;
        let fed = |node: usize| told[node].len() == NAMED && told[node].iter().all(others(node));
        assert!((SEEDS..100).all(fed), "{told:?}");
        nodes.iter().for_each(|node| holders.said(&KEY, ROOT, *node, false, now));
        assert_eq!(holders.choose(&KEY, [100], now), [100]);
        assert_eq!(holders.loads(&KEY, ROOT, 100), [], "all others failed");
    }

    #[test]
    fn some_are_named_by_lot_once_there_are_enough_and_the_whole_ones_first() {
        let mut holders = Holders::new([0; 32]);
        let now = crowd(&mut holders, 50, SECOND / 11, Tick(0));
        hold(&mut holders, 0..NAMED - 1, now);
        assert!(holders.named(&KEY, ROOT, 0).is_empty(), "too few");
        hold(&mut holders, NAMED - 1..8, now);
        load(&mut holders, 8..16, now);
        let mut times = [0; 16];
        for _ in 0..1600 {
            let named = holders.named(&KEY, ROOT, 0);
            assert!(named.is_sorted_by_key(|node| *node >= 8), "{named:?}");
            assert!(named.len() == NAMED && named[0] != named[1]);
            named.into_iter().for_each(|node| times[node] += 1);
        }
        let fair = |times: &[i32], about: i32| times.iter().all(|n| (n - about).abs() < 80);
        assert!(fair(&times[..8], 200 + 47) && fair(&times[8..], 200 - 47), "{times:?}");
        let whole = (0..100).all(|_| holders.named(&KEY, ROOT, 0)[0] < 8);
        assert!(whole, "one of them has it");
    }

    #[test]
    fn who_declines_or_is_not_heard_of_any_more_is_not_named() {
        let mut holders = Holders::new([0; 32]);
        let now = crowd(&mut holders, 12, SECOND, Tick(0));
        hold(&mut holders, 0..6, now);
        load(&mut holders, 6..12, now);
        holders.said(&KEY, ROOT, 6, false, now);
        assert_eq!(holders.lacks(&KEY, now), 1);
        assert_eq!(holders.choose(&KEY, [6], now), [], "it is not asked again at once");
        assert!((0..100).all(|_| !holders.named(&KEY, ROOT, 0).contains(&6)));
        let known = |holders: &Holders<usize>| {
            let mut known = Vec::from_iter(holders.pages[&KEY].holders.iter().map(|h| h.node));
            known.sort_unstable();
            known
        };
        holders.asked(KEY, ROOT, 1, now + LOADS_FOR);
        assert_eq!(known(&holders), [0, 1, 2, 3, 4, 5], "the others never came to have it");
        holders.asked(KEY, ROOT, 1, now + HELD_FOR);
        assert_eq!(known(&holders), []);
    }

    #[test]
    fn who_asks_again_is_told_of_others_and_then_sent_it() {
        let mut holders = Holders::new([0; 32]);
        let now = crowd(&mut holders, 12, SECOND, Tick(0));
        hold(&mut holders, 0..MANY - 1, now);
        assert!(holders.named(&KEY, ROOT, 1).is_empty(), "they would be the same");
        hold(&mut holders, MANY - 1..MANY, now);
        assert_eq!(holders.named(&KEY, ROOT, 1).len(), NAMED);
        assert!(holders.named(&KEY, ROOT, MOST_NAMED).is_empty());
    }

    #[test]
    fn a_new_version_begins_anew() {
        let mut holders = Holders::new([0; 32]);
        let now = crowd(&mut holders, 12, SECOND, Tick(0));
        hold(&mut holders, 0..6, now);
        let newer = Hash([3; 32]);
        holders.asked(KEY, newer, 99, now);
        assert!(
            holders.named(&KEY, newer, 0).is_empty() && holders.named(&KEY, ROOT, 0).is_empty()
        );
        assert_eq!(holders.lacks(&KEY, now), SEEDS, "they ask for it all the same");
        assert_eq!(holders.choose(&KEY, [1], now), [1]);
        assert_eq!(holders.lacks(&KEY, now), SEEDS - 1);
        holders.said(&KEY, ROOT, 1, false, now);
        assert_eq!(holders.lacks(&KEY, now), SEEDS - 1, "what it says of the old version is past");
    }

    #[test]
    fn the_table_is_bounded() {
        let mut holders = Holders::<usize>::new([0; 32]);
        for n in 0..2 * MAX_PAGES {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(n as u64).to_be_bytes());
            holders.asked(SnapshotKey(key), ROOT, n, Tick(n as u64));
        }
        assert_eq!(holders.pages.len(), MAX_PAGES);
        crowd(&mut holders, 10_000, Duration::ZERO, Tick(0));
        assert_eq!(holders.pages[&KEY].asked.len(), MOST_COUNTED);
        for node in 0..2 * MOST {
            holders.choose(&KEY, [node], Tick(0));
            holders.said(&KEY, ROOT, node, node % 2 == 0, Tick(0));
        }
        assert_eq!(holders.pages[&KEY].holders.len(), MOST);
    }
}
