//! Real programs for tests, each ended when it is dropped: [`program`] (any process, and `busel`
//! itself), [`nginx`] (a web site), [`people`] (a relay, an injector and readers around it),
//! [`door`] (a client of a reader's proxy), [`curl`], [`origin`] (a web server that does odd things).

pub(crate) mod curl;
pub(crate) mod door;
pub(crate) mod nginx;
pub(crate) mod origin;
pub(crate) mod people;
pub(crate) mod program;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use curl::curl;
pub(crate) use nginx::{HOST, Nginx};
pub(crate) use people::{People, Reader};
pub(crate) use program::{Program, Run, busel, run};

/// How long a thing that must happen is waited for. Reached only if it does not.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program of the system that a test can't do without.
pub(crate) fn tool(path: &str, package: &str) -> PathBuf {
    let file = PathBuf::from(path);
    assert!(
        file.exists(),
        "this test needs {path}: install the Debian package {package} (cargo xtask test does)"
    );
    file
}

/// Debian's Python documentation: a real site of some thousand files.
pub(crate) fn real_site() -> PathBuf {
    tool("/usr/share/doc/python3-doc/html/index.html", "python3-doc").parent().unwrap().to_owned()
}

/// Waits for a state that nothing announces.
pub(crate) fn until(what: &dyn Fn() -> String, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "it never came to be: {}", what());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Writes a file below `dir`.
pub(crate) fn put(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

/// As [`put`], with a date of months ago: a page that says nothing of its age stays fresh for a
/// tenth of it, so that a copy of this one will do.
pub(crate) fn publish(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    const MONTHS: Duration = Duration::from_secs(100 * 86_400);
    let file = std::fs::File::options().write(true).open(put(dir, name, content)).unwrap();
    file.set_modified(std::time::SystemTime::now() - MONTHS).unwrap();
}

/// Bytes of which no two parts are alike.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rand::fill(&mut bytes[..]);
    bytes
}

/// One runtime for what a test does itself.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}
