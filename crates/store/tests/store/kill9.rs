//! What was acknowledged survives `kill -9`, at any moment and many times in a row.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use busel_store::Store;

use crate::support::*;

const ROUNDS: u64 = 52;
const CHILD: &str = "BUSEL_STORE_KILL9_DIR";

fn path(round: u64, thread: u64, n: u64) -> String {
    format!("{round}/{thread}/{n}")
}

fn page(round: u64, thread: u64, n: u64) -> Vec<u8> {
    let seed = round << 32 | thread << 16 | n;
    body(seed, [200, 9000, 20_000, 90_000][usize::try_from(seed % 4).unwrap()])
}

/// The process that is killed: puts from four threads until then, and says what was acknowledged.
#[test]
#[ignore = "run by `acknowledged_snapshots_survive_kill_9` as another process"]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let (dir, round) = dir.rsplit_once('#').unwrap();
    let round: u64 = round.parse().unwrap();
    let store = open(Path::new(dir));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..10_000 {
                    put(&store, &path(round, thread, n), &page(round, thread, n), n).unwrap();
                    say(&format!("page {thread} {n}"));
                    if n % 3 == 0 {
                        store.set(&format!("s{thread}"), &n.to_le_bytes()).unwrap();
                        say(&format!("setting {thread} {n}"));
                    }
                    if n % 5 == 4 {
                        say(&format!("removing {thread} {}", n - 2));
                        store.remove(&key(&path(round, thread, n - 2))).unwrap();
                    }
                }
            });
        }
    });
}

fn say(line: &str) {
    // One write for each line, past the test harness, so that a kill cuts no line in two.
    std::io::stdout().lock().write_all(format!("\n@ {line}\n").as_bytes()).unwrap();
}

/// Starts the child, kills it after `life` from its first word, and returns what it said.
fn killed(dir: &Path, round: u64, life: Duration) -> Vec<(String, u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill9::child", "--ignored", "--nocapture"])
        .env(CHILD, format!("{}#{round}", dir.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (first, began) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        for line in out.lines().map_while(Result::ok) {
            let Some(line) = line.strip_prefix("@ ") else { continue };
            let words: Vec<_> = line.split(' ').collect();
            let [kind, thread, n] = words[..] else { panic!("{line}") };
            said.push((kind.to_owned(), thread.parse().unwrap(), n.parse().unwrap()));
            let _ = first.send(());
        }
        said
    });
    began.recv_timeout(Duration::from_secs(60)).expect("the child works");
    std::thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

fn check(store: &Store, dir: &Path, round: u64, said: &[(String, u64, u64)]) {
    let of = |wanted: &str| {
        let found = said.iter().filter(move |(kind, ..)| kind == wanted);
        found.map(|(_, thread, n)| (*thread, *n)).collect::<Vec<_>>()
    };
    let removing = of("removing");
    for (thread, n) in of("page") {
        let found = stored(store, &path(round, thread, n));
        let gone = removing.contains(&(thread, n)) && found.is_none();
        assert!(gone || found == Some(page(round, thread, n)), "{round}/{thread}/{n} was lost");
    }
    for thread in 0..4 {
        let last = of("setting").into_iter().filter(|(t, _)| *t == thread).map(|(_, n)| n).max();
        let Some(last) = last else { continue };
        let value = store.setting(&format!("s{thread}")).unwrap().unwrap();
        assert!(u64::from_le_bytes(value[..].try_into().unwrap()) >= last);
    }
    let (mut files, mut inline) = (0, 0);
    for key in store.keys().unwrap() {
        let found = store.find(&key).unwrap().unwrap();
        if found.len > 16_384 { files += 1 } else { inline += 1 }
    }
    assert_eq!(blob_files(dir).len(), files, "no file is left over, none is missing");
    assert_eq!(store.usage().blobs, files as u64 + inline);
}

#[test]
fn acknowledged_snapshots_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice(u64::from(std::process::id()));
    let (mut said, began) = (Vec::new(), Instant::now());
    for round in 0..ROUNDS {
        let life = Duration::from_millis(dice.below(150));
        said.push(killed(dir.path(), round, life));
        let store = open(dir.path());
        check(&store, dir.path(), round, said.last().unwrap());
        // Keep the store small, so that the rounds stay short.
        if round % 8 == 7 {
            for key in store.keys().unwrap() {
                store.remove(&key).unwrap();
            }
        }
    }
    let acknowledged: usize = said.iter().map(Vec::len).sum();
    println!("{acknowledged} words in {ROUNDS} lives, {:?}", began.elapsed());
    assert!(acknowledged as u64 > ROUNDS);
}
