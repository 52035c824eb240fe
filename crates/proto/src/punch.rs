//! When to punch a hole: two nodes behind NATs that only a relay leads to each other come to each other's
//! addresses at the same moment, so that each NAT takes what comes for an answer (RFC 5128 §3.3).
//!
//! Who is asked to open a hole sends some datagrams to an address that somebody else names. So it does
//! that seldom, whoever asks.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::id::PeerId;
use crate::time::Tick;

/// Datagrams that open one hole, and how long after each other they go.
pub const DATAGRAMS: usize = 4;
/// See [`DATAGRAMS`].
pub const BETWEEN: Duration = Duration::from_millis(300);
/// The least and the most bytes of one.
pub const LENGTHS: (usize, usize) = (40, 160);
/// A node is tried again after so long, then after twice as long, …
const REST: Duration = Duration::from_secs(10);
/// … up to this: the NATs may be others one day.
const MOST_REST: Duration = Duration::from_secs(3600);
/// Nodes that are remembered.
const MAX: usize = 1024;
/// Holes that are opened for others in so long, for all together and for one.
const WINDOW: Duration = Duration::from_secs(10);
const MAX_OPENED: usize = 16;
const MAX_FOR_ONE: usize = 2;

/// What was tried, and what was done for others.
#[derive(Debug, Default)]
pub struct Punches {
    tried: BTreeMap<PeerId, (u32, Tick)>,
    opened: VecDeque<(PeerId, Tick)>,
}

impl Punches {
    /// Whether it is time to try to meet `peer`.
    pub fn is_due(&self, peer: &PeerId, now: Tick) -> bool {
        let rest = |times: u32| (REST * 2_u32.saturating_pow(times.min(16) - 1)).min(MOST_REST);
        self.tried.get(peer).is_none_or(|(times, at)| now - *at >= rest(*times))
    }

    /// It is being tried.
    pub fn tries(&mut self, peer: &PeerId, now: Tick) {
        if self.tried.len() >= MAX && !self.tried.contains_key(peer) {
            let oldest = self.tried.iter().min_by_key(|(_, (_, at))| *at).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| self.tried.remove(&oldest));
        }
        let (times, at) = self.tried.entry(*peer).or_insert((0, now));
        (*times, *at) = (times.saturating_add(1), now);
    }

    /// It was met: when it is lost, it is tried again soon.
    pub fn met(&mut self, peer: &PeerId, now: Tick) {
        self.tried.insert(*peer, (1, now));
    }

    /// The device is on another network, with another NAT.
    pub fn moved(&mut self) {
        self.tried.clear();
    }

    /// Whether a hole may be opened for `peer`; if so, it counts.
    pub fn may_open(&mut self, peer: &PeerId, now: Tick) -> bool {
        self.opened.retain(|(_, at)| now - *at < WINDOW);
        let for_one = self.opened.iter().filter(|(other, _)| other == peer).count();
        let may = self.opened.len() < MAX_OPENED && for_one < MAX_FOR_ONE;
        if may {
            self.opened.push_back((*peer, now));
        }
        may
    }
}

/// From where a node is seen to come, if those who say so do not contradict each other: they may be of
/// different ports, as a symmetric NAT makes it.
pub fn seen_from(said: &[SocketAddr]) -> Option<SocketAddr> {
    let (first, others) = said.split_first()?;
    others.iter().all(|other| other.ip() == first.ip()).then_some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId([1; 32]);

    fn at(secs: u64) -> Tick {
        Tick(0) + Duration::from_secs(secs)
    }

    #[test]
    fn a_node_is_tried_more_and_more_seldom_and_at_once_on_another_network() {
        let mut punches = Punches::default();
        let mut due = Vec::new();
        for second in 0..20_000 {
            if punches.is_due(&A, at(second)) {
                punches.tries(&A, at(second));
                due.push(second);
            }
        }
        assert_eq!(due[..5], [0, 10, 30, 70, 150]);
        assert_eq!(due[due.len() - 1] - due[due.len() - 2], MOST_REST.as_secs());
        punches.met(&A, at(20_000));
        assert!(!punches.is_due(&A, at(20_001)) && punches.is_due(&A, at(20_015)));
        punches.moved();
        assert!(punches.is_due(&A, at(20_016)));
        for n in 0..u32::try_from(MAX).unwrap() + 10 {
            let mut id = [9; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            punches.tries(&PeerId(id), at(20_017));
        }
        assert_eq!(punches.tried.len(), MAX);
    }

    #[test]
    fn nobody_has_more_than_some_holes_opened() {
        let mut punches = Punches::default();
        let opened = (0..100).filter(|_| punches.may_open(&A, at(1))).count();
        assert_eq!(opened, MAX_FOR_ONE);
        let others = (2..200).filter(|n| punches.may_open(&PeerId([*n; 32]), at(1))).count();
        assert_eq!(others, MAX_OPENED - MAX_FOR_ONE);
        assert!(punches.may_open(&A, at(11)));
    }

    #[test]
    fn who_is_seen_at_two_addresses_is_at_none() {
        let [one, port, other] =
            ["192.0.2.1:5", "192.0.2.1:6", "192.0.2.2:5"].map(|text| text.parse().unwrap());
        assert_eq!(seen_from(&[one, port]), Some(one));
        assert_eq!(seen_from(&[one, other]), None);
        assert_eq!(seen_from(&[]), None);
    }
}
