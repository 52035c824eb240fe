//! iroh alone: endpoints set up as `busel-net` sets up its own with the plain wire, and the least
//! protocol on them. The length that is wanted, eight bytes, then that many bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use iroh::endpoint::{Connection, PortmapperConfig, QuicTransportConfig, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, TransportAddr};
use tokio::task::JoinSet;

use super::{Doer, RawAddr, Ready, Reply, ms};

const ALPN: &[u8] = b"busel-bench/1";
/// Bytes written and read at once.
const PIECE: usize = 256 * 1024;

/// One side that asks.
pub(crate) struct Client {
    connection: Connection,
    _endpoint: Endpoint,
}

/// An endpoint on loopback that contacts nobody.
pub(crate) async fn endpoint(alpns: Vec<Vec<u8>>) -> Result<Endpoint> {
    let transport = QuicTransportConfig::builder().max_concurrent_bidi_streams(256u32.into());
    Endpoint::builder(presets::Minimal)
        .clear_ip_transports()
        .clear_relay_transports()
        .clear_address_lookup()
        .alpns(alpns)
        .transport_config(transport.build())
        .portmapper_config(PortmapperConfig::Disabled)
        .bind_addr(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?
        .bind()
        .await
        .context("an iroh endpoint")
}

/// Where `endpoint` is.
pub(crate) fn addr_of(endpoint: &Endpoint, hash: Option<String>) -> Result<RawAddr> {
    let addr = *endpoint.bound_sockets().first().context("no socket")?;
    Ok(RawAddr { id: endpoint.id().to_string(), addr, hash })
}

/// Connects to it.
pub(crate) async fn dial(endpoint: &Endpoint, server: &RawAddr, alpn: &[u8]) -> Result<Connection> {
    let id: EndpointId = server.id.parse().context("an endpoint's id")?;
    let addr = EndpointAddr::from_parts(id, [TransportAddr::Ip(server.addr)]);
    endpoint.connect(addr, alpn).await.context("can't connect")
}

/// Starts to serve.
pub(crate) async fn serve() -> Result<(Ready, Doer)> {
    let endpoint = endpoint(vec![ALPN.to_vec()]).await?;
    let raw = Some(addr_of(&endpoint, None)?);
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
    let endpoint = endpoint(vec![]).await?;
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
