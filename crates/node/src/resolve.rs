//! Names to addresses, by resolvers that the reader chose, and with distrust: an answer is a hint
//! until TLS has verified the site.
//!
//! Whom to ask and when, and when to stop, is [`busel_proto::lookup`]'s to say. With an upstream proxy
//! only encrypted resolvers are asked, through it: no query leaves the device around it. What one network's
//! resolvers said is not believed on another: see [`Names::renew`].

pub(crate) mod resolver;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use busel_net::dial::Dialer;
use busel_proto::failure::Failure;
use busel_proto::favour::Favour;
use busel_proto::lookup::{Kind, Lookup, Output, Step};
use busel_proto::network::Reach;
use busel_proto::page::HostName;
use busel_proto::time::Tick;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::clock::Clock;
use crate::config::{Config, Dns};
use resolver::{Answer, Resolver};

/// Resolves names.
pub struct Names {
    /// Those that may be asked, in the order of the configuration.
    configured: Vec<Dns>,
    roots: Arc<rustls::RootCertStore>,
    dialer: Dialer,
    resolvers: Mutex<Arc<Resolvers>>,
    /// How each did lately, by its place in the list.
    favour: Mutex<Favour<usize>>,
    clock: Clock,
    fixed: HashMap<(String, u16), SocketAddr>,
    /// Whether the provider must not see a host being looked up.
    guarded: Guarded,
}

/// Resolvers that are set up, with their connections and what they said.
struct Resolvers {
    kinds: Vec<Kind>,
    all: Vec<Resolver>,
}

/// Tells whether a host is guarded.
pub type Guarded = Arc<dyn Fn(&HostName) -> bool + Send + Sync>;

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Names({} resolvers)", self.configured.len())
    }
}

impl Names {
    /// Sets up the resolvers; nothing is asked yet. One of the system's that can't be read is left
    /// out, and so is one in clear text if there is an upstream proxy.
    pub fn new(
        config: &Config,
        guarded: Guarded,
        roots: &Arc<rustls::RootCertStore>,
        dialer: &Dialer,
    ) -> Self {
        let fixed = config.connect_to.iter().map(|c| ((c.host.clone(), c.port), c.addr)).collect();
        let may_be_asked = |dns: &&Dns| !dialer.is_upstream() || dns.kind() == Kind::Encrypted;
        let configured: Vec<_> = config.dns.iter().filter(may_be_asked).cloned().collect();
        let resolvers = Mutex::new(Arc::new(Resolvers::new(&configured, roots, dialer)));
        let (favour, clock) = (Mutex::default(), Clock::start());
        let (roots, dialer) = (roots.clone(), dialer.clone());
        Self { configured, roots, dialer, resolvers, favour, clock, fixed, guarded }
    }

    /// Begins anew, since the device is on another network: those here may answer others than those
    /// there, the system has others, their connections are dead, and what was said there is forgotten.
    pub fn renew(&self) {
        let new = Resolvers::new(&self.configured, &self.roots, &self.dialer);
        *self.resolvers.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        *self.favour() = Favour::default();
    }

    /// Whether connections to `host` have a fixed destination.
    pub fn is_fixed(&self, host: &HostName, port: u16) -> bool {
        self.fixed.contains_key(&(host.as_str().to_owned(), port))
    }

    /// The addresses of `host`, all of them within `reach`. A guarded one is asked for only where
    /// the provider does not see it.
    ///
    /// A resolver that gives only addresses that no public site can have is a liar and the next one
    /// is asked; if all lie or fail, the reason that says most is returned.
    pub async fn resolve(
        &self,
        host: &HostName,
        port: u16,
        reach: &Reach,
    ) -> Result<Vec<SocketAddr>, Failure> {
        if let Some(addr) = self.fixed.get(&(host.as_str().to_owned(), port)) {
            return match reach.allows(addr.ip()) {
                true => Ok(vec![*addr]),
                false => Err(forbidden()),
            };
        }
        if let Some(ip) = host.ip() {
            return match reach.allows(ip) {
                true => Ok(vec![SocketAddr::new(ip, port)]),
                false => Err(forbidden()),
            };
        }
        let resolvers = self.resolvers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if resolvers.all.is_empty() {
            return Err(Failure::NotAllowed("no resolver is set up that may be asked".into()));
        }
        let ips = self.look_up(&resolvers, host, reach).await?;
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// The first good answer of `resolvers`.
    async fn look_up(
        &self,
        resolvers: &Resolvers,
        host: &HostName,
        reach: &Reach,
    ) -> Result<Vec<IpAddr>, Failure> {
        let (kinds, hidden) = (&resolvers.kinds, (self.guarded)(host));
        let mut lookup = Lookup::new(kinds, hidden, &self.favour(), self.clock.tick());
        let mut asking = FuturesUnordered::new();
        let mut dropped = Vec::new();
        loop {
            let until = match lookup.poll(self.clock.tick()) {
                Output::Ask(Step { at, limit }) => {
                    let since = self.clock.tick();
                    let answer = resolvers.all[at].ask(host, limit);
                    asking.push(async move { (at, since, answer.await) });
                    continue;
                }
                Output::Drop(at) => {
                    dropped.push(at);
                    continue;
                }
                Output::GiveUp => return Err(lookup.failure()),
                Output::Wait(until) => until,
            };
            tokio::select! {
                Some((at, since, answer)) = asking.next() => {
                    if dropped.contains(&at) {
                        continue;
                    }
                    self.note(at, &answer, since);
                    match judge(answer, reach) {
                        Ok(ips) => {
                            self.note_overtaken(&lookup, at);
                            return Ok(ips);
                        }
                        Err(failure) => lookup.failed(at, failure),
                    }
                }
                () = self.clock.alarm(until) => {}
            }
        }
    }

    /// Remembers how a resolver did.
    fn note(&self, at: usize, answer: &Answer, since: Tick) {
        let now = self.clock.tick();
        match answer {
            Answer::Silence => self.favour().failed(&at, now),
            // It says nothing of the name, and neither for nor against the resolver.
            Answer::Fault => {}
            Answer::Addresses(_) | Answer::NoSuchName => {
                self.favour().worked(&at, now - since, now)
            }
        }
    }

    /// Whoever had more time than the winner and said nothing is asked later next time.
    fn note_overtaken(&self, lookup: &Lookup, winner: usize) {
        let now = self.clock.tick();
        for slow in lookup.overtaken(winner) {
            self.favour().failed(&slow, now);
        }
    }

    fn favour(&self) -> std::sync::MutexGuard<'_, Favour<usize>> {
        self.favour.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolvers {
    fn new(configured: &[Dns], roots: &Arc<rustls::RootCertStore>, dialer: &Dialer) -> Self {
        let set_up = |dns: &Dns| Some((dns.kind(), Resolver::new(dns, roots, dialer)?));
        let (kinds, all) = configured.iter().filter_map(set_up).unzip();
        Self { kinds, all }
    }
}

fn judge(answer: Answer, reach: &Reach) -> Result<Vec<IpAddr>, Failure> {
    match answer {
        Answer::Silence | Answer::Fault => Err(Failure::NameUnanswered),
        Answer::NoSuchName => Err(Failure::NameUnknown),
        Answer::Addresses(mut found) => {
            found.retain(|ip| reach.allows(*ip));
            if found.is_empty() { Err(Failure::NamePoisoned) } else { Ok(found) }
        }
    }
}

fn forbidden() -> Failure {
    Failure::NotAllowed("the address is not on the public internet".into())
}
