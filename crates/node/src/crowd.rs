//! The connections that are served: so many of each peer, and so many of all together.
//!
//! A reader keeps its connection open, so idle ones may fill all places; then the one that has been
//! idle for longest makes room, and one with a stream under way never does. Who finds no place, or
//! loses it, is told that this node is busy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use busel_net::Connection;
use busel_proto::id::PeerId;
use tracing::debug;

/// Connections that are served.
#[derive(Debug)]
pub(crate) struct Crowd {
    all: usize,
    each: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    by: BTreeMap<u64, Connection>,
}

/// A connection with its place; dropped, the place is free again.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) connection: Connection,
    number: u64,
    crowd: Arc<Crowd>,
}

impl Crowd {
    /// `all` places, of which one peer may hold `each`.
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self { all, each, held: Mutex::default() }
    }

    /// A place for this connection; or it is refused.
    pub(crate) fn admit(self: &Arc<Self>, connection: Connection) -> Option<Seat> {
        let mut held = self.held();
        let others = held.by.iter().map(|(n, c)| (*n, c.peer(), c.idle_since()));
        match room(self.all, self.each, connection.peer(), others) {
            Room::Free => {}
            Room::Of(number) => {
                if let Some(idle) = held.by.remove(&number) {
                    idle.refuse();
                }
            }
            Room::None => {
                debug!("a connection is not served: all have streams under way");
                // One that we made is there for what we ask.
                if !connection.is_ours() {
                    connection.refuse();
                }
                return None;
            }
        }
        held.next += 1;
        let number = held.next;
        held.by.insert(number, connection.clone());
        Some(Seat { connection, number, crowd: self.clone() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.held().by.remove(&self.number);
    }
}

/// Where one more may go.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    /// There is a free place.
    Free,
    /// The place of this one, which makes room.
    Of(u64),
    /// Nowhere.
    None,
}

/// Where one more connection of `peer` may go beside `others`: their numbers, peers, and since when
/// they have been idle.
fn room<T: Ord>(
    all: usize,
    each: usize,
    peer: PeerId,
    others: impl Iterator<Item = (u64, PeerId, Option<T>)>,
) -> Room {
    let others: Vec<_> = others.collect();
    let own = others.iter().filter(|(_, of, _)| *of == peer).count();
    if own < each && others.len() < all {
        return Room::Free;
    }
    let may_go = others.into_iter().filter(|(_, of, _)| own < each || *of == peer);
    let idle = may_go.filter_map(|(number, _, since)| Some((since?, number)));
    idle.min().map_or(Room::None, |(_, number)| Room::Of(number))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use busel_net::Endpoint;
    use busel_net::endpoint::Stream;
    use busel_net::wire::Contact;
    use busel_net::wire::plain::Plain;
    use busel_proto::failure::Failure;

    use super::*;

    const A: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);

    fn of(peer: PeerId, others: &[(u64, PeerId, Option<u32>)]) -> Room {
        room(3, 2, peer, others.iter().copied())
    }

    #[test]
    fn there_is_room_while_there_are_places() {
        assert_eq!(of(A, &[]), Room::Free);
        assert_eq!(of(A, &[(1, A, Some(1)), (2, B, Some(2))]), Room::Free);
    }

    #[test]
    fn when_all_are_held_the_longest_idle_one_makes_room_and_a_busy_one_never() {
        let c = PeerId([3; 32]);
        assert_eq!(of(c, &[(1, A, Some(7)), (2, A, None), (3, B, Some(5))]), Room::Of(3));
        assert_eq!(of(c, &[(1, A, None), (2, A, None), (3, B, None)]), Room::None);
    }

    #[test]
    fn a_peer_with_all_that_one_may_hold_makes_room_for_itself_only() {
        assert_eq!(of(A, &[(1, B, Some(1)), (2, A, Some(9)), (3, A, Some(4))]), Room::Of(3));
        assert_eq!(of(A, &[(1, A, None), (2, A, None), (3, B, Some(1))]), Room::None);
    }

    async fn endpoint() -> Endpoint {
        let wire = Arc::new(Plain::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        Endpoint::bind(rand::random(), vec![wire], vec![]).await.unwrap()
    }

    /// Somebody new who asks `server` something.
    async fn ask(server: &Endpoint) -> (Endpoint, Stream) {
        let asker = endpoint().await;
        let addrs = server.local_addrs().into_iter().filter(SocketAddr::is_ipv4).collect();
        asker.learn(Contact { peer: server.id(), relay: None, addrs, veil: None }).await;
        let mut stream = asker.open(&server.id()).await.unwrap();
        stream.send.write_all(b"ask").await.unwrap();
        (asker, stream)
    }

    async fn is_told_busy(stream: &mut Stream) {
        assert!(stream.recv.read_to_end(10).await.is_err());
        let why = stream.why(Failure::CutOff);
        assert!(matches!(why, Failure::Busy(_)), "{why:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn idle_ones_lock_nobody_out_and_who_is_refused_is_told() {
        let (server, crowd) = (endpoint().await, Arc::new(Crowd::new(2, 2)));
        let (_busy, _asked) = ask(&server).await;
        let busy = crowd.admit(server.accept().await.unwrap()).unwrap();
        let _under_way = busy.connection.accept().await.unwrap();
        let (_idle, mut asked) = ask(&server).await;
        let idle = crowd.admit(server.accept().await.unwrap()).unwrap();
        drop(idle.connection.accept().await.unwrap());

        let (_new, _asked_too) = ask(&server).await;
        let new = crowd.admit(server.accept().await.unwrap()).expect("the idle one makes room");
        let _ = asked.recv.read_to_end(10).await;
        while !matches!(asked.why(Failure::CutOff), Failure::Busy(_)) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }

        let _under_way_too = new.connection.accept().await.unwrap();
        let (_late, mut asked) = ask(&server).await;
        assert!(crowd.admit(server.accept().await.unwrap()).is_none());
        is_told_busy(&mut asked).await;
    }
}
