//! iroh alone: endpoints set up as `busel-net` sets up its own with the plain wire, and the least
//! protocol on them. The length that is wanted, eight bytes, then that many bytes. Veiled, they have
//! our UDP wire in place of iroh's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use busel_net::wire::plain::Plain;
use busel_net::wire::veil::{Listen, Veil};
use busel_net::wire::{Contact, Wire};
use busel_proto::id::PeerId;
use busel_proto::invite::VeilTicket;
use busel_proto::veil::VeilSecret;
use iroh::endpoint::{Connection, PortmapperConfig, QuicTransportConfig, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, TransportAddr};
use tokio::task::JoinSet;

use super::{Doer, RawAddr, Ready, Reply, ms};

const ALPN: &[u8] = b"busel-bench/1";
/// Bytes written and read at once.
const PIECE: usize = 256 * 1024;

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const SECRET: VeilSecret = VeilSecret([7; 32]);

/// One side that asks.
pub(crate) struct Client {
    connection: Connection,
    _endpoint: Endpoint,
}

/// An endpoint on loopback that contacts nobody.
pub(crate) async fn endpoint(alpns: Vec<Vec<u8>>) -> Result<Endpoint> {
    bind(alpns, &Plain::new(LOOPBACK)).await
}

async fn bind(alpns: Vec<Vec<u8>>, wire: &dyn Wire) -> Result<Endpoint> {
    let transport = QuicTransportConfig::builder().max_concurrent_bidi_streams(256u32.into());
    let builder = Endpoint::builder(presets::Minimal)
        .clear_ip_transports()
        .clear_relay_transports()
        .clear_address_lookup()
        .alpns(alpns)
        .transport_config(transport.build())
        .portmapper_config(PortmapperConfig::Disabled);
    wire.set_up(builder)?.bind().await.context("an iroh endpoint")
}

/// Where `endpoint` is.
pub(crate) fn addr_of(endpoint: &Endpoint, hash: Option<String>) -> Result<RawAddr> {
    let addr = *endpoint.bound_sockets().first().context("no socket")?;
    Ok(RawAddr { id: endpoint.id().to_string(), addr, hash, veiled: false })
}

/// Connects to it.
pub(crate) async fn dial(endpoint: &Endpoint, server: &RawAddr, alpn: &[u8]) -> Result<Connection> {
    let id: EndpointId = server.id.parse().context("an endpoint's id")?;
    let addr = EndpointAddr::from_parts(id, [TransportAddr::Ip(server.addr)]);
    endpoint.connect(addr, alpn).await.context("can't connect")
}

/// Starts to serve.
pub(crate) async fn serve(veiled: bool) -> Result<(Ready, Doer)> {
    let alpns = vec![ALPN.to_vec()];
    let (endpoint, raw) = if veiled {
        let veil = Veil::new(Some(Listen { addr: LOOPBACK, secret: SECRET }));
        let endpoint = bind(alpns, &veil).await?;
        let addr = veil.listens().context("no socket")?;
        let raw = RawAddr { id: endpoint.id().to_string(), addr, hash: None, veiled };
        (endpoint, Some(raw))
    } else {
        let endpoint = endpoint(alpns).await?;
        let raw = Some(addr_of(&endpoint, None)?);
        (endpoint, raw)
    };
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

/// Connects.
pub(crate) async fn connect(server: &RawAddr) -> Result<(Ready, Doer)> {
    if server.veiled {
        return connect_veiled(server).await;
    }
    let endpoint = endpoint(vec![]).await?;
    let connection = dial(&endpoint, server, ALPN).await?;
    Ok((Ready::default(), Doer::RawClient(Client { connection, _endpoint: endpoint })))
}

async fn connect_veiled(server: &RawAddr) -> Result<(Ready, Doer)> {
    let veil = Veil::new(None);
    let endpoint = bind(vec![], &veil).await?;
    let id: EndpointId = server.id.parse().context("an endpoint's id")?;
    let ticket = VeilTicket { addrs: vec![server.addr.to_string()], secret: SECRET };
    let peer = PeerId(*id.as_bytes());
    let contact = Contact { peer, relay: None, addrs: Vec::new(), veil: Some(ticket) };
    let addr = EndpointAddr::from_parts(id, veil.addresses(&contact));
    let connection = endpoint.connect(addr, ALPN).await.context("can't connect")?;
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
