//! Each technique is put in force while somebody reads, and lifted again, as a test of its own name.
//! Those that are not run each time are ignored.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use busel_lab::healing::{Plan, plans};
use busel_lab::named::{self, Named, say};

fn main() -> ExitCode {
    let named = |plan: &Plan| Named { name: plan.name(), is_ignored: !plan.is_usual() };
    named::main(&plans().iter().map(named).collect::<Vec<_>>(), test)
}

fn test(name: &str) -> anyhow::Result<()> {
    let all = plans();
    let plan = all.iter().find(|plan| plan.name() == name).context("no such plan")?;
    let healed = plan.run()?;
    say(&format!("{healed:?}"));
    ensure!(healed.wrong.is_none(), "{name}: {}", healed.wrong.unwrap_or_default());
    Ok(())
}
