//! iroh alone: endpoints set up as `busel-net` sets up its own, and the least protocol on them. The
//! length that is wanted, eight bytes, then that many bytes. They go by iroh's own UDP, by our wire in
//! its place, or through a relay.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use busel_net::dial::Dialer;
use busel_net::wire::plain::Plain;
use busel_net::wire::relay::Relay;
use busel_net::wire::veil::{Listen, Veil};
use busel_net::wire::{Contact, Wire};
use busel_proto::id::PeerId;
use busel_proto::invite::{Invite, VeilTicket};
use busel_proto::veil::VeilSecret;
use iroh::endpoint::{Connection, PortmapperConfig, QuicTransportConfig, presets};
use iroh::tls::CaTlsConfig;
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMap, RelayMode, RelayUrl, TransportAddr};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{By, Doer, RawAddr, Ready, Reply, ms};

const ALPN: &[u8] = b"busel-bench/1";
/// Bytes written and read at once.
const PIECE: usize = 256 * 1024;

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// A relay is reached by then.
const PATIENCE: Duration = Duration::from_secs(20);
/// The veil of this process, which has one endpoint at most behind it.
static VEIL: OnceLock<Veil> = OnceLock::new();
const SECRET: VeilSecret = VeilSecret([7; 32]);

/// One side that asks.
pub(crate) struct Client {
    connection: Connection,
    _endpoint: Endpoint,
}

/// An endpoint on loopback that contacts nobody.
pub(crate) async fn endpoint(alpns: Vec<Vec<u8>>) -> Result<Endpoint> {
    Ok(bind(alpns, &By::Plain, None).await?.0)
}

/// An endpoint for one way, which listens behind the veil if so said, and where it does.
async fn bind(
    alpns: Vec<Vec<u8>>,
    by: &By,
    veil: Option<Listen>,
) -> Result<(Endpoint, Option<SocketAddr>)> {
    let transport = QuicTransportConfig::builder().max_concurrent_bidi_streams(256u32.into());
    let builder = Endpoint::builder(presets::Minimal)
        .clear_ip_transports()
        .clear_relay_transports()
        .clear_address_lookup()
        .alpns(alpns)
        .transport_config(transport.build())
        .portmapper_config(PortmapperConfig::Disabled);
    let builder = match by {
        By::Plain => Plain::new(LOOPBACK).set_up(builder)?,
        By::Veil => VEIL.get_or_init(|| Veil::new(veil)).set_up(builder)?,
        By::Relay(invite) => {
            let tickets = Invite::from_line(invite)?.relays;
            let relay = Relay::start(Dialer::default(), &tickets).await?;
            let builder = relay.set_up(builder)?;
            // It carries until the process ends.
            std::mem::forget(relay);
            builder
        }
        By::Stock(addr) => {
            let map = RelayMap::from(stock(*addr)?);
            let builder = builder.relay_mode(RelayMode::Custom(map));
            let anyone = CaTlsConfig::custom_server_cert_verifier(Arc::new(|provider| {
                Ok(Arc::new(Anyone(provider.signature_verification_algorithms)) as _)
            }));
            builder.ca_tls_config(anyone)
        }
    };
    let endpoint = builder.bind().await.context("an iroh endpoint")?;
    let plain = endpoint.bound_sockets().first().copied();
    Ok((endpoint, VEIL.get().and_then(Veil::listens).or(plain)))
}

/// The URL of iroh's own relay.
fn stock(addr: SocketAddr) -> Result<RelayUrl> {
    format!("https://{addr}").parse().context("a relay's URL")
}

/// Where a plain `endpoint` is.
pub(crate) fn addr_of(endpoint: &Endpoint, hash: Option<String>) -> Result<RawAddr> {
    let addr = *endpoint.bound_sockets().first().context("no socket")?;
    Ok(RawAddr { id: endpoint.id().to_string(), addr: Some(addr), hash, by: By::Plain })
}

/// Connects to it.
pub(crate) async fn dial(endpoint: &Endpoint, server: &RawAddr, alpn: &[u8]) -> Result<Connection> {
    let id: EndpointId = server.id.parse().context("an endpoint's id")?;
    let addrs = match &server.by {
        By::Plain => vec![TransportAddr::Ip(server.addr.context("no address")?)],
        By::Stock(addr) => vec![TransportAddr::Relay(stock(*addr)?)],
        By::Veil => {
            let addrs = vec![server.addr.context("no address")?.to_string()];
            let veil = Some(VeilTicket { addrs, secret: SECRET });
            let wire = VEIL.get().context("no endpoint was bound behind the veil")?;
            wire.addresses(&Contact { veil, ..contact(id) })
        }
        By::Relay(invite) => {
            let relay = Invite::from_line(invite)?.relays.pop();
            let wire = Relay::start(Dialer::default(), &[]).await?;
            wire.addresses(&Contact { relay, ..contact(id) })
        }
    };
    let connecting = endpoint.connect(EndpointAddr::from_parts(id, addrs), alpn);
    connecting.await.context("can't connect")
}

fn contact(id: EndpointId) -> Contact {
    Contact { peer: PeerId(*id.as_bytes()), relay: None, addrs: Vec::new(), veil: None }
}

/// Starts to serve.
pub(crate) async fn serve(by: By) -> Result<(Ready, Doer)> {
    let listen = Some(Listen { addr: LOOPBACK, secret: SECRET });
    let (endpoint, addr) = bind(vec![ALPN.to_vec()], &by, listen).await?;
    if matches!(by, By::Relay(_) | By::Stock(_)) {
        timeout(PATIENCE, endpoint.online()).await.context("the relay is not reached")?;
    }
    let raw = Some(RawAddr { id: endpoint.id().to_string(), addr, hash: None, by });
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                let connection = incoming.await?;
                loop {
                    let (send, recv) = connection.accept_bi().await?;
                    tokio::spawn(answer(send, recv));
                }
                #[allow(unreachable_code, reason = "says what the task's errors are")]
                Ok::<_, anyhow::Error>(())
            });
        }
    });
    Ok((Ready { raw, ..Ready::default() }, Doer::Server))
}

async fn answer(
    mut send: iroh::endpoint::SendStream,
    mut recv: iroh::endpoint::RecvStream,
) -> Result<()> {
    let mut wanted = [0; 8];
    recv.read_exact(&mut wanted).await?;
    let (mut left, zeros) = (u64::from_be_bytes(wanted), vec![0; PIECE]);
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        send.write_all(&zeros[..size]).await?;
        left -= size as u64;
    }
    Ok(send.finish()?)
}

/// Takes any certificate: on loopback there is nobody else, and ours takes no authority either.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Connects.
pub(crate) async fn connect(server: &RawAddr) -> Result<(Ready, Doer)> {
    let (endpoint, _) = bind(vec![], &server.by, None).await?;
    let connection = dial(&endpoint, server, ALPN).await?;
    Ok((Ready::default(), Doer::RawClient(Client { connection, _endpoint: endpoint })))
}

impl Client {
    /// `count` exchanges of `len` bytes, `conns` at a time.
    pub(crate) async fn request(&self, count: usize, conns: usize, len: u64) -> Result<Reply> {
        let next = Arc::new(AtomicUsize::new(0));
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..conns {
            let (connection, next) = (self.connection.clone(), next.clone());
            tasks.spawn(async move {
                let (mut all, mut buffer) = (Vec::new(), vec![0; PIECE]);
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let asked = Instant::now();
                    exchange(&connection, len, &mut buffer).await?;
                    all.push(ms(asked));
                }
                Ok::<_, anyhow::Error>(all)
            });
        }
        let mut all = Vec::with_capacity(count);
        while let Some(done) = tasks.join_next().await {
            all.extend(done??);
        }
        Ok(Reply::Timed { ms: all, secs: begin.elapsed().as_secs_f64() })
    }
}

async fn exchange(connection: &Connection, len: u64, buffer: &mut [u8]) -> Result<()> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(&len.to_be_bytes()).await?;
    send.finish()?;
    let mut got = 0;
    while let Some(size) = recv.read(buffer).await? {
        got += size as u64;
    }
    ensure!(got == len, "{got} bytes came instead of {len}");
    Ok(())
}
