//! Settings are small, durable and found by prefix.

use busel_store::{MAX_SETTING, WriteError};

use crate::support::*;

#[test]
fn settings_are_kept_changed_listed_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.setting("identity").unwrap(), None);
    store.set("identity", b"secret").unwrap();
    store.set("peer/b", b"2").unwrap();
    store.set("peer/a", b"1").unwrap();
    store.set("peers", b"x").unwrap();
    store.set("identity", b"other").unwrap();
    store.set("empty", b"").unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.setting("identity").unwrap().unwrap(), b"other");
    assert_eq!(store.setting("empty").unwrap().unwrap(), b"");
    let peers = store.settings_with("peer/").unwrap();
    assert_eq!(peers, [("peer/a".into(), b"1".to_vec()), ("peer/b".into(), b"2".to_vec())]);
    assert_eq!(store.settings_with("").unwrap().len(), 5);
    assert!(store.unset("identity").unwrap());
    assert!(!store.unset("identity").unwrap());
    assert_eq!(store.setting("identity").unwrap(), None);
}

#[test]
fn a_setting_has_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let big = vec![7; MAX_SETTING - 3];
    store.set("big", &big).unwrap();
    assert_eq!(store.setting("big").unwrap().unwrap(), big);
    let refused = store.set("big2", &big);
    assert!(matches!(refused, Err(WriteError::TooLong { .. })));
}
