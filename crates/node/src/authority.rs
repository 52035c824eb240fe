//! The reader's own certificate authority: with it the door can read what a browser asks of listed sites, so
//! that their pages come by every way. It is made when the reader asks for it, and vouches for nothing
//! before the reader has a browser believe it.
//!
//! What a thief of the device could do with it is bounded: the root's key is kept nowhere once it has signed one
//! intermediate, and critical name constraints (RFC 5280 §4.2.1.10) hold that one to the sites that were
//! listed then and the names below them, and to no address. Leaves live for a week.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use busel_proto::page::{HostName, HostPattern};
use busel_proto::time::UnixTime;
use busel_store::{ReadError, Store, WriteError};
use data_encoding::BASE64;
use lru::LruCache;
use minicbor::{Decode, Encode};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};
use zeroize::Zeroizing;

use crate::clock;
use crate::node::Node;

/// The setting that holds it.
const KEPT: &str = "authority";
/// The most sites that it is made for.
pub(crate) const MAX_HOSTS: usize = 256;
/// How long it lives.
const LIFE: Duration = Duration::from_secs(2 * 365 * 24 * 3600);
/// How long a leaf lives, and how long it must still live to be shown.
const LEAF_LIFE: (Duration, Duration) =
    (Duration::from_secs(7 * 24 * 3600), Duration::from_secs(24 * 3600));
/// The clock of a device may be behind.
const BEFORE: Duration = Duration::from_secs(24 * 3600);
/// How long a host is left alone after a program did not believe us.
const DOUBTED: Duration = Duration::from_secs(600);
/// Leaves that are kept.
const LEAVES: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// An authority for some hosts.
pub(crate) struct Authority {
    kept: Kept,
    issuer: Issuer<'static, KeyPair>,
    leaves: Mutex<LruCache<HostName, (UnixTime, Arc<ServerConfig>)>>,
    /// Hosts for which somebody did not believe it, and when.
    doubted: Mutex<LruCache<HostName, UnixTime>>,
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is nothing that it could be limited to.
    #[error(
        "no site is on the site list for which an authority could be made; add one with --site"
    )]
    NoSite,
    /// A certificate can't be made.
    #[error("a certificate can't be made: {0}")]
    Certificate(String),
    /// The store can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

impl From<rustls::Error> for AuthorityError {
    fn from(error: rustls::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

/// It as it is kept.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Kept {
    #[cbor(n(0), with = "minicbor::bytes")]
    root: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    intermediate: Vec<u8>,
    /// The intermediate's key, PKCS #8.
    #[cbor(n(2), with = "minicbor::bytes")]
    key: Vec<u8>,
    #[n(3)]
    hosts: Vec<HostPattern>,
    #[n(4)]
    until: UnixTime,
}

impl Drop for Kept {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

impl Authority {
    /// A new one for these hosts, as far as they can stand in one.
    pub(crate) fn make(
        hosts: impl IntoIterator<Item = HostPattern>,
        now: UnixTime,
    ) -> Result<Self, AuthorityError> {
        let hosts: Vec<_> = hosts.into_iter().filter(can_stand).take(MAX_HOSTS).collect();
        if hosts.is_empty() {
            return Err(AuthorityError::NoSite);
        }
        let (root, key) = (params("Busel on this device", 1, &hosts, now), KeyPair::generate()?);
        let root_der = root.self_signed(&key)?.der().to_vec();
        let root = Issuer::new(root, key);
        let (params, key) = (intermediate(&hosts, now), KeyPair::generate()?);
        let intermediate = params.signed_by(&key, &root)?.der().to_vec();
        let until = UnixTime(now.0 + LIFE.as_secs());
        let key_der = key.serialize_der();
        let kept = Kept { root: root_der, intermediate, key: key_der, hosts, until };
        Ok(Self::new(kept, Issuer::new(params, key)))
    }

    /// That which was made before, if there is one that still lives.
    pub(crate) fn kept(store: &Store, now: UnixTime) -> Result<Option<Self>, AuthorityError> {
        let Some(bytes) = store.setting(KEPT)?.map(Zeroizing::new) else { return Ok(None) };
        let kept = minicbor::decode::<Kept>(&bytes).ok();
        let lives = kept.filter(|kept| now.0 + LEAF_LIFE.0.as_secs() < kept.until.0);
        let read = lives.and_then(|kept| {
            let key = KeyPair::try_from(kept.key.as_slice()).ok()?;
            let issuer = Issuer::new(intermediate(&kept.hosts, now), key);
            Some(Self::new(kept, issuer))
        });
        if read.is_none() {
            warn!(
                "what vouched for listed sites has ended or can't be read; `busel ca install` makes it anew"
            );
            Self::forget(store)?;
        }
        Ok(read)
    }

    /// Keeps it, in place of any other.
    pub(crate) fn keep(&self, store: &Store) -> Result<(), AuthorityError> {
        let bytes = minicbor::to_vec(&self.kept).expect("a Vec takes all");
        Ok(store.set(KEPT, &Zeroizing::new(bytes))?)
    }

    /// Keeps none any more.
    pub(crate) fn forget(store: &Store) -> Result<(), AuthorityError> {
        Ok(store.unset(KEPT).map(drop)?)
    }

    fn new(kept: Kept, issuer: Issuer<'static, KeyPair>) -> Self {
        let doubted = Mutex::new(LruCache::new(LEAVES));
        Self { kept, issuer, leaves: Mutex::new(LruCache::new(LEAVES)), doubted }
    }

    /// The root, which a browser is to believe.
    pub(crate) fn root(&self) -> &[u8] {
        &self.kept.root
    }

    /// The hosts that it may vouch for.
    pub(crate) fn hosts(&self) -> &[HostPattern] {
        &self.kept.hosts
    }

    /// Until when it lives.
    pub(crate) fn until(&self) -> UnixTime {
        self.kept.until
    }

    /// Whether it may vouch for a host.
    pub(crate) fn covers(&self, host: &HostName) -> bool {
        host.ip().is_none() && self.kept.hosts.iter().any(|hosts| hosts.matches(host))
    }

    /// A program did not believe it: for a while that host is left to programs and site.
    pub(crate) fn doubt(&self, host: HostName, now: UnixTime) {
        lock(&self.doubted).put(host, now);
    }

    fn is_doubted(&self, host: &HostName, now: UnixTime) -> bool {
        let since = lock(&self.doubted).get(host).copied();
        since.is_some_and(|since| now.0.saturating_sub(since.0) < DOUBTED.as_secs())
    }

    /// What shows a browser that it speaks to `host`.
    pub(crate) fn vouch(
        &self,
        host: &HostName,
        now: UnixTime,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        if let Some((until, tls)) = lock(&self.leaves).get(host)
            && until.0 > now.0 + LEAF_LIFE.1.as_secs()
        {
            return Ok(tls.clone());
        }
        let tls = Arc::new(self.leaf(host, now)?);
        let until = UnixTime(now.0 + LEAF_LIFE.0.as_secs());
        lock(&self.leaves).put(host.clone(), (until, tls.clone()));
        Ok(tls)
    }

    fn leaf(&self, host: &HostName, now: UnixTime) -> Result<ServerConfig, AuthorityError> {
        let mut params = CertificateParams::new(vec![host.as_str().to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        live(&mut params, now, LEAF_LIFE.0);
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?.der().clone();
        let chain = vec![leaf, CertificateDer::from(self.kept.intermediate.clone())];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(tls)
    }
}

/// It as its reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouches {
    /// The certificate that a browser is to believe, in PEM (RFC 7468).
    pub pem: String,
    /// The sites that it can vouch for, and no others.
    pub sites: Vec<String>,
    /// Listed sites that it can't vouch for: they were listed later, or could not be vouched for at all.
    pub left_out: Vec<String>,
    /// Until when, in seconds of Unix time.
    pub until: u64,
}

impl Node {
    /// What vouches for listed sites at this device's door, if it was made.
    pub fn vouches(&self) -> Option<Vouches> {
        let authority = lock(&self.authority).clone()?;
        let view = self.joined().view();
        let left_out = view.sites.iter().filter(|site| !authority.hosts().contains(&site.hosts));
        Some(Vouches {
            pem: pem(authority.root()),
            sites: authority.hosts().iter().map(ToString::to_string).collect(),
            left_out: left_out.map(|site| site.hosts.to_string()).collect(),
            until: authority.until().0,
        })
    }

    /// Makes what vouches for the sites that are listed now, in place of any other: a browser has to be made
    /// believe the new one.
    pub async fn make_authority(&self) -> Result<Vouches, AuthorityError> {
        let node = self.clone();
        let made = self.spawn_blocking(move || {
            let hosts: Vec<_> =
                node.joined().view().sites.iter().map(|site| site.hosts.clone()).collect();
            let authority = Authority::make(hosts, clock::now())?;
            authority.keep(node.store())?;
            *lock(&node.authority) = Some(Arc::new(authority));
            Ok::<_, AuthorityError>(())
        });
        made.await.map_err(|e| AuthorityError::Certificate(e.to_string()))??;
        self.vouches().ok_or(AuthorityError::NoSite)
    }

    /// Vouches for nothing any more, and takes the key out of the store.
    pub async fn forget_authority(&self) -> Result<(), AuthorityError> {
        let node = self.clone();
        let forgotten = self.spawn_blocking(move || {
            *lock(&node.authority) = None;
            Authority::forget(node.store())
        });
        forgotten.await.map_err(|e| AuthorityError::Certificate(e.to_string()))?
    }
}

/// What shows a browser that it speaks to `host` itself.
pub(crate) fn vouch(node: &Node, host: &HostName, port: u16) -> Option<Arc<ServerConfig>> {
    let authority = lock(&node.authority).clone();
    let authority = authority.filter(|authority| port == 443 && authority.covers(host))?;
    node.joined().view().sites.find(host)?;
    if authority.is_doubted(host, clock::now()) {
        return None;
    }
    let tls = authority.vouch(host, clock::now());
    tls.inspect_err(|error| debug!(%error, "no certificate for a listed site")).ok()
}

/// A program did not believe that it spoke to `host`.
pub(crate) fn doubt(node: &Node, host: HostName) {
    if let Some(authority) = lock(&node.authority).clone() {
        authority.doubt(host, clock::now());
    }
}

/// A certificate in PEM.
fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an authority can be held to this: what means every host, or half the internet, would not hold it,
/// and addresses are not vouched for.
fn can_stand(hosts: &HostPattern) -> bool {
    let base = hosts.as_str().strip_prefix("*.").unwrap_or(hosts.as_str());
    !hosts.is_wide() && HostName::parse(base).is_ok_and(|name| name.ip().is_none())
}

/// An authority with `below` more below it.
fn params(name: &str, below: u8, hosts: &[HostPattern], now: UnixTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.name_constraints = Some(held_to(hosts));
    live(&mut params, now, LIFE);
    params
}

fn intermediate(hosts: &[HostPattern], now: UnixTime) -> CertificateParams {
    let mut params = params("Busel on this device, for listed sites", 0, hosts, now);
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// A name that is permitted permits those below it, too; for one host alone no leaf is made for these.
fn held_to(hosts: &[HostPattern]) -> NameConstraints {
    let name = |hosts: &HostPattern| {
        let name = hosts.as_str();
        GeneralSubtree::DnsName(name.strip_prefix("*.").unwrap_or(name).to_owned())
    };
    let every_v4 = CidrSubnet::V4([0; 4], [0; 4]);
    let every_v6 = CidrSubnet::V6([0; 16], [0; 16]);
    NameConstraints {
        permitted_subtrees: hosts.iter().map(name).collect(),
        excluded_subtrees: [every_v4, every_v6].map(GeneralSubtree::IpAddress).to_vec(),
    }
}

fn live(params: &mut CertificateParams, now: UnixTime, life: Duration) {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.0);
    (params.not_before, params.not_after) = (now - BEFORE, now + life);
}

#[cfg(test)]
mod tests {
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::ServerName;

    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn hosts(hosts: &[&str]) -> Vec<HostPattern> {
        hosts.iter().map(|hosts| HostPattern::parse(hosts).unwrap()).collect()
    }

    fn host(host: &str) -> HostName {
        HostName::parse(host).unwrap()
    }

    /// Whether who believes the root believes a leaf for `name`, made by a thief of the key.
    fn believed(authority: &Authority, name: &str, days: u64) -> bool {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        live(&mut params, NOW, LEAF_LIFE.0);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &authority.issuer).unwrap().der().clone();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(authority.kept.root.clone())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let chain = [CertificateDer::from(authority.kept.intermediate.clone())];
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = Duration::from_secs(NOW.0 + days * 24 * 3600);
        let now = rustls::pki_types::UnixTime::since_unix_epoch(now);
        verifier.build().unwrap().verify_server_cert(&leaf, &chain, &name, &[], now).is_ok()
    }

    #[test]
    fn who_has_the_key_is_believed_for_the_listed_sites_and_for_no_others() {
        let listed = hosts(&["news.example", "*.paper.example"]);
        let authority = Authority::make(listed, NOW).unwrap();
        for name in ["news.example", "paper.example", "www.paper.example"] {
            assert!(believed(&authority, name, 0), "{name}");
            assert!(!believed(&authority, name, 8), "{name} a week later");
        }
        for name in ["other.example", "example", "xnews.example", "127.0.0.1", "2001:db8::1"] {
            assert!(!believed(&authority, name, 0), "{name}");
        }
        // A constraint permits the names below, too; we make no leaf for these.
        assert!(believed(&authority, "a.news.example", 0));
        assert!(authority.covers(&host("a.paper.example")));
        assert!(
            !authority.covers(&host("a.news.example")) && !authority.covers(&host("127.0.0.1"))
        );
    }

    #[test]
    fn what_would_hold_it_to_nothing_is_left_out() {
        let listed = hosts(&["*", "*.example", "127.0.0.1", "news.example"]);
        let authority = Authority::make(listed, NOW).unwrap();
        assert_eq!(authority.hosts(), hosts(&["news.example"]));
        let none = Authority::make(hosts(&["*", "[::1]"]), NOW);
        assert!(matches!(none, Err(AuthorityError::NoSite)));
    }

    #[test]
    fn a_host_is_left_alone_for_a_while_after_a_program_did_not_believe_it() {
        let authority = Authority::make(hosts(&["news.example", "paper.example"]), NOW).unwrap();
        authority.doubt(host("news.example"), NOW);
        let at = |seconds: u64| UnixTime(NOW.0 + seconds);
        assert!(authority.is_doubted(&host("news.example"), at(599)));
        assert!(!authority.is_doubted(&host("news.example"), at(600)));
        assert!(!authority.is_doubted(&host("paper.example"), NOW));
    }

    #[test]
    fn a_leaf_is_made_once_and_anew_before_it_ends() {
        let authority = Authority::make(hosts(&["news.example"]), NOW).unwrap();
        let at = |days: u64| UnixTime(NOW.0 + days * 24 * 3600);
        let first = authority.vouch(&host("news.example"), NOW).unwrap();
        assert!(Arc::ptr_eq(&first, &authority.vouch(&host("news.example"), at(5)).unwrap()));
        assert!(!Arc::ptr_eq(&first, &authority.vouch(&host("news.example"), at(6)).unwrap()));
    }
}
