//! Which of the open paths to a node carries data: any but a relay's, if there is one.
//!
//! As long as only a relay leads to a node none is chosen: the one path is used all the same, and
//! iroh goes on to send the first packets of further connections to all addresses, by which a better
//! path may be found ([`super::endpoint`]). Once a better path was in use and has died, the relay's
//! is chosen, so that nothing waits for the dead one.

use std::time::Duration;

use iroh::endpoint::transports::{
    FourTuple, PathSelection, PathSelectionContext, PathSelectionData, PathSelector,
};

/// Another path of the same kind must be quicker by this to be taken instead.
const QUICKER: Duration = Duration::from_millis(5);

/// Chooses paths.
#[derive(Debug)]
pub(crate) struct Chooser;

impl PathSelector for Chooser {
    fn select(&self, ctx: &PathSelectionContext<'_>) -> PathSelection {
        let mut selection = PathSelection::none();
        let rtt = |path: &PathSelectionData<'_>| path.stats().map(|stats| stats.rtt);
        let mut best: Option<(PathSelectionData<'_>, Duration)> = None;
        let mut current: Option<Duration> = None;
        let mut relay = None;
        for path in ctx.paths() {
            if path.network_path().is_relay() {
                relay = Some(path);
                continue;
            }
            let Some(rtt) = rtt(&path) else { continue };
            if Some(path.network_path()) == ctx.current() {
                current = Some(current.map_or(rtt, |other| other.min(rtt)));
            }
            if best.as_ref().is_none_or(|(_, least)| rtt < *least) {
                best = Some((path, rtt));
            }
        }
        match (best, current) {
            (Some((best, rtt)), Some(current)) if rtt + QUICKER <= current => selection.set(&best),
            (Some(_), Some(_)) => {}
            (Some((best, _)), None) => selection.set(&best),
            (None, _) if ctx.current().is_some_and(|gone| !FourTuple::is_relay(gone)) => {
                if let Some(relay) = relay {
                    selection.set(&relay);
                }
            }
            (None, _) => {}
        }
        selection
    }
}
