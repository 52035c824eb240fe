//! What a memory leaves on disk, and how it is read again: of the sites used last the latest times and
//! failures, each with its age, so that what is too old to weigh anything is not written.
//!
//! The ticks of the caller must go on over a restart. Nothing here encrypts: that is the store's.

use std::time::Duration;

use minicbor::{Decode, Encode};

use super::{Entry, GOOD_FOR, MOST_WEIGHT, Memory, SiteKey, Tag, Ways};
use crate::cbor;
use crate::failure::Route;
use crate::time::Tick;

/// Sites of one network that are kept; of more those used last.
const MAX_KEPT: usize = 1024;
/// Times kept of each way.
const TIMES: usize = 8;
/// A failure that weighs less, in hundredths, is not kept.
const LEAST_WEIGHT: u32 = 10;
/// The format.
const VERSION: u8 = 1;

/// A memory as it is kept.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Kept {
    #[n(0)]
    v: u8,
    #[n(1)]
    any: Vec<Way>,
    /// Those used last come last.
    #[n(2)]
    sites: Vec<Site>,
}

#[derive(Debug, Encode, Decode)]
struct Site {
    #[n(0)]
    tag: Tag,
    #[n(1)]
    ways: Vec<Way>,
}

/// How one route did. Times are in milliseconds, moments in microseconds.
#[derive(Debug, Encode, Decode)]
struct Way {
    #[n(0)]
    route: Route,
    #[n(1)]
    times: Vec<u32>,
    #[n(2)]
    worked_at: u64,
    /// In hundredths, as they weighed then.
    #[n(3)]
    failures: u32,
    #[n(4)]
    failed_at: u64,
}

impl Memory {
    /// The longest that [`Memory::to_bytes`] writes.
    pub const MAX_BYTES: usize = 512 * 1024;

    /// What is to be kept of it.
    pub fn to_bytes(&self, now: Tick) -> Vec<u8> {
        let mut used: Vec<_> = self.sites.iter().map(|(tag, e)| (e.touched, *tag, e)).collect();
        used.sort_unstable_by_key(|(touched, ..)| *touched);
        let mut sites: Vec<_> = used
            .into_iter()
            .map(|(_, tag, entry)| Site { tag, ways: ways_of(&entry.ways, now) })
            .filter(|site| !site.ways.is_empty())
            .collect();
        sites.drain(..sites.len().saturating_sub(MAX_KEPT));
        cbor::to_vec(&Kept { v: VERSION, any: ways_of(&self.any, now), sites })
    }

    /// Reads what was kept under this key. What can't be read is forgotten: these are hints.
    pub fn from_bytes(key: SiteKey, bytes: &[u8], now: Tick) -> Self {
        let mut memory = Self::new(key);
        let Ok(kept) = cbor::from_slice::<Kept>(bytes, Self::MAX_BYTES) else { return memory };
        if kept.v != VERSION {
            return memory;
        }
        restore(&mut memory.any, &kept.any, now);
        for Site { tag, ways } in kept.sites.into_iter().take(MAX_KEPT) {
            memory.touches += 1;
            let mut entry = Entry { touched: memory.touches, ..Entry::default() };
            restore(&mut entry.ways, &ways, now);
            memory.sites.insert(tag, entry);
        }
        memory
    }
}

fn ways_of(ways: &[Ways; 5], now: Tick) -> Vec<Way> {
    Route::ALL.into_iter().filter_map(|route| Way::of(route, &ways[route as usize], now)).collect()
}

impl Way {
    /// Nothing if it would weigh nothing.
    fn of(route: Route, ways: &Ways, now: Tick) -> Option<Self> {
        let fresh = now - ways.worked_at < GOOD_FOR;
        let latest = ways.heads.iter().skip(ways.heads.len().saturating_sub(TIMES));
        let millis = |took: &Duration| u32::try_from(took.as_millis()).unwrap_or(u32::MAX).max(1);
        let times: Vec<_> = latest.filter(|_| fresh).map(millis).collect();
        let weight = hundredths(ways.weight(now));
        let broken = weight >= LEAST_WEIGHT;
        (broken || !times.is_empty()).then_some(Self {
            route,
            worked_at: if times.is_empty() { 0 } else { ways.worked_at.0 },
            times,
            failures: if broken { hundredths(ways.failures) } else { 0 },
            failed_at: if broken { ways.failed_at.0 } else { 0 },
        })
    }
}

fn restore(ways: &mut [Ways; 5], kept: &[Way], now: Tick) {
    for way in kept {
        let to = &mut ways[way.route as usize];
        way.times.iter().take(TIMES).for_each(|ms| to.add(Duration::from_millis((*ms).into())));
        // A clock that was set back makes nothing younger than now.
        to.worked_at = Tick(way.worked_at).min(now);
        to.failures = (f64::from(way.failures) / 100.0).min(MOST_WEIGHT);
        to.failed_at = Tick(way.failed_at).min(now);
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 800")]
fn hundredths(weight: f64) -> u32 {
    (weight.clamp(0.0, MOST_WEIGHT) * 100.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::page::HostName;

    const KEY: SiteKey = [7; 32];
    const MS: fn(u64) -> Duration = Duration::from_millis;
    const WEB: [Route; 3] = [Route::Direct, Route::Swarm, Route::Injector];
    /// Ticks that go on over restarts are large.
    const THEN: Tick = Tick(1_700_000_000_000_000);

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    fn again(memory: &Memory, saved: Tick, now: Tick) -> Memory {
        Memory::from_bytes(KEY, &memory.to_bytes(saved), now)
    }

    #[test]
    fn a_memory_survives_a_restart() {
        let mut memory = Memory::new(KEY);
        let site = host("news.example");
        memory.failed(&site, Route::Direct, &Failure::Reset, THEN);
        for took in 1..=20 {
            memory.worked(&site, Route::Injector, MS(took), THEN);
        }
        let later = THEN + Duration::from_secs(10);
        let read = again(&memory, later, later);
        assert_eq!(read.plan(&site, &WEB, later), {
            let mut plan = memory.plan(&site, &WEB, later);
            // Of the times the latest are kept.
            plan[0].patience = super::super::LEAST_WAIT;
            plan
        });
        assert_eq!(read.plan(&site, &WEB, later)[0].route, Route::Injector);
        assert_eq!(read.to_bytes(later), memory.to_bytes(later), "nothing is lost by it");
        let other = Memory::from_bytes([8; 32], &memory.to_bytes(later), later);
        assert!(!other.is_broken(&site, Route::Direct, later), "the key decides");
    }

    #[test]
    fn ages_go_on_while_nothing_runs() {
        let mut memory = Memory::new(KEY);
        let site = host("news.example");
        memory.failed(&site, Route::Direct, &Failure::Reset, THEN);
        memory.worked(&site, Route::Swarm, MS(3), THEN);
        let night = THEN + Duration::from_secs(8 * 3600);
        let read = again(&memory, THEN, night);
        assert!(!read.is_broken(&site, Route::Direct, night));
        assert_eq!(read.plan(&site, &WEB, night)[0].route, Route::Swarm);
        let month = THEN + GOOD_FOR;
        assert_eq!(again(&memory, THEN, month).plan(&site, &WEB, month)[0].route, Route::Direct);
        // Nor is what weighs nothing written.
        assert_eq!(memory.to_bytes(month), Memory::new(KEY).to_bytes(month));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_last_for_ever() {
        let mut memory = Memory::new(KEY);
        let site = host("news.example");
        memory.failed(&site, Route::Direct, &Failure::Reset, THEN);
        let back = Tick(THEN.0 / 2);
        let read = again(&memory, THEN, back);
        assert!(read.is_broken(&site, Route::Direct, back));
        assert!(!read.is_broken(&site, Route::Direct, back + Duration::from_secs(3600)));
    }

    #[test]
    fn it_is_bounded_and_keeps_those_used_last() {
        let mut memory = Memory::new(KEY);
        for n in 0..MAX_KEPT + 10 {
            for route in Route::ALL {
                for _ in 0..TIMES {
                    memory.worked(&host(&format!("h{n}.example")), route, MS(1 << 30), THEN);
                }
                memory.failed(&host(&format!("h{n}.example")), route, &Failure::Reset, THEN);
            }
        }
        let bytes = memory.to_bytes(THEN);
        assert!(bytes.len() <= Memory::MAX_BYTES, "{}", bytes.len());
        let read = Memory::from_bytes(KEY, &bytes, THEN);
        assert_eq!(read.sites.len(), MAX_KEPT);
        assert!(!read.is_broken(&host("h9.example"), Route::Direct, THEN));
        assert!(read.is_broken(&host("h10.example"), Route::Direct, THEN));
    }

    #[test]
    fn junk_is_forgotten() {
        let memory = Memory::from_bytes(KEY, b"junk", THEN);
        assert_eq!(memory.to_bytes(THEN), Memory::new(KEY).to_bytes(THEN));
        let newer = cbor::to_vec(&Kept { v: VERSION + 1, any: vec![], sites: vec![] });
        assert!(Memory::from_bytes(KEY, &newer, THEN).sites.is_empty());
    }
}
