//! Snapshots that are truly signed, and stores to put them into.

use std::path::Path;

use busel_proto::blob::{decode_window, window_after};
use busel_proto::cert::{SubkeyCert, TrustSet, TrustedRoot};
use busel_proto::id::{Hash, PublicKey, SnapshotKey};
use busel_proto::page::{HostPattern, PageUrl, Variant};
use busel_proto::signed::Signed;
use busel_proto::snapshot::{Field, Head, SignedSnapshot, Snapshot, Wanted};
use busel_proto::time::UnixTime;
use busel_store::{BlobReader, Options, PutError, Store, Unlock};
use ed25519_dalek::SigningKey;

pub(crate) const DAY: u64 = 86_400;
pub(crate) const NOW: UnixTime = UnixTime(115 * DAY);
pub(crate) const QUOTA: u64 = 1 << 30;
pub(crate) const SIZES: [usize; 6] = [0, 1, 16 * 1024, 16 * 1024 + 1, 300_000, 5 << 20];

/// An open store with room enough.
pub(crate) fn open(dir: &Path) -> Store {
    Store::open(options(dir)).unwrap()
}

pub(crate) fn options(dir: &Path) -> Options {
    Options { dir: dir.into(), unlock: Unlock::Open, quota: QUOTA }
}

/// Bytes that are different for each seed and do not compress.
pub(crate) fn body(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let key = *blake3::hash(&seed.to_le_bytes()).as_bytes();
    blake3::Hasher::new_keyed(&key).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn url(path: &str) -> String {
    format!("https://news.example/{path}")
}

pub(crate) fn key(path: &str) -> SnapshotKey {
    PageUrl::parse(&url(path)).unwrap().key(&Variant::default())
}

pub(crate) fn trust() -> TrustSet {
    let mut trust = TrustSet::default();
    trust.add(TrustedRoot {
        key: PublicKey::from(&SigningKey::from_bytes(&[1; 32])),
        label: "Newsroom".into(),
        hosts: vec![HostPattern::parse("*.news.example").unwrap()],
    });
    trust
}

/// A snapshot of `path` with this body, fetched `age` seconds after a fixed day.
pub(crate) fn snapshot(path: &str, body: &[u8], age: u64) -> Snapshot {
    let (root, subkey) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    let cert = SubkeyCert {
        v: 1,
        root: PublicKey::from(&root),
        subkey: PublicKey::from(&subkey),
        hpke: [3; 32],
        epoch: 4,
        not_before: UnixTime(100 * DAY),
        not_after: UnixTime(130 * DAY),
    };
    let head = Head {
        v: 1,
        url: url(path),
        variant: Variant::default(),
        status: 200,
        headers: vec![Field { name: "content-type".into(), value: b"text/html".to_vec() }],
        root: Hash::of(body),
        len: body.len() as u64,
        fetched_at: UnixTime(110 * DAY + age),
        tls: true,
        injector: PublicKey::from(&subkey),
        epoch: 4,
    };
    let signed =
        SignedSnapshot { head: Signed::sign(&head, &subkey), cert: Signed::sign(&cert, &root) };
    signed.verify(&Wanted::page(PageUrl::parse(&url(path)).unwrap()), &trust()).unwrap()
}

/// Stores `body` for `path`, written in uneven pieces.
pub(crate) fn put(store: &Store, path: &str, body: &[u8], age: u64) -> Result<(), PutError> {
    put_at(store, path, body, age, NOW)
}

pub(crate) fn put_at(
    store: &Store,
    path: &str,
    body: &[u8],
    age: u64,
    now: UnixTime,
) -> Result<(), PutError> {
    let io = |e: busel_store::WriteError| match e {
        busel_store::WriteError::FullDisk => PutError::FullDisk,
        other => PutError::Io(std::io::Error::other(other.to_string())),
    };
    let mut writer = store.writer().map_err(io)?;
    for piece in body.chunks(70_001) {
        writer.write(piece).map_err(io)?;
    }
    assert_eq!(writer.len(), body.len() as u64);
    let finished = writer.finish().map_err(io)?;
    store.put(&snapshot(path, body, age), finished, now)
}

/// The whole body, by windows, each verified as a peer would.
pub(crate) fn by_windows(reader: &BlobReader) -> Vec<u8> {
    let (mut offset, mut whole) = (0, Vec::new());
    while let Some(range) = window_after(0, offset, reader.len()) {
        let encoded = reader.window(range.clone()).unwrap();
        let content = decode_window(reader.root(), reader.len(), range.clone(), &encoded);
        whole.extend_from_slice(&content.unwrap());
        offset = range.end;
    }
    whole
}

/// The stored body of `path`, if the snapshot is there; verified in every way.
pub(crate) fn stored(store: &Store, path: &str) -> Option<Vec<u8>> {
    let stored = store.find(&key(path)).unwrap()?;
    assert!(store.has_blob(&stored.root).unwrap(), "a snapshot has its body");
    let reader = store.reader(&stored.root).unwrap().expect("a snapshot has its body");
    let whole = by_windows(&reader);
    assert_eq!(Hash::of(&whole), stored.root);
    assert_eq!(whole.len() as u64, stored.len);
    let verified = stored.signed.verify_page(&trust()).unwrap();
    assert_eq!(verified.url().as_str(), url(path));
    Some(whole)
}

/// All files below `dir`.
pub(crate) fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Files of blobs below the store's `dir`.
pub(crate) fn blob_files(dir: &Path) -> Vec<std::path::PathBuf> {
    files(&dir.join("blobs"))
}

/// A small generator of numbers that a seed fixes.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
