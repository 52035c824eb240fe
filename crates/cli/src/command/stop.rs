//! `busel stop`: ends the running node.

use std::process::ExitCode;

use busel_node::control::Control;
use busel_node::control::client::Client;

use super::data_dir;
use crate::args::Setup;

pub(crate) async fn run(setup: &Setup) -> anyhow::Result<ExitCode> {
    Client::of(&data_dir(setup)?).stop().await?;
    Ok(ExitCode::SUCCESS)
}
