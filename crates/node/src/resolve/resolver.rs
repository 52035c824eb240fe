//! One resolver: the system's, one over UDP and TCP, or one over HTTPS. Its TCP connections are the
//! dialer's, so that they pass an upstream proxy; UDP can't, and is refused then.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use busel_net::dial::Dialer;
use busel_proto::lookup::{Kind, LIMIT};
use busel_proto::page::HostName;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use tokio::net::TcpStream;

use crate::config::Dns;

/// Names whose addresses are remembered.
const CACHE: u64 = 2048;

/// One resolver.
pub(crate) struct Resolver(hickory_resolver::Resolver<Dialled>);

/// What a resolver says of a name.
pub(crate) enum Answer {
    /// Its addresses.
    Addresses(Vec<IpAddr>),
    /// It does not exist, or has no address.
    NoSuchName,
    /// It answered that it could not find out: as likely the name's fault as its own.
    Fault,
    /// It did not answer, or does not want to.
    Silence,
}

impl Dns {
    /// What the provider sees of it.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::System | Self::Plain(_) => Kind::Clear,
            Self::Https(..) => Kind::Encrypted,
        }
    }
}

impl Resolver {
    /// Sets it up; nothing is asked yet. `None` if the system's can't be read.
    pub(crate) fn new(
        dns: &Dns,
        roots: &Arc<rustls::RootCertStore>,
        dialer: &Dialer,
    ) -> Option<Self> {
        type Built = hickory_resolver::Resolver<Dialled>;
        let provider = Dialled { dialer: dialer.clone(), own: TokioRuntimeProvider::default() };
        let only = |server| ResolverConfig::from_name_servers(vec![server]);
        let mut builder = match dns {
            Dns::System => Built::builder(provider).ok()?,
            Dns::Plain(addr) => {
                let mut server = NameServerConfig::udp_and_tcp(addr.ip());
                for connection in &mut server.connections {
                    connection.port = addr.port();
                }
                Built::builder_with_config(only(server), provider)
            }
            Dns::Https(addr, name) => {
                let mut connection = ConnectionConfig::https(name.as_str().into(), None);
                connection.port = addr.port();
                let server = NameServerConfig::new(addr.ip(), true, vec![connection]);
                Built::builder_with_config(only(server), provider)
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
        builder.build().ok().map(Self)
    }

    /// Asks for the addresses of `host`.
    pub(crate) async fn ask(&self, host: &HostName, limit: Duration) -> Answer {
        let lookup = self.0.lookup_ip(format!("{host}."));
        match tokio::time::timeout(limit, lookup).await {
            Err(_) => Answer::Silence,
            Ok(Ok(found)) => Answer::Addresses(found.iter().collect()),
            Ok(Err(error)) => of_error(&error),
        }
    }
}

fn of_error(error: &NetError) -> Answer {
    let code = match error {
        NetError::Dns(DnsError::NoRecordsFound(found)) => found.response_code,
        NetError::Dns(DnsError::ResponseCode(code)) => *code,
        _ => return Answer::Silence,
    };
    match code {
        ResponseCode::NoError | ResponseCode::NXDomain => Answer::NoSuchName,
        ResponseCode::Refused | ResponseCode::NotImp | ResponseCode::FormErr => Answer::Silence,
        _ => Answer::Fault,
    }
}

/// The runtime, with connections of the dialer's.
#[derive(Clone)]
struct Dialled {
    dialer: Dialer,
    own: TokioRuntimeProvider,
}

type Opening<T> = Pin<Box<dyn Send + Future<Output = io::Result<T>>>>;

impl RuntimeProvider for Dialled {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> Self::Handle {
        self.own.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Opening<Self::Tcp> {
        let dialer = self.dialer.clone();
        Box::pin(async move {
            let dialling = tokio::time::timeout(limit.unwrap_or(LIMIT), dialer.dial(server));
            match dialling.await {
                Ok(dialled) => dialled.map(AsyncIoTokioAsStd).map_err(io::Error::other),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }

    fn bind_udp(&self, local: SocketAddr, server: SocketAddr) -> Opening<Self::Udp> {
        if self.dialer.is_upstream() {
            return Box::pin(async { Err(io::ErrorKind::Unsupported.into()) });
        }
        self.own.bind_udp(local, server)
    }
}
