//! What is put into a catalogue, and what two of them find out about each other.

use ed25519_dalek::SigningKey;

use super::*;
use crate::cert::{SubkeyCert, TrustedRoot};
use crate::page::{HostPattern, Variant};
use crate::snapshot::Head;

const DAY: u64 = 86_400;
const NOW: UnixTime = UnixTime(110 * DAY);

fn subkey() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

fn listed(path: &str, fetched_at: u64, body: u8) -> Listed {
    let (root, subkey) = (SigningKey::from_bytes(&[1; 32]), subkey());
    let cert = SubkeyCert {
        v: 1,
        root: PublicKey::from(&root),
        subkey: PublicKey::from(&subkey),
        hpke: [3; 32],
        epoch: 4,
        not_before: UnixTime(60 * DAY),
        not_after: UnixTime(120 * DAY),
    };
    let head = Head {
        v: 1,
        url: format!("https://news.example/{path}"),
        variant: Variant::default(),
        status: 200,
        headers: Vec::new(),
        root: Hash([body; 32]),
        len: 4,
        fetched_at: UnixTime(fetched_at),
        tls: true,
        injector: PublicKey::from(&subkey),
        epoch: 4,
    };
    let signed =
        SignedSnapshot { head: Signed::sign(&head, &subkey), cert: Signed::sign(&cert, &root) };
    Listed::sign(signed.verify_page(&trust()).unwrap(), &subkey)
}

fn trust() -> TrustSet {
    let mut trust = TrustSet::default();
    trust.add(TrustedRoot {
        key: PublicKey::from(&SigningKey::from_bytes(&[1; 32])),
        label: "Newsroom".into(),
        hosts: vec![HostPattern::parse("*.news.example").unwrap()],
    });
    trust
}

fn page(n: u64) -> Listed {
    listed(&n.to_string(), NOW.0 - n, 1)
}

fn catalogue(pages: impl IntoIterator<Item = u64>) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for n in pages {
        assert_eq!(catalogue.put(&page(n), NOW), Put::New);
    }
    catalogue
}

/// In what `own` and `other` differ, and the bytes that it takes to find out.
fn differ(own: &Catalogue, other: &Catalogue) -> (Differ, usize) {
    let (mut compare, mut message) = Compare::begin(own.sketch()).unwrap();
    let sketch = other.sketch();
    let mut bytes = 0;
    loop {
        let answer = sketch.answer(&message).unwrap();
        assert!(message.len() <= MAX_MESSAGE && answer.len() <= MAX_MESSAGE);
        bytes += message.len() + answer.len();
        match compare.hear(&answer).unwrap() {
            Next::Send(next) => message = next,
            Next::Found(differ) => return (differ, bytes),
        }
    }
}

fn urls(pages: &[SignedListed]) -> Vec<String> {
    let mut urls: Vec<_> =
        pages.iter().map(|page| page.snapshot.head.peek().unwrap().url).collect();
    urls.sort();
    urls
}

fn named(pages: std::ops::Range<u64>) -> Vec<String> {
    pages.map(|n| format!("https://news.example/{n}")).collect()
}

#[test]
fn the_newest_head_of_a_page_stays() {
    let mut catalogue = Catalogue::default();
    let [old, one, two] =
        [(0, 1), (60, 2), (60, 3)].map(|(s, body)| listed("a", NOW.0 - 100 + s, body));
    assert_eq!(catalogue.put(&old, NOW), Put::New);
    assert_eq!(catalogue.put(&one, NOW), Put::New);
    assert_eq!((catalogue.put(&old, NOW), catalogue.put(&one, NOW)), (Put::Known, Put::Known));
    assert_eq!(catalogue.len(), 1);
    // Of two of one second the same one stays, in whatever order they come.
    let place = |page: &Listed| page.snapshot().head().signed().hash();
    let newer = if place(&one) > place(&two) { &one } else { &two };
    for page in [&two, &one, &two] {
        catalogue.put(page, NOW);
    }
    assert_eq!(
        catalogue.newer(&old.snapshot().key(), UnixTime(0)),
        Some(&newer.to_signed().snapshot)
    );
    let (key, at) = (old.snapshot().key(), newer.snapshot().head().fetched_at);
    assert_eq!(catalogue.newer(&key, at), None);
    assert_eq!(Vec::from_iter(catalogue.all()), [&newer.to_signed()]);
}

#[test]
fn what_is_too_old_or_from_the_future_is_refused_and_goes() {
    let mut catalogue = Catalogue::default();
    assert_eq!(catalogue.put(&listed("a", NOW.0 - 31 * DAY, 1), NOW), Put::Refused);
    assert_eq!(catalogue.put(&listed("a", NOW.0 + DAY, 1), NOW), Put::Refused);
    assert_eq!(catalogue.put(&listed("a", NOW.0 - 29 * DAY, 1), NOW), Put::New);
    catalogue.expire(UnixTime(NOW.0 + 2 * DAY));
    assert!(catalogue.is_empty() && catalogue.bytes == 0 && catalogue.order.is_empty());
}

#[test]
fn a_full_one_keeps_the_newest() {
    let mut catalogue = catalogue(0..100);
    let most = catalogue.bytes - 1;
    catalogue.trim(MAX_PAGES, most);
    assert_eq!(catalogue.len(), 99);
    let has = |n| catalogue.newer(&page(n).snapshot().key(), UnixTime(0)).is_some();
    assert!(!has(99) && has(98));
    catalogue.trim(10, MAX_BYTES);
    assert_eq!(catalogue.len(), 10);
}

#[test]
fn only_an_injector_lists_and_only_what_it_signed() {
    let (one, two) = (page(1).to_signed(), page(2).to_signed());
    assert_eq!(one.clone().verify(&trust()).unwrap().to_signed(), one);
    let swapped = SignedListed { listing: two.listing, ..one.clone() };
    assert_eq!(swapped.verify(&trust()).unwrap_err(), ListedError::Other);
    // A reader has the signed head, and not the injector's key.
    let mine = Listed::sign(page(1).snapshot, &SigningKey::from_bytes(&[9; 32])).to_signed();
    let error = mine.verify(&trust()).unwrap_err();
    assert!(error == ListedError::Other && error.is_a_lie());
    let error = one.verify(&TrustSet::default()).unwrap_err();
    assert!(!error.is_a_lie(), "somebody else trusts that root: {error}");
}

#[test]
fn two_of_them_find_out_in_what_they_differ() {
    let (own, other) = (catalogue(0..400), catalogue((0..390).chain(2000..2005)));
    let (found, bytes) = differ(&own, &other);
    assert_eq!(urls(&other.some(&found.here)), named(2000..2005));
    let mut there = named(390..400);
    there.sort();
    assert_eq!(urls(&own.some(&found.there)), there);
    assert!(bytes < 8000, "{bytes}");
    let (none, bytes) = differ(&own, &own);
    assert!(none == Differ::default() && bytes < 1000, "{bytes}");
    assert!(own.unknown(other.all().cloned().collect()).len() == 5);
}

#[test]
fn who_has_nothing_learns_of_a_bounded_part_at_a_time() {
    let pages: Vec<_> = (0..1200).map(page).collect();
    let of = |head: &Hash| pages.iter().find(|page| page.snapshot.head().signed().hash() == *head);
    let mut other = Catalogue::default();
    pages.iter().for_each(|page| assert_eq!(other.put(page, NOW), Put::New));
    let mut own = Catalogue::default();
    for times in 1.. {
        let (found, _) = differ(&own, &other);
        assert!((1..=MAX_MISSING).contains(&found.here.len()));
        for heads in found.here.chunks(MAX_WANTED) {
            let some = other.some(heads);
            assert!(some.len() == heads.len() && cbor::to_vec(&some).len() < MAX_SENT + 1024);
            heads.iter().for_each(|head| assert_eq!(own.put(of(head).unwrap(), NOW), Put::New));
        }
        if own.len() == 1200 {
            break;
        }
        assert!(times < 5, "each brings some");
    }
}

#[test]
fn a_message_that_makes_no_sense_is_an_error() {
    let own = catalogue(0..10);
    for bad in [&b""[..], &[0xff], &[0x61, 0, 0, 9], &vec![0x61; MAX_MESSAGE + 1]] {
        assert!(own.sketch().answer(bad).is_err(), "{bad:?}");
        let (mut compare, _) = Compare::begin(own.sketch()).unwrap();
        assert!(compare.hear(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn who_never_agrees_is_left() {
    let own = catalogue(0..200);
    let others = [catalogue(200..350), catalogue(400..570)].map(|other| other.sketch());
    let (mut compare, mut message) = Compare::begin(own.sketch()).unwrap();
    for other in others.iter().cycle().take(MAX_ROUNDS + 1) {
        // It says of everything that it has something else there.
        let Ok(answer) = other.answer(&message) else { return };
        match compare.hear(&answer) {
            Ok(Next::Send(next)) => message = next,
            Ok(Next::Found(differ)) => return assert!(differ.here.len() <= MAX_MISSING),
            Err(error) => return assert_eq!(error, CompareError::Endless),
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn a_page_is_popular_once_more_ask_than_pass_on_one_readers_requests() {
    let mut popular = Popular::default();
    let key = SnapshotKey([1; 32]);
    let ask = |popular: &mut Popular, asker: u8, at: u64| {
        popular.asked(key, PeerId([asker; 32]), UnixTime(at))
    };
    for again in 0..100 {
        assert!(!ask(&mut popular, again % 4, 1000 + u64::from(again)), "four nodes ask");
    }
    assert!(ask(&mut popular, 4, 2000));
    assert!(ask(&mut popular, 4, 3000), "from then on it is");
    assert!(!ask(&mut popular, 5, 1001 + DAY), "the next day counts anew");
    for n in 0..MAX_COUNTED as u64 + 10 {
        let key = SnapshotKey(*Hash::of(&n.to_be_bytes()).as_bytes());
        popular.asked(key, PeerId([1; 32]), UnixTime(2 * DAY + n));
    }
    assert_eq!(popular.pages.len(), MAX_COUNTED);
}
