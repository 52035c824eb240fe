//! TLS as a client, on any stream: for relays and for sites.
//!
//! A ClientHello shows what program made it. The one of this build is rustls's; with the feature
//! `browser-hello`, which needs a C++ compiler and cmake, it is a browser's ([`browser`]). What is
//! believed of the other end is the same in both: that is a rustls verifier's to say.

#[cfg(feature = "browser-hello")]
mod browser;
#[cfg(not(feature = "browser-hello"))]
mod rustls;

use std::sync::Arc;

use ::rustls::RootCertStore;
use ::rustls::client::WebPkiServerVerifier;
use ::rustls::client::danger::ServerCertVerifier;
use busel_proto::failure::Failure;
use busel_proto::id::Hash;
use busel_proto::page::HostName;
use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(feature = "browser-hello")]
use self::browser as stack;
#[cfg(not(feature = "browser-hello"))]
use self::rustls as stack;
use crate::tls;

/// What is offered beside TLS (RFC 7301).
type Protocols = &'static [&'static [u8]];

/// As browsers do. Relays and plain sites take the second.
const WEB: Protocols = &[b"h2", b"http/1.1"];
/// As browsers do for a WebSocket.
const HTTP1: Protocols = &[b"http/1.1"];

/// Bytes both ways, whatever carries them.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection whose other end has proven who it is.
pub struct Shaken {
    /// What is said goes by TLS.
    pub io: Box<dyn Duplex>,
    /// Whether HTTP/2 was agreed on.
    pub h2: bool,
}

/// Makes TLS connections.
#[derive(Clone)]
pub struct Shaker(stack::Client);

impl std::fmt::Debug for Shaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shaker")
    }
}

impl Shaker {
    /// One that believes those for whom one of these authorities vouches.
    pub fn of_the_web(roots: Arc<RootCertStore>) -> Self {
        Self(stack::Client::new(of_authorities(roots), WEB))
    }

    /// The same, for connections on which another protocol is to follow HTTP/1.1.
    pub fn for_upgrades(roots: Arc<RootCertStore>) -> Self {
        Self(stack::Client::new(of_authorities(roots), HTTP1))
    }

    /// One that believes who has the key of this pin, whatever name it shows.
    pub(crate) fn pinned(pin: Hash) -> Self {
        Self(stack::Client::new(tls::pinned(pin), WEB))
    }

    /// Shows `name`, and checks who is there. The caller limits the time.
    ///
    /// # Errors
    ///
    /// `ForgedCertificate` for a certificate that is not believed, `Reset` for a connection that ends in
    /// the handshake, `Protocol` for what is no TLS.
    pub async fn shake(
        &self,
        name: &HostName,
        io: impl Duplex + 'static,
    ) -> Result<Shaken, Failure> {
        self.0.shake(name, io).await
    }
}

/// Keeps the verifier as the stacks take it.
type Verifier = Arc<dyn ServerCertVerifier>;

fn of_authorities(roots: Arc<RootCertStore>) -> Verifier {
    match WebPkiServerVerifier::builder_with_provider(roots, tls::provider()).build() {
        Ok(verifier) => verifier,
        // Only an empty store is refused.
        Err(_) => tls::nobody(),
    }
}
