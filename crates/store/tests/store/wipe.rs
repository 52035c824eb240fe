//! The panic wipe leaves nothing, and an unfinished one nothing that can be read.

use busel_store::{OpenError, PutError, ReadError, Store, WriteError};

use crate::support::*;

#[test]
fn a_wipe_leaves_nothing() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("store");
    let store = open(&dir);
    put(&store, "a", &body(1, 50_000), 0).unwrap();
    let other = store.clone();
    let unfinished = store.writer().unwrap();
    store.wipe().unwrap();
    assert!(!dir.exists());
    assert!(matches!(other.find(&key("a")), Err(ReadError::Closed)));
    assert!(matches!(other.set("a", b""), Err(WriteError::Closed)));
    assert!(matches!(put(&other, "b", b"", 0), Err(PutError::Io(_) | PutError::Closed)));
    drop((other, unfinished));
    assert!(!dir.exists());
    let store = open(&dir);
    assert!(store.keys().unwrap().is_empty());
}

#[test]
fn files_of_others_are_left() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letter.txt"), "mine").unwrap();
    let store = open(dir.path());
    put(&store, "a", &body(1, 50_000), 0).unwrap();
    drop(store);
    Store::wipe_dir(dir.path()).unwrap();
    assert_eq!(files(dir.path()), [dir.path().join("letter.txt")]);
    Store::wipe_dir(&dir.path().join("nothing")).unwrap();
}

#[test]
fn without_its_key_a_store_is_not_overwritten_by_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::remove_file(dir.path().join("key")).unwrap();
    assert!(matches!(Store::open(options(dir.path())), Err(OpenError::Damaged(_))));
    Store::wipe_dir(dir.path()).unwrap();
    open(dir.path());
}
