//! An injector's keys in its operator's hands: a root that stays offline, certificates that travel.

use std::os::unix::fs::PermissionsExt;

use crate::support::{HOST, Program, Run, busel, put, run};

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
