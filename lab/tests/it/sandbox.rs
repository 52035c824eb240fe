//! That nothing is left of a world whose test was killed, at whatever moment.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use busel_lab::censor::Blackout;
use busel_lab::map::Point;
use busel_lab::program::Scene;
use busel_lab::sandbox::inside;

/// Marks the processes of a world that is to be killed.
const MARK: &str = "BUSEL_LAB_TO_BE_KILLED";
/// How long the kernel may take to clear up, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Not a test: the world that the tests below kill. Under nextest it runs only by name.
#[test]
#[ignore = "the other tests start it"]
fn a_world_that_waits() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    inside(|| {
        let scene = Scene::start()?;
        scene.world.censor(Point::Border).only(Blackout);
        std::thread::sleep(Duration::from_secs(600));
        Ok(())
    });
}

#[test]
fn kill9_leaves_nothing() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root and namespaces");
    let before = outside();
    for moment in [0, 20, 60, 120, 250, 1000] {
        let mark = format!("{}-{moment}", std::process::id());
        let child = start(Command::new("sh").args(["-c", "exec \"$0\" \"$@\""]), &mark);
        std::thread::sleep(Duration::from_millis(moment));
        kill(child, &mark);
    }
    assert_eq!(outside(), before);
}

#[test]
fn kill9_of_the_parent_leaves_nothing() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root and namespaces");
    let before = outside();
    let mark = std::process::id().to_string();
    // A shell that stays, as nextest does, and runs the test beneath.
    let child = start(Command::new("sh").args(["-c", "\"$0\" \"$@\"; true"]), &mark);
    let until = Instant::now() + PATIENCE;
    while namespaces(&marked(&mark)).len() < 20 {
        assert!(Instant::now() < until, "the world does not stand");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(child, &mark);
    assert_eq!(outside(), before);
}

fn start(shell: &mut Command, mark: &str) -> Child {
    shell
        .arg(std::env::current_exe().expect("our own program"))
        .args(["sandbox::a_world_that_waits", "--exact", "--ignored", "--nocapture"])
        .env("NEXTEST", "1")
        .env(MARK, mark)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell")
}

/// Kills the process that was started, and waits until nothing of it is left.
fn kill(mut child: Child, mark: &str) {
    let (namespaces, before) = (namespaces(&marked(mark)), processes());
    child.kill().expect("it runs");
    child.wait().expect("it has ended");
    let until = Instant::now() + PATIENCE;
    loop {
        let (left, held) = (marked(mark), held(&namespaces, &before));
        if left.is_empty() && held.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "processes {left:?}, namespaces {held:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes of the world with this mark.
fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    let has_mark = |process: &u32| {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes())
    };
    processes().into_iter().filter(has_mark).collect()
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The network, mount and process namespaces of these processes' threads, but for our own.
fn namespaces(processes: &[u32]) -> BTreeSet<u64> {
    let own: BTreeSet<u64> = kinds("/proc/self/ns").collect();
    let threads = processes.iter().flat_map(|process| {
        let tasks = fs::read_dir(format!("/proc/{process}/task"));
        tasks.into_iter().flatten().flatten().map(|task| task.path().join("ns"))
    });
    let all = threads.flat_map(|dir| kinds(&dir.to_string_lossy()).collect::<Vec<_>>());
    all.filter(|number| !own.contains(number)).collect()
}

fn kinds(dir: &str) -> impl Iterator<Item = u64> {
    let dir = dir.to_owned();
    ["net", "mnt", "pid", "pid_for_children"]
        .into_iter()
        .filter_map(move |kind| Some(fs::metadata(format!("{dir}/{kind}")).ok()?.ino()))
}

/// Which of these namespaces any of the processes from before still is in. Other worlds that begin
/// meanwhile are given the same numbers.
fn held(namespaces: &BTreeSet<u64>, before: &[u32]) -> BTreeSet<u64> {
    let now = self::namespaces(before);
    now.intersection(namespaces).copied().collect()
}

/// What a world might leave in the namespaces of this machine: devices, names of namespaces, mounts,
/// rules, files.
fn outside() -> Vec<String> {
    let mut all = Vec::new();
    for command in [
        &["ip", "-brief", "link"][..],
        &["ip", "netns", "list"],
        &["ls", "-A", "/run/netns"],
        &["ls", "-A", "/dev/shm"],
        &["nft", "list", "ruleset"],
        &["cat", "/proc/self/mounts"],
    ] {
        let out = Command::new(command[0]).args(&command[1..]).output().expect("it is installed");
        let lines = String::from_utf8_lossy(&out.stdout).into_owned();
        all.extend(lines.lines().map(|line| format!("{}: {line}", command[0])));
    }
    all
}
