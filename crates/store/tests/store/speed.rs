//! How fast it is: printed, not asserted. Run with `--run-ignored only --no-capture`.

use std::time::{Duration, Instant};

use busel_proto::id::Hash;

use crate::fixture::copy;
use crate::support::*;

#[test]
#[ignore = "a measurement"]
fn measure() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pages = 2000_u64;
    let prepared: Vec<_> =
        (0..pages).map(|n| (snapshot(&format!("{n}"), &body(n, 8000), 0), body(n, 8000))).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for part in prepared.chunks(prepared.len() / 16) {
            let store = store.clone();
            scope.spawn(move || {
                for (snapshot, body) in part {
                    let mut writer = store.writer().unwrap();
                    writer.write(body).unwrap();
                    store.put(snapshot, writer.finish().unwrap(), NOW).unwrap();
                }
            });
        }
    });
    report("put of 8 kB, 16 threads", pages, began.elapsed());

    let began = Instant::now();
    for n in 0..200 {
        put(&store, &format!("s{n}"), &body(n, 100), 0).unwrap();
    }
    report("put of 100 B, one thread, with signing", 200, began.elapsed());

    let hot = key("77");
    let began = Instant::now();
    for _ in 0..20_000 {
        store.find(&hot).unwrap().unwrap();
    }
    report("find of a hot key", 20_000, began.elapsed());
    let keys: Vec<_> = (0..pages).map(|n| key(&format!("{n}"))).collect();
    let began = Instant::now();
    for key in &keys {
        store.find(key).unwrap().unwrap();
    }
    report("find of each key", pages, began.elapsed());

    let large = body(1, 64 << 20);
    let began = Instant::now();
    put(&store, "large", &large, 0).unwrap();
    report("put of 64 MiB, MiB", 64, began.elapsed());
    let reader = store.reader(&Hash::of(&large)).unwrap().unwrap();
    let began = Instant::now();
    for n in 0..256 {
        reader.read_at(n << 18, 1 << 18).unwrap();
    }
    report("read_at of 256 KiB, MiB", 64, began.elapsed());
    let began = Instant::now();
    for n in 0..256 {
        reader.window(n << 18..(n + 1) << 18).unwrap();
    }
    report("window of 256 KiB, MiB", 64, began.elapsed());
    println!("{:?}", store.usage());

    // As after a kill: what is on the disk while the store is open.
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    let began = Instant::now();
    let other = open(killed.path());
    println!("open after a kill: {:?}", began.elapsed());
    drop(other);

    store.set_quota(store.usage().bytes / 2);
    let began = Instant::now();
    let swept = store.sweep(NOW).unwrap();
    println!("sweep: {swept:?} in {:?}", began.elapsed());
    let began = Instant::now();
    drop(store);
    println!("close: {:?}", began.elapsed());
    let began = Instant::now();
    let store = open(dir.path());
    println!("open: {:?}", began.elapsed());
    let began = Instant::now();
    drop(store);
    println!("close of a store that nothing changed: {:?}", began.elapsed());
}

fn report(what: &str, n: u64, took: Duration) {
    println!("{what}: {:.2?} each, {took:.2?}", took / u32::try_from(n).unwrap());
}
