//! `busel invite`: one line for a friend, made by the running node.

use std::process::ExitCode;

use busel_node::config::Exposure;
use busel_node::control::Control;
use busel_node::control::client::Client;

use super::data_dir;
use crate::args::Setup;
use crate::screen::{line, note};

pub(crate) async fn run(setup: &Setup) -> anyhow::Result<ExitCode> {
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
    line(&invite.to_line());
    Ok(ExitCode::SUCCESS)
}
