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

/// One page for all: what every command takes, then each command with its own flags.
pub(crate) fn man() -> anyhow::Result<ExitCode> {
    let mut all = shown().name("busel").version(env!("CARGO_PKG_VERSION"));
    if let Some(about) = Args::command().get_about() {
        all = all.about(about.clone());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(all.clone()).render(&mut page)?;
    all.build();
    sections(&all, &mut page)?;
    std::io::stdout().write_all(&page)?;
    Ok(ExitCode::SUCCESS)
}

/// A section for each command, and below it for each of its own.
fn sections(command: &clap::Command, page: &mut Vec<u8>) -> anyhow::Result<()> {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let name = sub.get_bin_name().unwrap_or(sub.get_name()).to_uppercase();
        writeln!(page, ".SH \"{name}\"")?;
        let own = sub.clone().mut_args(|arg| {
            let elsewhere = arg.is_global_set() || arg.get_id() == "help";
            arg.hide(elsewhere)
        });
        let man = clap_mangen::Man::new(own);
        let mut section = Vec::new();
        man.render_synopsis_section(&mut section)?;
        man.render_description_section(&mut section)?;
        man.render_options_section(&mut section)?;
        let section = String::from_utf8(section)?;
        for line in section.lines() {
            match line.strip_prefix(".SH ") {
                Some(title) => writeln!(page, ".SS {title}")?,
                None => writeln!(page, "{line}")?,
            }
        }
        sections(sub, page)?;
    }
    Ok(())
}
