//! The quota holds; what is pinned or was asked for lately stays.

use busel_proto::time::UnixTime;
use busel_store::{Options, PutError, Store};

use crate::support::*;

fn small(dir: &std::path::Path, quota: u64) -> Store {
    Store::open(Options { quota, ..options(dir) }).unwrap()
}

fn day(n: u64) -> UnixTime {
    UnixTime(NOW.0 + n * DAY)
}

#[test]
fn puts_at_the_quota_push_out_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path(), 1_000_000);
    for n in 0..30 {
        put_at(&store, &format!("p{n}"), &body(n, 100_000), 0, day(n)).unwrap();
        let usage = store.usage();
        assert!(usage.bytes <= usage.quota, "{usage:?}");
        assert!(stored(&store, &format!("p{n}")).is_some(), "what was just put is there");
    }
    assert!(stored(&store, "p29").is_some() && stored(&store, "p23").is_some());
    assert!(stored(&store, "p0").is_none() && stored(&store, "p15").is_none());
    assert_eq!(blob_files(dir.path()).len() as u64, store.usage().blobs);
}

#[test]
fn a_touch_counts_as_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path(), 1_000_000);
    for n in 0..8 {
        put_at(&store, &format!("p{n}"), &body(n, 100_000), 0, day(n)).unwrap();
    }
    store.touch(&key("p0"), day(9));
    drop(store);
    let store = small(dir.path(), 1_000_000);
    for n in 8..12 {
        put_at(&store, &format!("p{n}"), &body(n, 100_000), 0, day(n)).unwrap();
    }
    assert!(stored(&store, "p0").is_some(), "the touch outlived the restart");
    assert!(stored(&store, "p1").is_none());
}

#[test]
fn what_others_hold_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..4 {
        put(&store, &format!("p{n}"), &body(n, 100_000), 0).unwrap();
    }
    store.note_holders(&key("p2"), 9);
    store.set_quota(store.usage().bytes - 1);
    assert_eq!(store.sweep(NOW).unwrap().snapshots, 1);
    assert!(stored(&store, "p2").is_none());
}

#[test]
fn pins_go_last_in_a_sweep_and_never_for_a_put() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..6 {
        put(&store, &format!("p{n}"), &body(n, 100_000), 0).unwrap();
    }
    for n in 0..3 {
        store.pin(&key(&format!("p{n}")), true).unwrap();
    }
    store.set_quota(320_000);
    let swept = store.sweep(day(1)).unwrap();
    assert_eq!(swept.snapshots, 3);
    assert!((0..3).all(|n| stored(&store, &format!("p{n}")).is_some()));

    let refused = put_at(&store, "new", &body(9, 100_000), 0, day(2));
    assert!(matches!(refused, Err(PutError::OverQuota { .. })), "{refused:?}");
    assert!(stored(&store, "new").is_none());
    assert!((0..3).all(|n| stored(&store, &format!("p{n}")).is_some()));
    assert_eq!(blob_files(dir.path()).len(), 3);
    let newer = put_at(&store, "p0", &body(10, 100_000), 5, day(2));
    assert!(newer.is_ok(), "a newer version of a pinned page takes the older one's place");

    store.set_quota(0);
    store.sweep(day(3)).unwrap();
    assert_eq!((store.usage().bytes, store.keys().unwrap().len()), (0, 0));
    assert!(blob_files(dir.path()).is_empty());
}

#[test]
fn a_body_beyond_the_quota_is_refused_and_nothing_goes_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path(), 500_000);
    put(&store, "a", &body(1, 100_000), 0).unwrap();
    let refused = put(&store, "b", &body(2, 600_000), 0);
    assert!(matches!(refused, Err(PutError::OverQuota { quota: 500_000, .. })), "{refused:?}");
    assert!(stored(&store, "a").is_some());
}

#[test]
fn a_shared_body_is_no_reason_to_remove_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let shared = body(1, 400_000);
    put_at(&store, "a", &shared, 0, day(0)).unwrap();
    put_at(&store, "b", &shared, 0, day(1)).unwrap();
    for n in 0..4 {
        put_at(&store, &format!("p{n}"), &body(10 + n, 50_000), 0, day(9)).unwrap();
    }
    store.set_quota(300_000);
    store.sweep(day(9)).unwrap();
    assert!(stored(&store, "a").is_none() && stored(&store, "b").is_none());
    assert!((0..4).all(|n| stored(&store, &format!("p{n}")).is_some()));
}
