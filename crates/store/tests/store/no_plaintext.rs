//! A copied disk shows no URL, page, setting or hash.

use busel_proto::id::Hash;
use busel_store::{Options, Store, Unlock};

use crate::support::*;

const MARKER: &str = "Цапля не бусел: marker-5c1f0e";

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn nothing_readable_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let unlock = Unlock::Passphrase(MARKER.to_owned().into());
    let store = Store::open(Options { unlock, ..options(dir.path()) }).unwrap();
    let small = MARKER.repeat(10).into_bytes();
    let large = MARKER.repeat(2000).into_bytes();
    put(&store, "secret-path-small", &small, 0).unwrap();
    put(&store, "secret-path-large", &large, 0).unwrap();
    store.set("name-marker", MARKER.as_bytes()).unwrap();
    assert_eq!(blob_files(dir.path()).len(), 1);
    let roots = [Hash::of(&small), Hash::of(&large)];
    let keys = [key("secret-path-small"), key("secret-path-large")];
    let mut needles: Vec<&[u8]> =
        vec![b"marker", b"secret-path", b"news.example", b"text/html", b"redb", "бусел".as_bytes()];
    needles.extend(roots.iter().map(|root| &root.as_bytes()[..8]));
    needles.extend(keys.iter().map(|key| &key.as_bytes()[..8]));
    for closed in [false, true] {
        for file in files(dir.path()) {
            let bytes = std::fs::read(&file).unwrap();
            let name = file.strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned();
            for needle in &needles {
                assert!(!contains(&bytes, needle), "{name}: {}", String::from_utf8_lossy(needle));
            }
        }
        if !closed {
            // What is written at closing is looked at too.
            put(&store, "other", b"x", 0).unwrap();
        }
    }
}

#[test]
fn equal_bodies_look_different() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let zeros = vec![0; 1 << 20];
    let (mut a, mut b) = (store.writer().unwrap(), store.writer().unwrap());
    a.write(&zeros).unwrap();
    b.write(&zeros).unwrap();
    let both = blob_files(dir.path());
    let [one, other] = [std::fs::read(&both[0]).unwrap(), std::fs::read(&both[1]).unwrap()];
    assert!(!one.is_empty() && one != other);
    assert!(!one.windows(32).any(|window| window == [0; 32]));
}
