//! Names to addresses, by resolvers that the reader chose, and with distrust: an answer is a hint
//! until TLS has verified the site.
//!
//! Whom to ask and when to stop is [`busel_proto::lookup`]'s to say. With an upstream proxy only
//! encrypted resolvers are asked, through it: no query leaves the device around it.

pub(crate) mod resolver;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use busel_net::dial::Dialer;
use busel_proto::failure::Failure;
use busel_proto::favour::Favour;
use busel_proto::lookup::{Kind, Lookup};
use busel_proto::network::Reach;
use busel_proto::page::HostName;

use crate::clock::Clock;
use crate::config::Config;
use resolver::{Answer, Resolver};

/// Resolves names.
pub struct Names {
    /// In the order of the configuration.
    resolvers: Vec<Resolver>,
    kinds: Vec<Kind>,
    /// How each did lately, by its place in the list.
    favour: Mutex<Favour<usize>>,
    clock: Clock,
    fixed: HashMap<(String, u16), SocketAddr>,
    /// Whether the provider must not see a host being looked up.
    guarded: Guarded,
}

/// Tells whether a host is guarded.
pub type Guarded = Arc<dyn Fn(&HostName) -> bool + Send + Sync>;

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Names({} resolvers)", self.resolvers.len())
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
        let (kinds, resolvers) = config
            .dns
            .iter()
            .filter(|dns| !dialer.is_upstream() || dns.kind() == Kind::Encrypted)
            .filter_map(|dns| Some((dns.kind(), Resolver::new(dns, roots, dialer)?)))
            .unzip();
        let (favour, clock) = (Mutex::default(), Clock::start());
        Self { resolvers, kinds, favour, clock, fixed, guarded }
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
        if self.resolvers.is_empty() {
            return Err(Failure::NotAllowed("no resolver is set up that may be asked".into()));
        }
        let hidden = (self.guarded)(host);
        let mut lookup = Lookup::new(&self.kinds, hidden, &self.favour(), self.clock.tick());
        while let Some(step) = lookup.next_step() {
            let since = self.clock.tick();
            let answer = self.resolvers[step.at].ask(host, step.limit).await;
            let now = self.clock.tick();
            match &answer {
                Answer::Silence => self.favour().failed(&step.at, now),
                // It says nothing of the name, and neither for nor against the resolver.
                Answer::Fault => {}
                Answer::Addresses(_) | Answer::NoSuchName => {
                    self.favour().worked(&step.at, now - since, now)
                }
            }
            match judge(answer, reach) {
                Ok(ips) => {
                    return Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect());
                }
                Err(failure) => lookup.failed(failure),
            }
        }
        Err(lookup.failure())
    }

    fn favour(&self) -> std::sync::MutexGuard<'_, Favour<usize>> {
        self.favour.lock().unwrap_or_else(PoisonError::into_inner)
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
