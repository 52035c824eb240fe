//! Servers and filters that break connections, each in its own way, and count what came.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{LOOPBACK, World};

/// A TCP server that does one thing with each connection.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    said: Arc<Mutex<Vec<Bytes>>>,
    task: JoinHandle<()>,
}

/// What it does.
#[derive(Clone)]
pub(crate) enum Act {
    /// Accepts and does nothing more.
    Nothing,
    /// Reads the first bytes, then resets, as a filter does on a server name.
    Reset,
    /// Reads the first bytes, then lets all else disappear.
    Silence,
    /// TLS and a request, then half a record, and nothing more.
    Freeze,
    /// TLS, a whole request, then the connection breaks.
    BreakAfterRequest,
    /// As `BreakAfterRequest`, but the first request of each connection is answered.
    BreakAfterSecondRequest,
    /// TLS, a request, these bytes as the answer, then the connection breaks.
    Say(Bytes),
    /// TLS, a request for another protocol, and in that back what comes.
    Echo,
}

impl Server {
    pub(crate) async fn start(world: &World, act: Act) -> Self {
        Self::start_at(world, act, LOOPBACK).await
    }

    pub(crate) async fn start_at(world: &World, act: Act, at: SocketAddr) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::default());
        let said = Arc::<Mutex<Vec<Bytes>>>::default();
        let mut tls = (*world.tls).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let task = {
            let (connections, requests) = (connections.clone(), Arc::clone(&requests));
            let said = said.clone();
            tokio::spawn(async move {
                let mut held = tokio::task::JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (act, requests) = (act.clone(), Arc::clone(&requests));
                    held.spawn(visit(stream, act, acceptor.clone(), requests, said.clone()));
                }
            })
        };
        Self { addr, connections, requests, said, task }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Whole request heads that came.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The first bytes of each connection.
    pub(crate) fn said(&self) -> Vec<Bytes> {
        self.said.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address where nobody listens.
pub(crate) async fn closed() -> SocketAddr {
    TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap()
}

/// Begins a record that it never ends.
async fn freeze(stream: TcpStream, acceptor: TlsAcceptor, requests: &AtomicUsize) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    if head(&mut stream).await {
        requests.fetch_add(1, Ordering::SeqCst);
        let begun = [&[23, 3, 3, 0x40, 0][..], &[0xaa; 9000]].concat();
        let _ = stream.get_mut().0.write_all(&begun).await;
        std::future::pending().await
    }
}

/// Agrees to another protocol, and sends back what comes.
async fn echo(stream: TcpStream, acceptor: TlsAcceptor, requests: &AtomicUsize) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    if !head(&mut stream).await {
        return;
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let agreed =
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    if stream.write_all(agreed).await.is_ok() {
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
    }
}

async fn visit(
    mut stream: TcpStream,
    act: Act,
    acceptor: TlsAcceptor,
    requests: Arc<AtomicUsize>,
    said: Arc<Mutex<Vec<Bytes>>>,
) {
    let answers: &[Bytes] = match act {
        Act::Nothing => return std::future::pending().await,
        Act::Reset | Act::Silence => {
            let mut first = vec![0; 16 * 1024];
            let read = stream.read(&mut first).await.unwrap_or(0);
            said.lock().unwrap().push(Bytes::copy_from_slice(&first[..read]));
            match act {
                Act::Reset => stream.set_zero_linger().unwrap(),
                _ => std::future::pending().await,
            }
            return;
        }
        Act::Freeze => return freeze(stream, acceptor, &requests).await,
        Act::Echo => return echo(stream, acceptor, &requests).await,
        Act::BreakAfterRequest => &[],
        Act::BreakAfterSecondRequest => {
            &[Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")]
        }
        Act::Say(ref answer) => std::slice::from_ref(answer),
    };
    let breaks_after_answer = matches!(act, Act::Say(_));
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    for answer in answers {
        if !head(&mut stream).await {
            return;
        }
        requests.fetch_add(1, Ordering::SeqCst);
        if stream.write_all(answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    if !breaks_after_answer && head(&mut stream).await {
        requests.fetch_add(1, Ordering::SeqCst);
    }
    // Dropped without an end of TLS: the connection broke.
}

/// Reads a request's head and what comes with it.
async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> bool {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read_buf(&mut seen).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return false,
        }
    }
    true
}

/// An answer that promises `len` bytes and brings the first ones of `body`.
pub(crate) fn broken_answer(etag: &str, body: &[u8], len: usize) -> Bytes {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncache-control: max-age=600\r\n\
         etag: {etag}\r\ncontent-length: {len}\r\n\r\n"
    );
    [head.as_bytes(), body].concat().into()
}
