//! Proxies of other programs on this device, found by themselves: which port is tried when, and which of
//! those that work is used.
//!
//! A port where nothing works is tried ever more seldom. One that works is left alone, until it fails in
//! use: then it is tried soon, since the program may have ended, or the network changed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Tick;

/// Where well-known programs listen unless they are told otherwise, and whose port it is.
pub const USUAL: [(u16, &str); 10] = [
    (1080, "Shadowsocks"),
    (1081, "Psiphon"),
    (7890, "Clash"),
    (8081, "Psiphon"),
    (8787, "Lantern"),
    (8888, "tinyproxy"),
    (9050, "Tor"),
    (9150, "Tor Browser"),
    (10_808, "V2Ray"),
    (10_809, "V2Ray"),
];
/// The most ports that are tried.
pub const MAX_PORTS: usize = 32;
/// A port where nothing works is tried again after this long, then after twice as long …
const FIRST: Duration = Duration::from_secs(15);
/// … up to this.
const MOST: Duration = Duration::from_secs(10 * 60);
/// One that failed in use is tried no sooner than this after it was tried last.
const SOON: Duration = Duration::from_secs(5);

/// The machine, by port.
#[derive(Debug)]
pub struct Upstreams(BTreeMap<u16, Port>);

#[derive(Debug, Clone, Copy)]
struct Port {
    /// How long it took to lead somewhere, if it does.
    works: Option<Duration>,
    /// How often in a row it did not.
    failures: u32,
    testing: bool,
    tested_at: Option<Tick>,
    due: Option<Tick>,
}

impl Upstreams {
    /// These ports, all of which are to be tried now.
    pub fn new(ports: impl IntoIterator<Item = u16>, now: Tick) -> Self {
        let port =
            Port { works: None, failures: 0, testing: false, tested_at: None, due: Some(now) };
        Self(ports.into_iter().take(MAX_PORTS).map(|number| (number, port)).collect())
    }

    /// The ports to try now. Each is under way until [`Upstreams::tried`] says how it went.
    pub fn due(&mut self, now: Tick) -> Vec<u16> {
        let due = |port: &Port| !port.testing && port.due.is_some_and(|due| due <= now);
        let ports = self.0.iter_mut().filter(|(_, port)| due(port));
        ports
            .map(|(number, port)| {
                (port.testing, port.tested_at, port.due) = (true, Some(now), None);
                *number
            })
            .collect()
    }

    /// A port was tried: it led somewhere after so long, or it did not.
    pub fn tried(&mut self, number: u16, works: Option<Duration>, now: Tick) {
        let Some(port) = self.0.get_mut(&number) else { return };
        (port.testing, port.works) = (false, works);
        if works.is_some() {
            port.failures = 0;
        } else {
            let wait = FIRST * (1 << port.failures.min(6));
            port.failures = port.failures.saturating_add(1);
            let later = now + wait.min(MOST);
            // It may have been doubted meanwhile.
            port.due = Some(port.due.map_or(later, |due| due.min(later)));
        }
    }

    /// What a port led to failed: it may be the port.
    pub fn doubted(&mut self, number: u16, now: Tick) {
        let Some(port) = self.0.get_mut(&number).filter(|port| port.works.is_some()) else {
            return;
        };
        let soon = port.tested_at.map_or(now, |at| at + SOON).max(now);
        port.due = Some(port.due.map_or(soon, |due| due.min(soon)));
    }

    /// The device is on another network: all are tried anew.
    pub fn moved(&mut self, now: Tick) {
        for port in self.0.values_mut() {
            (port.failures, port.due) = (0, Some(now));
        }
    }

    /// The one to use: the quickest that works.
    pub fn best(&self) -> Option<u16> {
        let works = self.0.iter().filter_map(|(number, port)| Some((port.works?, *number)));
        works.min().map(|(_, number)| number)
    }

    /// Those that work.
    pub fn working(&self) -> impl Iterator<Item = u16> {
        self.0.iter().filter(|(_, port)| port.works.is_some()).map(|(number, _)| *number)
    }

    /// When the next is to be tried.
    pub fn next(&self) -> Option<Tick> {
        self.0.values().filter(|port| !port.testing).filter_map(|port| port.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(seconds: u64) -> Tick {
        Tick(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_not_there_is_tried_ever_more_seldom() {
        let mut all = Upstreams::new([9050], at(0));
        let mut tried = vec![];
        while let Some(next) = all.next().filter(|next| *next <= at(3600)) {
            assert_eq!(all.due(next), [9050]);
            assert_eq!(all.due(next), [0; 0], "once at a time");
            all.tried(9050, None, next);
            tried.push((next - at(0)).as_secs());
        }
        assert_eq!(tried[..7], [0, 15, 45, 105, 225, 465, 945]);
        assert!(tried[7..].windows(2).all(|two| two[1] - two[0] == 600), "{tried:?}");
        assert_eq!(all.best(), None);
    }

    #[test]
    fn the_quickest_is_used_and_what_works_is_left_alone() {
        let mut all = Upstreams::new([1080, 8888, 9050], at(0));
        assert_eq!(all.due(at(0)), [1080, 8888, 9050]);
        all.tried(9050, Some(MS * 900), at(1));
        assert_eq!(all.best(), Some(9050));
        all.tried(8888, Some(MS * 40), at(1));
        all.tried(1080, None, at(1));
        assert_eq!(all.best(), Some(8888));
        assert_eq!(all.working().collect::<Vec<_>>(), [8888, 9050]);
        assert_eq!(all.next(), Some(at(16)), "only the one that is not there");
        assert_eq!(all.due(at(86_400)), [1080]);
    }

    #[test]
    fn one_that_fails_in_use_is_tried_soon_but_not_for_each_failure() {
        let mut all = Upstreams::new([8888, 9050], at(0));
        all.due(at(0));
        all.tried(8888, Some(MS), at(0));
        all.tried(9050, Some(MS * 2), at(0));
        all.doubted(8888, at(1));
        assert_eq!((all.due(at(1)).len(), all.next()), (0, Some(at(5))));
        assert_eq!(all.due(at(5)), [8888]);
        all.doubted(8888, at(5));
        all.tried(8888, None, at(6));
        assert_eq!(all.best(), Some(9050));
        // It comes back.
        assert_eq!(all.due(at(10)), [8888], "doubted while it was tried");
        all.tried(8888, Some(MS), at(11));
        assert_eq!((all.best(), all.next()), (Some(8888), None));
        all.doubted(1, at(12));
        all.tried(1, Some(MS), at(12));
        assert_eq!(all.next(), None, "of others nothing is learnt");
    }

    #[test]
    fn on_another_network_all_are_tried_anew() {
        let mut all = Upstreams::new([8888, 9050], at(0));
        all.due(at(0));
        all.tried(8888, Some(MS), at(0));
        all.tried(9050, None, at(0));
        all.moved(at(3));
        assert_eq!(all.due(at(3)), [8888, 9050]);
        assert_eq!(all.best(), Some(8888), "until it is found not to work there");
    }

    #[test]
    fn ports_are_few_and_each_is_there_once() {
        assert_eq!(Upstreams::new(1..=1000, at(0)).0.len(), MAX_PORTS);
        assert_eq!(Upstreams::new(USUAL.map(|(port, _)| port), at(0)).0.len(), USUAL.len());
    }
}
