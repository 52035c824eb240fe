//! Each technique of the matrix once, as a test of its own name: a plain client and a reader by Busel
//! do as expected. The names come from the table of techniques, so this has its own `main`, which
//! speaks to nextest as libtest does: it lists them, or runs the one that is named.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use busel_lab::matrix::{Case, Extent, Row, run, techniques};
use busel_lab::sandbox;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let named = args.iter().find(|arg| !arg.starts_with('-') && *arg != "terse");
    let done = match named {
        _ if has("--list") => {
            list(has("--ignored"));
            Ok(())
        }
        Some(name) => sandbox::inside_wholly(|| test(name)),
        None => all(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Nothing is ignored.
#[allow(clippy::print_stdout, reason = "this is how nextest is told")]
fn list(ignored: bool) {
    for case in techniques().iter().filter(|_| !ignored) {
        println!("{}: test", case.name());
    }
}

fn test(name: &str) -> anyhow::Result<()> {
    let all = techniques();
    let case = all.iter().find(|case| case.name() == name).context("no such technique")?;
    let rows = run(case, Extent::Once, |row| say(&format!("{row:?}")))?;
    let wrong: Vec<String> = rows.iter().filter_map(Row::surprise).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Without nextest: one process after the other.
fn all() -> anyhow::Result<()> {
    for name in techniques().iter().map(Case::name) {
        let status = Command::new(std::env::current_exe()?).arg(name).status()?;
        ensure!(status.success(), "{name}: {status}");
    }
    Ok(())
}

#[allow(clippy::print_stderr, reason = "the output of a test")]
fn say(text: &str) {
    eprintln!("{text}");
}
