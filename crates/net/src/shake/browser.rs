//! A browser's handshake, by the library that browsers have: that of Chrome from version 133 on
//! (JA4 `t13d1516h2_8daaf6152771_d8a2da3f94cd`). Who blocks it blocks these browsers.
//!
//! It offers what the browser offers: ciphers, groups with a post-quantum one first, signatures, ECH
//! and ciphers as noise (GREASE), extensions in an order that changes.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brotli_decompressor::Decompressor;
use btls::ssl::{
    CertificateCompressionAlgorithm, CertificateCompressor, SslAlert, SslConnector, SslMethod,
    SslRef, SslVerifyError, SslVerifyMode, SslVersion,
};
use busel_proto::failure::Failure;
use busel_proto::page::HostName;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_btls::SslStream;

use super::{Duplex, Protocols, Shaken, Verifier};
use crate::dial;

const CIPHERS: &str = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:\
     ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
     ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
     ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
     ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA:\
     AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA:AES256-SHA";
const GROUPS: &str = "X25519MLKEM768:X25519:P-256:P-384";
const SIGNATURES: &str = "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256:rsa_pkcs1_sha256:\
     ecdsa_secp384r1_sha384:rsa_pss_rsae_sha384:rsa_pkcs1_sha384:\
     rsa_pss_rsae_sha512:rsa_pkcs1_sha512";
const H2: &[u8] = b"h2";
/// A chain of certificates is no longer than this when it is unpacked.
const MOST: u64 = 1 << 20;

#[derive(Clone)]
pub(super) struct Client {
    connector: SslConnector,
    verifier: Verifier,
    protocols: Protocols,
}

impl Client {
    pub(super) fn new(verifier: Verifier, protocols: Protocols) -> Self {
        let connector = connector(protocols).expect("the library knows these names");
        Self { connector, verifier, protocols }
    }

    pub(super) async fn shake(
        &self,
        name: &HostName,
        io: impl Duplex + 'static,
    ) -> Result<Shaken, Failure> {
        let broken = |error| Failure::Protocol(format!("TLS: {error}"));
        let mut config = self.connector.configure().map_err(broken)?;
        // The verifier below checks the name.
        config.set_verify_hostname(false);
        config.set_enable_ech_grease(true);
        if self.protocols.contains(&H2) {
            config.add_application_settings(H2).map_err(broken)?;
            config.set_alps_use_new_codepoint(true);
        }
        let (verifier, shown) = (self.verifier.clone(), name.clone());
        let refused = Arc::new(AtomicBool::new(false));
        let refuse = refused.clone();
        config.set_custom_verify_callback(SslVerifyMode::PEER, move |ssl| {
            verify(&verifier, &shown, ssl).ok_or_else(|| {
                refuse.store(true, Ordering::Relaxed);
                SslVerifyError::Invalid(SslAlert::CERTIFICATE_UNKNOWN)
            })
        });
        let ssl = config.into_ssl(name.as_str()).map_err(broken)?;
        let mut stream = SslStream::new(ssl, io).map_err(broken)?;
        Pin::new(&mut stream).connect().await.map_err(|error| match error.io_error() {
            _ if refused.load(Ordering::Relaxed) => Failure::ForgedCertificate,
            Some(error) => dial::of_io(error),
            // It ended in the middle: a filter's doing, or a crash.
            None if error.ssl_error().is_none() => Failure::Reset,
            None => Failure::Protocol(format!("TLS: {error}")),
        })?;
        let h2 = stream.ssl().selected_alpn_protocol() == Some(H2);
        Ok(Shaken { io: Box::new(stream), h2 })
    }
}

fn connector(protocols: Protocols) -> Result<SslConnector, btls::error::ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list(CIPHERS)?;
    builder.set_curves_list(GROUPS)?;
    builder.set_sigalgs_list(SIGNATURES)?;
    let listed = |name: &&[u8]| [&[u8::try_from(name.len()).unwrap_or(0)], *name].concat();
    builder.set_alpn_protos(&protocols.iter().map(listed).collect::<Vec<_>>().concat())?;
    builder.set_grease_enabled(true);
    builder.set_permute_extensions(true);
    builder.enable_ocsp_stapling();
    builder.enable_signed_cert_timestamps();
    builder.add_certificate_compression_algorithm(Brotli)?;
    Ok(builder.build())
}

/// Whether the verifier believes the other end. That it has the key of what it shows, the library
/// checks.
fn verify(verifier: &Verifier, name: &HostName, ssl: &SslRef) -> Option<()> {
    let chain = ssl.peer_cert_chain()?.iter().map(|cert| cert.to_der());
    let chain: Vec<_> = chain.collect::<Result<_, _>>().ok()?;
    let mut chain = chain.into_iter().map(CertificateDer::from);
    let (first, rest) = (chain.next()?, chain.collect::<Vec<_>>());
    let name = ServerName::try_from(name.as_str()).ok()?;
    let stapled = ssl.ocsp_status().unwrap_or_default();
    verifier.verify_server_cert(&first, &rest, &name, stapled, UnixTime::now()).ok().map(drop)
}

/// Unpacks certificates (RFC 8879), as browsers offer to.
struct Brotli;

impl CertificateCompressor for Brotli {
    const ALGORITHM: CertificateCompressionAlgorithm = CertificateCompressionAlgorithm::BROTLI;
    const CAN_COMPRESS: bool = false;
    const CAN_DECOMPRESS: bool = true;

    fn decompress<W: Write>(&self, packed: &[u8], to: &mut W) -> io::Result<()> {
        let mut unpacked = io::Read::take(Decompressor::new(packed, 4096), MOST);
        io::copy(&mut unpacked, to).map(drop)
    }
}
