//! Signed records: heads, certificates, revocations, checkpoints, and what verifies them.

use busel_proto::cbor;
use busel_proto::cert::{Checkpoint, Revocation, SubkeyCert, TrustSet, TrustedRoot};
use busel_proto::id::PublicKey;
use busel_proto::page::{HostPattern, PageUrl};
use busel_proto::signed::{Record, Signed};
use busel_proto::snapshot::{Head, KEPT_HEADERS, SignedSnapshot, SnapshotError, Wanted};
use busel_proto::time::UnixTime;
use ed25519_dalek::SigningKey;

/// The first byte says as what the rest is read.
pub fn cbor_head(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 8 {
        0 => drop(signed::<Head>(data)),
        1 => drop(signed::<SubkeyCert>(data)),
        2 => drop(signed::<Revocation>(data)),
        3 => drop(signed::<Checkpoint>(data)),
        4 => snapshot(data),
        5 => head(data),
        6 => revocation(data),
        _ => checkpoint(data),
    }
}

pub(crate) fn root() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

pub(crate) fn subkey() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

/// A trust set that takes `root()`'s word for every host.
pub(crate) fn trust() -> TrustSet {
    let mut trust = TrustSet::default();
    trust.add(TrustedRoot {
        key: PublicKey::from(&root()),
        label: "root".into(),
        hosts: vec![HostPattern::parse("*").expect("a fixed pattern")],
    });
    trust
}

/// A certificate of `subkey()` by `root()`, valid in the first ninety days after 1970.
pub(crate) fn cert() -> Signed<SubkeyCert> {
    let cert = SubkeyCert {
        v: 1,
        root: PublicKey::from(&root()),
        subkey: PublicKey::from(&subkey()),
        hpke: [3; 32],
        epoch: 4,
        not_before: UnixTime(0),
        not_after: UnixTime(90 * 86_400),
    };
    Signed::sign(&cert, &root())
}

/// What is read is written again the same, and a second form of it can't be verified.
fn signed<T: Record + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<Signed<T>> {
    let signed = Signed::<T>::from_bytes(data).ok()?;
    assert_eq!(signed.to_bytes(), data, "a signed record has one form");
    if let Ok(verified) = signed.clone().verify() {
        assert_eq!(*verified, signed.peek().expect("what was verified can be read"));
        assert_eq!(*verified.signed(), signed);
        assert!(verified.signer().verifying().is_ok(), "a weak key was taken");
    }
    Some(signed)
}

fn snapshot(data: &[u8]) {
    let Ok(snapshot) = cbor::from_slice::<SignedSnapshot>(data, SignedSnapshot::MAX) else {
        return;
    };
    assert_eq!(cbor::to_vec(&snapshot), data, "a snapshot has one form");
    let Ok(taken) = snapshot.clone().verify_page(&trust()) else { return };
    assert_eq!(taken.to_signed(), snapshot);
    assert_eq!(taken.url().as_str(), taken.head().url);
    let wanted = Wanted { url: taken.url().clone(), variant: taken.head().variant.clone() };
    assert!(snapshot.verify(&wanted, &trust()).is_ok());
}

/// A head of any content, truly signed: what is taken is well formed, and only for its own page.
fn head(data: &[u8]) {
    let Ok(mut head) = cbor::from_slice::<Head>(data, Head::MAX) else { return };
    assert_eq!(cbor::to_vec(&head), data, "a head has one form");
    head.injector = PublicKey::from(&subkey());
    head.epoch = 4;
    let snapshot = SignedSnapshot { head: Signed::sign(&head, &subkey()), cert: cert() };
    let Ok(taken) = snapshot.clone().verify_page(&trust()) else { return };
    assert_eq!(taken.head().v, 1);
    assert_eq!(PageUrl::parse(&head.url).as_ref(), Ok(taken.url()));
    assert_eq!(taken.url().as_str(), head.url);
    assert!(head.fetched_at.0 <= 90 * 86_400, "outside the key's validity");
    assert!(head.headers.iter().all(|field| KEPT_HEADERS.contains(&field.name.as_str())));
    assert_eq!(taken.headers().len(), head.headers.len(), "no field was lost");
    let other = Wanted::page(PageUrl::parse("https://other.invalid/").expect("a fixed URL"));
    if *taken.url() != other.url {
        assert_eq!(snapshot.verify(&other, &trust()).err(), Some(SnapshotError::OtherPage));
    }
}

/// A revocation of any content by a trusted root: said twice, it says nothing new.
fn revocation(data: &[u8]) {
    let Ok(mut revocation) = cbor::from_slice::<Revocation>(data, Revocation::MAX) else { return };
    revocation.root = PublicKey::from(&root());
    let verified = Signed::sign(&revocation, &root()).verify().expect("it was signed just now");
    let mut trust = trust();
    let new = trust.revoke(&verified, UnixTime(7));
    assert_eq!(new, revocation.v == 1 && !revocation.subkeys.is_empty());
    assert!(!trust.revoke(&verified, UnixTime(8)));
    if revocation.v != 1 {
        return;
    }
    for subkey in &revocation.subkeys {
        let standing = trust.standing(&revocation.root, subkey);
        assert_eq!(standing, busel_proto::cert::Standing::Revoked(UnixTime(7)));
    }
}

fn checkpoint(data: &[u8]) {
    let Ok(mut checkpoint) = cbor::from_slice::<Checkpoint>(data, Checkpoint::MAX) else { return };
    checkpoint.root = PublicKey::from(&root());
    let verified = Signed::sign(&checkpoint, &root()).verify().expect("it was signed just now");
    let mut trust = trust();
    trust.vouch(&verified);
    let taken = checkpoint.v == 1 && checkpoint.heads.is_sorted();
    let vouched = |head| trust.is_vouched(&checkpoint.root, head);
    assert!(checkpoint.heads.iter().all(|head| vouched(head) == taken));
}
