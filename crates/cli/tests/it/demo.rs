//! `busel demo`: the whole story, told to a pipe.

use crate::support::{Run, put, run};

/// The marks of the summary's lines; those of the story are indented.
#[track_caller]
fn as_told(told: &Run) {
    let marks = |mark: char| told.out.lines().filter(|line| line.starts_with(mark)).count();
    assert_eq!((marks('✓'), marks('✗')), (6, 0), "{}", told.out);
    assert!(told.out.contains("All as told."), "{}", told.out);
    assert!(!told.out.contains(['\x1b', '\r']), "colours are for terminals");
}

#[test]
fn the_demo_goes_as_told() {
    let dir = tempfile::tempdir().unwrap();
    as_told(&run(dir.path(), &["demo"]).ok());
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 0, "the demo leaves nothing in the data directory");
}

#[test]
fn the_demo_shows_a_directory_as_the_site() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..6 {
        put(dir.path(), &format!("site/{n}.html"), format!("<p>page {n}"));
    }
    put(dir.path(), "site/index.html", "<a href=1.html>one</a>");
    put(dir.path(), "site/film.bin", crate::support::noise(200_000));
    let site = dir.path().join("site");
    let told = run(dir.path(), &["demo", "--site", site.to_str().unwrap()]).ok();
    as_told(&told);
    assert!(told.out.contains(" with 8 files"), "{}", told.out);
}

#[test]
fn a_site_of_one_page_is_shown_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "site/index.html", "alone");
    let site = dir.path().join("site");
    let told = run(dir.path(), &["demo", "--site", site.to_str().unwrap()]);
    match told.code {
        Some(0) => as_told(&told),
        _ => drop(told.fails(&["pages"])),
    }
}

#[test]
fn a_directory_without_a_front_page_is_no_site() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().to_str().unwrap();
    run(dir.path(), &["demo", "--site", site]).fails(&["no index.html"]);
    run(dir.path(), &["demo", "--site", "/nowhere/at/all"]).fails(&["/nowhere/at/all"]);
}
