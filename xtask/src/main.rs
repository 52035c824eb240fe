//! The project's own tasks: `cargo xtask test`, `lab`, `sim`, `bench`, `shape`. It runs other programs and checks
//! the shape of the tree; it builds nothing itself.

mod namespaces;
mod packages;
mod shape;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

/// What makes the build with a browser's handshake.
const BROWSERS: &str = "busel-cli/browser-hello,busel-lab/browser-hello";

const USAGE: &str = "\
cargo xtask test [--full] [NEXTEST ARGS]   all checks and tests, as CI runs them; --full adds the long ones
cargo xtask lab [--full] [--healing] [--loads] [--swarm] [--pictures] [--case NAME] [--pcap DIR]
                                           the censor lab's matrix; writes docs/lab-matrix.md and
                                           target/lab-matrix.json; --full measures open readers too;
                                           --healing lifts each technique again: docs/lab-healing.md;
                                           --loads measures a page in a browser, and a look into a film: docs/lab-loads.md;
                                           --swarm a file that twenty nodes fetch at once: docs/lab-swarm.md;
                                           --pictures shows one in each way: docs/images
cargo xtask sim [--nodes N] [--seed N]     many nodes in virtual time; writes docs/scaling.md, its pictures
                                           and target/sim.json
cargo xtask bench [ARGS]                   the benchmarks; writes docs/benchmarks.md and target/bench.json
cargo xtask shape                          only the checks of the tree's shape";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((task, rest)) if task == "test" => test(rest),
        Some((task, rest)) if task == "lab" => lab(rest),
        Some((task, rest)) if task == "sim" => released("busel-sim", rest),
        Some((task, rest)) if task == "bench" => released("busel-bench", rest),
        Some((task, [])) if task == "shape" => shape::check(&root()),
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Everything that must hold before a change lands.
fn test(args: &[String]) -> anyhow::Result<()> {
    let full = args.iter().any(|arg| arg == "--full");
    let rest: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--full").collect();
    packages::install()?;
    step("format");
    run(cargo().args(["fmt", "--all", "--check"]))?;
    step("shape of the tree");
    shape::check(&root())?;
    proto_is_pure()?;
    step("build, lints and tests");
    let mut tests = linting();
    tests
        .args(["nextest", "run", "--cargo-profile", "ci", "--workspace"])
        .args(["--exclude", "busel-bench"]);
    if let Err(why) = namespaces::probe() {
        say(&format!("!! The lab is LEFT OUT, and no technique of censoring is tested: {why:#}"));
        tests.args(["--profile", "without-lab"]);
    }
    tests.args(&rest);
    if full {
        tests.args(["--run-ignored", "all"]);
    }
    run(&mut tests)?;
    if full {
        browsers_build(&root())?;
    }
    step("fuzz targets, a bounded count");
    run(cargo()
        .current_dir(root().join("fuzz"))
        .args(["run", "--quiet", "--profile", "ci", "--bin", "bounded", "--target-dir"])
        .arg(root().join("target/fuzz"))
        .args(["--", "--runs", if full { "1000000" } else { "20000" }, "--seed", "1"]))
}

/// The build with a browser's handshake, in a target directory of its own, and the tests which that
/// concerns.
fn browsers_build(root: &Path) -> anyhow::Result<()> {
    step("the build with a browser's handshake");
    packages::install_for_browsers_build()?;
    run(cargo()
        .args(["nextest", "run", "--cargo-profile", "ci", "--workspace"])
        .args(["--exclude", "busel-bench", "--features", BROWSERS, "--target-dir"])
        .arg(root.join("target/browser-hello"))
        .args(["-E", "test(/tls_fingerprint|relay_wire|carrier|tunnel|upstream|curl/)"]))
}

/// Builds the program and the lab as the tests do, once, and measures the matrix; or as they are for users, where the
/// machine's speed counts.
fn lab(args: &[String]) -> anyhow::Result<()> {
    packages::install()?;
    namespaces::probe().context("the lab can't make its worlds here")?;
    if args.iter().any(|arg| arg == "--swarm") {
        let build = ["build", "--release", "-p", "busel-cli", "-p", "busel-lab"];
        run(cargo().args(build))?;
        let mut lab = Command::new(root().join("target/release/busel-lab"));
        return run(lab.current_dir(root()).args(args));
    }
    // The same as for the tests, so that what they built is not built again.
    run(linting()
        .args(["build", "--profile", "ci", "--workspace", "--exclude", "busel-bench"])
        .args(["--bins", "--tests"]))?;
    run(Command::new(root().join("target/ci/busel-lab")).current_dir(root()).args(args))
}

/// Runs a program that is to be quick.
fn released(package: &str, args: &[String]) -> anyhow::Result<()> {
    run(cargo().args(["run", "--release", "--package", package, "--"]).args(args))
}

/// The core depends on no runtime, no sockets and no source of chance.
fn proto_is_pure() -> anyhow::Result<()> {
    let tree = cargo()
        .args(["tree", "--package", "busel-proto", "--edges", "normal", "--prefix", "none"])
        .output()
        .context("cargo tree")?;
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    for banned in ["tokio", "mio", "socket2", "async-std", "smol", "getrandom", "hyper"] {
        let found = tree.lines().any(|line| line.split(' ').next() == Some(banned));
        if found {
            bail!(
                "busel-proto depends on {banned}; the core takes time, chance and bytes as arguments"
            );
        }
    }
    Ok(())
}

/// One build for all: clippy is the compiler of the workspace's own crates, so that linting costs no
/// second one. Its warnings are errors.
fn linting() -> Command {
    let mut command = cargo();
    command
        .env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")
        .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    command
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{:?}", command.get_program()))?;
    if status.success() { Ok(()) } else { bail!("failed: {command:?}") }
}

/// The repository, which cargo was called in or below.
fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| manifest.clone(), ToOwned::to_owned)
}

fn step(name: &str) {
    say(&format!("== {name}"));
}

#[allow(clippy::print_stderr, reason = "this is what a task runner is for")]
fn say(text: &str) {
    eprintln!("{text}");
}
