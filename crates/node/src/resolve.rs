//! Names to addresses, by resolvers that the reader chose, and with distrust: an answer is a hint
//! until TLS has verified the site.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use busel_proto::failure::Failure;
use busel_proto::network::Reach;
use busel_proto::page::HostName;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use crate::config::{ConnectTo, Dns};

/// One resolver is waited for this long.
const LIMIT: Duration = Duration::from_secs(4);
/// Names whose addresses are remembered.
const CACHE: u64 = 2048;

/// Resolves names.
pub struct Names {
    /// In the order in which they are tried, and whether the provider's own resolver is one.
    resolvers: Vec<(TokioResolver, bool)>,
    fixed: HashMap<(String, u16), SocketAddr>,
    reach: Reach,
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
    /// Sets up these resolvers; nothing is asked yet. One of the system's that can't be read is
    /// left out.
    pub fn new(
        dns: &[Dns],
        fixed: &[ConnectTo],
        reach: Reach,
        guarded: Guarded,
        roots: &Arc<rustls::RootCertStore>,
    ) -> Self {
        let fixed = fixed.iter().map(|c| ((c.host.clone(), c.port), c.addr)).collect();
        let resolvers =
            dns.iter().filter_map(|d| Some((build(d, roots)?, *d == Dns::System))).collect();
        Self { resolvers, fixed, reach, guarded }
    }

    /// The addresses of `host`, all of which may be connected to. The provider's own resolver is not
    /// asked for a guarded one.
    ///
    /// A resolver that gives only addresses that no public site can have is a liar and the next one
    /// is asked; if all lie or fail, the last reason is returned.
    pub async fn resolve(&self, host: &HostName, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        if let Some(addr) = self.fixed.get(&(host.as_str().to_owned(), port)) {
            return match self.reach.allows(addr.ip()) {
                true => Ok(vec![*addr]),
                false => Err(forbidden()),
            };
        }
        if let Some(ip) = host.ip() {
            return match self.reach.allows(ip) {
                true => Ok(vec![SocketAddr::new(ip, port)]),
                false => Err(forbidden()),
            };
        }
        let guarded = (self.guarded)(host);
        let mut last = Failure::NameUnanswered;
        for (resolver, system) in &self.resolvers {
            if guarded && *system {
                continue;
            }
            match self.ask(resolver, host).await {
                Ok(ips) => {
                    return Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect());
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn ask(&self, resolver: &TokioResolver, host: &HostName) -> Result<Vec<IpAddr>, Failure> {
        let lookup = resolver.lookup_ip(format!("{host}."));
        let found = match tokio::time::timeout(LIMIT, lookup).await {
            Err(_) => return Err(Failure::NameUnanswered),
            Ok(Err(error)) if error.is_nx_domain() => return Err(Failure::NameUnknown),
            Ok(Err(error)) if error.is_no_records_found() => return Err(Failure::NameUnknown),
            Ok(Err(_)) => return Err(Failure::NameUnanswered),
            Ok(Ok(found)) => found,
        };
        let usable: Vec<IpAddr> = found.iter().filter(|ip| self.reach.allows(*ip)).collect();
        if usable.is_empty() { Err(Failure::NamePoisoned) } else { Ok(usable) }
    }
}

fn forbidden() -> Failure {
    Failure::NotAllowed("the address is not on the public internet".into())
}

/// A resolver, or nothing where the system's settings can't be read.
pub(crate) fn build(dns: &Dns, roots: &Arc<rustls::RootCertStore>) -> Option<TokioResolver> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = match dns {
        Dns::System => TokioResolver::builder(provider).ok()?,
        Dns::Plain(addr) => {
            let mut server = NameServerConfig::udp_and_tcp(addr.ip());
            for connection in &mut server.connections {
                connection.port = addr.port();
            }
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, provider)
        }
        Dns::Https(addr, name) => {
            let mut connection = ConnectionConfig::https(name.as_str().into(), None);
            connection.port = addr.port();
            let server = NameServerConfig::new(addr.ip(), true, vec![connection]);
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, provider)
                .with_tls_config(crate::origin::client_config(roots.clone()))
        }
    };
    let options = builder.options_mut();
    options.timeout = LIMIT / 2;
    options.attempts = 2;
    options.cache_size = CACHE;
    options.use_hosts_file = match dns {
        Dns::System => ResolveHosts::Auto,
        Dns::Plain(_) | Dns::Https(..) => ResolveHosts::Never,
    };
    options.server_ordering_strategy = ServerOrderingStrategy::QueryStatistics;
    builder.build().ok()
}
