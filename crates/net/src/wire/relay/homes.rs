//! The few relays among which a quiet node chooses the one that it keeps to. Each that is asked how near
//! it is sees this device come, so it is a matter of guards, as with nodes: see `busel_proto::guards`.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use busel_proto::exchange::Group;
use busel_proto::guards::{Candidate, Guards};
use busel_proto::id::{Hash, PeerId};
use busel_proto::invite::RelayTicket;

use crate::wall;

/// Those few.
#[derive(Debug)]
pub(super) struct Homes {
    guards: Mutex<Guards>,
    /// By which they are drawn: always the same, so that spares are, too.
    seed: [u8; 32],
}

impl Homes {
    /// Those that [`Homes::news`] gave, if any.
    pub(super) fn new(kept: Option<&[u8]>) -> Self {
        let (seed, guards) = kept.and_then(|kept| kept.split_first_chunk()).unzip();
        let guards = guards.and_then(|bytes| Guards::from_bytes(bytes).ok());
        let seed = seed.copied().unwrap_or_else(rand::random);
        Self { guards: Mutex::new(guards.unwrap_or_default()), seed }
    }

    /// Chooses among these relays; those that are no longer there go.
    pub(super) fn choose<'a>(&self, all: impl Iterator<Item = &'a RelayTicket>) {
        let candidates: Vec<_> = all.map(candidate).collect();
        let mut guards = self.guards();
        guards.keep_to(&candidates);
        guards.fill(&candidates, self.seed, wall::now());
    }

    /// Whether this one of `all` may be asked.
    pub(super) fn have<'a>(
        &self,
        relay: &RelayTicket,
        all: impl Iterator<Item = &'a RelayTicket>,
    ) -> bool {
        self.choose(all);
        self.guards().has(&id(relay))
    }

    /// How one did that was asked.
    pub(super) fn did(&self, relay: &RelayTicket, took: Option<Duration>) {
        let (mut guards, now) = (self.guards(), wall::now());
        match took {
            Some(took) => guards.worked(&id(relay), took, now),
            None => guards.failed(&id(relay), now),
        }
    }

    /// What is to be kept over a restart, if it is new.
    pub(super) fn news(&self) -> Option<Vec<u8>> {
        let mut guards = self.guards();
        guards.take_news().then(|| [&self.seed[..], &guards.to_bytes()].concat())
    }

    fn guards(&self) -> MutexGuard<'_, Guards> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands for a relay among guards.
fn id(relay: &RelayTicket) -> PeerId {
    PeerId(Hash::of(relay.inner_name().as_bytes()).0)
}

fn candidate(relay: &RelayTicket) -> Candidate {
    let addr = relay.addr.parse::<SocketAddr>().ok();
    let group = addr.map(|addr| Group::of(addr.ip()));
    Candidate { peer: id(relay), group, confirmed: true }
}

#[cfg(test)]
mod tests {
    use busel_proto::guards::GUARDS;
    use busel_proto::page::HostName;
    use busel_proto::time::UnixTime;

    use super::*;

    fn relay(n: u8) -> RelayTicket {
        RelayTicket {
            addr: format!("20.{n}.0.1:443"),
            sni: HostName::parse("www.example.org").unwrap(),
            pin: Hash([n; 32]),
            secret: [n; 16],
            also: Vec::new(),
            spares: None,
        }
    }

    #[test]
    fn of_many_a_few_are_asked_and_stay_over_a_restart() {
        let all: Vec<_> = (0..20).map(relay).collect();
        let asked = |homes: &Homes| -> Vec<u8> {
            (0..20).filter(|n| homes.have(&relay(*n), all.iter())).collect()
        };
        let homes = Homes::new(None);
        let few = asked(&homes);
        assert_eq!(few.len(), GUARDS);
        let kept = homes.news().expect("they are new");
        assert_eq!(homes.news(), None);
        assert_eq!(asked(&Homes::new(Some(&kept))), few);
        assert_eq!(asked(&Homes::new(Some(b"junk"))).len(), GUARDS);
        let left: Vec<_> = all.iter().filter(|r| !few.contains(&r.secret[0])).collect();
        let others = left.iter().filter(|r| homes.have(r, left.iter().copied())).count();
        assert_eq!(others, GUARDS, "who is gone holds no place");
    }

    #[test]
    fn who_is_silent_gets_the_same_spares_each_time() {
        let all: Vec<_> = (0..20).map(relay).collect();
        let homes = Homes::new(None);
        homes.choose(all.iter());
        let kept = homes.news().expect("they are new");
        let spares = |homes: &Homes| -> Vec<u8> {
            for _ in 0..5 {
                let held = all.iter().filter(|relay| homes.guards().has(&id(relay)));
                held.for_each(|relay| homes.did(relay, None));
            }
            let later = UnixTime(wall::now().0 + 600);
            let candidates: Vec<_> = all.iter().map(candidate).collect();
            homes.guards().fill(&candidates, homes.seed, later);
            (0..20).filter(|n| homes.guards().has(&id(&relay(*n)))).collect()
        };
        let first = spares(&homes);
        assert_eq!(first.len(), GUARDS + 1);
        assert_eq!(spares(&Homes::new(Some(&kept))), first);
    }
}
