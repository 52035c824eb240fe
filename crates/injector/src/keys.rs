//! An injector's keys: the root, which belongs offline, and the subkey with its certificate, which
//! an injector works with for some weeks.

use std::sync::{PoisonError, RwLock};

use busel_proto::cbor::{self, CborError};
use busel_proto::cert::{MAX_VALIDITY_SECS, Revocation, SubkeyCert};
use busel_proto::id::PublicKey;
use busel_proto::sealed::hpke_key;
use busel_proto::signed::{Signed, SignedError, Verified};
use busel_proto::time::UnixTime;
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

/// How long a subkey is certified for, unless said otherwise: 30 days.
pub const VALIDITY_SECS: u64 = 30 * 24 * 3600;

/// Why keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no such key.
    #[error("this is no injector key: {0}")]
    Malformed(#[from] CborError),
    /// The certificate is not valid.
    #[error("the certificate is not valid: {0}")]
    Cert(#[from] SignedError),
    /// The certificate is for other keys.
    #[error("the certificate is for another key")]
    OtherKey,
    /// The certificate is not newer than the one at hand.
    #[error("the certificate is no newer than the one in use")]
    NotNewer,
    /// A validity of no or too many days.
    #[error("a subkey is certified for 1 to {} days", MAX_VALIDITY_SECS / 86_400)]
    Validity,
}

/// A root key. Made and kept offline; only certificates and revocations leave it.
pub struct RootKey(SigningKey);

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RootKey({:?})", self.public())
    }
}

impl RootKey {
    /// A root of 32 random bytes.
    pub fn from_random(random: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(random))
    }

    /// The secret, to be kept.
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key, by which readers trust it.
    pub fn public(&self) -> PublicKey {
        PublicKey::from(&self.0)
    }

    /// Certifies a subkey from `now` on.
    pub fn certify(
        &self,
        request: &CertRequest,
        now: UnixTime,
        secs: u64,
    ) -> Result<Signed<SubkeyCert>, KeyError> {
        // A little before now, for origins and readers whose clocks are behind.
        const BEFORE: u64 = 3600;
        if secs == 0 || secs.saturating_add(BEFORE) > MAX_VALIDITY_SECS {
            return Err(KeyError::Validity);
        }
        let cert = SubkeyCert {
            v: 1,
            root: self.public(),
            subkey: request.subkey,
            hpke: request.hpke,
            epoch: now.0,
            not_before: UnixTime(now.0.saturating_sub(BEFORE)),
            not_after: UnixTime(now.0 + secs),
        };
        Ok(Signed::sign(&cert, &self.0))
    }

    /// Takes subkeys back. `seq` counts up, and `subkeys` repeats the earlier ones.
    pub fn revoke(&self, seq: u64, subkeys: Vec<PublicKey>) -> Signed<Revocation> {
        Signed::sign(&Revocation { v: 1, root: self.public(), seq, subkeys }, &self.0)
    }
}

/// What a root needs to know of a subkey to certify it; nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CertRequest {
    /// The key that signs heads.
    #[n(0)]
    pub subkey: PublicKey,
    /// The key to which requests are sealed.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hpke: [u8; 32],
}

impl CertRequest {
    /// One line, to be carried to where the root is.
    pub fn to_line(&self) -> String {
        BASE32_NOPAD.encode(&cbor::to_vec(self)).to_ascii_lowercase()
    }

    /// Reads a line.
    pub fn from_line(line: &str) -> Result<Self, KeyError> {
        let text = line.trim().to_ascii_uppercase();
        let bytes = BASE32_NOPAD
            .decode(text.as_bytes())
            .map_err(|e| CborError::Malformed(e.to_string()))?;
        Ok(cbor::from_slice(&bytes, 256)?)
    }
}

/// A subkey: signs heads, opens sealed requests.
pub struct Subkey {
    signing: SigningKey,
    hpke_seed: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Subkey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subkey(…)")
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct SubkeyBytes {
    #[cbor(n(0), with = "minicbor::bytes")]
    signing: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    hpke_seed: [u8; 32],
}

impl Subkey {
    /// A subkey of 64 random bytes.
    pub fn from_random(signing: &[u8; 32], hpke_seed: [u8; 32]) -> Self {
        Self { signing: SigningKey::from_bytes(signing), hpke_seed: Zeroizing::new(hpke_seed) }
    }

    /// What to certify.
    pub fn request(&self) -> CertRequest {
        CertRequest { subkey: PublicKey::from(&self.signing), hpke: hpke_key(&self.hpke_seed).1 }
    }

    /// The secret, to be kept.
    pub fn secret(&self) -> Zeroizing<Vec<u8>> {
        let bytes = SubkeyBytes { signing: self.signing.to_bytes(), hpke_seed: *self.hpke_seed };
        Zeroizing::new(cbor::to_vec(&bytes))
    }

    /// Reads what [`Subkey::secret`] gave.
    pub fn from_secret(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: SubkeyBytes = cbor::from_slice(bytes, 256)?;
        Ok(Self::from_random(&bytes.signing, bytes.hpke_seed))
    }
}

/// What an injector works with: a subkey and the certificate that fits it, which can be renewed.
pub struct Keys {
    signing: SigningKey,
    hpke: Zeroizing<[u8; 32]>,
    certs: RwLock<Certs>,
}

/// The newest certificate, and the one before: what was fetched under that is signed under it.
struct Certs {
    newest: Verified<SubkeyCert>,
    before: Option<Verified<SubkeyCert>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({:?})", self.cert().subkey)
    }
}

impl Keys {
    /// Puts a subkey and its certificate together.
    pub fn new(subkey: Subkey, cert: Signed<SubkeyCert>) -> Result<Self, KeyError> {
        let newest = cert.verify()?;
        let (secret, public) = hpke_key(&subkey.hpke_seed);
        if newest.subkey != PublicKey::from(&subkey.signing) || newest.hpke != public {
            return Err(KeyError::OtherKey);
        }
        let certs = RwLock::new(Certs { newest, before: None });
        Ok(Self { signing: subkey.signing, hpke: Zeroizing::new(secret), certs })
    }

    /// Takes a newer certificate of the same root for the same subkey.
    pub fn renew(&self, cert: Signed<SubkeyCert>) -> Result<(), KeyError> {
        let cert = cert.verify()?;
        let mut certs = self.certs.write().unwrap_or_else(PoisonError::into_inner);
        let old = &certs.newest;
        if (cert.subkey, cert.hpke, cert.root) != (old.subkey, old.hpke, old.root) {
            return Err(KeyError::OtherKey);
        }
        if cert.epoch <= old.epoch || cert.not_after <= old.not_after {
            return Err(KeyError::NotNewer);
        }
        certs.before = Some(std::mem::replace(&mut certs.newest, cert));
        Ok(())
    }

    /// The newest certificate.
    pub fn cert(&self) -> Verified<SubkeyCert> {
        self.certs().newest.clone()
    }

    /// The newest certificate that covers `at`: what was fetched at any other time it can't sign.
    pub fn cert_at(&self, at: UnixTime) -> Option<Verified<SubkeyCert>> {
        let certs = self.certs();
        let all = std::iter::once(&certs.newest).chain(&certs.before);
        all.into_iter().find(|cert| cert.covers(at)).cloned()
    }

    /// What to certify.
    pub fn request(&self) -> CertRequest {
        let certs = self.certs();
        CertRequest { subkey: certs.newest.subkey, hpke: certs.newest.hpke }
    }

    pub(crate) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    pub(crate) fn hpke(&self) -> &[u8; 32] {
        &self.hpke
    }

    fn certs(&self) -> std::sync::RwLockReadGuard<'_, Certs> {
        self.certs.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subkey(n: u8) -> Subkey {
        Subkey::from_random(&[n; 32], [n + 1; 32])
    }

    #[test]
    fn a_certificate_fits_only_its_subkey() {
        let root = RootKey::from_random(&[1; 32]);
        let cert = root.certify(&subkey(2).request(), UnixTime(1_000_000), VALIDITY_SECS).unwrap();
        assert!(Keys::new(subkey(2), cert.clone()).is_ok());
        assert!(matches!(Keys::new(subkey(5), cert), Err(KeyError::OtherKey)));
    }

    #[test]
    fn a_subkey_survives_being_kept() {
        let again = Subkey::from_secret(&subkey(7).secret()).unwrap();
        assert_eq!(*again.secret(), *subkey(7).secret());
        assert!(Subkey::from_secret(b"junk").is_err());
    }

    #[test]
    fn no_subkey_is_certified_for_years() {
        let root = RootKey::from_random(&[1; 32]);
        let years = root.certify(&subkey(2).request(), UnixTime(0), 3 * 365 * 86_400);
        assert!(matches!(years, Err(KeyError::Validity)));
    }

    #[test]
    fn a_certificate_is_renewed_only_by_a_newer_one_for_the_same_keys() {
        const DAY: u64 = 86_400;
        let root = RootKey::from_random(&[1; 32]);
        let request = subkey(2).request();
        let at = |day: u64| root.certify(&request, UnixTime(day * DAY), 30 * DAY).unwrap();
        let keys = Keys::new(subkey(2), at(100)).unwrap();
        assert!(!keys.cert().is_due(UnixTime(115 * DAY)));
        assert!(keys.cert().is_due(UnixTime(125 * DAY)));
        let stranger = RootKey::from_random(&[9; 32]);
        let strange = stranger.certify(&request, UnixTime(125 * DAY), 30 * DAY).unwrap();
        let other = root.certify(&subkey(3).request(), UnixTime(125 * DAY), 30 * DAY).unwrap();
        for cert in [strange, other] {
            assert!(matches!(keys.renew(cert), Err(KeyError::OtherKey)));
        }
        for day in [99, 100] {
            assert!(matches!(keys.renew(at(day)), Err(KeyError::NotNewer)));
        }
        keys.renew(at(125)).unwrap();
        let until = |day: u64| keys.cert_at(UnixTime(day * DAY)).map(|cert| cert.not_after.0 / DAY);
        assert_eq!(until(126), Some(155));
        assert_eq!(until(110), Some(130), "what was fetched before is signed under the old one");
        assert_eq!((until(99), until(156)), (None, None), "what was fetched outside, not at all");
    }
}
