//! Under one key the newest head stays.

use busel_proto::time::UnixTime;

use crate::support::*;

#[test]
fn a_newer_head_replaces_and_an_older_one_never_does() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (old, new) = (body(1, 30_000), body(2, 40_000));
    put(&store, "a", &old, 10).unwrap();
    put(&store, "a", &new, 20).unwrap();
    assert_eq!(stored(&store, "a").unwrap(), new);
    put(&store, "a", &old, 10).unwrap();
    assert_eq!(stored(&store, "a").unwrap(), new);
    assert_eq!(blob_files(dir.path()).len(), 1);
    assert_eq!((store.usage().snapshots, store.usage().blobs), (1, 1));
}

#[test]
fn a_pin_stays_with_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "a", &body(1, 100), 10).unwrap();
    assert!(store.pin(&key("a"), true).unwrap());
    assert!(!store.pin(&key("nothing"), true).unwrap());
    put(&store, "a", &body(2, 100), 20).unwrap();
    drop(store);
    let store = open(dir.path());
    assert!(store.find(&key("a")).unwrap().unwrap().pinned);
    store.pin(&key("a"), false).unwrap();
    assert!(!store.find(&key("a")).unwrap().unwrap().pinned);
}

#[test]
fn the_same_head_again_heals_a_lost_body() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let body = body(1, 50_000);
    put(&store, "a", &body, 10).unwrap();
    std::fs::remove_file(&blob_files(dir.path())[0]).unwrap();
    let stored_now = store.find(&key("a")).unwrap().unwrap();
    let lost = store.reader(&stored_now.root);
    assert!(matches!(lost, Err(busel_store::ReadError::Damaged(_))), "{lost:?}");
    put_at(&store, "a", &body, 10, UnixTime(NOW.0 + 5)).unwrap();
    assert_eq!(stored(&store, "a").unwrap(), body);
    assert_eq!(store.find(&key("a")).unwrap().unwrap().received, UnixTime(NOW.0 + 5));
}
