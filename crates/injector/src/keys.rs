//! An injector's keys: the root, which belongs offline, and the subkey with its certificate, which
//! an injector works with for some weeks.

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

/// What an injector works with: a subkey and the certificate that fits it.
pub struct Keys {
    signing: SigningKey,
    hpke: Zeroizing<[u8; 32]>,
    cert: Verified<SubkeyCert>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({:?})", self.cert.subkey)
    }
}

impl Keys {
    /// Puts a subkey and its certificate together.
    pub fn new(subkey: Subkey, cert: Signed<SubkeyCert>) -> Result<Self, KeyError> {
        let cert = cert.verify()?;
        let (secret, public) = hpke_key(&subkey.hpke_seed);
        if cert.subkey != PublicKey::from(&subkey.signing) || cert.hpke != public {
            return Err(KeyError::OtherKey);
        }
        Ok(Self { signing: subkey.signing, hpke: Zeroizing::new(secret), cert })
    }

    /// The certificate.
    pub fn cert(&self) -> &Verified<SubkeyCert> {
        &self.cert
    }

    pub(crate) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    pub(crate) fn hpke(&self) -> &[u8; 32] {
        &self.hpke
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
}
