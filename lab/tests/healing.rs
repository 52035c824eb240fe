//! Each technique is put in force while somebody reads, and lifted again, as a test of its own name. The
//! names come from the table of techniques, so this has its own `main`, which speaks to nextest as
//! libtest does. Those that are not run each time are listed as ignored.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use busel_lab::healing::{Plan, plans};
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

/// As libtest does: all, or only the ignored ones.
#[allow(clippy::print_stdout, reason = "this is how nextest is told")]
fn list(ignored: bool) {
    for plan in plans().iter().filter(|plan| !ignored || !plan.is_usual()) {
        println!("{}: test", plan.name());
    }
}

fn test(name: &str) -> anyhow::Result<()> {
    let all = plans();
    let plan = all.iter().find(|plan| plan.name() == name).context("no such plan")?;
    let healed = plan.run()?;
    say(&format!("{healed:?}"));
    ensure!(healed.wrong.is_none(), "{name}: {}", healed.wrong.unwrap_or_default());
    Ok(())
}

/// Without nextest: one process after the other.
fn all() -> anyhow::Result<()> {
    for name in plans().iter().filter(|plan| plan.is_usual()).map(Plan::name) {
        let status = Command::new(std::env::current_exe()?).arg(&name).status()?;
        ensure!(status.success(), "{name}: {status}");
    }
    Ok(())
}

#[allow(clippy::print_stderr, reason = "the output of a test")]
fn say(text: &str) {
    eprintln!("{text}");
}
