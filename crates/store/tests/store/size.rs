//! What is stored takes little more of the disk than its bytes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::*;

const PAGES: u64 = 4000;
const BODY: usize = 1024;

#[test]
fn small_pages_take_little_more_than_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let numbers: Vec<u64> = (0..PAGES).collect();
    std::thread::scope(|scope| {
        for part in numbers.chunks(numbers.len() / 16) {
            let store = store.clone();
            scope.spawn(move || {
                part.iter().for_each(|n| put(&store, &n.to_string(), &body(*n, BODY), 0).unwrap());
            });
        }
    });
    drop(store);
    let signed = snapshot("1000", &body(1000, BODY), 0).to_signed();
    let page = BODY + signed.head.to_bytes().len() + signed.cert.to_bytes().len();
    let (bytes, taken) = (PAGES * page as u64, on_disk(dir.path()));
    assert!(taken <= bytes * 13 / 10 + PAGES * 512, "{taken} for {bytes}");
}

/// What all files there take of the disk.
fn on_disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata().unwrap() {
            meta if meta.is_dir() => on_disk(&entry.path()),
            meta => meta.blocks() * 512,
        })
        .sum()
}
