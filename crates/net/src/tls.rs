//! TLS for relays: a certificate made on the spot, and a client that takes the pinned one and no
//! other, whatever name it shows.

use std::sync::Arc;

use busel_proto::id::Hash;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, ServerConfig, SignatureScheme};

/// The provider all TLS here uses.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The pin of a certificate: BLAKE3 of its SubjectPublicKeyInfo, so that it may be renewed under
/// the same key.
pub(crate) fn pin(cert: &CertificateDer<'_>) -> Option<Hash> {
    let (_, parsed) = x509_parser::parse_x509_certificate(cert).ok()?;
    Some(Hash::of(parsed.public_key().raw))
}

/// A server configuration over this certificate and key.
pub(crate) fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Believes who has the key of this pin, and nobody else.
pub(crate) fn pinned(pin: Hash) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Pinned { pin: Some(pin), provider: provider() })
}

/// Believes nobody.
pub(crate) fn nobody() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Pinned { pin: None, provider: provider() })
}

/// Not dangerous at all: stricter than the web's rules, which any authority could satisfy.
#[derive(Debug)]
struct Pinned {
    pin: Option<Hash>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pin.is_some() && pin(end_entity) == self.pin {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
