//! A store that format 1 wrote stays readable: `tests/fixtures/format-1` is checked in and never
//! rewritten. A new format gets a fixture of its own, made by the ignored test here:
//!
//! ```text
//! cargo nextest run --cargo-profile ci -p busel-store --run-ignored only fixture::make
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use busel_store::{Options, Store, Unlock};

use crate::support::*;

const NAMES: [&str; 2] = ["open", "passphrase"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1")
}

fn unlock(name: &str) -> Unlock {
    match name {
        "open" => Unlock::Open,
        _ => Unlock::Passphrase("бусел".to_owned().into()),
    }
}

/// Copies a directory with all below it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn a_store_of_format_1_is_read() {
    for name in NAMES {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixtures().join(name), dir.path());
        let options = Options { unlock: unlock(name), ..options(dir.path()) };
        let store = Store::open(options).unwrap();
        assert_eq!(stored(&store, "small").unwrap(), body(1, 700));
        assert_eq!(stored(&store, "large").unwrap(), body(2, 40_000));
        assert_eq!(stored(&store, "shared").unwrap(), body(2, 40_000));
        assert!(store.find(&key("small")).unwrap().unwrap().pinned);
        assert_eq!(store.find(&key("large")).unwrap().unwrap().received, NOW);
        assert_eq!(store.setting("identity").unwrap().unwrap(), [7; 32]);
        assert_eq!((store.usage().snapshots, store.usage().blobs), (3, 2));
        put(&store, "small", &body(3, 800), 60).unwrap();
        assert_eq!(stored(&store, "small").unwrap(), body(3, 800));
    }
}

#[test]
#[ignore = "writes the fixture of the current format"]
fn make() {
    for name in NAMES {
        let dir = fixtures().join(name);
        assert!(!dir.exists(), "a fixture is never rewritten");
        fs::create_dir_all(dir.parent().unwrap()).unwrap();
        let store = Store::open(Options { unlock: unlock(name), ..options(&dir) }).unwrap();
        put(&store, "small", &body(1, 700), 0).unwrap();
        put(&store, "large", &body(2, 40_000), 0).unwrap();
        put(&store, "shared", &body(2, 40_000), 0).unwrap();
        store.pin(&key("small"), true).unwrap();
        store.set("identity", &[7; 32]).unwrap();
        drop(store);
        fs::remove_file(dir.join("lock")).unwrap();
    }
}
