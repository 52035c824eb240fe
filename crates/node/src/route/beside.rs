//! Asking several nodes for the same thing, one beside the other, as [`busel_proto::stagger`] says; and
//! remembering how each did.

use std::future::Future;
use std::time::Duration;

use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::stagger::{Output, Stagger};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tracing::debug;

use crate::node::Node;

/// Why a peer has no good answer.
#[derive(Debug)]
pub(crate) struct Miss {
    failure: Failure,
    /// Whether the peer said so. Then the failure is of what it was asked for, a site say.
    said: bool,
    /// Whether nobody else is to be asked.
    last: bool,
}

impl From<Failure> for Miss {
    fn from(failure: Failure) -> Self {
        Self { failure, said: false, last: false }
    }
}

impl Miss {
    /// By the peer's own words.
    pub(crate) fn said(failure: Failure) -> Self {
        Self { failure: failure.cleaned(), said: true, last: false }
    }

    /// After which nobody else is to be asked.
    pub(crate) fn last(failure: Failure) -> Self {
        Self { failure, said: false, last: true }
    }

    /// Whether it speaks against the peer.
    fn is_its_fault(&self) -> bool {
        !self.said && is_its_fault(&self.failure)
    }
}

/// The first good answer of `peers`, or the last reason why there is none. `ask` gets the place of the
/// peer in the list.
pub(crate) async fn first_good<T, F: Future<Output = Result<T, Miss>>>(
    node: &Node,
    peers: &[PeerId],
    ask: impl Fn(usize) -> F,
) -> Result<T, Failure> {
    let patiences = patiences(node, peers);
    in_turn(node, peers, patiences, ask).await
}

/// How long each of these is waited for before the next is asked beside it.
pub(crate) fn patiences(node: &Node, peers: &[PeerId]) -> Vec<Duration> {
    let now = node.clock.tick();
    peers.iter().map(|peer| node.favour().patience(peer, now)).collect()
}

/// As [`first_good`], where each is waited for so long.
pub(crate) async fn in_turn<T, F: Future<Output = Result<T, Miss>>>(
    node: &Node,
    peers: &[PeerId],
    patiences: Vec<Duration>,
    ask: impl Fn(usize) -> F,
) -> Result<T, Failure> {
    let clock = node.clock;
    let mut stagger = Stagger::new(patiences);
    let mut asking = FuturesUnordered::new();
    let mut why = Failure::NobodyKnown;
    loop {
        let until = match stagger.poll(clock.tick()) {
            Output::Start(at) => {
                let (since, answer) = (clock.tick(), ask(at));
                asking.push(async move { (at, since, answer.await) });
                continue;
            }
            Output::GiveUp => return Err(why),
            Output::Wait(until) => until,
        };
        tokio::select! {
            Some((at, since, answer)) = asking.next() => match answer {
                Ok(good) => {
                    let now = clock.tick();
                    node.worked(&peers[at], now - since);
                    // Whoever had more time and said nothing is asked later next time.
                    for slow in stagger.overtaken(at) {
                        node.failed(&peers[slow]);
                    }
                    return Ok(good);
                }
                Err(miss) => {
                    debug!(peer = ?peers[at], failure = %miss.failure, "a node that was asked failed");
                    if miss.is_its_fault() {
                        node.failed(&peers[at]);
                    }
                    if miss.last {
                        return Err(miss.failure);
                    }
                    stagger.failed(at);
                    why = miss.failure;
                }
            },
            () = clock.alarm(until) => {}
        }
    }
}

/// Whether a failure speaks against the node that was asked, and not against what it was asked for: a
/// node that says why it can't has answered.
pub(crate) fn is_its_fault(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Unreachable
            | Failure::Silent
            | Failure::CutOff
            | Failure::Protocol(_)
            | Failure::NotAuthentic(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_site_did_wrong_is_not_held_against_who_says_so() {
        let of_site = [Failure::Silent, Failure::CutOff, Failure::Protocol("TLS\n".into())];
        for failure in of_site {
            assert!(Miss::from(failure.clone()).is_its_fault(), "{failure:?}");
            assert!(!Miss::said(failure.clone()).is_its_fault(), "{failure:?}");
        }
        assert!(!Miss::from(Failure::Reset).is_its_fault());
        let said = Miss::said(Failure::Protocol("TLS\n".into()));
        assert_eq!(said.failure, Failure::Protocol("TLS".into()));
    }
}
