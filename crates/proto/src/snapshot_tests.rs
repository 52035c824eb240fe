//! What a reader relies on, attack by attack.

use ed25519_dalek::SigningKey;

use super::*;
use crate::cert::{Checkpoint, Revocation, TrustedRoot};
use crate::page::HostPattern;

const DAY: u64 = 86_400;
const REVOKED: UnixTime = UnixTime(120 * DAY);

struct World {
    root: SigningKey,
    subkey: SigningKey,
    trust: TrustSet,
}

impl World {
    fn new() -> Self {
        let (root, subkey) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let mut trust = TrustSet::default();
        trust.add(TrustedRoot {
            key: PublicKey::from(&root),
            label: "Newsroom".into(),
            hosts: vec![HostPattern::parse("*.news.example").unwrap()],
        });
        Self { root, subkey, trust }
    }

    fn cert(&self) -> SubkeyCert {
        SubkeyCert {
            v: 1,
            root: PublicKey::from(&self.root),
            subkey: PublicKey::from(&self.subkey),
            hpke: [3; 32],
            epoch: 4,
            not_before: UnixTime(100 * DAY),
            not_after: UnixTime(130 * DAY),
        }
    }

    fn head(&self, url: &str) -> Head {
        Head {
            v: 1,
            url: url.into(),
            variant: Variant::default(),
            status: 200,
            headers: vec![Field { name: "content-type".into(), value: b"text/html".to_vec() }],
            root: Hash::of(b"body"),
            len: 4,
            fetched_at: UnixTime(110 * DAY),
            tls: true,
            injector: PublicKey::from(&self.subkey),
            epoch: 4,
        }
    }

    fn sign(&self, head: &Head) -> SignedSnapshot {
        SignedSnapshot {
            head: Signed::sign(head, &self.subkey),
            cert: Signed::sign(&self.cert(), &self.root),
        }
    }

    fn verify(&self, signed: SignedSnapshot, url: &str) -> Result<Snapshot, SnapshotError> {
        signed.verify(&Wanted::page(PageUrl::parse(url).unwrap()), &self.trust)
    }

    /// Verifies an honest head after `change`.
    fn changed(&self, change: impl FnOnce(&mut Head)) -> Result<Snapshot, SnapshotError> {
        let mut head = self.head(PAGE);
        change(&mut head);
        self.verify(self.sign(&head), PAGE)
    }
}

const PAGE: &str = "https://news.example/a";

#[test]
fn an_honest_snapshot_is_taken() {
    let snapshot = World::new().changed(|_| {}).unwrap();
    assert_eq!(snapshot.url().as_str(), PAGE);
    assert_eq!(snapshot.headers()["content-type"], "text/html");
    assert_eq!(snapshot.key(), Wanted::page(PageUrl::parse(PAGE).unwrap()).key());
}

#[test]
fn a_truly_signed_copy_of_another_page_is_refused() {
    let world = World::new();
    let other = world.sign(&world.head("https://news.example/b"));
    assert_eq!(world.verify(other, PAGE).unwrap_err(), SnapshotError::OtherPage);
    let german = world.changed(|head| head.variant = Variant::parse("de").unwrap());
    assert_eq!(german.unwrap_err(), SnapshotError::OtherPage);
}

#[test]
fn a_head_fetched_outside_its_keys_validity_is_refused() {
    let world = World::new();
    for (day, good) in [(99, false), (100, true), (130, true), (131, false)] {
        let got = world.changed(|head| head.fetched_at = UnixTime(day * DAY));
        assert_eq!(got.is_ok(), good, "day {day}");
        if !good {
            assert_eq!(got.unwrap_err(), SnapshotError::OutsideValidity);
        }
    }
}

#[test]
fn a_certificate_for_years_is_refused() {
    let world = World::new();
    let mut cert = world.cert();
    cert.not_after = UnixTime(500 * DAY);
    let mut signed = world.sign(&world.head(PAGE));
    signed.cert = Signed::sign(&cert, &world.root);
    assert_eq!(world.verify(signed, PAGE).unwrap_err(), SnapshotError::OutsideValidity);
}

#[test]
fn a_forged_head_is_refused() {
    let world = World::new();
    let forger = SigningKey::from_bytes(&[66; 32]);
    // The forger names the injector but signs with the own key, by splicing signatures.
    let honest = world.sign(&world.head(PAGE));
    let mut forged = world.head(PAGE);
    forged.root = Hash::of(b"lies");
    let mut bytes = world.sign(&forged).head.to_bytes().to_vec();
    let other = honest.head.to_bytes();
    let at = bytes.len() - 64;
    bytes[at..].copy_from_slice(&other[at..]);
    let spliced =
        SignedSnapshot { head: Signed::from_bytes(&bytes).unwrap(), cert: honest.cert.clone() };
    assert_eq!(
        world.verify(spliced, PAGE).unwrap_err(),
        SnapshotError::Head(SignedError::BadSignature)
    );
    // The forger signs with a key of the own and shows the injector's certificate.
    forged.injector = PublicKey::from(&forger);
    let own = SignedSnapshot { head: Signed::sign(&forged, &forger), cert: honest.cert };
    assert_eq!(world.verify(own, PAGE).unwrap_err(), SnapshotError::OtherKey);
}

#[test]
fn a_stranger_and_a_root_trusted_for_other_hosts_are_refused() {
    let world = World::new();
    let elsewhere = world.sign(&world.head("https://bank.example/"));
    let got = world.verify(elsewhere, "https://bank.example/");
    assert_eq!(got.unwrap_err(), SnapshotError::Untrusted);
    let nobody = World { trust: TrustSet::default(), ..World::new() };
    assert_eq!(nobody.changed(|_| {}).unwrap_err(), SnapshotError::Untrusted);
}

#[test]
fn after_a_revocation_only_vouched_heads_stand() {
    let mut world = World::new();
    let honest = world.sign(&world.head(PAGE));
    let revocation = Revocation {
        v: 1,
        root: PublicKey::from(&world.root),
        seq: 1,
        subkeys: vec![PublicKey::from(&world.subkey)],
    };
    let revocation = Signed::sign(&revocation, &world.root).verify().unwrap();
    assert!(world.trust.revoke(&revocation, REVOKED));
    assert!(!world.trust.revoke(&revocation, REVOKED), "the same again says nothing new");
    let got = world.verify(honest.clone(), PAGE);
    assert_eq!(got.unwrap_err(), SnapshotError::Revoked);
    let wanted = Wanted::page(PageUrl::parse(PAGE).unwrap());
    for (day, good) in [(119, true), (120, false)] {
        let stored = honest.clone().verify_stored(&wanted, &world.trust, UnixTime(day * DAY));
        assert_eq!(stored.is_ok(), good, "stored on day {day}");
    }

    let other = SigningKey::from_bytes(&[9; 32]);
    let (key, hosts) = (PublicKey::from(&other), vec![HostPattern::parse("*").unwrap()]);
    world.trust.add(TrustedRoot { key, label: "Other".into(), hosts });
    let foreign = Checkpoint { v: 1, root: key, heads: vec![honest.head.hash()] };
    world.trust.vouch(&Signed::sign(&foreign, &other).verify().unwrap());
    let got = world.verify(honest.clone(), PAGE);
    assert_eq!(got.unwrap_err(), SnapshotError::Revoked, "a root vouches only for its own");

    let checkpoint =
        Checkpoint { v: 1, root: PublicKey::from(&world.root), heads: vec![honest.head.hash()] };
    world.trust.vouch(&Signed::sign(&checkpoint, &world.root).verify().unwrap());
    assert!(world.verify(honest, PAGE).is_ok());
    let backdated = world.changed(|head| head.root = Hash::of(b"backdated"));
    assert_eq!(backdated.unwrap_err(), SnapshotError::Revoked);
}

#[test]
fn a_stranger_cannot_revoke() {
    let mut world = World::new();
    let stranger = SigningKey::from_bytes(&[5; 32]);
    let revocation = Revocation {
        v: 1,
        root: PublicKey::from(&stranger),
        seq: 9,
        subkeys: vec![PublicKey::from(&world.subkey)],
    };
    assert!(!world.trust.revoke(&Signed::sign(&revocation, &stranger).verify().unwrap(), REVOKED));
    assert!(world.changed(|_| {}).is_ok());
}

#[test]
fn malformed_heads_are_refused_each_for_its_reason() {
    let world = World::new();
    type Change = fn(&mut Head);
    let cases: [(Change, SnapshotError); 7] = [
        (|h| h.v = 2, SnapshotError::Version(2)),
        (
            |h| h.url = "HTTPS://news.example/a".into(),
            SnapshotError::Malformed("its URL is not canonical"),
        ),
        (|h| h.url = "x".into(), SnapshotError::Malformed("its URL can't be read")),
        (|h| h.status = 99, SnapshotError::Malformed("its status is no HTTP status")),
        (
            |h| h.headers[0].name = "set-cookie".into(),
            SnapshotError::Malformed("it has a header field that no head may carry"),
        ),
        (
            |h| h.headers[0].value = b"a\r\nb: c".to_vec(),
            SnapshotError::Malformed("it has a header field that no head may carry"),
        ),
        (
            |h| {
                h.headers.push(Field { name: "age".into(), value: b"1".to_vec() });
            },
            SnapshotError::Malformed("its header fields are not in order"),
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(world.changed(change).unwrap_err(), expected);
    }
    assert_eq!(world.changed(|h| h.epoch = 9).unwrap_err(), SnapshotError::OtherKey);
}

#[test]
fn kept_headers_are_sorted_and_carry_nothing_personal() {
    assert!(KEPT_HEADERS.is_sorted());
    let mut map = http::HeaderMap::new();
    for (name, value) in [
        ("vary", "accept-encoding"),
        ("set-cookie", "id=7"),
        ("content-type", "text/html"),
        ("server", "nginx"),
        ("link", "<a>"),
        ("link", "<b>"),
    ] {
        map.append(name, value.parse().unwrap());
    }
    let names: Vec<_> = kept_headers(&map).into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["content-type", "link", "link", "vary"]);
}
