//! The commands as people type them: what they print, how they end, and what they say when they
//! can't do it.

use std::path::Path;
use std::process::Command;

use crate::support::origin::{ODD, Odd};
use crate::support::{HOST, Nginx, People, Program, Reader, Run, busel, noise, publish, put, run};

/// A small site and the flags by which a node finds it.
fn site(dir: &Path) -> (Nginx, Vec<String>) {
    publish(dir, "site/index.html", "front");
    publish(dir, "site/news.html", "the news");
    let nginx = Nginx::start(&dir.join("site"), false);
    let flags = nginx.flags();
    (nginx, flags)
}

fn with<'a>(args: &[&'a str], flags: &'a [String]) -> Vec<&'a str> {
    args.iter().copied().chain(flags.iter().map(String::as_str)).collect()
}

/// No resolver and no site directly: nothing can be had.
const CUT_OFF: [&str; 3] = ["--dns", "udp://127.0.0.1:9", "--no-direct"];

fn up(data: &Path, args: &[&str]) -> Run {
    run(data, &[&["up", "--listen", "127.0.0.1:0"][..], args].concat())
}

#[test]
fn get_needs_no_running_node() {
    let dir = tempfile::tempdir().unwrap();
    let (_nginx, flags) = site(dir.path());
    let data = dir.path().join("data");
    let url = format!("https://{HOST}/news.html");
    let got = run(&data, &with(&["get", &url], &flags)).ok();
    assert_eq!((got.out.as_str(), got.err.as_str()), ("the news", ""));
    let got = run(&data, &with(&["get", "--explain", &url], &flags)).ok();
    assert_eq!(got.out, "the news");
    for word in ["direct", "started", "won", "finished", "by direct, true by: site", " ms "] {
        assert!(got.err.contains(word), "no “{word}” in {}", got.err);
    }
    let got = run(&data, &with(&["get", "--include", &url], &flags)).ok();
    assert!(got.out.starts_with("HTTP/1.1 200 OK\r\n"), "{}", got.out);
    assert!(got.out.ends_with("\r\n\r\nthe news"));
}

#[test]
fn get_asks_the_node_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (nginx, _) = site(dir.path());
    let data = dir.path().join("data");
    // Only the running node was told where the site is.
    let _reader = Reader::beside(&nginx, &data, &[]);
    let url = format!("https://{HOST}/news.html");
    assert_eq!(run(&data, &["get", &url]).ok().out, "the news");
    let got = run(&data, &["get", "--explain", &url]).ok();
    assert_eq!(got.out, "the news");
    for word in ["direct", "started", "won", "finished", "by direct, true by: site"] {
        assert!(got.err.contains(word), "no “{word}” in {}", got.err);
    }
    let failed = run(&data, &["get", "--explain", "https://nowhere.example/"]);
    failed.fails(&["https://nowhere.example/ can't be had", "direct", "failed:"]);
}

#[test]
fn get_by_injector_tells_who_vouches_and_the_second_time_needs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (nginx, _) = site(dir.path());
    let people = People::around(&nginx);
    let data = people.data("reader");
    run(&data, &["join", "--trust", &people.invite]).ok();
    let url = format!("https://{HOST}/news.html");
    let got = run(&data, &[&["get", "--explain", &url][..], &CUT_OFF].concat()).ok();
    assert_eq!(got.out, "the news");
    assert!(got.err.contains("by injector, true by: injector \"Newsroom\""), "{}", got.err);
    let got = run(&data, &[&["get", "--explain", &url][..], &CUT_OFF].concat()).ok();
    assert_eq!(got.out, "the news");
    assert!(got.err.contains("by local, true by: injector \"Newsroom\""), "{}", got.err);
}

#[test]
fn get_says_why_nothing_can_be_had() {
    let dir = tempfile::tempdir().unwrap();
    let args = [&["get", "--explain", "https://docs.example/"][..], &CUT_OFF].concat();
    let failed = run(dir.path(), &args);
    assert!(failed.out.is_empty());
    failed.fails(&[
        "https://docs.example/ can't be had",
        "tunnel",
        "no node that could help is known",
        "not on the site list",
    ]);
    let listed = [&args[..], &["--site", "docs.example"]].concat();
    run(dir.path(), &listed).fails(&["swarm", "injector", "no node that could help is known"]);
    run(dir.path(), &["get", "ftp://docs.example/"]).fails(&["ftp"]);
    run(dir.path(), &["get", "not a url"]).fails(&["busel: "]);
}

#[test]
fn get_writes_the_whole_page_or_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let (nginx, flags) = site(dir.path());
    let odd = Odd::start();
    let odd_flags = odd.flags();
    let content = noise(5_000_000);
    put(dir.path(), "site/film.bin", &content);
    let (data, out) = (dir.path().join("data"), dir.path().join("out"));
    std::fs::create_dir(&out).unwrap();
    let film = out.join("film.bin");
    let film = film.to_str().unwrap();
    let url = format!("https://{HOST}/film.bin");
    let cut = format!("http://{ODD}/cut");
    let files = || std::fs::read_dir(&out).unwrap().count();

    let got = run(&data, &with(&["get", "-o", film, &url], &flags)).ok();
    assert!(got.out.is_empty());
    assert!(std::fs::read(film).unwrap() == content);
    let args = with(&["get", "-o", film, &cut], &flags);
    run(&data, &[&args[..], &with(&[], &odd_flags)].concat()).fails(&["cut"]);
    assert!(std::fs::read(film).unwrap() == content, "the old file stands");
    assert_eq!(files(), 1, "nothing is left beside it");

    let _reader = Reader::beside(&nginx, &data, &with(&[], &odd_flags));
    run(&data, &["get", "-o", film, &cut]).fails(&["cut"]);
    assert!(std::fs::read(film).unwrap() == content, "the old file stands");
    assert_eq!(files(), 1, "nothing is left beside it");
    run(&data, &["get", "-o", "/nowhere/at/all", &url]).fails(&["/nowhere/at/all"]);
}

#[test]
fn join_tells_what_is_wrong_with_an_invite() {
    let dir = tempfile::tempdir().unwrap();
    let (nginx, _) = site(dir.path());
    let people = People::around(&nginx);
    let data = people.data("reader");
    let good = &people.invite;
    let mut mistyped = good.clone().into_bytes();
    let at = mistyped.len() / 2;
    mistyped[at] = if mistyped[at] == b'a' { b'b' } else { b'a' };
    let mistyped = String::from_utf8(mistyped).unwrap();
    for (invite, words) in [
        ("garbage", "neither an invite nor a file"),
        ("busel1", "damaged"),
        ("busel1garbage", "damaged"),
        ("busel1!!!!", "character"),
        (&mistyped, "damaged"),
        (&good[..good.len() - 1], "damaged"),
    ] {
        run(&data, &["join", "--trust", invite]).fails(&[words]);
    }
    let junk = put(dir.path(), "junk", noise(3000));
    run(&data, &["join", junk.to_str().unwrap()]).fails(&["junk"]);
    run(&data, &["join", good]).fails(&["--trust or --no-trust"]);

    let joined = run(&data, &["join", "--no-trust", good]).ok();
    assert!(joined.out.contains("1 nodes, 0 trusted, 0 sites"), "{}", joined.out);
    assert!(joined.out.contains("was not confirmed"), "{}", joined.out);
    let file = put(dir.path(), "invite", format!("{}\n", good.to_uppercase()));
    let joined = run(&data, &["join", "--trust", file.to_str().unwrap()]).ok();
    assert!(joined.out.contains("1 nodes, 1 trusted, 1 sites"), "{}", joined.out);
}

#[test]
fn a_running_node_joins_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (nginx, _) = site(dir.path());
    let people = People::around(&nginx);
    let data = people.data("reader");
    let reader = Reader::up(&data, &["--no-direct"]);
    let url = format!("https://{HOST}/news.html");
    run(&data, &["get", &url]).fails(&["can't be had"]);
    let joined = run(&data, &["join", "--trust", &people.invite]).ok();
    assert!(joined.out.contains("1 nodes, 1 trusted, 1 sites"), "{}", joined.out);
    assert_eq!(run(&data, &["get", &url]).ok().out, "the news");
    let status = reader.status();
    assert_eq!(status["trusted"][0]["label"], "Newsroom");
    assert_eq!(status["sites"][0], HOST);
}

#[test]
fn status_is_told_to_people_and_to_programs() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &["status"]).fails(&["no node is running here"]);
    run(dir.path(), &["invite"]).fails(&["no node is running here"]);
    run(dir.path(), &["stop"]).fails(&["no node is running here"]);
    let reader = Reader::up(dir.path(), &["--exposure", "quiet"]);
    let status = reader.status();
    assert_eq!(status["exposure"], "quiet");
    assert_eq!(status["http"], reader.door.to_string());
    assert_eq!(status["injector"], false);
    assert_eq!(status["store"]["passphrase"], false);
    assert_eq!(status["relay_connected"], false);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let told = run(dir.path(), &["status"]).ok().out;
    for word in ["quiet", &reader.door.to_string(), "nobody yet", "protects nothing"] {
        assert!(told.contains(word), "no “{word}” in {told}");
    }
}

#[test]
fn stop_and_term_end_a_node_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let mut reader = Reader::up(dir.path(), &[]);
    assert!(socket.exists());
    run(dir.path(), &["stop"]).ok();
    assert!(reader.program.wait().success());
    assert!(!socket.exists());
    let mut reader = Reader::up(dir.path(), &[]);
    assert!(reader.program.terminate().success());
    assert!(!socket.exists());
    let data = dir.path().join("relay");
    let mut relay = Program::start(&mut busel(&data, &["relay", "--listen", "127.0.0.1:0"]));
    relay.after("busel1");
    assert!(relay.terminate().success());
}

#[test]
fn a_node_that_was_killed_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = Reader::up(dir.path(), &[]);
    reader.program.kill();
    assert!(dir.path().join("control.sock").exists(), "it had no time to clean up");
    run(dir.path(), &["status"]).fails(&["no node is running here"]);
    let reader = Reader::up(dir.path(), &[]);
    reader.status();
}

#[test]
fn a_relay_keeps_its_invite() {
    let dir = tempfile::tempdir().unwrap();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    };
    let relay = || Program::start(&mut busel(dir.path(), &["relay", "--listen", &port]));
    let mut first = relay();
    let invite = first.after("busel1");
    let status = Run::of(&mut busel(&dir.path().join("2"), &["relay", "--listen", &port]));
    status.fails(&["can't listen on", &port]);
    assert!(first.terminate().success());
    assert_eq!(relay().after("busel1"), invite);
    put(dir.path(), "relay.json", "{");
    run(dir.path(), &["relay", "--listen", &port]).fails(&["relay.json"]);
}

#[test]
fn a_port_in_use_is_said_and_nothing_is_left_running() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    run(dir.path(), &["up", "--listen", &addr]).fails(&["another program listens on", &addr]);
    run(dir.path(), &["up", "--listen", "0.0.0.0:0"]).fails(&["0.0.0.0:0", "other devices"]);
    assert!(!dir.path().join("control.sock").exists());
    Reader::up(dir.path(), &[]);
}

#[test]
fn two_nodes_never_share_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = Reader::up(dir.path(), &[]);
    up(dir.path(), &[]).fails(&["in use by another process"]);
    first.status();
}

#[test]
fn a_store_opens_only_with_its_passphrase() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let right = put(dir.path(), "right", "correct horse\n");
    let wrong = put(dir.path(), "wrong", "battery staple\n");
    let empty = put(dir.path(), "empty", "\n");
    let with = |file: &Path| ["--passphrase-file".to_owned(), file.to_str().unwrap().to_owned()];
    let flags = with(&right);
    let reader = Reader::up(&data, &[&flags[0], &flags[1]]);
    assert_eq!(reader.status()["store"]["passphrase"], true);
    drop(reader);
    let flags = with(&wrong);
    up(&data, &[&flags[0], &flags[1]]).fails(&["the passphrase is wrong"]);
    let flags = with(&empty);
    up(&data, &[&flags[0], &flags[1]]).fails(&["holds no passphrase"]);
    up(&data, &["--passphrase-file", "/nowhere/at/all"]).fails(&["/nowhere/at/all"]);
    up(&data, &[]).fails(&["protected by a passphrase"]);
}

#[test]
fn a_misspelt_setting_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = put(dir.path(), "config.toml", "exposre = \"open\"\n");
    up(dir.path(), &[]).fails(&["exposre", "config.toml"]);
    for (text, word) in [
        ("version = 9\n", "version 9"),
        ("exposure = \"loud\"\n", "loud"),
        ("allow-net = [\"10.0.0.0/40\"]\n", "allow-net"),
        ("dns = []\n", "dns"),
        ("dns = [\"9.9.9.9\"]\n", "9.9.9.9"),
        ("sites = [{ hosts = \"a b\" }]\n", "a b"),
        ("http = \n", "config.toml"),
    ] {
        std::fs::write(&file, text).unwrap();
        up(dir.path(), &[]).fails(&[word]);
    }
    up(dir.path(), &["--config", "/nowhere/at/all"]).fails(&["/nowhere/at/all"]);
    std::fs::write(&file, "exposure = \"open\"\nhttp = \"127.0.0.1:0\"\nlan = \"off\"\n").unwrap();
    let node = Program::start(&mut busel(dir.path(), &["up"]));
    node.after("http://127.0.0.1:");
    let status = run(dir.path(), &["status", "--json"]).ok().out;
    assert!(status.contains("\"open\""), "{status}");
}

#[test]
fn completions_and_man_page_come_of_the_one_definition() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let made = run(dir.path(), &["completions", shell]).ok().out;
        for word in ["busel", "injector", "explain", "no-direct"] {
            assert!(made.contains(word), "no “{word}” for {shell}");
        }
        assert!(!made.contains("demo-isp"), "{shell} completes what is hidden");
    }
    let script = put(dir.path(), "busel.bash", run(dir.path(), &["completions", "bash"]).ok().out);
    let checked = Run::of(Command::new("/bin/bash").arg("-n").arg(script));
    assert_eq!(checked.ok().err, "");
    let man = run(dir.path(), &["man"]).ok().out;
    for word in [".TH busel", "busel\\-get", "Keeps news reachable"] {
        assert!(man.contains(word), "no “{word}” in the man page");
    }
}

#[test]
fn a_damaged_store_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let store = data.join("store");
    assert!(Reader::up(&data, &["--exposure", "open"]).program.terminate().success());
    let whole = dir.path().join("whole");
    let copy = |from: &Path, to: &Path| {
        Run::of(Command::new("/bin/cp").arg("-a").arg(from).arg(to)).ok();
    };
    copy(&store, &whole);
    let damaged = |what: &str, damage: &dyn Fn()| {
        std::fs::remove_dir_all(&store).unwrap();
        copy(&whole, &store);
        damage();
        let run = up(&data, &[]);
        assert_eq!(run.code, Some(1), "{what}: {}{}", run.out, run.err);
        assert!(run.err.contains("busel: the store can't be opened: "), "{what}: {}", run.err);
        // The database may panic on what it did not write; the store makes an error of that.
        let caught = what == "overwritten";
        assert!(caught || !run.err.contains("panicked"), "{what}: {}", run.err);
    };
    let index = store.join("index.redb");
    let len = std::fs::metadata(&index).unwrap().len();
    for file in ["format", "key", "index.redb"] {
        let file = store.join(file);
        damaged("junk", &|| std::fs::write(&file, noise(500)).unwrap());
        damaged("a directory", &|| {
            std::fs::remove_file(&file).unwrap();
            std::fs::create_dir(&file).unwrap();
        });
    }
    damaged("no key", &|| std::fs::remove_file(store.join("key")).unwrap());
    damaged("half", &|| {
        let file = std::fs::OpenOptions::new().write(true).open(&index).unwrap();
        file.set_len(len / 2).unwrap();
    });
    damaged("overwritten", &|| {
        let mut bytes = std::fs::read(&index).unwrap();
        // From the first pages on, which are in use however little is stored.
        let (from, to) = (bytes.len() / 128, bytes.len() / 2);
        bytes[from..to].copy_from_slice(&noise(to - from));
        std::fs::write(&index, bytes).unwrap();
    });
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::write(&store, "a file").unwrap();
    up(&data, &[]).fails(&["store"]);
}

#[test]
fn a_read_only_place_is_said() {
    let place = Path::new("/proc/nowhere");
    up(place, &[]).fails(&["/proc/nowhere"]);
    run(place, &["relay", "--listen", "127.0.0.1:0"]).fails(&["/proc/nowhere"]);
    run(place, &["join", "busel1garbage"]).fails(&["damaged"]);
}

#[test]
fn an_invite_of_a_node_that_knows_nobody_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let _reader = Reader::up(dir.path(), &["--exposure", "quiet"]);
    let made = run(dir.path(), &["invite"]).ok();
    assert!(made.out.starts_with("busel1"));
    assert!(made.err.contains("brings nobody anywhere"), "{}", made.err);
}

#[test]
fn an_open_node_s_invite_brings_a_friend_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (nginx, _) = site(dir.path());
    let mut people = People::around(&nginx);
    let a = people.reader("a", "open");
    let url = format!("https://{HOST}/news.html");
    assert_eq!(run(&a.data, &["get", &url]).ok().out, "the news");
    a.keeps(1);
    people.injector.kill();
    let data = people.data("b");
    let joined = run(&data, &["join", "--trust", &a.invite()]).ok();
    assert!(joined.out.contains("2 nodes, 1 trusted, 1 sites"), "{}", joined.out);
    let got = run(&data, &[&["get", "--explain", &url][..], &CUT_OFF].concat()).ok();
    assert_eq!(got.out, "the news");
    assert!(got.err.contains("by swarm, true by: injector \"Newsroom\""), "{}", got.err);
}

#[test]
fn get_takes_no_settings_that_the_running_node_would_not_heed() {
    let dir = tempfile::tempdir().unwrap();
    let (nginx, flags) = site(dir.path());
    let data = dir.path().join("data");
    let _reader = Reader::beside(&nginx, &data, &[]);
    let url = format!("https://{HOST}/news.html");
    let wants: [&[&str]; 4] = [
        &["--no-direct"],
        &["--upstream", "127.0.0.1:9"],
        &["--exposure", "quiet"],
        &["--dns", "udp://127.0.0.1:9"],
    ];
    for want in wants {
        let args = [&["get", &url][..], want].concat();
        run(&data, &args).fails(&["a node runs already", "busel stop"]);
    }
    run(&data, &with(&["get", &url], &flags)).fails(&["a node runs already"]);
    assert_eq!(run(&data, &["get", &url]).ok().out, "the news");
}

#[test]
fn what_is_logged_below_debug_names_nobody_and_is_plain_text() {
    let dir = tempfile::tempdir().unwrap();
    let (nginx, _) = site(dir.path());
    for page in 0..4 {
        publish(dir.path(), &format!("site/{page}.html"), "a page");
    }
    let people = People::around(&nginx);
    let data = people.data("reader");
    run(&data, &["join", "--trust", &people.invite]).ok();
    let levels = [&["-v"][..], &["--log", "warn"], &["--log", "info"], &[]];
    for (page, level) in levels.into_iter().enumerate() {
        let args = [&["--no-direct", "--exposure", "open"][..], level].concat();
        let mut reader = Reader::up(&data, &args);
        let got = run(&data, &["get", "--explain", &format!("https://{HOST}/{page}.html")]).ok();
        assert!(got.err.contains("by injector"), "a node was connected to: {}", got.err);
        let invite = busel_proto::invite::Invite::from_line(&reader.invite()).unwrap();
        let own = reader.status()["id"].as_str().unwrap().to_owned();
        run(&data, &["stop"]).ok();
        reader.program.wait();
        let said = reader.program.said().join("\n").to_lowercase();
        let ids = invite.peers.iter().map(|peer| peer.peer).collect::<Vec<_>>();
        assert!(ids.len() >= 2, "itself and the injector");
        for id in ids {
            let hex = data_encoding::HEXLOWER.encode(&id.0[..5]);
            assert!(!said.contains(&hex), "{level:?}: {said}");
            assert!(!said.contains(&id.to_string()), "{level:?}: {said}");
        }
        assert!(!said.contains(&own) && !said.contains(HOST), "{level:?}: {said}");
        assert!(!said.contains("iroh"), "{level:?}: {said}");
    }
    let url = format!("https://{HOST}/news.html");
    let got = run(&data, &[&["get", "--log", "debug", &url][..], &CUT_OFF].concat()).ok();
    assert!(got.err.lines().count() > 3, "it logs: {}", got.err);
    assert!(!got.err.contains('\u{1b}'), "{}", got.err);
}

#[test]
fn the_man_page_has_each_commands_flags() {
    let dir = tempfile::tempdir().unwrap();
    let page = run(dir.path(), &["man"]).ok().out.replace('\\', "");
    let section = |name: &str| {
        let begin = page.find(&format!(".SH \"{name}\"")).unwrap_or_else(|| panic!("no {name}"));
        let rest = &page[begin + 4..];
        rest[..rest.find("\n.SH ").unwrap_or(rest.len())].to_owned()
    };
    for (name, flags) in [
        ("BUSEL UP", &["--listen", "--connect-to", "--exposure"][..]),
        ("BUSEL GET", &["--explain", "--output", "--upstream"]),
        ("BUSEL INJECTOR", &["--hosts", "--rate"]),
        ("BUSEL ROOT REVOKE", &["--seq"]),
        ("BUSEL HEED", &["WORD"]),
    ] {
        for flag in flags {
            assert!(section(name).contains(flag), "{name}: no {flag} in {}", section(name));
        }
    }
    assert!(!page.contains("demo-isp"), "what is hidden is not told");
    assert!(page.contains(".SH NAME"));
}
