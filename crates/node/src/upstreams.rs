//! Looks for proxies of other programs on this device, if its owner allows that: a further way where the
//! plain one fails.
//!
//! Only loopback is looked at, and only what a program of the same user or of the system listens on: a
//! proxy learns which hosts are asked for, and another user of the machine may put one there to learn it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use busel_net::dial::found::{Found, Leads, try_port};
use busel_net::dial::{Dialer, Upstream};
use busel_net::wire::relay::reaches;
use busel_proto::invite::RelayTicket;
use busel_proto::page::HostName;
use busel_proto::upstreams::{USUAL, Upstreams};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc};
use tracing::debug;

use crate::config::Dns;
use crate::door::owner;
use crate::node::Node;

/// On Linux users below this are the system's.
const FIRST_PERSON: u32 = 1000;

/// The search.
pub(crate) struct Search {
    found: Arc<Found>,
    doubts: Mutex<Option<mpsc::Receiver<SocketAddr>>>,
    moved: Notify,
    known: Mutex<Vec<Known>>,
}

/// A proxy that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// How it is written in a configuration.
    pub(crate) proxy: String,
    /// Whose port it usually is.
    pub(crate) usual: Option<&'static str>,
    /// Whether it is the one that is used.
    pub(crate) used: bool,
}

impl Search {
    pub(crate) fn new() -> Arc<Self> {
        let (found, doubts) = Found::new();
        let doubts = Mutex::new(Some(doubts));
        Arc::new(Self { found, doubts, moved: Notify::new(), known: Mutex::default() })
    }

    /// What dials through that which was found.
    pub(crate) fn dialer(&self) -> Dialer {
        Dialer::also_found(self.found.clone())
    }

    /// What was found.
    pub(crate) fn known(&self) -> Vec<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The device is on another network.
    pub(crate) fn moved(&self) {
        self.moved.notify_one();
    }

    /// Looks, again and again, as long as the node runs.
    pub(crate) async fn run(self: Arc<Self>, node: Node) {
        let doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut doubts) = doubts else { return };
        let clock = node.clock;
        let ports = node.config().upstream_ports.iter().copied();
        let mut ports = Upstreams::new(ports, clock.tick());
        let mut leading = BTreeMap::<u16, Upstream>::new();
        let mut tries = FuturesUnordered::new();
        loop {
            let due = ports.due(clock.tick());
            tries.extend(due.into_iter().map(|port| try_one(&node, port)));
            tokio::select! {
                Some((port, leads)) = tries.next(), if !tries.is_empty() => {
                    let took = leads.as_ref().map(|leads| leads.took);
                    ports.tried(port, took, clock.tick());
                    match leads {
                        Some(leads) => drop(leading.insert(port, leads.upstream)),
                        None => drop(leading.remove(&port)),
                    }
                    self.know(ports.best(), &leading);
                }
                Some(doubted) = doubts.recv() => ports.doubted(doubted.port(), clock.tick()),
                () = self.moved.notified() => ports.moved(clock.tick()),
                () = clock.alarm(ports.next()) => {}
            }
        }
    }

    fn know(&self, best: Option<u16>, leading: &BTreeMap<u16, Upstream>) {
        self.found.use_only(best.and_then(|best| leading.get(&best).cloned()));
        let usual = |port| USUAL.into_iter().find(|(usual, _)| *usual == port).map(|(_, of)| of);
        let known = leading.iter().map(|(port, upstream)| Known {
            proxy: upstream.clone().into(),
            usual: usual(*port),
            used: best == Some(*port),
        });
        let known: Vec<_> = known.collect();
        let mut before = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *before != known {
            debug!(found = known.len(), "proxies of other programs");
            *before = known;
        }
    }
}

async fn try_one(node: &Node, port: u16) -> (u16, Option<Leads>) {
    let own = node.http_addr().is_some_and(|door| door.port() == port);
    if own || !may_be_used(port) {
        return (port, None);
    }
    let leads = |dialer: Dialer| async move {
        let targets = targets(node).into_iter();
        let mut answers: FuturesUnordered<_> =
            targets.map(|target| target.answers(node, dialer.clone())).collect();
        while let Some(answers) = answers.next().await {
            if answers {
                return true;
            }
        }
        false
    };
    (port, try_port(port, leads).await)
}

/// Whether it is somebody's whom the reader trusts anyway. Where the system does not tell, the reader has
/// allowed it.
fn may_be_used(port: u16) -> bool {
    match owner::uid_of_listener(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
        Ok(Some(uid)) => uid == owner::own_uid() || uid < FIRST_PERSON,
        Ok(None) => false,
        Err(_) => true,
    }
}

/// Where a proxy is asked to lead: to a place that this device connects to anyway.
enum Target {
    /// A relay of its invites.
    Relay(RelayTicket),
    /// A resolver over HTTPS.
    Resolver(SocketAddr, HostName),
}

/// A few of them: one may be down.
fn targets(node: &Node) -> Vec<Target> {
    const RELAYS: usize = 2;
    let relays = node.joined().invites().into_iter().flat_map(|invite| invite.relays);
    let relays = relays.filter(|_| node.config().relay).take(RELAYS).map(Target::Relay);
    let resolver = node.config().dns.iter().find_map(|dns| match dns {
        Dns::Https(addr, name) => Some(Target::Resolver(*addr, name.clone())),
        Dns::System | Dns::Plain(_) => None,
    });
    relays.chain(resolver).collect()
}

impl Target {
    /// Whether it is there by this way, and not somebody else. It is told nothing.
    async fn answers(self, node: &Node, dialer: Dialer) -> bool {
        match self {
            Self::Relay(ticket) => reaches(&ticket, dialer).await.is_ok(),
            Self::Resolver(addr, name) => match dialer.dial(addr).await {
                Ok(stream) => node.prover.is_true(&name, Box::new(stream)).await,
                Err(_) => false,
            },
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    fn free() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn another_user_s_proxy_is_not_touched() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(may_be_used(own.local_addr().unwrap().port()));
        assert!(!may_be_used(free()), "nobody is there");
        if owner::own_uid() != 0 {
            return;
        }
        for (uid, may) in [(65_534, false), (FIRST_PERSON, false), (FIRST_PERSON - 1, true)] {
            let port = free();
            let mut proxy = Command::new("/usr/bin/microsocks")
                .args(["-i", "127.0.0.1", "-p", &port.to_string()])
                .uid(uid)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the Debian packages of cargo xtask are installed");
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            while owner::uid_of_listener(at).unwrap().is_none() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            assert_eq!(may_be_used(port), may, "{uid}");
            proxy.kill().unwrap();
            proxy.wait().unwrap();
        }
    }
}
