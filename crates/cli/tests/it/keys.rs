//! An injector's keys in its operator's hands: a root that stays offline, certificates that travel.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use busel_injector::keys::CertRequest;

use crate::support::{HOST, Nginx, People, Program, Run, busel, publish, put, run};

/// Some other key: a root's own is one.
fn root_of(file: &std::path::Path) -> String {
    let secret = std::fs::read_to_string(file).unwrap().trim().to_ascii_uppercase();
    let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let root = busel_injector::keys::RootKey::from_random(&secret.try_into().unwrap());
    root.public().to_string()
}

fn line(run: Run) -> String {
    run.out.lines().next().unwrap_or_default().trim().to_owned()
}

#[test]
fn an_injector_works_under_a_root_that_stays_offline() {
    let dir = tempfile::tempdir().unwrap();
    let (data, root) = (dir.path().join("injector"), dir.path().join("root.key"));
    let root = root.to_str().unwrap();
    let made = run(dir.path(), &["root", "new", root]).ok();
    assert!(made.out.starts_with("root "), "{}", made.out);
    assert_eq!(std::fs::metadata(root).unwrap().permissions().mode() & 0o777, 0o600);

    let request = line(run(&data, &["injector", "--hosts", HOST, "--request"]).ok());
    let again = line(run(&data, &["injector", "--hosts", HOST, "--request"]).ok());
    assert_eq!(request, again, "the subkey is kept");
    let cert = run(dir.path(), &["root", "certify", root, &request, "--days", "20"]).ok();
    let cert = put(dir.path(), "cert", cert.out);
    let cert = cert.to_str().unwrap();
    let mut injector =
        Program::start(&mut busel(&data, &["injector", "--hosts", HOST, "--cert", cert]));
    let days = injector.after("certificate is valid for ");
    assert!(days.starts_with("19 days") || days.starts_with("20 days"), "{days}");
    assert!(injector.terminate().success());
    assert!(!data.join("root.key").exists(), "no root was made beside the injector");

    let other = dir.path().join("other");
    let args = ["injector", "--hosts", HOST, "--cert", cert];
    run(&other, &args).fails(&["certificate is for another key"]);
}

#[test]
fn a_root_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let root = put(dir.path(), "root.key", "something of value");
    let path = root.to_str().unwrap();
    run(dir.path(), &["root", "new", path]).fails(&[path]);
    assert_eq!(std::fs::read(&root).unwrap(), b"something of value");
}

#[test]
fn what_is_no_key_and_no_request_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root.key");
    let root = root.to_str().unwrap();
    run(dir.path(), &["root", "new", root]).ok();
    run(dir.path(), &["root", "certify", root, "garbage!"]).fails(&["no injector key"]);
    let data = dir.path().join("injector");
    let request = line(run(&data, &["injector", "--hosts", HOST, "--request"]).ok());
    let junk = put(dir.path(), "junk", "aaaa");
    let junk = junk.to_str().unwrap();
    run(dir.path(), &["root", "certify", junk, &request]).fails(&["no root key"]);
    for days in ["0", "100000"] {
        let args = ["root", "certify", root, &request, "--days", days];
        run(dir.path(), &args).fails(&["certified for 1 to"]);
    }
    let most = u64::MAX.to_string();
    run(dir.path(), &["root", "certify", root, &request, "--days", &most])
        .fails(&["certified for"]);
    run(&data, &["injector", "--hosts", HOST, "--cert", junk]).fails(&[]);
    run(&data, &["injector"]).fails(&["--hosts"]);
}

#[test]
fn a_revocation_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root.key");
    let root = root.to_str().unwrap();
    let made = run(dir.path(), &["root", "new", root]).ok();
    // Any key will do: a root's own is one.
    let key = made.out.lines().next().unwrap().trim_start_matches("root ").to_owned();
    let revoked = run(dir.path(), &["root", "revoke", root, "--seq", "1", &key]).ok();
    assert_eq!(revoked.out.lines().count(), 1);
    assert!(revoked.out.len() > 100, "{}", revoked.out);
    run(dir.path(), &["root", "revoke", root, "--seq", "1", "no-key"]).fails(&["no-key"]);
    run(dir.path(), &["root", "revoke", root, "--seq", "1"]).fails(&["SUBKEYS"]);
}

#[test]
fn a_key_that_is_taken_back_by_hand_is_believed_for_what_came_before_only() {
    const CUT_OFF: [&str; 3] = ["--dns", "udp://127.0.0.1:9", "--no-direct"];
    let dir = tempfile::tempdir().unwrap();
    for page in ["before.html", "running.html", "later.html"] {
        publish(dir.path(), &format!("site/{page}"), page);
    }
    let nginx = Nginx::start(&dir.path().join("site"), false);
    let mut people = People::around(&nginx);
    let (data, up) = (people.data("reader"), people.reader("up", "quiet"));
    run(&data, &["join", "--trust", &people.invite]).ok();
    let get = |data: &std::path::Path, page: &str, flags: &[&str]| {
        let url = format!("https://{HOST}/{page}");
        run(data, &[&["get", "--explain", &url][..], flags].concat())
    };
    assert!(get(&data, "before.html", &CUT_OFF).ok().err.contains("by injector"));
    assert!(get(&up.data, "running.html", &[]).ok().err.contains("by injector"));
    up.keeps(1);
    // Times are kept in whole seconds, and what came in the same one counts as later.
    std::thread::sleep(Duration::from_millis(1100));

    assert!(people.injector.terminate().success());
    let at = people.data("injector");
    let request = line(run(&at, &["injector", "--hosts", HOST, "--request"]).ok());
    let key = CertRequest::from_line(&request).unwrap().subkey.to_string();
    let root = at.join("root.key");
    let word =
        run(dir.path(), &["root", "revoke", root.to_str().unwrap(), "--seq", "1", &key]).ok();
    let file = put(dir.path(), "word", &word.out);
    let heard = run(&data, &["heed", file.to_str().unwrap()]).ok();
    assert!(heard.out.contains("Keys taken back: 1"), "{}", heard.out);
    let heard = run(&up.data, &["heed", word.out.trim()]).ok();
    assert!(heard.out.contains("Keys taken back: 1"), "{}", heard.out);
    for data in [&data, &up.data] {
        run(data, &["heed", file.to_str().unwrap()]).fails(&["nothing new"]);
        run(data, &["heed", "aaaa"]).fails(&["no revocation and no checkpoint"]);
        let less = run(
            dir.path(),
            &["root", "revoke", root.to_str().unwrap(), "--seq", "2", &root_of(&root)],
        );
        run(data, &["heed", less.ok().out.trim()]).fails(&["leaves out keys"]);
    }
    run(&people.data("stranger"), &["heed", file.to_str().unwrap()]).fails(&["not trusted here"]);

    let mut args = vec!["injector", "--hosts", HOST, "--dns", "udp://127.0.0.1:9"];
    let flags = nginx.flags();
    args.extend(flags.iter().map(String::as_str));
    let injector = Program::start(&mut busel(&at, &args));
    injector.after("Give this invite to readers:");
    let kept = get(&data, "before.html", &CUT_OFF).ok();
    assert!(kept.err.contains("by local, true by: injector"), "{}", kept.err);
    let kept = get(&up.data, "running.html", &[]).ok();
    assert!(kept.err.contains("by local, true by: injector"), "{}", kept.err);
    for (data, flags) in [(&data, &CUT_OFF[..]), (&up.data, &[])] {
        let got = get(data, "later.html", flags);
        assert!(got.err.contains("the injector's key was revoked"), "{}", got.err);
        assert!(!got.err.contains("true by: injector"), "{}", got.err);
    }
}
