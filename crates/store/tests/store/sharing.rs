//! Equal bodies are kept once, and stay until the last snapshot that has them goes.

use busel_proto::id::Hash;

use crate::support::*;

#[test]
fn two_snapshots_share_a_body() {
    for len in [1000, 100_000] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let body = body(1, len);
        put(&store, "a", &body, 0).unwrap();
        let one = store.usage();
        put(&store, "b", &body, 0).unwrap();
        let two = store.usage();
        assert_eq!((two.snapshots, two.blobs), (2, 1));
        assert!(two.bytes - one.bytes < 2000, "only the head came");
        assert_eq!(blob_files(dir.path()).len(), usize::from(len > 16384));

        assert!(store.remove(&key("a")).unwrap());
        assert!(!store.remove(&key("a")).unwrap());
        assert!(stored(&store, "a").is_none());
        assert_eq!(stored(&store, "b").unwrap(), body);
        let reader = store.reader(&Hash::of(&body)).unwrap().unwrap();
        assert!(store.remove(&key("b")).unwrap());
        assert!(!store.has_blob(&Hash::of(&body)).unwrap());
        assert!(blob_files(dir.path()).is_empty());
        assert_eq!((store.usage().bytes, store.usage().blobs), (0, 0));
        assert_eq!(by_windows(&reader), body, "an open reader outlives the blob");
    }
}

#[test]
fn totals_are_the_same_when_counted_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut dice = Dice(3);
    for _ in 0..120 {
        let path = format!("p{}", dice.below(12));
        if dice.below(4) == 0 {
            store.remove(&key(&path)).unwrap();
        } else {
            let body = body(dice.below(5), [500, 20_000][usize::from(dice.below(2) == 0)]);
            put(&store, &path, &body, dice.below(100)).unwrap();
        }
    }
    let before = store.usage();
    drop(store);
    let store = open(dir.path());
    let after = store.usage();
    let counts = |u: busel_store::Usage| (u.snapshots, u.blobs, u.bytes);
    assert_eq!(counts(after), counts(before));
    for key in store.keys().unwrap() {
        store.remove(&key).unwrap();
    }
    assert_eq!(counts(store.usage()), (0, 0, 0));
    assert!(blob_files(dir.path()).is_empty());
}

#[test]
fn what_came_while_nothing_was_shared_is_not_shared_later() {
    let dir = tempfile::tempdir().unwrap();
    let (private, public) = (body(1, 1000), body(2, 100_000));
    let marks = |store: &busel_store::Store, path: &str, body: &[u8]| {
        let stored = store.find(&key(path)).unwrap().unwrap();
        (stored.shared, store.has_shared_blob(&Hash::of(body)).unwrap())
    };
    {
        let store = open(dir.path());
        put(&store, "private", &private, 0).unwrap();
        store.share(true);
        put(&store, "public", &public, 0).unwrap();
        assert_eq!(marks(&store, "private", &private), (false, false));
        store.share(false);
    }
    let store = open(dir.path());
    store.share(true);
    store.touch(&key("private"), NOW);
    store.pin(&key("private"), true).unwrap();
    assert_eq!(marks(&store, "private", &private), (false, false));
    assert_eq!(marks(&store, "public", &public), (true, true));
    let offers = store.offers().unwrap();
    let offered: Vec<_> = offers.iter().map(|offer| (offer.key, offer.len)).collect();
    assert_eq!(offered, [(key("public"), public.len() as u64)], "only what may be given");
    assert!(!store.has_shared_blob(&Hash::of(b"unknown")).unwrap());

    put(&store, "same-body", &private, 0).unwrap();
    assert!(marks(&store, "same-body", &private).0);
    assert!(!store.find(&key("private")).unwrap().unwrap().shared, "its own mark stands");
    store.share(false);
    put(&store, "public", &public, 0).unwrap();
    assert_eq!(marks(&store, "public", &public), (true, true), "the same once more");
    put(&store, "public", &public, 5).unwrap();
    assert!(!store.find(&key("public")).unwrap().unwrap().shared, "a newer one of its own");
}
