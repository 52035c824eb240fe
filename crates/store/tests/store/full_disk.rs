//! A full disk is said to be full, harms nothing, and the store goes on once there is room.

use std::path::Path;
use std::sync::Arc;

use busel_store::{PutError, Store, WriteError};

use crate::fault::FaultDisk;
use crate::support::*;

fn open_on(disk: &FaultDisk) -> Store {
    Store::open_on(Arc::new(disk.clone()), options(Path::new("/store"))).unwrap()
}

#[test]
fn a_full_disk_is_told_apart_and_survived() {
    let disk = FaultDisk::default();
    let store = open_on(&disk);
    put(&store, "a", &body(1, 50_000), 0).unwrap();
    for room in [0, 1000, 10_000, 60_000] {
        disk.limit(Some(room));
        let mut full = 0;
        for n in 0..600 {
            let len = if n % 2 == 0 { 15_000 } else { 20_000 };
            match put(&store, &format!("{room}/{n}"), &body(n, len), 0) {
                Ok(()) => {}
                Err(PutError::FullDisk) => full += 1,
                Err(other) => panic!("{other:?}"),
            }
            if full > 3 {
                break;
            }
        }
        assert!(full > 0, "{room}");
        let refused = store.set("big", &body(1, 3 << 20));
        assert!(matches!(refused, Err(WriteError::FullDisk)), "{refused:?}");
        assert_eq!(stored(&store, "a").unwrap(), body(1, 50_000));
        disk.limit(None);
        put(&store, &format!("after-{room}"), &body(3, 50_000), 0).unwrap();
    }
    let kept = store.keys().unwrap().len();
    drop(store);
    let store = open_on(&disk);
    assert_eq!(store.keys().unwrap().len(), kept);
    assert_eq!(stored(&store, "after-1000").unwrap(), body(3, 50_000));
}

#[test]
fn opening_works_on_a_full_disk() {
    let disk = FaultDisk::default();
    let store = open_on(&disk);
    put(&store, "a", &body(1, 50_000), 0).unwrap();
    drop(store);
    disk.limit(Some(0));
    let store = open_on(&disk);
    assert_eq!(stored(&store, "a").unwrap(), body(1, 50_000));
    match store.remove(&key("a")) {
        Ok(true) => assert!(stored(&store, "a").is_none()),
        // The index writes anew before it frees.
        Err(WriteError::FullDisk) => assert_eq!(stored(&store, "a").unwrap(), body(1, 50_000)),
        other => panic!("{other:?}"),
    }
}
