//! Tests whose names come from a table. Such a test binary has its own `main`, which speaks to nextest
//! as libtest does: it lists them, or runs the one that is named.

use std::process::{Command, ExitCode};

use anyhow::ensure;

use crate::sandbox;

/// A test of the table.
pub struct Named {
    /// Its name.
    pub name: String,
    /// Whether it is run only when ignored ones are asked for.
    pub is_ignored: bool,
}

/// Does what the arguments say. A test runs in a sandbox of its own.
pub fn main(tests: &[Named], test: impl Fn(&str) -> anyhow::Result<()>) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let named = args.iter().find(|arg| !arg.starts_with('-') && *arg != "terse");
    let done = match named {
        _ if has("--list") => {
            list(tests, has("--ignored"));
            Ok(())
        }
        Some(name) => sandbox::inside_wholly(|| test(name)),
        None => all(tests),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says something in the output of a test.
#[allow(clippy::print_stderr, reason = "the output of a test")]
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// All, or only the ignored ones.
#[allow(clippy::print_stdout, reason = "this is how nextest is told")]
fn list(tests: &[Named], ignored: bool) {
    for test in tests.iter().filter(|test| !ignored || test.is_ignored) {
        println!("{}: test", test.name);
    }
}

/// Without nextest: one process after the other.
fn all(tests: &[Named]) -> anyhow::Result<()> {
    for Named { name, .. } in tests.iter().filter(|test| !test.is_ignored) {
        let status = Command::new(std::env::current_exe()?).arg(name).status()?;
        ensure!(status.success(), "{name}: {status}");
    }
    Ok(())
}
