//! Invites as people pass them on: as a line, a file or a picture; and those of a relay that counts
//! its ways in, gives them out, and takes one back.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use busel_proto::invite::Invite;

use crate::support::{HOST, Nginx, People, Program, Reader, Run, busel, publish, put, run, until};

fn site(dir: &Path) -> Nginx {
    for page in ["a", "b", "c", "d", "e", "f"] {
        publish(dir, &format!("site/{page}.html"), page);
    }
    Nginx::start(&dir.join("site"), false)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs `busel` with this said to it.
fn told(data: &Path, args: &[&str], said: &[u8]) -> Run {
    let mut command = busel(data, args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It need not read all.
    let _ = child.stdin.take().unwrap().write_all(said);
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        bytes: output.stdout,
    }
}

#[test]
fn an_invite_passes_as_a_picture_and_names_what_it_trusts() {
    let dir = tempfile::tempdir().unwrap();
    let nginx = site(dir.path());
    let people = People::around(&nginx);
    let injector = people.data("injector");
    let png = dir.path().join("invite.png");
    let made = run(&injector, &["invite", "--qr", "--png", text(&png)]).ok();
    let line = made.out.lines().last().unwrap();
    assert!(line.starts_with("busel1"));
    assert!(made.out.lines().count() > 40, "the code comes before it");
    assert!(!made.out.contains('\u{1b}'), "no colours where no terminal is");
    assert!(made.err.contains("can join by it"), "{}", made.err);
    assert_eq!(png.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&png).unwrap();
    run(&injector, &["invite", "--png", text(&png)]).fails(&["invite.png is there already"]);
    assert!(std::fs::read(&png).unwrap() == before);

    let joined = run(&people.data("one"), &["join", "--trust", text(&png)]).ok();
    assert!(joined.out.contains("1 nodes, 1 trusted, 1 sites"), "{}", joined.out);
    let root = Invite::from_line(line).unwrap().roots[0].key.to_string();
    let spoken = joined.out.lines().find_map(|line| line.trim().strip_prefix("root ")).unwrap();
    assert_eq!(spoken.replace(' ', ""), root);
    assert!(joined.out.contains(&format!("“Newsroom” for {HOST}")), "{}", joined.out);
    // Whom one trusts already is named beside whom one is asked to trust.
    let again = run(&people.data("one"), &["join", "--no-trust", line]).ok();
    let beside = format!("beside “Newsroom”, which you trust for {HOST}");
    assert!(again.out.contains(&beside), "{}", again.out);

    for said in [line.as_bytes(), &before] {
        let data = people.data("two");
        let joined = told(&data, &["join", "--no-trust", "-"], said).ok();
        assert!(joined.out.contains("1 nodes, 0 trusted"), "{}", joined.out);
        told(&data, &["join", "-"], said).fails(&["--trust or --no-trust"]);
    }
    told(&people.data("two"), &["join", "-"], b"").fails(&["an invite begins with"]);
    told(&people.data("two"), &["join", "-"], &[0xff, 0]).fails(&["neither text nor a picture"]);
    let film = put(dir.path(), "film.heic", b"\0\0\0\x18ftypheic");
    run(&people.data("two"), &["join", text(&film)]).fails(&["HEIF", "PNG or JPEG"]);
}

/// The injector's invite, over this bridge.
fn over(people: &People, bridge: &str) -> String {
    let relays = Invite::from_line(bridge).unwrap().relays;
    Invite { relays, ..Invite::from_line(&people.invite).unwrap() }.to_line()
}

fn reader(people: &People, name: &str, invite: &str) -> Reader {
    let data = people.data(name);
    run(&data, &["join", "--trust", invite]).ok();
    let reader = Reader::up(&data, &["--no-direct", "--exposure", "quiet", "--no-veil"]);
    // The relay looks at its book now and then; who comes before that tries again.
    until(&|| format!("{name} is let in"), || reader.status()["relay_connected"] == true);
    reader
}

fn reads(reader: &Reader, page: &str) {
    let url = format!("https://{HOST}/{page}.html");
    assert_eq!(run(&reader.data, &["get", &url]).ok().out, page);
}

fn left(reader: &Reader) -> serde_json::Value {
    reader.status()["relays"][0]["left"].clone()
}

#[test]
fn a_leaked_invite_is_taken_back_and_nobody_else_feels_it() {
    let dir = tempfile::tempdir().unwrap();
    let nginx = site(dir.path());
    let people = People::around(&nginx);
    let relay = people.data("relay");
    run(&relay, &["relay", "list"]).ok();
    let given = run(&relay, &["relay", "give", "--invites", "2", "--spares", "3"]).ok();
    assert!(given.err.contains("Batch 1: 2 invites with 4 ways in each"), "{}", given.err);
    let given: Vec<_> = given.out.lines().map(|line| over(&people, line)).collect();
    assert_eq!(given.len(), 2);
    let a = reader(&people, "a", &given[0]);
    let b = reader(&people, "b", &given[1]);
    reads(&a, "a");
    reads(&b, "b");

    assert_eq!(left(&a), 3);
    let for_c = a.invite();
    assert_eq!(left(&a), 1, "one for the friend, and one for the friend's friend");
    let c = reader(&people, "c", &for_c);
    reads(&c, "c");
    let secret = |line: &str| Invite::from_line(line).unwrap().relays[0].secret;
    assert_ne!(secret(&for_c), secret(&given[0]));
    assert_eq!(left(&c), 1);

    // The police have c's invite.
    let told = run(&relay, &["relay", "revoke", &for_c]).ok();
    assert_eq!(told.out, "2 ways in were taken back, 0 had been before.\n");
    let turned_away = |reader: &Reader| reader.status()["relays"][0]["turned_away"] == true;
    until(&|| "c is turned away".into(), || turned_away(&c));
    let url = format!("https://{HOST}/d.html");
    run(&c.data, &["get", &url]).fails(&["can't be had"]);
    let shown = run(&c.data, &["status"]).ok().out;
    assert!(shown.contains("takes this node for a stranger"), "{shown}");
    reads(&a, "e");
    reads(&b, "f");
    assert!(!turned_away(&a) && !turned_away(&b));
    let listed = || run(&relay, &["relay", "list"]).ok().out;
    let row = |listed: &str| -> Vec<String> {
        let row = listed.lines().nth(1).unwrap_or_default();
        row.split_whitespace().map(str::to_owned).collect()
    };
    // Batch, days, ways in, taken back, used, in use.
    until(&listed, || row(&listed())[3..] == ["8", "2", "3", "2"].map(str::to_owned));

    run(&relay, &["relay", "revoke", &people.invite]).fails(&["--shared"]);
    run(&relay, &["relay", "revoke", "--batch", "7"]).fails(&["no batch 7"]);
    run(&relay, &["relay", "revoke"]).fails(&["say what to take back"]);
    run(&people.data("nobody"), &["relay", "give"]).fails(&["start the relay first"]);
    let a_last = run(&a.data, &["invite"]).ok();
    assert_eq!(Invite::from_line(a_last.out.trim()).unwrap().relays[0].spares, Some(vec![]));
    let spent = run(&a.data, &["invite"]).ok();
    assert!(Invite::from_line(spent.out.trim()).unwrap().relays.is_empty());
    assert!(spent.err.contains("no way into them is left"), "{}", spent.err);
}

#[test]
fn what_was_taken_back_stays_so_when_the_relay_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("relay");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = || {
        let relay =
            Program::start(&mut busel(&data, &["relay", "--listen", &format!("127.0.0.1:{port}")]));
        relay.after("The relay is up on ");
        relay
    };
    let mut relay = start();
    let given = run(&data, &["relay", "give", "--invites", "2", "--spares", "0"]).ok();
    let given: Vec<_> = given.out.lines().map(str::to_owned).collect();
    run(&data, &["relay", "revoke", &given[0], "--shared"]).ok();
    assert!(relay.terminate().success());
    let relay = start();
    relay.after("Its shared way in was taken back");
    let connected = |name: &str, line: &str| {
        let data = dir.path().join(name);
        run(&data, &["join", line]).ok();
        // An open node keeps to its relay.
        Reader::up(&data, &["--exposure", "open"])
    };
    let gone = connected("gone", &given[0]);
    let good = connected("good", &given[1]);
    until(&|| "one is let in".into(), || good.status()["relay_connected"] == true);
    until(&|| "one is not".into(), || gone.status()["relays"][0]["turned_away"] == true);
    assert_eq!(gone.status()["relay_connected"], false);
    let book = std::fs::read(data.join("ways")).unwrap();
    assert_eq!(data.join("ways").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // A damaged book lets nobody start over the heads of those who were shown out.
    drop(relay);
    put(&data, "ways", &book[..book.len() - 1]);
    let listen = format!("127.0.0.1:{port}");
    run(&data, &["relay", "--listen", &listen]).fails(&["ways", "can't be read"]);
    run(&data, &["relay", "give"]).fails(&["ways", "can't be read"]);
}
