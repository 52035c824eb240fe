//! What worked lately, for which site, on this network: a memory with decay that orders the routes
//! and says how long to wait for one before the next is started.
//!
//! No fixed seconds: a way that is known to answer in 80 ms is hedged at its own 95th percentile,
//! and one that was reset a minute ago is not waited for at all. Failures are forgotten in minutes,
//! successes in weeks. It holds no names of sites, but hashes of them under a key of the store's; how
//! it is kept over restarts is in [`kept`], and which network it is of in [`crate::networks`].

mod kept;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::failure::{Failure, Route};
use crate::page::HostName;
use crate::time::Tick;

/// Samples of the time to a head that are kept per site and route.
const SAMPLES: usize = 32;
/// Sites remembered on one network; the one untouched for longest goes first.
const MAX_SITES: usize = 4096;
/// After this long half of a failure's weight is forgotten.
const HALF_LIFE: Duration = Duration::from_secs(10 * 60);
/// After this long what is expected of a way is half what it did, half what is expected of any …
const GOOD_HALF_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// … and after this long it counts for nothing.
const GOOD_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// From this weight on a route counts as broken and is tried only beside or after others.
const BROKEN: f64 = 0.5;
/// Failures weigh no more than this, however many they are.
const MOST_WEIGHT: f64 = 8.0;
/// Those of one moment, as when all parts of a page are loaded at once, count as one.
const MOMENT: Duration = Duration::from_secs(2);
/// A broken route is tried again by a reader's own load after this, then after twice as long each
/// time it fails, until its weight is forgotten; and up to a quarter later, as it falls out.
const AGAIN: Duration = Duration::from_secs(20);
/// Hedging is never faster than this: below it, two tries cost more than the wait.
const LEAST_WAIT: Duration = Duration::from_millis(30);
/// … and never slower.
const MOST_WAIT: Duration = Duration::from_secs(3);

/// Those who may have a page that is known to be had are waited for so long.
const COPY_WAIT: Duration = Duration::from_secs(1);

/// When to start a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The route.
    pub route: Route,
    /// How long after it was started the next one is, if no head has come.
    pub patience: Duration,
}

/// The plan for a page whose newest head is known: those who may have it are asked before an injector, which is spared if
/// one of them does.
pub fn copies_first(plan: &[Step]) -> Vec<Step> {
    let mut plan = plan.to_vec();
    let at = |plan: &[Step], route| plan.iter().position(|step| step.route == route);
    let Some(swarm) = at(&plan, Route::Swarm) else { return plan };
    plan[swarm].patience = plan[swarm].patience.max(COPY_WAIT);
    if let Some(injector) = at(&plan, Route::Injector).filter(|injector| *injector < swarm) {
        let step = plan.remove(injector);
        plan.insert(swarm, step);
    }
    plan
}

/// A key under which names of sites are hashed.
pub type SiteKey = [u8; 32];

/// A site, for those who know the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
struct Tag(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);

/// What is remembered of one network.
#[derive(Default)]
pub struct Memory {
    key: SiteKey,
    sites: BTreeMap<Tag, Entry>,
    /// All sites together: what is assumed of one never seen.
    any: [Ways; 5],
    touches: u64,
}

#[derive(Debug, Default)]
struct Entry {
    ways: [Ways; 5],
    touched: u64,
}

/// How one route did.
#[derive(Debug, Default)]
struct Ways {
    /// The latest times to a head, as they came …
    heads: VecDeque<Duration>,
    /// … and in order of length.
    sorted: Vec<Duration>,
    worked_at: Tick,
    failures: f64,
    failed_at: Tick,
    /// Whether it answered when it failed last, and then stopped: that it answers says nothing then.
    stops: bool,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} sites)", self.sites.len())
    }
}

impl Memory {
    /// One that remembers nothing yet, of sites by hashes under `key`.
    pub fn new(key: SiteKey) -> Self {
        Self { key, ..Self::default() }
    }

    /// Notes that a head came after `took`.
    pub fn worked(&mut self, site: &HostName, route: Route, took: Duration, now: Tick) {
        self.entry(site).ways[route as usize].worked(took, now);
        self.any[route as usize].worked(took, now);
    }

    /// Notes a failure. Those that say nothing about the way are not counted, and a refusal by
    /// one site is not held against the way to others.
    pub fn failed(&mut self, site: &HostName, route: Route, failure: &Failure, now: Tick) {
        if !failure.is_neutral() {
            self.entry(site).ways[route as usize].failed(failure, now);
        }
    }

    /// Orders `routes` for `site`: the quickest that is not broken first, broken ones last. The
    /// given order decides between routes of which nothing is known.
    pub fn plan(&self, site: &HostName, routes: &[Route], now: Tick) -> Vec<Step> {
        let mut ranked: Vec<_> = routes
            .iter()
            .enumerate()
            .map(|(given, route)| {
                let broken = self.is_broken(site, *route, now);
                let expected = self.expected(site, *route, 50, now);
                // Others are troubled before the open web only if that was quicker by far.
                (broken, bucket(expected) + burden(*route), given, *route)
            })
            .collect();
        ranked.sort_unstable();
        let stops = |(broken, _, _, route): &(bool, u32, usize, Route)| {
            *broken && self.of(site).is_some_and(|entry| entry.ways[*route as usize].stops)
        };
        ranked
            .iter()
            .enumerate()
            .map(|(place, (broken, _, _, route))| {
                let patience = match broken {
                    // One that answers and then stops would win, were it tried beside a slow one.
                    _ if ranked.get(place + 1).is_some_and(stops) => MOST_WAIT,
                    true => Duration::ZERO,
                    false => self.expected(site, *route, 95, now).clamp(LEAST_WAIT, MOST_WAIT),
                };
                Step { route: *route, patience }
            })
            .collect()
    }

    /// Whether `route` failed for `site` so lately that it is not worth waiting for. Now and then a load
    /// is worth the wait: a block that was lifted is found out by that.
    pub fn is_broken(&self, site: &HostName, route: Route, now: Tick) -> bool {
        let ways = self.of(site).map(|entry| &entry.ways[route as usize]);
        ways.is_some_and(|ways| ways.weight(now) >= BROKEN && now < ways.again_at())
    }

    /// Within what time `percent` of the heads come: by what is known of `route` for `site`, and the
    /// older that is, the more by what is known of it for all sites together, or of none.
    fn expected(&self, site: &HostName, route: Route, percent: usize, now: Tick) -> Duration {
        let any = self.any[route as usize].expected(percent, prior(route), now);
        self.of(site).map_or(any, |own| own.ways[route as usize].expected(percent, any, now))
    }

    fn of(&self, site: &HostName) -> Option<&Entry> {
        self.sites.get(&self.tag(site))
    }

    fn tag(&self, site: &HostName) -> Tag {
        let hash = blake3::keyed_hash(&self.key, site.as_str().as_bytes());
        let mut tag = Tag([0; 16]);
        tag.0.copy_from_slice(&hash.as_bytes()[..16]);
        tag
    }

    fn entry(&mut self, site: &HostName) -> &mut Entry {
        let tag = self.tag(site);
        self.touches += 1;
        if self.sites.len() >= MAX_SITES && !self.sites.contains_key(&tag) {
            let oldest = self.sites.iter().min_by_key(|(_, e)| e.touched).map(|(tag, _)| *tag);
            if let Some(oldest) = oldest {
                self.sites.remove(&oldest);
            }
        }
        let entry = self.sites.entry(tag).or_default();
        entry.touched = self.touches;
        entry
    }
}

impl Ways {
    fn worked(&mut self, took: Duration, now: Tick) {
        self.add(took);
        self.failures = 0.0;
        self.worked_at = now;
    }

    fn add(&mut self, took: Duration) {
        let place = |sorted: &[Duration], took| sorted.partition_point(|other| *other < took);
        if self.heads.len() == SAMPLES
            && let Some(oldest) = self.heads.pop_front()
        {
            self.sorted.remove(place(&self.sorted, oldest));
        }
        self.heads.push_back(took);
        self.sorted.insert(place(&self.sorted, took), took);
    }

    /// As [`Memory::expected`]; `otherwise` of one of which nothing is known.
    fn expected(&self, percent: usize, otherwise: Duration, now: Tick) -> Duration {
        let age = now - self.worked_at;
        match self.within(percent) {
            Some(known) if age < GOOD_FOR => {
                let weight = halved(age, GOOD_HALF_LIFE);
                known.mul_f64(weight) + otherwise.mul_f64(1.0 - weight)
            }
            Some(_) | None => otherwise,
        }
    }

    /// The time within which `percent` of the heads came.
    fn within(&self, percent: usize) -> Option<Duration> {
        let at = (self.sorted.len() * percent).div_ceil(100).checked_sub(1)?;
        self.sorted.get(at).copied()
    }

    fn failed(&mut self, failure: &Failure, now: Tick) {
        self.stops = *failure == Failure::Stalled;
        if self.failures < BROKEN || now - self.failed_at > MOMENT {
            self.failures = (self.weight(now) + 1.0).min(MOST_WEIGHT);
        }
        self.failed_at = now;
    }

    /// When one that failed is tried again.
    fn again_at(&self) -> Tick {
        let wait = AGAIN.mul_f64((self.failures - 1.0).max(0.0).exp2());
        // The last digits of a moment in microseconds are as good as chance.
        let late = u8::try_from(self.failed_at.0 % 256).unwrap_or_default();
        self.failed_at + wait + wait.mul_f32(f32::from(late) / 1024.0)
    }

    fn weight(&self, now: Tick) -> f64 {
        self.failures * halved(now - self.failed_at, HALF_LIFE)
    }
}

/// What is left of 1 after `age`.
fn halved(age: Duration, half_life: Duration) -> f64 {
    0.5_f64.powf(age.as_secs_f64() / half_life.as_secs_f64())
}

/// What is assumed of a route before anything was seen.
fn prior(route: Route) -> Duration {
    Duration::from_millis(match route {
        Route::Local => 5,
        Route::Direct => 500,
        Route::Swarm => 600,
        Route::Injector => 900,
        Route::Tunnel => 900,
    })
}

/// How much quicker than the site itself a way must be that costs others something, in doublings.
fn burden(route: Route) -> u32 {
    match route {
        Route::Local | Route::Direct => 0,
        Route::Swarm => 1,
        Route::Injector | Route::Tunnel => 3,
    }
}

/// Expected times in steps of doubling, so that a few milliseconds do not flip the order.
fn bucket(expected: Duration) -> u32 {
    u64::try_from(expected.as_millis()).unwrap_or(u64::MAX).max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const WEB: [Route; 3] = [Route::Direct, Route::Swarm, Route::Injector];

    fn site() -> HostName {
        HostName::parse("news.example").unwrap()
    }

    fn order(memory: &Memory, now: Tick) -> Vec<Route> {
        memory.plan(&site(), &WEB, now).into_iter().map(|s| s.route).collect()
    }

    #[test]
    fn the_given_order_stands_until_something_is_known() {
        assert_eq!(order(&Memory::default(), Tick(0)), WEB);
    }

    #[test]
    fn a_blocked_way_goes_last_and_is_not_waited_for() {
        let mut memory = Memory::default();
        memory.failed(&site(), Route::Direct, &Failure::Reset, Tick(0));
        let plan = memory.plan(&site(), &WEB, Tick(0) + MS(1000));
        assert_eq!(plan[2], Step { route: Route::Direct, patience: Duration::ZERO });
        let other = HostName::parse("other.example").unwrap();
        assert_eq!(memory.plan(&other, &WEB, Tick(0))[0].route, Route::Direct);
    }

    #[test]
    fn what_answers_and_then_stops_is_not_tried_beside_what_is_slow() {
        let mut memory = Memory::default();
        memory.failed(&site(), Route::Direct, &Failure::Stalled, Tick(0));
        let waits = |memory: &Memory| {
            let plan = memory.plan(&site(), &[Route::Direct, Route::Tunnel], Tick(0) + MS(1000));
            plan.into_iter().map(|step| (step.route, step.patience)).collect::<Vec<_>>()
        };
        let expected = [(Route::Tunnel, MOST_WAIT), (Route::Direct, Duration::ZERO)];
        assert_eq!(waits(&memory), expected);
        memory.failed(&site(), Route::Direct, &Failure::Reset, Tick(0) + MS(10));
        assert!(waits(&memory)[0].1 < MOST_WAIT, "its silence would be seen");
    }

    #[test]
    fn a_block_is_tested_by_a_load_ever_more_seldom_and_so_is_found_to_be_lifted() {
        let mut memory = Memory::default();
        let direct_first = |memory: &Memory, now| order(memory, now)[0] == Route::Direct;
        let mut tests = Vec::new();
        memory.failed(&site(), Route::Direct, &Failure::Reset, Tick(0));
        for second in 1..1000 {
            let now = Tick(0) + MS(second * 1000);
            if direct_first(&memory, now) {
                tests.push(second);
                // All parts of a page find out at once.
                for part in 0..30 {
                    memory.failed(&site(), Route::Direct, &Failure::Reset, now + MS(part));
                }
            }
        }
        assert!((4..10).contains(&tests.len()), "{tests:?}");
        let pauses: Vec<_> = tests.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(tests[0] <= 25 && pauses.iter().all(|pause| *pause >= 30), "{tests:?}");
        assert!(pauses.last() > pauses.first(), "{tests:?}");
        let now = Tick(0) + MS(1_200_000);
        memory.worked(&site(), Route::Injector, MS(60), now);
        memory.worked(&site(), Route::Direct, MS(260), now);
        assert!(direct_first(&memory, now), "others are left alone again");
    }

    #[test]
    fn a_block_is_forgotten_in_time() {
        let mut memory = Memory::default();
        memory.failed(&site(), Route::Direct, &Failure::Reset, Tick(0));
        assert_eq!(order(&memory, Tick(0) + HALF_LIFE + MS(1000)), WEB);
    }

    #[test]
    fn who_may_have_a_page_that_is_known_is_asked_before_an_injector() {
        let step = |route, patience| Step { route, patience: MS(patience) };
        let plan = [
            step(Route::Injector, 40),
            step(Route::Direct, 50),
            step(Route::Swarm, 60),
            step(Route::Tunnel, 70),
        ];
        let first = [plan[1], step(Route::Swarm, 1000), plan[0], plan[3]];
        assert_eq!(copies_first(&plan), first);
        assert_eq!(copies_first(&first), first);
        assert_eq!(copies_first(&plan[..2]), plan[..2], "nobody else is asked");
    }

    #[test]
    fn patience_is_the_ways_own_95th_percentile() {
        let mut memory = Memory::default();
        for took in 1..=20 {
            memory.worked(&site(), Route::Direct, MS(took * 10), Tick(0));
        }
        assert_eq!(memory.plan(&site(), &WEB, Tick(0))[0].patience, MS(190));
    }

    #[test]
    fn only_the_latest_times_count() {
        let mut memory = Memory::default();
        for took in [MS(2000); SAMPLES].into_iter().chain((1..=SAMPLES as u64).map(MS)) {
            memory.worked(&site(), Route::Direct, took, Tick(0));
        }
        let ways = &memory.of(&site()).unwrap().ways[Route::Direct as usize];
        assert_eq!((ways.within(50), ways.within(100)), (Some(MS(16)), Some(MS(32))));
        assert_eq!(ways.sorted.len(), SAMPLES);
    }

    #[test]
    fn a_much_quicker_way_goes_first() {
        let mut memory = Memory::default();
        memory.worked(&site(), Route::Direct, MS(900), Tick(0));
        memory.worked(&site(), Route::Swarm, MS(20), Tick(0));
        assert_eq!(order(&memory, Tick(0))[0], Route::Swarm);
    }

    #[test]
    fn what_worked_a_month_ago_weighs_nothing_and_a_week_ago_half() {
        let mut memory = Memory::default();
        memory.worked(&site(), Route::Swarm, MS(20), Tick(0));
        let at = |days: u64| Tick(0) + Duration::from_secs(days * 24 * 3600);
        assert_eq!(memory.expected(&site(), Route::Swarm, 50, at(7)), MS(20 + 145));
        assert_eq!(order(&memory, at(1))[0], Route::Swarm);
        assert_eq!(order(&memory, at(29)), WEB);
        assert_eq!(memory.expected(&site(), Route::Swarm, 50, at(30)), prior(Route::Swarm));
    }

    #[test]
    fn no_name_of_a_site_is_held() {
        let mut memory = Memory::new([1; 32]);
        memory.failed(&site(), Route::Direct, &Failure::Reset, Tick(0));
        let other = Memory::new([2; 32]);
        assert_ne!(memory.tag(&site()), other.tag(&site()), "the key decides");
        assert_eq!(format!("{memory:?}"), "Memory(1 sites)");
    }

    #[test]
    fn a_missing_copy_is_not_held_against_the_swarm() {
        let mut memory = Memory::default();
        memory.failed(&site(), Route::Swarm, &Failure::NobodyHasIt, Tick(0));
        assert!(!memory.is_broken(&site(), Route::Swarm, Tick(0)));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut memory = Memory::default();
        for n in 0..MAX_SITES + 10 {
            let host = HostName::parse(&format!("h{n}.example")).unwrap();
            memory.worked(&host, Route::Direct, MS(1), Tick(0));
        }
        assert_eq!(memory.sites.len(), MAX_SITES);
    }
}
