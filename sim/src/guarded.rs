//! The guards of a quiet node, as it knows them: `proto::guards` says which it asks first, `proto::favour` how long
//! it waits for that one before it asks the next beside it.

use std::time::Duration;

use busel_proto::favour::{Favour, Standing};
use busel_proto::guards::{Candidate, Guards};
use busel_proto::id::PeerId;
use busel_proto::time::{Tick, UnixTime};

use crate::chance::Chance;
use crate::people::Id;

/// Guards, and how each did.
#[derive(Debug)]
pub(crate) struct Guarded {
    guards: Guards,
    favour: Favour<Id>,
}

impl Guarded {
    /// These, each of which has worked so far and took so long.
    pub(crate) fn new(guards: &[(Id, Duration)], chance: &mut Chance) -> Self {
        let mut own = Self { guards: Guards::default(), favour: Favour::default() };
        let candidate = |id| Candidate { peer: peer(id), group: None, confirmed: true };
        let candidates: Vec<_> = guards.iter().map(|(id, _)| candidate(*id)).collect();
        own.guards.fill(&candidates, chance.seed(), unix(Tick(0)));
        guards.iter().for_each(|(id, took)| own.worked(*id, *took, Tick(0)));
        own
    }

    /// Whom it asks first, and then.
    pub(crate) fn order(&self, chance: &mut Chance) -> Vec<Id> {
        self.guards.order(chance.seed()).iter().map(id).collect()
    }

    /// The order in which these are asked that are to ask for us, and how long each is waited for.
    pub(crate) fn in_turn(&self, by: &[Id], now: Tick) -> Vec<(Id, Duration)> {
        let by = self.favour.order(by.to_vec(), now).into_iter();
        by.map(|id| (id, self.favour.patience(&id, now))).collect()
    }

    /// Whether each of these failed a moment ago.
    pub(crate) fn fails(&self, these: &[Id], now: Tick) -> bool {
        these.iter().all(|id| self.favour.standing(id, now) != Standing::Good)
    }

    pub(crate) fn worked(&mut self, id: Id, took: Duration, now: Tick) {
        self.guards.worked(&peer(id), took, unix(now));
        self.favour.worked(&id, took, now);
    }

    pub(crate) fn failed(&mut self, id: Id, now: Tick) {
        self.guards.failed(&peer(id), unix(now));
        self.favour.failed(&id, now);
    }
}

fn peer(id: Id) -> PeerId {
    let mut peer = [0; 32];
    peer[..8].copy_from_slice(&(id as u64).to_be_bytes());
    PeerId(peer)
}

fn id(peer: &PeerId) -> Id {
    peer.0.iter().take(8).fold(0, |id, byte| id << 8 | usize::from(*byte))
}

fn unix(now: Tick) -> UnixTime {
    UnixTime(1_800_000_000 + now.0 / 1_000_000)
}
