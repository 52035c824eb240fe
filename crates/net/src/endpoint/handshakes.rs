//! Handshakes of others under way: each has its time, and all of them have their bound.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::CONNECT_LIMIT;

/// So many are under way at once. For one beyond, the oldest is given up: who means it is done in some
/// round trips, so that only very many a second get in its way.
const MAX: usize = 1024;

/// Ends the handshake of somebody who connects; `None` if it fails or takes too long.
pub(super) async fn shake_hands(
    incoming: iroh::endpoint::Incoming,
) -> Option<iroh::endpoint::Connection> {
    match tokio::time::timeout(CONNECT_LIMIT, incoming).await {
        Ok(Ok(connection)) => return Some(connection),
        Ok(Err(error)) => debug!(%error, "a handshake failed"),
        Err(_) => debug!("a handshake took too long"),
    }
    None
}

/// Handshakes under way, in the order in which they began.
#[derive(Debug)]
pub(super) struct Handshakes {
    most: usize,
    begun: u64,
    under_way: BTreeMap<u64, CancellationToken>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self::new(MAX)
    }
}

impl Handshakes {
    fn new(most: usize) -> Self {
        Self { most, begun: 0, under_way: BTreeMap::new() }
    }

    /// Notes one that `stop` gives up; if that is one too many, the oldest is given up.
    pub(super) fn begin(&mut self, stop: CancellationToken) -> u64 {
        self.begun += 1;
        self.under_way.insert(self.begun, stop);
        if self.under_way.len() > self.most
            && let Some((_, oldest)) = self.under_way.pop_first()
        {
            oldest.cancel();
        }
        self.begun
    }

    pub(super) fn end(&mut self, number: u64) {
        self.under_way.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_a_handshake_too_many_the_oldest_is_given_up() {
        let mut handshakes = Handshakes::new(2);
        let stops: Vec<_> = (0..4).map(|_| CancellationToken::new()).collect();
        let first = handshakes.begin(stops[0].clone());
        handshakes.begin(stops[1].clone());
        handshakes.end(first);
        handshakes.begin(stops[2].clone());
        assert!(stops.iter().all(|stop| !stop.is_cancelled()), "there was a place");
        handshakes.begin(stops[3].clone());
        let given_up: Vec<_> = stops.iter().map(CancellationToken::is_cancelled).collect();
        assert_eq!(given_up, [false, true, false, false]);
        assert_eq!(handshakes.under_way.len(), 2);
    }
}
