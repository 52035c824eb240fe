//! The provider's line: a SOCKS5 server that carries TCP from virtual addresses to loopback ones,
//! reads each client's first bytes, and cuts what the policy forbids, also long after it began.
//!
//! CONNECT only, no authentication. A first flight is held back until its name is known, so that
//! a forbidden one never reaches the site.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fast_socks5::server::Socks5ServerProtocol;
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::policy::Fate;
use super::sniff::{MAX_FLIGHT, Sight, sniff};
use super::{Dial, Isp, Kind, Owner, Pass};

/// Connections carried at once, the silenced ones counted.
const MAX_CONNECTIONS: usize = 4096;
/// How long a client may take to say where it wants to go, or a target to accept.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client that began to speak may take to show its name; then it passes unread.
const REASSEMBLY: Duration = Duration::from_secs(10);

/// Serves on a loopback port.
pub(super) async fn start(isp: &Arc<Isp>, owner: &Owner) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("the provider's SOCKS can't listen")?;
    let at = listener.local_addr()?;
    let isp = Arc::clone(isp);
    owner.serve(listener, MAX_CONNECTIONS, move |stream| {
        let isp = Arc::clone(&isp);
        async move {
            if let Err(error) = serve(&isp, stream).await {
                tracing::debug!(error = format!("{error:#}"), "a SOCKS connection ended");
            }
        }
    });
    Ok(at)
}

/// One client from its greeting to its end.
async fn serve(isp: &Arc<Isp>, mut client: TcpStream) -> anyhow::Result<()> {
    client.set_nodelay(true)?;
    let greeting = async {
        let proto = Socks5ServerProtocol::accept_no_auth(&mut client).await?;
        proto.read_command().await
    };
    let (proto, command, target) = timeout(PATIENCE, greeting).await.context("greeting")??;
    if !matches!(command, Socks5Command::TCPConnect) {
        return Ok(proto.reply_error(&ReplyError::CommandNotSupported).await?);
    }
    let to = match target {
        TargetAddr::Ip(addr) => Some(addr),
        TargetAddr::Domain(name, port) => {
            let ip = isp.resolve(&name).map(IpAddr::V4);
            ip.map(|ip| SocketAddr::new(ip, port))
        }
    };
    match open(isp, to).await {
        Opening::Through(site, pass) => {
            let bound = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            proto.reply_success(bound).await?;
            carry(client, site, pass).await;
        }
        Opening::Refused(error) => proto.reply_error(&error).await?,
        Opening::Silence => swallow(client).await,
    }
    Ok(())
}

/// What a dial came to.
enum Opening {
    Through(TcpStream, Pass),
    Refused(ReplyError),
    Silence,
}

async fn open(isp: &Arc<Isp>, to: Option<SocketAddr>) -> Opening {
    let (real, pass) = match to.map_or(Dial::Nowhere, |to| isp.dial(to)) {
        Dial::Carried(real, pass) => (real, pass),
        Dial::Nowhere => return Opening::Refused(ReplyError::HostUnreachable),
        Dial::Blocked(fate) => return Opening::forbidden(fate),
    };
    tokio::select! {
        biased;
        fate = pass.fate() => Opening::forbidden(fate),
        site = timeout(PATIENCE, TcpStream::connect(real)) => match site {
            Ok(Ok(site)) => Opening::Through(site, pass),
            _ => Opening::Refused(ReplyError::ConnectionRefused),
        },
    }
}

impl Opening {
    fn forbidden(fate: Fate) -> Self {
        match fate {
            Fate::Reset => Self::Refused(ReplyError::ConnectionRefused),
            Fate::Swallow => Self::Silence,
        }
    }
}

/// Carries bytes both ways until an end closes or the policy cuts in.
async fn carry(mut client: TcpStream, mut site: TcpStream, pass: Pass) {
    // Without it small packets may wait; they arrive all the same.
    site.set_nodelay(true).ok();
    let ended = tokio::select! {
        biased;
        fate = pass.fate() => Err(Cut::Policy(fate)),
        ended = pump(&mut client, &mut site, &pass) => ended,
    };
    match ended {
        Ok(()) => {}
        Err(Cut::Policy(Fate::Swallow)) => {
            pass.silenced();
            swallow(client).await;
        }
        // One end broke off: so it must look to the other, and not as a clean end.
        Err(Cut::Policy(Fate::Reset) | Cut::Broken) => {
            client.set_zero_linger().ok();
            site.set_zero_linger().ok();
            // The ends close before the pass says that it is done.
            drop((client, site));
            drop(pass);
        }
    }
}

/// Why carrying ended before both ends were done.
enum Cut {
    Policy(Fate),
    Broken,
}

impl From<io::Error> for Cut {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

async fn pump(client: &mut TcpStream, site: &mut TcpStream, pass: &Pass) -> Result<(), Cut> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_site, mut to_site) = site.split();
    let up = async {
        inspect(&mut from_client, &mut to_site, pass).await?;
        tokio::io::copy(&mut from_client, &mut to_site).await?;
        Ok::<_, Cut>(to_site.shutdown().await?)
    };
    let down = async {
        tokio::io::copy(&mut from_site, &mut to_client).await?;
        Ok(to_client.shutdown().await?)
    };
    tokio::try_join!(up, down).map(|_| ())
}

/// Reads the client's first flight until it shows a name, and passes it on if that is allowed.
async fn inspect(
    client: &mut ReadHalf<'_>,
    site: &mut WriteHalf<'_>,
    pass: &Pass,
) -> Result<(), Cut> {
    let mut flight = Vec::with_capacity(2048);
    let mut deadline = None;
    loop {
        let mut limited = (&mut *client).take((MAX_FLIGHT - flight.len()) as u64);
        let reading = limited.read_buf(&mut flight);
        // A client may let the site speak first; once it speaks, it has only so long.
        let read = match deadline {
            None => reading.await?,
            Some(at) => timeout_at(at, reading).await.unwrap_or(Ok(0))?,
        };
        let by = deadline.get_or_insert_with(|| Instant::now() + REASSEMBLY);
        let sight = match sniff(&flight) {
            Sight::More if read == 0 || Instant::now() >= *by => Sight::Nothing,
            sight => sight,
        };
        let fate = match sight {
            Sight::More => continue,
            Sight::Nothing => None,
            Sight::Sni(name) => pass.named(Kind::Sni, &name),
            Sight::Host(name) => pass.named(Kind::Host, &name),
        };
        if let Some(fate) = fate {
            return Err(Cut::Policy(fate));
        }
        return Ok(site.write_all(&flight).await?);
    }
}

/// Takes what a client says and answers nothing, until it gives up.
async fn swallow(mut client: TcpStream) {
    let mut waste = [0; 4096];
    while let Ok(1..) = client.read(&mut waste).await {}
}
