//! The main job on real input: a thousand files of a real HTTPS site, read whole through a reader
//! who can't reach it, by injector; then by a second reader, with site and injector gone.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::support::door::{fetch_all, files};
use crate::support::{Nginx, People, Reader, block_on, real_site, run};

#[test]
fn a_real_site_is_read_whole_by_injector_and_then_from_another_reader() {
    whole_site(false);
}

#[test]
fn a_real_site_that_compresses_its_pages_is_read_whole_all_the_same() {
    whole_site(true);
}

fn whole_site(gzip: bool) {
    let root = real_site();
    let files = files(&root);
    assert!(files.len() >= 1000, "python3-doc has only {} files", files.len());
    let mut nginx = Nginx::start(&root, gzip);
    let mut people = People::around(&nginx);
    let a = people.reader("a", "open");

    let start = Instant::now();
    let routes = block_on(fetch_all(a.door, &files));
    eprintln!("{} files by injector: {:.1} s", files.len(), start.elapsed().as_secs_f64());
    assert_eq!(routes, BTreeMap::from([("injector".to_owned(), files.len())]));
    a.keeps(files.len() as u64);

    nginx.stop();
    people.injector.kill();
    let data = people.data("b");
    run(&data, &["join", "--trust", &people.invite]).ok();
    run(&data, &["join", "--no-trust", &a.invite()]).ok();
    let b = Reader::up(&data, &["--no-direct", "--exposure", "quiet"]);

    let start = Instant::now();
    let routes = block_on(fetch_all(b.door, &files));
    eprintln!("{} files from reader A: {:.1} s", files.len(), start.elapsed().as_secs_f64());
    assert_eq!(routes, BTreeMap::from([("swarm".to_owned(), files.len())]));
}
