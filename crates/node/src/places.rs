//! Places that peers take and give back: so many for each of them, and so many for all together.
//!
//! Who finds none is told so at once and can ask another node; nobody waits in a queue here. The
//! table holds only peers that hold a place, so it is no larger than the places are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use busel_proto::failure::Failure;
use busel_proto::id::PeerId;

/// Some number of places.
#[derive(Debug, Clone)]
pub struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: usize,
    each: usize,
    held: Mutex<Held>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by: HashMap<PeerId, usize>,
}

/// A place that is held; dropped, it is free again.
#[derive(Debug)]
pub struct Place {
    places: Places,
    peer: PeerId,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// This peer holds all that one peer may.
    #[error("this node does no more at once for one other")]
    ForPeer,
    /// All are held.
    #[error("this node does no more at once for others")]
    ForAll,
}

impl Places {
    /// `all` places, of which one peer may hold `each`.
    pub fn new(all: usize, each: usize) -> Self {
        Self(Arc::new(Inner { all, each, held: Mutex::default(), refused: AtomicU64::new(0) }))
    }

    /// A place for `peer`, if there is one.
    pub fn take(&self, peer: PeerId) -> Result<Place, Full> {
        let mut held = self.held();
        let own = held.by.get(&peer).copied().unwrap_or(0);
        let full = match () {
            () if own >= self.0.each => Full::ForPeer,
            () if held.all >= self.0.all => Full::ForAll,
            () => {
                held.all += 1;
                held.by.insert(peer, own + 1);
                return Ok(Place { places: self.clone(), peer });
            }
        };
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        Err(full)
    }

    /// How often there was none.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        held.all = held.all.saturating_sub(1);
        if let Some(own) = held.by.get_mut(&self.peer) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                held.by.remove(&self.peer);
            }
        }
    }
}

impl From<Full> for Failure {
    fn from(full: Full) -> Self {
        Self::Busy(full.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_its_share_and_all_together_have_theirs() {
        let places = Places::new(3, 2);
        let (a, b) = (PeerId([1; 32]), PeerId([2; 32]));
        let held = (places.take(a).unwrap(), places.take(a).unwrap());
        assert_eq!(places.take(a).unwrap_err(), Full::ForPeer);
        let other = places.take(b).unwrap();
        assert_eq!(places.take(b).unwrap_err(), Full::ForAll);
        assert_eq!(places.refused(), 2);
        drop(held);
        assert!(places.take(b).is_ok());
        drop(other);
        assert!(places.held().by.is_empty(), "who holds nothing is not in the table");
    }
}
