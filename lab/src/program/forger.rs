//! The box of a provider that forges certificates, in a host: it reads the name in the ClientHello of
//! each connection that is led to it. A listed one is answered with a page of its own, under a
//! certificate made on the spot by an authority that nobody trusts; all others are passed on as they
//! are, to where they were meant to go.
//!
//! It does not load the true page to change it, and shows nothing to who does not begin with TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ipnet::IpNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Ca;
use super::tls::serving;
use crate::censor::{Diverted, ForgedCertificate, Names};
use crate::flow::{ClientHello, MAX_START};
use crate::world::{Host, World};

/// Where it listens.
const PORT: u16 = 8443;
/// How long a client may take to say its name, and its request.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at a hello that is not there whole.
const LOOK: Duration = Duration::from_millis(5);

/// A running box; it ends when this is dropped.
pub struct Forger {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    host: Host,
    ca: Ca,
    names: Names,
    diverted: Diverted,
}

impl Forger {
    /// What it shows instead of a listed site.
    pub const PAGE: &'static str = "<!doctype html><title>Access is restricted</title>\n";

    /// Starts it in a host of the provider's.
    pub fn start(world: &World, host: &Host, names: Names) -> anyhow::Result<Self> {
        let ca = Ca::new("provider authority", host.dir())?;
        let (host, diverted) = (host.clone(), Diverted::default());
        let listener = host.listen(PORT)?;
        let shared = Arc::new(Shared { host, ca, names, diverted });
        let _inside = world.tasks().enter();
        let listener = TcpListener::from_std(listener)?;
        let task = tokio::spawn(serve(Arc::clone(&shared), listener));
        Ok(Self { shared, task })
    }

    /// The policy that leads connections to these nets here.
    pub fn divert<N: Into<IpNet>>(&self, nets: impl IntoIterator<Item = N>) -> ForgedCertificate {
        let host = &self.shared.host;
        let boxes = [host.v4(), host.v6()].map(|addr| SocketAddr::new(addr, PORT));
        ForgedCertificate::new(nets, boxes, self.shared.diverted.clone())
    }

    /// Its authority, for a client that was made to trust it.
    pub fn ca(&self) -> &Ca {
        &self.shared.ca
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A client that leaves, as one does that looks at certificates, is no failure.
            shared.treat(stream, from).await.ok();
        });
    }
}

impl Shared {
    async fn treat(&self, mut stream: TcpStream, from: SocketAddr) -> anyhow::Result<()> {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let meant = self.diverted.target(from).context("not led here")?;
        match timeout(PATIENCE, name(&stream)).await?? {
            Some(name) if self.names.has(&name) => self.forge(stream, &name).await,
            _ => {
                let mut far = self.host.dial(meant).await?;
                copy_bidirectional(&mut stream, &mut far).await?;
                Ok(())
            }
        }
    }

    /// Shows the page of this box as if it were the site.
    async fn forge(&self, stream: TcpStream, name: &str) -> anyhow::Result<()> {
        let acceptor = TlsAcceptor::from(Arc::new(serving(&self.ca, &[name])?));
        let mut stream = timeout(PATIENCE, acceptor.accept(stream)).await??;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") && request.len() < MAX_START {
            request.push(timeout(PATIENCE, stream.read_u8()).await??);
        }
        let (page, len) = (Forger::PAGE, Forger::PAGE.len());
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len}\r\n\
             Connection: close\r\n\r\n{page}"
        );
        stream.write_all(answer.as_bytes()).await?;
        Ok(stream.shutdown().await?)
    }
}

/// The name that a client says, with all that it has sent left where it is. Nothing if it says none.
async fn name(stream: &TcpStream) -> anyhow::Result<Option<String>> {
    let mut start = vec![0; MAX_START];
    loop {
        let len = stream.peek(&mut start).await?;
        match ClientHello::find(&start[..len]) {
            Ok(Some(hello)) => return Ok(hello.sni),
            Ok(None) if len > 0 && len < MAX_START => tokio::time::sleep(LOOK).await,
            Ok(None) | Err(_) => return Ok(None),
        }
    }
}
