//! A relay: forwards datagrams between nodes that can't reach each other, and is an ordinary web
//! site to everyone else.
//!
//! One port speaks TLS. Requests whose path begins with a way in reach iroh's relay service; all others,
//! a prober's among them, reach the site: the files of a directory, or a page of our own that says
//! little. A way in that is wrong, has run out or was taken back looks just like a page that is not
//! there.

mod backend;
mod metered;
mod sessions;
mod site;
mod ways;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use busel_proto::id::Hash;
use busel_proto::invite::RelayTicket;
use busel_proto::page::HostName;
use busel_proto::way_in::{Place, WayIn};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use iroh_relay::KeyCache;
use iroh_relay::server::http_server::{Handlers, RelayService};
use iroh_relay::server::{AllowAll, ClientRateLimit, Metrics};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

pub use sessions::Use;

use crate::tls;
use backend::Backend;
pub use metered::{Meter, OutOfBytes};
use sessions::Sessions;
use site::Site;
use ways::{Entrance, Ways};

/// Connections served at once.
const MAX_CONNECTIONS: usize = 10_000;
/// A connection that has not finished its TLS handshake by then is closed.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);
/// Keys of clients whose form was checked and is remembered.
const KEY_CACHE: usize = 1024;

/// How to run a relay.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// `host:port` under which others reach it, for invites; the listening address if not given.
    pub public: Option<String>,
    /// The certificate and its key, from [`Identity::generate`] or a real site's.
    pub identity: Identity,
    /// The way in that all holders of its own invite share. Others may be admitted later.
    pub secret: [u8; 16],
    /// Other names that invites offer, for where the certificate's does not pass.
    pub also: Vec<HostName>,
    /// The site that everyone else sees: a directory of files, or a built-in page.
    pub site: Option<PathBuf>,
    /// A site at `http://HOST:PORT` that everyone else is passed on to, instead.
    pub site_proxy: Option<String>,
    /// The most bytes a second that one client may send; unlimited if not given.
    pub bytes_per_second: Option<NonZeroU32>,
}

/// A relay's certificate and key, in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The name it shows.
    pub name: HostName,
    /// Certificate chain.
    pub cert: String,
    /// Private key.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.name)
    }
}

/// Why a relay could not start.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The port is taken or not allowed.
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The certificate or key is not usable.
    #[error("the relay's certificate can't be used: {0}")]
    Certificate(String),
    /// No site can be passed on to by this URL.
    #[error("“{0}” is no site to pass on to: write http://HOST:PORT")]
    Proxy(String),
    /// The site's directory can't be read.
    #[error("the site's directory can't be read: {0}")]
    Site(io::Error),
}

impl Identity {
    /// A fresh key and a certificate for `name`, signed by itself; readers pin it by the invite.
    pub fn generate(name: &HostName) -> Result<Self, RelayError> {
        let bad = |e: rcgen::Error| RelayError::Certificate(e.to_string());
        let mut params =
            rcgen::CertificateParams::new(vec![name.as_str().to_owned()]).map_err(bad)?;
        // As an ordinary site's: its own name, and a validity of some months. The pin is the key's,
        // so nothing depends on these.
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name.as_str());
        params.use_authority_key_identifier_extension = false;
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let age = DAY * u32::from(rand::random::<u8>() % 60 + 1);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // A whole second: more than that no certificate says.
        let since = Duration::from_secs(now.as_secs()).saturating_sub(age);
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since;
        params.not_after = params.not_before + DAY * 397;
        let key = rcgen::KeyPair::generate().map_err(bad)?;
        let cert = params.self_signed(&key).map_err(bad)?;
        Ok(Self { name: name.clone(), cert: cert.pem(), key: key.serialize_pem() })
    }

    fn load(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), RelayError> {
        let bad = |e: rustls::pki_types::pem::Error| RelayError::Certificate(e.to_string());
        let chain = CertificateDer::pem_slice_iter(self.cert.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(bad)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(bad)?;
        Ok((chain, key))
    }
}

/// A running relay. Dropping it stops it.
#[derive(Debug)]
pub struct RelayServer {
    ticket: RelayTicket,
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    service: RelayService,
    front: Arc<Front>,
}

impl RelayServer {
    /// Starts listening.
    pub async fn start(config: RelayConfig) -> Result<Self, RelayError> {
        Self::start_under(config, None).await
    }

    /// The same, with somebody who pays for what is carried.
    pub async fn start_under(
        config: RelayConfig,
        meter: Option<Arc<dyn Meter>>,
    ) -> Result<Self, RelayError> {
        let (chain, key) = config.identity.load()?;
        let pin: Hash = chain
            .first()
            .and_then(tls::pin)
            .ok_or_else(|| RelayError::Certificate("no certificate in it".into()))?;
        let tls =
            tls::server_config(chain, key).map_err(|e| RelayError::Certificate(e.to_string()))?;
        let site = Site::load(config.site.as_deref()).await.map_err(RelayError::Site)?;
        let backend = config.site_proxy.as_deref().map(Backend::new).transpose()?;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|e| RelayError::Listen(config.listen, e))?;
        let addr = listener.local_addr().map_err(|e| RelayError::Listen(config.listen, e))?;
        let ticket = RelayTicket {
            addr: config.public.unwrap_or_else(|| addr.to_string()),
            sni: config.identity.name.clone(),
            pin,
            secret: config.secret,
            also: config.also,
            spares: None,
        };
        let limit = config.bytes_per_second.map(ClientRateLimit::new);
        let service = RelayService::new(
            Handlers::default(),
            http::HeaderMap::new(),
            limit,
            KeyCache::new(KEY_CACHE),
            Arc::new(AllowAll),
            Arc::new(Metrics::default()),
        );
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let front = Arc::new(Front {
            acceptor: TlsAcceptor::from(tls),
            ways: Ways::new([(WayIn(config.secret), Entrance::Shared)]),
            sessions: Sessions::new(service.clone(), meter, stop.clone(), tasks.clone()),
            site,
            backend,
        });
        tasks.spawn(accept(listener, front.clone(), stop.clone(), tasks.clone()));
        Ok(Self { ticket, addr, stop, tasks, service, front })
    }

    /// What an invite says of this relay.
    pub fn ticket(&self) -> &RelayTicket {
        &self.ticket
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on these ways in are good, beside the shared one if that is, and no others. Who came by
    /// another is shown out.
    pub fn admit(&self, shared: bool, given: impl IntoIterator<Item = (WayIn, Place)>) {
        let shared = shared.then_some((WayIn(self.ticket.secret), Entrance::Shared));
        let given = given.into_iter().map(|(way, place)| (way, Entrance::Given(place)));
        self.front.ways.replace(given.chain(shared));
        self.front.sessions.keep(&self.front.ways.entrances());
    }

    /// How the ways in of each batch were used since the start.
    pub fn uses(&self) -> std::collections::BTreeMap<u32, Use> {
        self.front.sessions.uses()
    }

    /// Stops it and waits until all is closed.
    pub async fn stop(self) {
        self.stop.cancel();
        self.service.shutdown().await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for RelayServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

type RelayBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What stands behind the port.
struct Front {
    acceptor: TlsAcceptor,
    ways: Ways,
    sessions: Sessions,
    site: Site,
    backend: Option<Backend>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Front")
    }
}

async fn accept(
    listener: TcpListener,
    front: Arc<Front>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "relay: accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (front, stop) = (front.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = front.serve(stream) => {}
            }
            drop(place);
        });
    }
}

impl Front {
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        // Failing to set an option is no reason to lose a connection.
        let _ = stream.set_nodelay(true);
        let handshake = self.acceptor.accept(stream);
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await else { return };
        let service = service_fn(move |request| {
            let front = self.clone();
            async move { Ok::<_, Infallible>(front.answer(request).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HANDSHAKE_LIMIT)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            debug!(%error, "relay: connection ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<RelayBody> {
        let Some((entrance, inside)) = self.inside(request.uri().path()) else {
            return self.outside(request).await;
        };
        // iroh's probe, by which a node chooses its home relay.
        if inside == "ping" {
            return Response::new(full(Bytes::new()));
        }
        match sessions::Entry::parse(inside, &request) {
            None => self.outside(without_way(request)).await,
            Some(entry) => match self.sessions.enter(entry, entrance, request) {
                Ok(switched) => switched.map(|()| full(Bytes::new())),
                Err(request) => self.outside(without_way(*request)).await,
            },
        }
    }

    /// What everyone sees.
    async fn outside(&self, request: Request<Incoming>) -> Response<RelayBody> {
        match &self.backend {
            Some(backend) => backend.answer(request).await,
            None => self.site.answer(&request).map(full),
        }
    }

    /// By which way in a request comes, and what follows in its path.
    fn inside<'a>(&self, path: &'a str) -> Option<(Entrance, &'a str)> {
        let (first, rest) = path.strip_prefix('/')?.split_once('/')?;
        Some((self.ways.entrance(first)?, rest))
    }
}

/// The request as one for a page that is not there: a site's log is no place for a good way in. One that
/// is good no more stays as it is, like any stranger's: a site that repeats what was asked for would
/// else show that it was one.
fn without_way(mut request: Request<Incoming>) -> Request<Incoming> {
    let other = HEXLOWER.encode(&rand::random::<[u8; 16]>());
    let path = request.uri().path();
    let rest = path.get(1..).and_then(|path| path.split_once('/')).map_or("", |(_, rest)| rest);
    *request.uri_mut() = format!("/{other}/{rest}").parse().unwrap_or_default();
    request
}

fn full(body: Bytes) -> RelayBody {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_certificate_is_a_web_sites_and_valid_today() {
        let name = HostName::parse("www.example.org").unwrap();
        let (chain, _) = Identity::generate(&name).unwrap().load().unwrap();
        let (_, cert) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
        assert!(cert.validity().is_valid());
        let left = cert.validity().time_to_expiration().unwrap();
        assert!(left.whole_days() > 300 && left.whole_days() < 398);
        assert_eq!(cert.subject().to_string(), "CN=www.example.org");
        let usage = cert.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth);
        assert!(cert.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(!cert.is_ca());
    }
}
