//! Who opens a store, and what is said when it can't be opened.

use std::path::Path;

use busel_store::{OpenError, Options, Protection, Store, Unlock};

use crate::support::*;

fn with(dir: &Path, passphrase: &str) -> Result<Store, OpenError> {
    let unlock = Unlock::Passphrase(passphrase.to_owned().into());
    Store::open(Options { unlock, ..options(dir) })
}

#[test]
fn a_passphrase_protects() {
    let dir = tempfile::tempdir().unwrap();
    let store = with(dir.path(), "бусел").unwrap();
    assert_eq!(store.protection(), Protection::Passphrase);
    put(&store, "a", &body(1, 50_000), 0).unwrap();
    drop(store);
    assert!(matches!(with(dir.path(), "stork"), Err(OpenError::WrongPassphrase)));
    assert!(matches!(Store::open(options(dir.path())), Err(OpenError::NeedsPassphrase)));
    let store = with(dir.path(), "бусел").unwrap();
    assert_eq!(stored(&store, "a").unwrap(), body(1, 50_000));
}

#[test]
fn protection_can_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.protection(), Protection::Open);
    store.set("a", b"1").unwrap();
    store.protect(&Unlock::Passphrase("бусел".to_owned().into())).unwrap();
    assert_eq!(store.protection(), Protection::Passphrase);
    drop(store);
    assert!(matches!(Store::open(options(dir.path())), Err(OpenError::NeedsPassphrase)));
    let store = with(dir.path(), "бусел").unwrap();
    assert_eq!(store.setting("a").unwrap().unwrap(), b"1");
    store.protect(&Unlock::Open).unwrap();
    drop(store);
    let store = with(dir.path(), "ignored").unwrap();
    assert_eq!(store.protection(), Protection::Open, "said, not hidden");
}

#[test]
fn one_store_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let clone = store.clone();
    drop(store);
    assert!(matches!(Store::open(options(dir.path())), Err(OpenError::InUse)));
    let mut writer = clone.writer().unwrap();
    drop(clone);
    open(dir.path());
    writer.write(&body(1, 1 << 20)).unwrap();
}

#[test]
fn a_later_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    for (text, later) in [("busel-store 7\n", true), ("busel-store\n", false), ("", false)] {
        std::fs::write(dir.path().join("format"), text).unwrap();
        match Store::open(options(dir.path())) {
            Err(OpenError::UnknownFormat(7)) => assert!(later),
            Err(OpenError::Damaged(_)) => assert!(!later),
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("format")).unwrap(), text);
    }
}

#[test]
#[cfg(unix)]
fn only_the_owner_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("deep/store");
    let store = open(&dir);
    put(&store, "a", &body(1, 50_000), 0).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in files(&dir) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
