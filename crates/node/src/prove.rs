//! Is who answers at a host's address the host? A handshake of our own says so, for a tunnel that must
//! not believe the first who answers. It asks for nothing, and shows the provider no more names than
//! the program's own hello beside it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use busel_net::shake::Shaker;
use busel_proto::failure::Failure;
use busel_proto::page::HostName;
use busel_proto::proven::Proven;
use rustls::RootCertStore;

use crate::clock::Clock;
use crate::origin::{Io, Own, handshake};

/// A proof that takes longer is none, and nothing is held against the host.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks hosts for proof, and remembers.
pub(crate) struct Prover {
    own: Own,
    tls: Shaker,
    proven: Mutex<Proven>,
}

impl std::fmt::Debug for Prover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prover")
    }
}

impl Prover {
    pub(crate) fn new(own: Own, roots: Arc<RootCertStore>) -> Self {
        Self { own, tls: Shaker::of_the_web(roots), proven: Mutex::default() }
    }

    /// Whether somebody else answers there, with a certificate that no known authority made for it.
    /// What can't be found out is no forgery.
    pub(crate) async fn is_forged(&self, host: &HostName, port: u16, clock: Clock) -> bool {
        if self.proven().holds(host, port, clock.tick()) {
            return false;
        }
        let shaking = async {
            let io = self.own.dial(host, port).await?;
            handshake(&self.tls, host, Box::new(io)).await.map(drop)
        };
        match tokio::time::timeout(LIMIT, shaking).await {
            Ok(Err(Failure::ForgedCertificate)) => return true,
            Ok(Ok(())) => self.proven().note(host.clone(), port, clock.tick()),
            Ok(Err(_)) | Err(_) => {}
        }
        false
    }

    /// Whether it is this host that answers on a connection.
    pub(crate) async fn is_true(&self, host: &HostName, io: Box<dyn Io>) -> bool {
        handshake(&self.tls, host, io).await.is_ok()
    }

    pub(crate) fn proven(&self) -> std::sync::MutexGuard<'_, Proven> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
