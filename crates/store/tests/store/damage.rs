//! What something else did to the files is an error, never a panic and never a wrong page.

use std::fs;
use std::path::Path;

use busel_store::{OpenError, ReadError, Store};

use crate::support::*;

fn filled(dir: &Path) {
    let store = open(dir);
    for n in 0..40 {
        put(&store, &format!("p{n}"), &body(n, 3000), 0).unwrap();
    }
    put(&store, "large", &body(99, 100_000), 0).unwrap();
    store.set("name", b"value").unwrap();
}

#[test]
fn a_changed_blob_file_is_noticed_by_readers() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let file = blob_files(dir.path()).remove(0);
    let good = fs::read(&file).unwrap();
    let store = open(dir.path());
    let root = store.find(&key("large")).unwrap().unwrap().root;
    let reader = store.reader(&root).unwrap().unwrap();
    for at in [0, 20_000, 99_999] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, &bad).unwrap();
        let read = reader.read_at(at as u64, 1);
        assert!(matches!(read, Err(ReadError::Damaged(_))), "{read:?}");
        assert!(reader.read_at(50_000, 100).is_ok(), "the rest is good");
    }
    fs::write(&file, &good[..60_000]).unwrap();
    assert!(matches!(reader.read_at(0, 100_000), Err(ReadError::Damaged(_))));
    assert!(matches!(reader.window(49_152..65_536), Err(ReadError::Damaged(_))));
    fs::write(&file, &good).unwrap();
    assert_eq!(reader.read_at(0, 100_000).unwrap(), good_body());
}

fn good_body() -> Vec<u8> {
    body(99, 100_000)
}

#[test]
fn a_damaged_index_gives_errors() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let path = dir.path().join("index.redb");
    let good = fs::read(&path).unwrap();
    let mut dice = Dice(5);
    let mut noticed = 0;
    for round in 0..60 {
        let mut bad = good.clone();
        match round {
            0 => bad.clear(),
            1 => bad.truncate(300),
            2 => bad.truncate(4096),
            3 => bad.truncate(good.len() / 2 / 4096 * 4096),
            4 => bad.fill(0),
            5 => bad[..16].fill(7),
            _ => {
                let at = usize::try_from(dice.below(good.len() as u64 - 64)).unwrap();
                bad[at..at + 64].fill(7);
            }
        }
        fs::write(&path, &bad).unwrap();
        match Store::open(options(dir.path())) {
            Err(OpenError::Damaged(_)) => noticed += 1,
            Err(other) => panic!("round {round}: {other:?}"),
            Ok(store) => look(&store),
        }
    }
    assert!(noticed >= 6, "{noticed}");
}

/// Reads all; right or an error, never wrong.
fn look(store: &Store) {
    for n in 0..40 {
        let Ok(Some(found)) = store.find(&key(&format!("p{n}"))) else { continue };
        if let Ok(Some(reader)) = store.reader(&found.root) {
            assert_eq!(reader.read_at(0, 3000).unwrap(), body(n, 3000));
        }
    }
    if let Ok(Some(value)) = store.setting("name") {
        assert_eq!(value, b"value");
    }
    let _ = store.set("other", b"x");
    let _ = put(store, "p3", &body(3, 3000), 9);
}

#[test]
fn a_damaged_key_file_is_no_other_key() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let path = dir.path().join("key");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(matches!(Store::open(options(dir.path())), Err(OpenError::Damaged(_))), "{at}");
        fs::write(&path, &good[..at]).unwrap();
        assert!(matches!(Store::open(options(dir.path())), Err(OpenError::Damaged(_))), "{at}");
    }
    fs::write(&path, vec![0; 100_000]).unwrap();
    assert!(matches!(Store::open(options(dir.path())), Err(OpenError::Damaged(_))));
    fs::write(&path, &good).unwrap();
    open(dir.path());
}

#[test]
fn files_that_the_index_does_not_name_go() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let sub = dir.path().join("blobs/ab");
    let _ = fs::create_dir(&sub);
    fs::write(sub.join("ab".repeat(16)), "left by a cut").unwrap();
    fs::write(sub.join("notes.txt"), "of somebody else").unwrap();
    let store = open(dir.path());
    assert!(!sub.join("ab".repeat(16)).exists());
    assert!(sub.join("notes.txt").exists());
    assert_eq!(stored(&store, "large").unwrap(), good_body());
}
