//! `busel invite`: one line for a friend, made by the running node, and its picture.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use busel_node::config::Exposure;
use busel_node::control::Control;
use busel_node::control::client::Client;

use super::data_dir;
use crate::args::{Invite, Setup};
use crate::qr::draw::{Code, Ink};
use crate::screen::{line, note};
use crate::secret_file;

pub(crate) async fn run(setup: &Setup, asked: Invite) -> anyhow::Result<ExitCode> {
    if let Some(file) = &asked.png {
        // Before anything is given away for it.
        anyhow::ensure!(!file.exists(), "{} is there already", file.display());
    }
    let client = Client::of(&data_dir(setup)?);
    let invite = client.invite().await?;
    let status = client.status().await?;
    let named = invite.peers.iter().any(|peer| peer.peer.to_string() == status.id);
    if status.exposure == Exposure::Open && !named {
        note("This node is not at any relay now, so its invite does not lead to it.");
    }
    if invite.peers.is_empty() && invite.relays.is_empty() {
        note("This node knows of no way to others yet, so its invite brings nobody anywhere.");
    }
    let spent = status.relays.iter().filter(|relay| relay.left == Some(0)).collect::<Vec<_>>();
    let lost = spent.iter().filter(|spent| invite.relays.iter().all(|r| r.addr != spent.addr));
    match lost.count() {
        0 => {}
        lost => note(&format!(
            "There are {lost} relays more, but no way into them is left to hand on: whoever invited you \
             may have more."
        )),
    }
    let text = invite.to_line();
    let code = (asked.qr || asked.png.is_some()).then(|| Code::of(&text)).transpose();
    if let Ok(Some(code)) = &code {
        if asked.qr {
            show(code);
        }
        if let Some(file) = &asked.png {
            write(code, file)?;
        }
    }
    // An invite that has no picture is one all the same.
    line(&text);
    code.map(|_| ExitCode::SUCCESS)
}

fn show(code: &Code) {
    let screen = std::io::stdout().is_terminal();
    let colours = screen && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let room = terminal_size::terminal_size().map(|(columns, _)| usize::from(columns.0));
    if let Some(room) = room.filter(|room| screen && *room < code.columns()) {
        note(&format!(
            "The code is {} columns wide and this terminal {room}: make its letters smaller, or take \
             --png FILE.",
            code.columns()
        ));
    }
    for row in code.lines(if colours { Ink::Colours } else { Ink::Plain }) {
        line(&row);
    }
}

fn write(code: &Code, file: &Path) -> anyhow::Result<()> {
    secret_file::create(file, code.png()?)?;
    note(&format!("Whoever sees {} can join by it, as by the line.", file.display()));
    Ok(())
}
