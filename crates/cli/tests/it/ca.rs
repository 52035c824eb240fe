//! `busel ca`, as a person types it, with the real certutil and curl.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{HOST, Nginx, People, Reader, busel, publish};

/// A person: a home directory, a node and the browsers that are there.
struct Person {
    dir: tempfile::TempDir,
    reader: Reader,
    _nginx: Nginx,
}

impl Person {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), "site/news.html", "the news");
        let nginx = Nginx::start(&dir.path().join("site"), false);
        let reader = Reader::beside(&nginx, &dir.path().join("data"), &["--site", HOST]);
        let person = Self { dir, reader, _nginx: nginx };
        std::fs::create_dir_all(person.firefox()).unwrap();
        person.certutil(&person.firefox(), &["-N", "--empty-password"]);
        person
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn firefox(&self) -> PathBuf {
        self.home().join(".mozilla/firefox/x.default")
    }

    fn certutil(&self, store: &Path, args: &[&str]) -> String {
        let store = format!("sql:{}", store.display());
        let ran = Command::new("certutil").args(["-d", &store]).args(args).output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    }

    /// The line of a store that is about the authority.
    fn trust(&self, store: &Path) -> Option<String> {
        let listed = self.certutil(store, &["-L"]);
        listed.lines().find(|line| line.starts_with("Busel")).map(str::to_owned)
    }

    fn ca(&self, args: &[&str]) -> Output {
        let all = [&["ca"], args].concat();
        let mut command = busel(&self.dir.path().join("data"), &all);
        command.env("HOME", self.home()).output().unwrap()
    }
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn browsers_are_made_to_believe_it_and_to_forget_it() {
    let person = Person::new();
    let stores = [person.home().join(".pki/nssdb"), person.firefox()];
    let none = person.ca(&["status"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(said(&none).contains("No authority was made"), "{}", said(&none));

    for _ in 0..2 {
        let installed = person.ca(&["install"]);
        assert!(installed.status.success(), "{}", said(&installed));
        for word in [&format!("Vouches for {HOST}, and no other site"), "Chromium", "x.default"] {
            assert!(said(&installed).contains(word), "{}", said(&installed));
        }
        for store in &stores {
            let trust = person.trust(store).expect("it is there");
            assert!(trust.ends_with("C,,  "), "{trust:?}");
        }
    }
    let status = said(&person.ca(&["status"]));
    assert_eq!(status.matches("believes it").count(), 2, "{status}");

    let removed = said(&person.ca(&["remove"]));
    assert_eq!(removed.matches("believes it no more").count(), 2, "{removed}");
    assert!(stores.iter().all(|store| person.trust(store).is_none()));
    assert_eq!(person.ca(&["status"]).status.code(), Some(1));
    assert!(said(&person.ca(&["export"])).starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(said(&person.ca(&["status"])).contains("Chromium and its kin: does not"));
}

#[test]
fn curl_that_is_given_it_reads_a_listed_site_through_the_door() {
    let person = Person::new();
    assert!(person.ca(&["install"]).status.success());
    let pem = person.dir.path().join("busel.pem");
    assert!(person.ca(&["export", pem.to_str().unwrap()]).status.success());
    let url = format!("https://{HOST}/news.html");
    let curl = |ca: &Path| {
        let proxy = format!("http://{}", person.reader.door);
        let ca = ca.display().to_string();
        Command::new("curl").args(["-sS", "--cacert", &ca, "-x", &proxy, &url]).output().unwrap()
    };
    assert_eq!(said(&curl(&pem)), "the news");
    assert!(person.ca(&["remove"]).status.success());
    let end_to_end = curl(&pem);
    assert_eq!(end_to_end.status.code(), Some(60), "{}", said(&end_to_end));
}

#[test]
fn without_a_listed_site_there_is_nothing_to_vouch_for() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), "site/index.html", "front");
    let nginx = Nginx::start(&dir.path().join("site"), false);
    let data = dir.path().join("data");
    let _reader = Reader::beside(&nginx, &data, &["--site", "*"]);
    let refused = busel(&data, &["ca", "install"]).env("HOME", dir.path()).output().unwrap();
    assert!(!refused.status.success());
    assert!(said(&refused).contains("no site is on the site list"), "{}", said(&refused));
}

#[test]
fn a_browser_of_its_own_reads_a_listed_site_as_others_have_it_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    publish(dir.path(), "site/news.html", "<h1>the news</h1>");
    let nginx = Nginx::start(&dir.path().join("site"), false);
    let people = People::around(&nginx);
    let reader = people.reader("reader", "quiet");
    let url = format!("https://{HOST}/news.html");
    let browse = || {
        let all =
            ["browse", &url, "--", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"];
        busel(&reader.data, &all).env("HOME", &home).env("TMPDIR", dir.path()).output().unwrap()
    };
    let end_to_end = browse();
    assert!(!said(&end_to_end).contains("the news"), "the site's authority is not this browser's");
    assert!(said(&end_to_end).contains("busel ca install"), "{}", said(&end_to_end));
    assert!(busel(&reader.data, &["ca", "install"]).env("HOME", &home).status().unwrap().success());
    let shown = said(&browse());
    assert!(shown.contains("<h1>the news</h1>"), "{shown}");
    reader.keeps(1);
    let left = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(left, ["home", "site"]);
}
