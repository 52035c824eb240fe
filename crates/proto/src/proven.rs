//! Which hosts have proven lately, on this network, that they are who answers at their address.
//!
//! A tunnel shows nothing of the certificate that a program is given, so a forger would win the race
//! against slower, honest ways. Whether a host was genuine is found out by a handshake of our own, and
//! remembered here for a while, so that not each connection costs one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::page::HostName;
use crate::time::Tick;

/// How long a proof holds: a provider may begin to forge at any time.
pub const HOLDS: Duration = Duration::from_secs(60 * 60);
/// So many hosts are remembered.
const MOST: usize = 1024;
/// A program that says less than this after its hello, and leaves, has refused what it was shown: an
/// alert is shorter (RFC 8446 §6), a request is not.
const REFUSAL: u64 = 64;

/// Hosts and ports, and until when their proof holds.
#[derive(Debug, Default)]
pub struct Proven {
    until: BTreeMap<(HostName, u16), Tick>,
}

impl Proven {
    /// Whether a host has proven itself lately.
    pub fn holds(&self, host: &HostName, port: u16, now: Tick) -> bool {
        self.until.get(&(host.clone(), port)).is_some_and(|until| now < *until)
    }

    /// It has done so now.
    pub fn note(&mut self, host: HostName, port: u16, now: Tick) {
        if self.until.len() >= MOST {
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() >= MOST
            && let Some(first) = self.until.iter().min_by_key(|(_, until)| **until)
        {
            let first = first.0.clone();
            self.until.remove(&first);
        }
        self.until.insert((host, port), now + HOLDS);
    }

    /// A program's connection to it ended after the program had said so many bytes more than its
    /// hello. If that looks like a refusal, the proof is over.
    pub fn ended(&mut self, host: &HostName, port: u16, said: u64) {
        if said < REFUSAL {
            self.until.remove(&(host.clone(), port));
        }
    }

    /// Forgets all: on another network somebody else answers.
    pub fn clear(&mut self) {
        self.until.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    #[test]
    fn a_proof_holds_for_a_while() {
        let mut proven = Proven::default();
        let news = host("news.example");
        assert!(!proven.holds(&news, 443, Tick(0)));
        proven.note(news.clone(), 443, Tick(0));
        assert!(proven.holds(&news, 443, Tick(0) + HOLDS / 2));
        assert!(!proven.holds(&news, 444, Tick(0)));
        assert!(!proven.holds(&news, 443, Tick(0) + HOLDS));
    }

    #[test]
    fn a_program_that_refuses_ends_it() {
        let mut proven = Proven::default();
        let news = host("news.example");
        proven.note(news.clone(), 443, Tick(0));
        proven.ended(&news, 443, 400);
        assert!(proven.holds(&news, 443, Tick(1)));
        proven.ended(&news, 443, 30);
        assert!(!proven.holds(&news, 443, Tick(1)));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut proven = Proven::default();
        for n in 0..=MOST as u64 {
            proven.note(host(&format!("n{n}.example")), 443, Tick(n));
        }
        assert_eq!(proven.until.len(), MOST);
        assert!(!proven.holds(&host("n0.example"), 443, Tick(0)));
        assert!(proven.holds(&host("n1.example"), 443, Tick(MOST as u64)));
    }
}
