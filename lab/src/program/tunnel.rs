//! A tunnel as readers use them: an HTTP proxy behind TLS, which takes CONNECT and passes bytes on.
//! The plainest of its kind, so that a censor's rule for tunnels can be tried on it.
//!
//! It asks nobody for a password, and knows the world's names without a resolver.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::Ca;
use super::tls::serving;
use crate::world::{Host, World};

/// A running proxy; it ends when this is dropped.
pub struct Tunnel {
    task: JoinHandle<()>,
    url: String,
}

struct Exit {
    host: Host,
    names: HashMap<String, Vec<IpAddr>>,
}

impl Tunnel {
    /// Starts it on a port of a host, whose address is in its certificate.
    pub fn start(world: &World, host: &Host, ca: &Ca, port: u16) -> anyhow::Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(serving(ca, &[&host.v4().to_string()])?));
        let listener = host.listen(port)?;
        let names = world.names().iter().cloned().collect();
        let exit = Arc::new(Exit { host: host.clone(), names });
        let _inside = world.tasks().enter();
        let listener = TcpListener::from_std(listener)?;
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let (acceptor, exit) = (acceptor.clone(), Arc::clone(&exit));
                tokio::spawn(async move {
                    stream.set_nodelay(true).ok();
                    // What goes wrong is the client's affair.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    exit.serve(BufReader::new(stream)).await.ok();
                });
            }
        });
        Ok(Self { task, url: format!("https://{}:{port}", host.v4()) })
    }

    /// What curl calls it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Exit {
    async fn serve<S>(&self, mut client: BufReader<S>) -> anyhow::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut request = String::new();
        client.read_line(&mut request).await?;
        let mut header = String::new();
        while client.read_line(&mut header).await? > 2 {
            header.clear();
        }
        let target = request.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
        let target = self.find(target.context("another method")?).context("nobody's name")?;
        let mut server = self.host.dial(target).await?;
        server.set_nodelay(true)?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        client.flush().await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }

    fn find(&self, target: &str) -> Option<SocketAddr> {
        let (name, port) = target.rsplit_once(':')?;
        let addr = self.names.get(name)?.iter().find(|addr| addr.is_ipv4())?;
        Some(SocketAddr::new(*addr, port.parse().ok()?))
    }
}
