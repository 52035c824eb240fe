//! A store that any format wrote stays readable: `tests/fixtures/format-1` and its like are checked in and never
//! rewritten. A new format gets a fixture of its own, made by the ignored test here:
//!
//! ```text
//! cargo nextest run --cargo-profile ci -p busel-store --run-ignored only fixture::make
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use busel_store::disk::{Disk, Mode};
use busel_store::{Options, Store, Unlock};

use crate::fault::FaultDisk;
use crate::support::*;

const NAMES: [&str; 2] = ["open", "passphrase"];
const CURRENT: u32 = 2;

fn fixtures(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/format-{format}"))
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
fn a_store_of_each_format_is_read() {
    for (name, format) in NAMES.iter().flat_map(|name| (1..=CURRENT).map(move |n| (name, n))) {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixtures(format).join(name), dir.path());
        // It is this format now, whatever it was, and once more if that was cut.
        let open =
            || drop(Store::open(Options { unlock: unlock(name), ..options(dir.path()) }).unwrap());
        open();
        fs::write(dir.path().join("format"), "busel-store 1\n").unwrap();
        open();
        let text = fs::read_to_string(dir.path().join("format")).unwrap();
        assert_eq!(text, format!("busel-store {CURRENT}\n"));
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

/// Puts a directory with all below it on another disk.
fn load(disk: &FaultDisk, from: &Path, to: &Path) {
    disk.create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            load(disk, &path, &target);
        } else {
            let file = disk.open(&target, Mode::Create).unwrap();
            file.write_at(0, &fs::read(&path).unwrap()).unwrap();
            file.sync().unwrap();
        }
    }
    disk.sync_dir(to).unwrap();
}

#[test]
fn a_migration_can_be_cut_at_any_moment() {
    let dir = Path::new("/store");
    let open = |disk: &FaultDisk| Store::open_on(Arc::new(disk.clone()), options(dir));
    let old = || {
        let disk = FaultDisk::default();
        load(&disk, &fixtures(1).join("open"), dir);
        disk.sync_dir(Path::new("/")).unwrap();
        disk
    };
    let whole = old();
    let before = whole.operations();
    drop(open(&whole).unwrap());
    for cut in 1..=whole.operations() - before {
        for seed in 0..4 {
            let (disk, case) = (old(), format!("cut at {cut}, seed {seed}"));
            disk.cut_after(cut);
            drop(open(&disk));
            let store =
                open(&disk.survive(&mut Dice(seed))).unwrap_or_else(|e| panic!("{case}: {e}"));
            assert_eq!(stored(&store, "small"), Some(body(1, 700)), "{case}");
            assert_eq!(stored(&store, "shared"), Some(body(2, 40_000)), "{case}");
            assert_eq!(store.setting("identity").unwrap().unwrap(), [7; 32], "{case}");
        }
    }
}

#[test]
#[ignore = "writes the fixture of the current format"]
fn make() {
    for name in NAMES {
        let dir = fixtures(CURRENT).join(name);
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
