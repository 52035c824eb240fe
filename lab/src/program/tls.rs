//! A TLS client that does what curl can't: it cuts its ClientHello into pieces, and says any name to
//! any address. For tests of what a censor puts together.
//!
//! One request, HTTP/1.1, no redirects. What it says of itself is rustls's fingerprint.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use super::Ca;
use crate::world::Host;

/// So that pieces are sent as segments of their own.
const PAUSE: Duration = Duration::from_millis(30);
/// How long it waits for anything, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(40);

/// A client that is set up.
#[derive(Clone)]
pub struct Tls {
    host: Host,
    config: Arc<ClientConfig>,
    cuts: Vec<usize>,
    patience: Duration,
}

impl Tls {
    /// A client in a host.
    pub fn new(host: &Host, ca: &Ca) -> anyhow::Result<Self> {
        let config = Arc::new(trusting(ca)?);
        Ok(Self { host: host.clone(), config, cuts: Vec::new(), patience: PATIENCE })
    }

    /// Sends the ClientHello in pieces that end after these many bytes.
    #[must_use]
    pub fn cut_at(self, cuts: &[usize]) -> Self {
        Self { cuts: cuts.to_vec(), ..self }
    }

    /// Gives up when nothing comes for this long.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Loads a page of a site at an address, and gives its body.
    pub fn get(&self, at: SocketAddr, site: &str, path: &str) -> anyhow::Result<Vec<u8>> {
        let patience = self.patience;
        let stream = self.host.enter(move || TcpStream::connect_timeout(&at, patience))?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(site.to_owned())?;
        let mut client = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut hello = Vec::new();
        client.write_tls(&mut hello)?;
        self.send(&stream, &hello)?;
        let mut stream = StreamOwned::new(client, stream);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        Ok(answer.split_off(end.context("no HTTP head")? + 4))
    }

    fn send(&self, mut stream: &TcpStream, hello: &[u8]) -> anyhow::Result<()> {
        let mut from = 0;
        for cut in self.cuts.iter().copied().filter(|cut| *cut < hello.len()) {
            stream.write_all(&hello[from..cut])?;
            from = cut;
            std::thread::sleep(PAUSE);
        }
        Ok(stream.write_all(&hello[from..])?)
    }
}

/// A configuration of rustls that trusts this authority and no other.
pub fn trusting(ca: &Ca) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes())?)?;
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// A configuration of rustls for a server of these names, for whom this authority vouches.
pub(super) fn serving(ca: &Ca, names: &[&str]) -> anyhow::Result<ServerConfig> {
    let certified = ca.certify(names)?;
    let certificate = CertificateDer::from_pem_slice(certified.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes())?;
    let provider = rustls::crypto::ring::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(config)
}
