//! QUIC with pages: a server in a host and a client that loads from it, for the techniques that look
//! at QUIC. They speak HTTP/0.9 over QUIC version 1 ("hq-interop"): one stream, one line, one page.
//!
//! No HTTP/3, which on the line looks the same; nginx and curl of Debian have none either.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use noq::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use noq::{ClientConfig, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::tls::{serving, trusting};
use super::{Ca, body};
use crate::world::{Host, World};

const ALPN: &[u8] = b"hq-interop";
/// How long a client waits for anything, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(40);
/// The longest line of a request.
const MAX_LINE: usize = 1000;
/// The longest page.
const MAX_PAGE: usize = 4 << 20;
/// Protocols that nobody speaks, to make a hello long.
const UNKNOWN: usize = 60;

/// A running server; it ends when this is dropped.
pub struct Quic {
    task: JoinHandle<()>,
}

impl Quic {
    /// Starts it on a port of a host, with the pages of these sites.
    pub fn start(
        world: &World,
        host: &Host,
        port: u16,
        ca: &Ca,
        sites: &[&str],
    ) -> anyhow::Result<Self> {
        let mut config = serving(ca, sites)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config)?));
        let socket = host.bind(port)?;
        let _inside = world.tasks().enter();
        let endpoint = endpoint(socket, Some(config))?;
        Ok(Self { task: tokio::spawn(serve(endpoint)) })
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            // A connection that fails is the client's affair.
            converse(incoming).await.ok();
        });
    }
}

async fn converse(incoming: Incoming) -> anyhow::Result<()> {
    let connection = incoming.await?;
    let known = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let site = known.and_then(|data| data.server_name).context("no name")?;
    loop {
        let (mut send, mut receive) = connection.accept_bi().await?;
        let line = String::from_utf8(receive.read_to_end(MAX_LINE).await?)?;
        let path = line.strip_prefix("GET ").context("not a request")?.trim_end();
        send.write_all(&body(&site, path).unwrap_or_default()).await?;
        send.finish()?;
    }
}

/// A client in a host.
pub struct QuicClient<'w> {
    world: &'w World,
    host: Host,
    config: rustls::ClientConfig,
    patience: Duration,
}

impl<'w> QuicClient<'w> {
    /// A client that trusts this authority.
    pub fn new(world: &'w World, host: &Host, ca: &Ca) -> anyhow::Result<Self> {
        let mut config = trusting(ca)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { world, host: host.clone(), config, patience: PATIENCE })
    }

    /// Gives up after this long.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Offers so many protocols that its hello does not fit into one packet.
    #[must_use]
    pub fn long_hello(mut self) -> Self {
        let unknown = (0..UNKNOWN).map(|number| format!("a protocol that is unknown {number}"));
        self.config.alpn_protocols.extend(unknown.map(String::into_bytes));
        self
    }

    /// Loads a page of a site at an address, and gives its body.
    pub fn get(&self, at: SocketAddr, site: &str, path: &str) -> anyhow::Result<Vec<u8>> {
        let any: IpAddr = match at {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = self.host.enter(move || UdpSocket::bind((any, 0)))?;
        let config = QuicClientConfig::try_from(self.config.clone())?;
        let config = ClientConfig::new(Arc::new(config));
        self.world.tasks().block_on(async {
            let endpoint = endpoint(socket, None)?;
            timeout(self.patience, load(&endpoint, config, at, site, path)).await?
        })
    }
}

async fn load(
    endpoint: &Endpoint,
    config: ClientConfig,
    at: SocketAddr,
    site: &str,
    path: &str,
) -> anyhow::Result<Vec<u8>> {
    let connection = endpoint.connect_with(config, at, site)?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(format!("GET {path}\r\n").as_bytes()).await?;
    send.finish()?;
    Ok(receive.read_to_end(MAX_PAGE).await?)
}

fn endpoint(socket: UdpSocket, config: Option<ServerConfig>) -> anyhow::Result<Endpoint> {
    Ok(Endpoint::new(EndpointConfig::default(), config, socket, Arc::new(TokioRuntime))?)
}
