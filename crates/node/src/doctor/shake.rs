//! A connection to one address and the TLS handshake on it, with a neutral name, the site's, or the
//! site's in two pieces. After a certificate that can't be accepted nothing more is said.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use busel_net::dial::of_io;
use busel_proto::doctor::{Certificate, Hello, Shook};
use busel_proto::failure::Failure;
use busel_proto::page::HostName;
use rustls::CertificateError as E;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Tools;
use crate::origin::client_config;

/// A name that no censor minds. It is said to the site's own address, and nobody is asked for it.
const NEUTRAL: &str = "www.example.com";
/// How long a connection may take.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// How long a handshake may take on it.
const SHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Between the two pieces of a hello, so that they are two segments.
const PAUSE: Duration = Duration::from_millis(30);

/// Shakes hands, and ends the connection.
pub(super) async fn shake(tools: &Tools, at: SocketAddr, host: &HostName, hello: Hello) -> Shook {
    match connect(tools, at, host, hello).await {
        Ok(_) => Shook::Good,
        Err(shook) => shook,
    }
}

/// Connects, or says what came of it.
pub(super) async fn connect(
    tools: &Tools,
    at: SocketAddr,
    host: &HostName,
    hello: Hello,
) -> Result<TlsStream<InTwo>, Shook> {
    let stream = dial(tools, at).await.map_err(Shook::Unconnected)?;
    let name = if hello == Hello::Neutral { NEUTRAL } else { host.as_str() };
    let cut = (hello == Hello::Split).then(|| host.as_str().as_bytes().to_vec());
    let name = name.to_owned().try_into();
    let name = name.map_err(|_| Shook::Failed(Failure::Protocol("no server name".into())))?;
    let mut config = client_config(tools.roots.clone());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, InTwo::new(stream, cut));
    match timeout(SHAKE_LIMIT, connecting).await {
        Err(_) => Err(Shook::Failed(Failure::Silent)),
        Ok(Err(error)) => Err(of_tls(&error)),
        Ok(Ok(stream)) => Ok(stream),
    }
}

/// A TCP connection.
pub(super) async fn dial(tools: &Tools, at: SocketAddr) -> Result<TcpStream, Failure> {
    let dialled = timeout(CONNECT_LIMIT, tools.dialer.dial(at)).await;
    dialled.unwrap_or(Err(Failure::Silent))
}

fn of_tls(error: &io::Error) -> Shook {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => Shook::Certificate(of_certificate(why)),
        Some(other) => Shook::Failed(Failure::Protocol(format!("TLS: {other}"))),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Shook::Failed(Failure::Reset),
        None => Shook::Failed(of_io(error)),
    }
}

fn of_certificate(error: &E) -> Certificate {
    match error {
        E::UnknownIssuer => Certificate::UnknownIssuer,
        E::NotValidForName | E::NotValidForNameContext { .. } => Certificate::OtherName,
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => {
            Certificate::OutOfTime
        }
        _ => Certificate::Bad,
    }
}

/// A connection whose first bytes may be sent in two pieces, cut within a name.
pub(super) struct InTwo {
    stream: TcpStream,
    /// The name to cut within, until it was.
    name: Option<Vec<u8>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl InTwo {
    fn new(stream: TcpStream, name: Option<Vec<u8>>) -> Self {
        Self { stream, name, pause: None }
    }
}

/// Where to cut: in the middle of the name, or of all if it is not there.
fn middle_of(name: &[u8], bytes: &[u8]) -> usize {
    let at = bytes.windows(name.len().max(1)).position(|window| window == name);
    at.map_or(bytes.len() / 2, |at| at + name.len() / 2).max(1)
}

impl AsyncWrite for InTwo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let end = self.name.as_ref().map_or(bytes.len(), |name| middle_of(name, bytes));
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..end]))?;
        if self.name.take().is_some() {
            self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for InTwo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_hello_goes_out_in_two_pieces_cut_within_the_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut sender = InTwo::new(stream, Some(b"news.example".to_vec()));
        let (mut receiver, _) = listener.accept().await.unwrap();
        let sent = tokio::spawn(async move {
            sender.write_all(b"....news.example....").await.unwrap();
            sender.write_all(b"more").await.unwrap();
        });
        let mut first = [0; 64];
        let len = receiver.read(&mut first).await.unwrap();
        assert_eq!(&first[..len], b"....news.e");
        let mut rest = Vec::new();
        receiver.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"xample....more");
        sent.await.unwrap();
    }

    #[test]
    fn a_hello_without_the_name_is_cut_too() {
        assert_eq!(middle_of(b"news.example", b"12345678"), 4);
        assert_eq!(middle_of(b"", b""), 1);
    }
}
