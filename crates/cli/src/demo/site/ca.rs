//! A certificate authority that lives as long as the demo. The site's certificate comes from one,
//! and the censor forges with another: what tells them apart is only which one a reader trusts.
//!
//! It is never added to any system store, and its key never leaves memory.

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A root that issues certificates for host names.
pub(crate) struct DemoCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl DemoCa {
    /// A fresh root, named as what it is.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::named("Busel demo root, trusted by nobody else")
    }

    /// A fresh root of another name.
    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().context("can't make a CA key")?;
        let issuer = CertifiedIssuer::self_signed(params, key).context("can't make a CA")?;
        Ok(Self { issuer })
    }

    /// The root's certificate in PEM.
    pub(crate) fn cert_pem(&self) -> String {
        self.issuer.pem()
    }

    /// The root's certificate in DER.
    pub(crate) fn cert_der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A certificate chain and key for a host name or an IP address.
    pub(crate) fn issue(
        &self,
        host: &str,
    ) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let mut params = CertificateParams::new(vec![host.to_owned()])
            .with_context(|| format!("{host} can't stand in a certificate"))?;
        params.distinguished_name.push(DnType::CommonName, host);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().context("can't make a key")?;
        let cert = params.signed_by(&key, &self.issuer).context("can't sign a certificate")?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok((vec![cert.der().clone(), self.cert_der()], key.into()))
    }
}
