//! How a prober makes its probes: real sockets of its host, a bounded wait, and of the answer no more
//! than its beginning.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::{Answer, End, Probe};
use crate::censor::Suspect;
use crate::flow::ClientHello;
use crate::world::Host;

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(2);
/// So much of an answer is kept.
const MOST: usize = 16 << 10;
/// The name for a server whose name was not heard.
const NO_NAME: &str = "www.example";

/// Makes a probe.
pub(super) async fn make(host: &Host, suspect: &Suspect, probe: Probe) -> Answer {
    let began = Instant::now();
    let name = ClientHello::find(&suspect.first).ok().flatten().and_then(|hello| hello.sni);
    let name = name.unwrap_or_else(|| NO_NAME.to_owned());
    let (said, end) = match probe {
        Probe::Visit => visit(host, suspect.server, &name).await,
        _ if suspect.udp => ask(host, suspect.server, &words(suspect, probe, &name)).await,
        _ => speak(host, suspect.server, &words(suspect, probe, &name)).await,
    };
    Answer { said, end, after: began.elapsed() }
}

/// What a probe says first.
fn words(suspect: &Suspect, probe: Probe, name: &str) -> Vec<u8> {
    let mut words = suspect.first.clone();
    match probe {
        Probe::Replay => {}
        Probe::Changed => {
            let middle = words.len() / 2;
            if let Some(byte) = words.get_mut(middle) {
                *byte ^= 0x55;
            }
        }
        Probe::Junk(len) => {
            words = vec![0; len];
            ChaCha8Rng::seed_from_u64(len as u64).fill_bytes(&mut words);
        }
        Probe::Get | Probe::Visit => words = request(name),
    }
    words
}

fn request(name: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").into_bytes()
}

async fn speak(host: &Host, server: SocketAddr, words: &[u8]) -> (Vec<u8>, End) {
    let Ok(Ok(mut stream)) = timeout(PATIENCE, host.dial(server)).await else {
        return (Vec::new(), End::Refused);
    };
    match stream.write_all(words).await {
        Ok(()) => listen(&mut stream).await,
        Err(_) => (Vec::new(), End::Reset),
    }
}

async fn visit(host: &Host, server: SocketAddr, name: &str) -> (Vec<u8>, End) {
    let Ok(Ok(stream)) = timeout(PATIENCE, host.dial(server)).await else {
        return (Vec::new(), End::Refused);
    };
    let (Some(connector), Ok(name)) = (connector(), ServerName::try_from(name.to_owned())) else {
        return (Vec::new(), End::Refused);
    };
    let asked = request(&name.to_str());
    let Ok(shaken) = timeout(PATIENCE, connector.connect(name, stream)).await else {
        return (Vec::new(), End::Silent);
    };
    let Ok(mut stream) = shaken else { return (Vec::new(), End::Closed) };
    match stream.write_all(&asked).await {
        Ok(()) => listen(&mut stream).await,
        Err(_) => (Vec::new(), End::Reset),
    }
}

/// Hears a server out.
async fn listen(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, End) {
    let until = tokio::time::Instant::now() + PATIENCE;
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    while said.len() < MOST {
        match timeout_at(until, stream.read(&mut buffer)).await {
            Err(_) => return (said, End::Silent),
            Ok(Ok(0)) => return (said, End::Closed),
            Ok(Ok(len)) => said.extend_from_slice(&buffer[..len]),
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                return (said, End::Closed);
            }
            Ok(Err(_)) => return (said, End::Reset),
        }
    }
    (said, End::Silent)
}

/// The first datagram that comes back.
async fn ask(host: &Host, server: SocketAddr, words: &[u8]) -> (Vec<u8>, End) {
    let bound = host.bind(0).map(UdpSocket::from_std);
    let Ok(Ok(socket)) = bound else { return (Vec::new(), End::Refused) };
    let mapped = match server {
        SocketAddr::V4(at) => SocketAddr::new(at.ip().to_ipv6_mapped().into(), at.port()),
        SocketAddr::V6(_) => server,
    };
    let mut buffer = [0; 2048];
    if socket.connect(mapped).await.is_err() || socket.send(words).await.is_err() {
        return (Vec::new(), End::Refused);
    }
    match timeout(PATIENCE, socket.recv(&mut buffer)).await {
        Ok(Ok(len)) => (buffer[..len].to_vec(), End::Silent),
        Ok(Err(_)) => (Vec::new(), End::Refused),
        Err(_) => (Vec::new(), End::Silent),
    }
}

/// A client that trusts everybody, since it has nothing to lose.
fn connector() -> Option<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Some(TlsConnector::from(Arc::new(config)))
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
