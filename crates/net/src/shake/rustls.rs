//! rustls's handshake.

use std::io;
use std::sync::Arc;

use busel_proto::failure::Failure;
use busel_proto::page::HostName;
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;

use super::{Duplex, Protocols, Shaken, Verifier};
use crate::{dial, tls};

#[derive(Clone)]
pub(super) struct Client(TlsConnector);

impl Client {
    pub(super) fn new(verifier: Verifier, protocols: Protocols) -> Self {
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self(TlsConnector::from(Arc::new(config)))
    }

    pub(super) async fn shake(
        &self,
        name: &HostName,
        io: impl Duplex + 'static,
    ) -> Result<Shaken, Failure> {
        let name = name.as_str().to_owned();
        let name = name.try_into().map_err(|_| Failure::Protocol("no server name".into()))?;
        let stream = self.0.connect(name, io).await.map_err(|error| of_tls(&error))?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Shaken { io: Box::new(stream), h2 })
    }
}

fn of_tls(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Failure::ForgedCertificate,
        Some(other) => Failure::Protocol(format!("TLS: {other}")),
        // Nothing in a handshake ends a connection in the middle but a filter or a crash.
        None if error.kind() == io::ErrorKind::UnexpectedEof => Failure::Reset,
        None => dial::of_io(error),
    }
}
