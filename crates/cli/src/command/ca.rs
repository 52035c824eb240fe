//! `busel ca`: the authority by which browsers on this device read listed sites through Busel.

pub(crate) mod believers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use busel_node::authority::Vouches;
use busel_node::clock;
use busel_node::control::Control;
use busel_node::control::client::Client;

use self::believers::believers;
use super::data_dir;
use crate::args::{Ca, Setup};
use crate::screen::{line, note};

pub(crate) async fn run(setup: &Setup, asked: Ca) -> anyhow::Result<ExitCode> {
    let client = Client::of(&data_dir(setup)?);
    match asked {
        Ca::Status => status(client.authority().await?),
        Ca::Install { system, anew } => install(&client, system, anew).await,
        Ca::Remove => remove(&client).await,
        Ca::Export { file } => export(&made(&client).await?, file),
    }
}

fn status(vouches: Option<Vouches>) -> anyhow::Result<ExitCode> {
    let Some(vouches) = vouches else {
        line("No authority was made. Browsers and listed sites speak to each other.");
        return Ok(ExitCode::FAILURE);
    };
    tell(&vouches);
    for believer in &believers(true)? {
        let believes = match believer.believes(&vouches.pem) {
            Ok(true) => "believes it".to_owned(),
            Ok(false) => "does not".to_owned(),
            Err(error) => format!("can't be asked: {error:#}"),
        };
        line(&format!("{}: {believes}", believer.name()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn install(client: &Client, system: bool, anew: bool) -> anyhow::Result<ExitCode> {
    let before = client.authority().await?;
    let vouches = if anew { client.make_authority().await? } else { made(client).await? };
    tell(&vouches);
    let (mut believe, mut failed) = (0, None);
    for believer in &believers(system)? {
        match believer.forget().and_then(|_| believer.believe(&vouches.pem)) {
            Ok(()) => {
                believe += 1;
                line(&format!("{}: believes it now", believer.name()));
            }
            Err(error) => {
                note(&format!("{}: does not believe it: {error:#}", believer.name()));
                failed = Some(error);
            }
        }
    }
    note("A browser that is open believes it once it was closed and opened again.");
    let Some(failed) = failed else { return Ok(ExitCode::SUCCESS) };
    note(BY_HAND);
    if believe == 0 && before.is_none() {
        // Nobody would be served by it.
        client.forget_authority().await?;
        return Err(failed.context("no browser could be made to believe it, so none was made"));
    }
    Ok(ExitCode::FAILURE)
}

/// That which there is, or a new one.
async fn made(client: &Client) -> anyhow::Result<Vouches> {
    Ok(match client.authority().await? {
        Some(made) => made,
        None => client.make_authority().await?,
    })
}

async fn remove(client: &Client) -> anyhow::Result<ExitCode> {
    client.forget_authority().await?;
    line("This device vouches for no site any more.");
    let mut code = ExitCode::SUCCESS;
    for believer in believers(true)? {
        match believer.forget() {
            Ok(true) => line(&format!("{}: believes it no more", believer.name())),
            Ok(false) => {}
            Err(error) => {
                note(&format!("{}: may believe it still: {error:#}", believer.name()));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn export(vouches: &Vouches, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    match file {
        None => line(vouches.pem.trim_end()),
        Some(file) => {
            std::fs::write(&file, &vouches.pem).with_context(|| format!("{}", file.display()))?;
            note(BY_HAND);
        }
    }
    Ok(ExitCode::SUCCESS)
}

const BY_HAND: &str = "A browser that Busel does not find takes the certificate (`busel ca export FILE`) in its \
    settings: Firefox under Privacy & Security, View Certificates, Authorities; others under Security, Manage \
    certificates; macOS in Keychain Access; Windows by certmgr, Trusted Root Certification Authorities.";

fn tell(vouches: &Vouches) {
    let days = Duration::from_secs(vouches.until.saturating_sub(clock::now().0)).as_secs() / 86_400;
    let sites = vouches.sites.join(", ");
    line(&format!("Vouches for {sites}, and no other site, for {days} days."));
    if !vouches.left_out.is_empty() {
        let left_out = vouches.left_out.join(", ");
        line(&format!("Not for {left_out}: `busel ca install --anew` takes in what can be."));
    }
}
