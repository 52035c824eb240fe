//! Listening for streams: who has the secret is let in, all others are read from and never answered
//! ([`busel_proto::veil::doorstep`]).
//!
//! How many may stand there at once is bounded, for one network and for all: for one too many the one
//! goes that has stood there longest. Who has been let in has a share, too.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busel_proto::veil::VeilSecret;
use busel_proto::veil::doorstep::{Doorstep, Patience, Seen};
use busel_proto::veil::hello::{Hello, HelloKey};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::streams::carry_accepted;
use super::{Shared, canonical, guest_addr, lock};

/// Who stands at the door at once: from one network, and in all.
const WAITING: (usize, usize) = (16, 256);
/// Guests at once: from one network, and in all.
const GUESTS: (usize, usize) = (256, 1024);
const BACKLOG: u32 = 128;
/// After an error that concerns all connections.
const PAUSE: Duration = Duration::from_millis(200);

/// Those who are here: of what network, since when, and what sends them away.
#[derive(Debug)]
struct Crowd {
    most: (usize, usize),
    came: u64,
    here: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

impl Crowd {
    fn new(most: (usize, usize)) -> Self {
        Self { most, came: 0, here: BTreeMap::new() }
    }

    /// One more. Of too many the oldest goes.
    fn enter(&mut self, from: IpAddr, stop: CancellationToken) -> u64 {
        let network = network(from);
        let of_network = self.here.iter().filter(|(_, (other, _))| *other == network);
        let (count, first) = of_network
            .fold((0, None), |(count, first), (number, _)| (count + 1, first.or(Some(*number))));
        let oldest = self.here.keys().next().copied();
        let gone = match (count >= self.most.0, self.here.len() >= self.most.1) {
            (true, _) => first,
            (false, true) => oldest,
            (false, false) => None,
        };
        if let Some((_, stop)) = gone.and_then(|number| self.here.remove(&number)) {
            stop.cancel();
        }
        self.came += 1;
        self.here.insert(self.came, (network, stop));
        self.came
    }

    fn leave(&mut self, number: u64) {
        self.here.remove(&number);
    }
}

/// What one household has: an IPv4 address, or 64 bits of IPv6.
fn network(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => addr,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
    }
}

/// The door of one node.
#[derive(Debug)]
struct Door {
    shared: Arc<Shared>,
    key: HelloKey,
    secret: VeilSecret,
    waiting: Mutex<Crowd>,
    guests: Mutex<Crowd>,
}

/// Listens at `addr`, and lets in until the wire ends.
pub(super) fn open(shared: &Arc<Shared>, addr: SocketAddr, secret: &VeilSecret) -> io::Result<()> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    let listener = socket.listen(BACKLOG)?;
    let door = Arc::new(Door {
        shared: shared.clone(),
        key: HelloKey::of(secret),
        secret: *secret,
        waiting: Mutex::new(Crowd::new(WAITING)),
        guests: Mutex::new(Crowd::new(GUESTS)),
    });
    let stop = shared.streams.stop.clone();
    shared.streams.tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = door.accept(listener) => {}
        }
    });
    Ok(())
}

impl Door {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(%error, "no stream was accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (door, from) = (self.clone(), canonical(from));
            let stop = self.shared.streams.stop.child_token();
            let number = lock(&self.waiting).enter(from.ip(), stop.clone());
            self.shared.streams.tasks.spawn(async move {
                let guest = tokio::select! {
                    () = stop.cancelled() => None,
                    guest = door.greet(stream) => guest,
                };
                lock(&door.waiting).leave(number);
                if let Some((stream, hello, said)) = guest {
                    door.serve(stream, from, &hello, &said).await;
                }
            });
        }
    }

    /// Reads until it is known who that is; `None` if they have gone or were closed.
    async fn greet(&self, mut stream: TcpStream) -> Option<(TcpStream, Box<Hello>, Vec<u8>)> {
        let patience = Patience::of(&self.secret, rand::random());
        let until = Instant::now() + patience.time;
        let (mut doorstep, mut read) = (Doorstep::default(), 0);
        let mut buffer = [0; 2048];
        while read < patience.bytes {
            let Ok(Ok(len)) = timeout_at(until, stream.read(&mut buffer)).await else { break };
            if len == 0 {
                return None;
            }
            read += len;
            if let Seen::Guest(hello, said) = doorstep.hear(&buffer[..len], &self.key) {
                if self.shared.is_new(&hello) {
                    return Some((stream, hello, said));
                }
                doorstep.turn_away();
            }
        }
        if patience.reset {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        None
    }

    async fn serve(&self, stream: TcpStream, from: SocketAddr, hello: &Hello, said: &[u8]) {
        let stop = self.shared.streams.stop.child_token();
        let number = lock(&self.guests).enter(from.ip(), stop.clone());
        let at = guest_addr(from);
        tokio::select! {
            () = stop.cancelled() => {}
            () = carry_accepted(&self.shared, at, stream, &hello.keys, said) => {}
        }
        lock(&self.guests).leave(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_the_oldest_goes_and_one_network_crowds_out_itself_first() {
        let mut crowd = Crowd::new((2, 4));
        let enter = |crowd: &mut Crowd, from: &str| {
            let stop = CancellationToken::new();
            (crowd.enter(from.parse().unwrap(), stop.clone()), stop)
        };
        let (_, other) = enter(&mut crowd, "192.0.2.1");
        let crowding: Vec<_> =
            (1..20).map(|n| enter(&mut crowd, &format!("2001:db8::{n}"))).collect();
        let gone = crowding.iter().filter(|(_, stop)| stop.is_cancelled()).count();
        assert_eq!((gone, crowd.here.len()), (17, 3));
        assert!(!other.is_cancelled());
        let (_, elsewhere) = enter(&mut crowd, "2001:db8:0:1::1");
        let (last, _) = enter(&mut crowd, "192.0.2.2");
        assert!(other.is_cancelled() && !elsewhere.is_cancelled(), "the oldest of all");
        crowd.leave(last);
        assert_eq!(crowd.here.len(), 3);
    }
}
