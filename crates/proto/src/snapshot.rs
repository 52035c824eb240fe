//! Snapshots: "injector K saw this response for this URL at this time".
//!
//! A head names the URL and the variant, and the verifier compares both with what was asked,
//! always: a truly signed copy of another page is as false as a forged one. The body is named by
//! its BLAKE3 root and length, so it may come from anyone (see [`crate::blob`]).

use minicbor::{Decode, Encode};

use crate::cert::{Standing, SubkeyCert, TrustSet};
use crate::id::{Hash, PublicKey, SnapshotKey};
use crate::page::{PageError, PageUrl, Variant};
use crate::signed::{Record, Signed, SignedError, Verified};
use crate::time::UnixTime;

/// The most header fields that a head carries.
pub const MAX_HEADERS: usize = 64;

/// Response header fields that are signed and shown, all others are dropped at the injector:
/// fields about one connection, one visitor or one server say nothing about the page. Security
/// policies stay, for a page without them is another page. Ascending, lower case.
pub const KEPT_HEADERS: &[&str] = &[
    "accept-ranges",
    "access-control-allow-origin",
    "age",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-security-policy",
    "content-type",
    "cross-origin-embedder-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "date",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "permissions-policy",
    "referrer-policy",
    "vary",
    "x-content-type-options",
    "x-frame-options",
];

/// What an injector saw. Deterministic CBOR, a map with these keys.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Head {
    /// Format, 1.
    #[n(0)]
    pub v: u8,
    /// The canonical URL that was asked for.
    #[n(1)]
    pub url: String,
    /// The variant that was asked for.
    #[n(2)]
    pub variant: Variant,
    /// HTTP status, 100 to 599.
    #[n(3)]
    pub status: u16,
    /// Header fields out of [`KEPT_HEADERS`], ascending by name, values as received.
    #[n(4)]
    pub headers: Vec<Field>,
    /// The body's BLAKE3 root, as transferred: content codings are kept.
    #[n(5)]
    pub root: Hash,
    /// The body's length in bytes.
    #[n(6)]
    pub len: u64,
    /// When the response head arrived at the injector.
    #[n(7)]
    pub fetched_at: UnixTime,
    /// Whether it came over TLS with a certificate that verified for the host.
    #[n(8)]
    pub tls: bool,
    /// The injector's subkey, which signs.
    #[n(9)]
    pub injector: PublicKey,
    /// The epoch of that subkey's certificate.
    #[n(10)]
    pub epoch: u64,
}

/// One header field.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Field {
    /// Lower-case name.
    #[n(0)]
    pub name: String,
    /// Value as received.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

impl Record for Head {
    const CONTEXT: &'static str = "busel/1/head";
    const MAX: usize = 64 * 1024;
    fn signer(&self) -> PublicKey {
        self.injector
    }
}

/// Keeps of a response's header what a head may carry, in its order: by name, equal names in the
/// order received.
pub fn kept_headers(headers: &http::HeaderMap) -> Vec<Field> {
    KEPT_HEADERS
        .iter()
        .flat_map(|name| headers.get_all(*name).iter().map(move |value| (name, value)))
        .take(MAX_HEADERS)
        .map(|(name, value)| Field { name: (*name).to_owned(), value: value.as_bytes().to_vec() })
        .collect()
}

/// A snapshot as it travels: a head and the certificate of the subkey that signed it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedSnapshot {
    /// The head.
    #[n(0)]
    pub head: Signed<Head>,
    /// The certificate of its injector.
    #[n(1)]
    pub cert: Signed<SubkeyCert>,
}

impl SignedSnapshot {
    /// The most bytes that one takes.
    pub const MAX: usize = Head::MAX + SubkeyCert::MAX + 256;
}

/// Why a snapshot was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The head can't be read or its signature does not fit.
    #[error("the signed head is not valid: {0}")]
    Head(SignedError),
    /// The certificate can't be read or its signature does not fit.
    #[error("the injector's certificate is not valid: {0}")]
    Cert(SignedError),
    /// A format that this version does not know.
    #[error("format {0} is not known to this version")]
    Version(u8),
    /// It is truly signed, but for another page.
    #[error("it is a snapshot of another page")]
    OtherPage,
    /// The head breaks the format: URL not canonical, status or headers out of range.
    #[error("the head is not well formed: {0}")]
    Malformed(&'static str),
    /// Certificate and head name different keys or epochs.
    #[error("the certificate is for another key")]
    OtherKey,
    /// Nobody whom the reader trusts for this host signed it.
    #[error("no injector trusted for this site signed it")]
    Untrusted,
    /// Fetched while the signing key was not valid.
    #[error("it was fetched outside the validity of the injector's key")]
    OutsideValidity,
    /// The signing key was taken back.
    #[error("the injector's key was revoked")]
    Revoked,
}

impl SnapshotError {
    /// Whether no honest node sends such a thing. One that trusts others than the reader does, or has not
    /// heard of a revocation, sends what the reader can't take.
    pub fn is_a_lie(&self) -> bool {
        match self {
            Self::Head(_)
            | Self::Cert(_)
            | Self::OtherPage
            | Self::Malformed(_)
            | Self::OtherKey => true,
            Self::Version(_) | Self::Untrusted | Self::OutsideValidity | Self::Revoked => false,
        }
    }
}

/// What is asked for, to compare with what came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The page.
    pub url: PageUrl,
    /// Its form.
    pub variant: Variant,
}

impl Wanted {
    /// The default form of a page.
    pub fn page(url: PageUrl) -> Self {
        Self { url, variant: Variant::default() }
    }

    /// The key to ask peers for.
    pub fn key(&self) -> SnapshotKey {
        self.url.key(&self.variant)
    }
}

/// A snapshot that was verified against a trust set. Only [`SignedSnapshot::verify`] makes one.
#[derive(Debug, Clone)]
pub struct Snapshot {
    url: PageUrl,
    head: Verified<Head>,
    cert: Verified<SubkeyCert>,
}

impl SignedSnapshot {
    /// Verifies everything a reader relies on: both signatures, that the page is the one wanted,
    /// that the root is trusted for its host, that the head was fetched within the key's validity,
    /// and that the key was not revoked (or a checkpoint vouches for this head).
    pub fn verify(self, wanted: &Wanted, trust: &TrustSet) -> Result<Snapshot, SnapshotError> {
        self.verify_at(trust, None)?.checked_for(wanted)
    }

    /// As [`SignedSnapshot::verify`], for one that this device stored at `received`: a key that was
    /// taken back only later was still the injector's own then.
    pub fn verify_stored(
        self,
        wanted: &Wanted,
        trust: &TrustSet,
        received: UnixTime,
    ) -> Result<Snapshot, SnapshotError> {
        let snapshot = self.verify_at(trust, Some(received))?;
        snapshot.checked_for(wanted)
    }

    /// As [`SignedSnapshot::verify`], for a snapshot that nobody asked for by URL, in a bundle say.
    /// The page is the one that the head names.
    pub fn verify_page(self, trust: &TrustSet) -> Result<Snapshot, SnapshotError> {
        self.verify_at(trust, None)
    }

    fn verify_at(
        self,
        trust: &TrustSet,
        received: Option<UnixTime>,
    ) -> Result<Snapshot, SnapshotError> {
        let cert = self.cert.verify().map_err(SnapshotError::Cert)?;
        let head = self.head.verify().map_err(SnapshotError::Head)?;
        if let Some(v) = [head.v, cert.v].into_iter().find(|v| *v != 1) {
            return Err(SnapshotError::Version(v));
        }
        let url = well_formed(&head)?;
        if head.injector != cert.subkey || head.epoch != cert.epoch {
            return Err(SnapshotError::OtherKey);
        }
        let root = trust.root(&cert.root).ok_or(SnapshotError::Untrusted)?;
        if !root.hosts.iter().any(|pattern| pattern.matches(&url.host())) {
            return Err(SnapshotError::Untrusted);
        }
        if !cert.covers(head.fetched_at) {
            return Err(SnapshotError::OutsideValidity);
        }
        if let Standing::Revoked(at) = trust.standing(&cert.root, &cert.subkey)
            && received.is_none_or(|received| received >= at)
            && !trust.is_vouched(&cert.root, &head.signed().hash())
        {
            return Err(SnapshotError::Revoked);
        }
        Ok(Snapshot { url, head, cert })
    }
}

fn well_formed(head: &Head) -> Result<PageUrl, SnapshotError> {
    let url = PageUrl::parse(&head.url)
        .map_err(|_: PageError| SnapshotError::Malformed("its URL can't be read"))?;
    if url.as_str() != head.url {
        return Err(SnapshotError::Malformed("its URL is not canonical"));
    }
    if Variant::parse(head.variant.as_str()).is_none() {
        return Err(SnapshotError::Malformed("its variant is not canonical"));
    }
    if !(100..=599).contains(&head.status) {
        return Err(SnapshotError::Malformed("its status is no HTTP status"));
    }
    if head.headers.len() > MAX_HEADERS {
        return Err(SnapshotError::Malformed("it has too many header fields"));
    }
    if !head.headers.is_sorted_by(|a, b| a.name <= b.name) {
        return Err(SnapshotError::Malformed("its header fields are not in order"));
    }
    let allowed = head.headers.iter().all(|field| {
        KEPT_HEADERS.binary_search(&field.name.as_str()).is_ok()
            && http::HeaderValue::from_bytes(&field.value).is_ok()
    });
    if !allowed {
        return Err(SnapshotError::Malformed("it has a header field that no head may carry"));
    }
    Ok(url)
}

impl Snapshot {
    fn checked_for(self, wanted: &Wanted) -> Result<Self, SnapshotError> {
        if self.url == wanted.url && self.head.variant == wanted.variant {
            Ok(self)
        } else {
            Err(SnapshotError::OtherPage)
        }
    }

    /// The page.
    pub fn url(&self) -> &PageUrl {
        &self.url
    }

    /// The head.
    pub fn head(&self) -> &Verified<Head> {
        &self.head
    }

    /// The certificate of the key that signed it.
    pub fn cert(&self) -> &Verified<SubkeyCert> {
        &self.cert
    }

    /// The key under which it is stored and asked for.
    pub fn key(&self) -> SnapshotKey {
        self.url.key(&self.head.variant)
    }

    /// The form in which it travels.
    pub fn to_signed(&self) -> SignedSnapshot {
        SignedSnapshot { head: self.head.signed().clone(), cert: self.cert.signed().clone() }
    }

    /// Its header fields as an HTTP header map.
    pub fn headers(&self) -> http::HeaderMap {
        header_map(&self.head.headers)
    }
}

/// Header fields of a head as an HTTP header map; fields that HTTP does not allow are left out.
pub fn header_map(fields: &[Field]) -> http::HeaderMap {
    let mut map = http::HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = http::HeaderName::from_bytes(field.name.as_bytes());
        let value = http::HeaderValue::from_bytes(&field.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    map
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
