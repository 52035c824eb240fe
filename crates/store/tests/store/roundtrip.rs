//! What is put is found, read and served, now and after opening the store again.

use busel_proto::id::Hash;
use busel_store::{PutError, ReadError};

use crate::support::*;

#[test]
fn bodies_of_every_size_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for reopened in [false, true] {
        if reopened {
            drop(store);
            store = open(dir.path());
        }
        for (seed, len) in SIZES.into_iter().enumerate() {
            let (path, body) = (format!("p{len}"), body(seed as u64, len));
            if !reopened {
                assert!(store.find(&key(&path)).unwrap().is_none());
                assert!(!store.has_blob(&Hash::of(&body)).unwrap());
                put(&store, &path, &body, 0).unwrap();
            }
            assert_eq!(stored(&store, &path).unwrap(), body, "{len} bytes");
            let found = store.find(&key(&path)).unwrap().unwrap();
            assert_eq!((found.received, found.len, found.pinned), (NOW, len as u64, false));
        }
        assert_eq!(store.usage().snapshots, SIZES.len() as u64);
        assert_eq!(store.keys().unwrap().len(), SIZES.len());
    }
    assert!(!store.has_blob(&Hash([0; 32])).unwrap());
    assert!(store.reader(&Hash([0; 32])).unwrap().is_none());
}

#[test]
fn any_range_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut dice = Dice(1);
    for (age, len) in SIZES.into_iter().enumerate() {
        let body = body(7, len);
        put(&store, "a", &body, age as u64).unwrap();
        let reader = store.reader(&Hash::of(&body)).unwrap().unwrap();
        for _ in 0..50 {
            let at = usize::try_from(dice.below(len as u64 + 2)).unwrap();
            let want = usize::try_from(dice.below(600_000)).unwrap();
            let expected = &body[at.min(len)..(at + want).min(len)];
            assert_eq!(reader.read_at(at as u64, want).unwrap(), expected, "{want} at {at}");
        }
        assert_eq!(reader.read_at(0, usize::MAX).unwrap(), body);
        assert!(reader.read_at(u64::MAX, 1).unwrap().is_empty());
    }
}

#[test]
fn windows_are_of_whole_groups_within_the_body() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let body = body(7, 300_000);
    put(&store, "a", &body, 0).unwrap();
    let reader = store.reader(&Hash::of(&body)).unwrap().unwrap();
    #[expect(clippy::reversed_empty_ranges, reason = "that is the test")]
    for bad in [0..0, 16_384..0, 1..16_384, 0..1, 294_912..300_001, 0..300_000] {
        assert!(matches!(reader.window(bad.clone()), Err(ReadError::Range)), "{bad:?}");
    }
    assert!(reader.window(294_912..300_000).is_ok());
}

#[test]
fn a_body_is_readable_before_it_is_stored_and_leaves_nothing_if_it_never_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for len in SIZES {
        let body = body(3, len);
        let mut writer = store.writer().unwrap();
        writer.write(&body).unwrap();
        let finished = writer.finish().unwrap();
        assert_eq!((finished.root(), finished.len()), (Hash::of(&body), len as u64));
        let reader = finished.reader();
        assert_eq!(by_windows(&reader), body);
        drop(finished);
        assert_eq!(reader.read_at(0, len).unwrap(), body, "an open reader outlives the file");
    }
    let mut dropped = store.writer().unwrap();
    dropped.write(&body(4, 1 << 20)).unwrap();
    assert_eq!(blob_files(dir.path()).len(), 1);
    drop(dropped);
    assert!(blob_files(dir.path()).is_empty());
    assert_eq!(store.usage().blobs, 0);
}

#[test]
fn a_body_that_is_not_the_heads_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut writer = store.writer().unwrap();
    writer.write(&body(1, 50_000)).unwrap();
    let refused = store.put(&snapshot("a", b"other", 0), writer.finish().unwrap(), NOW);
    assert!(matches!(refused, Err(PutError::BodyMismatch)));
    assert!(store.find(&key("a")).unwrap().is_none());
    assert!(blob_files(dir.path()).is_empty());
}

#[test]
fn many_threads_put_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..12 {
                    let len = if n % 3 == 0 { 40_000 } else { 900 };
                    put(&store, &format!("{thread}/{n}"), &body(thread * 100 + n, len), 0).unwrap();
                }
            });
        }
    });
    drop(store);
    let store = open(dir.path());
    for thread in 0..8_u64 {
        for n in 0..12 {
            let len = if n % 3 == 0 { 40_000 } else { 900 };
            let whole = stored(&store, &format!("{thread}/{n}")).unwrap();
            assert_eq!(whole, body(thread * 100 + n, len));
        }
    }
}
