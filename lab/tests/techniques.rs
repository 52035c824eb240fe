//! Each technique of the matrix once, as a test of its own name: a plain client and a reader by Busel
//! do as expected.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use busel_lab::matrix::{Case, Extent, Row, run, techniques};
use busel_lab::named::{self, Named, say};

fn main() -> ExitCode {
    let named = |case: &Case| Named { name: case.name().to_owned(), is_ignored: false };
    named::main(&techniques().iter().map(named).collect::<Vec<_>>(), test)
}

fn test(name: &str) -> anyhow::Result<()> {
    let all = techniques();
    let case = all.iter().find(|case| case.name() == name).context("no such technique")?;
    let rows = run(case, Extent::Once, |row| say(&format!("{row:?}")))?;
    let wrong: Vec<String> = rows.iter().filter_map(Row::surprise).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
