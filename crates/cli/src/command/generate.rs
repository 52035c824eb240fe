//! `busel completions` and `busel man`: views of the one definition of what can be typed.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::args::Args;

pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    clap_complete::generate(shell, &mut shown(), "busel", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}

/// What can be typed, without what is hidden.
fn shown() -> clap::Command {
    let all = Args::command();
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    clap::Command::new("busel").args(all.get_arguments().cloned()).subcommands(commands)
}

pub(crate) fn man() -> anyhow::Result<ExitCode> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command()).render(&mut page)?;
    std::io::stdout().write_all(&page)?;
    Ok(ExitCode::SUCCESS)
}
