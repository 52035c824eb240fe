//! An upstream SOCKS5 proxy (RFC 1928) that looks up names itself: every name is this machine. It
//! remembers where it was asked to connect to.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::LOOPBACK;

/// The proxy.
pub(crate) struct Socks {
    pub(crate) addr: SocketAddr,
    targets: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Socks {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let targets = Arc::<Mutex<Vec<String>>>::default();
        let seen = targets.clone();
        let task = tokio::spawn(async move {
            let mut held = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let seen = seen.clone();
                // How it ends is between the two ends.
                held.spawn(async move { drop(carry(stream, seen).await) });
            }
        });
        Self { addr, targets, task }
    }

    /// The targets, as `host:port`.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap().clone()
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, seen: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let methods = {
        client.read_u8().await?;
        usize::from(client.read_u8().await?)
    };
    client.read_exact(&mut vec![0; methods]).await?;
    client.write_all(&[5, 0]).await?;
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let host = match head[3] {
        1 => Ipv4Addr::from(client.read_u32().await?).to_string(),
        4 => Ipv6Addr::from(client.read_u128().await?).to_string(),
        _ => {
            let mut name = vec![0; usize::from(client.read_u8().await?)];
            client.read_exact(&mut name).await?;
            String::from_utf8(name).unwrap()
        }
    };
    let port = client.read_u16().await?;
    seen.lock().unwrap().push(format!("{host}:{port}"));
    let ip = host.parse().unwrap_or(LOOPBACK.ip());
    let reached = TcpStream::connect((ip, port)).await;
    let code = if reached.is_ok() { 0 } else { 5 };
    client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    tokio::io::copy_bidirectional(&mut client, &mut reached?).await?;
    Ok(())
}
