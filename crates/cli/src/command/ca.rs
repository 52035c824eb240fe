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
        Ca::Export { file } => export(client.authority().await?, file),
    }
}

fn status(vouches: Option<Vouches>) -> anyhow::Result<ExitCode> {
    let Some(vouches) = vouches else {
        line("No authority was made. Browsers and listed sites speak to each other.");
        return Ok(ExitCode::FAILURE);
    };
    tell(&vouches);
    let all = believers(true)?;
    for believer in &all {
        let believes = believer.believes(&vouches.pem)?;
        line(&format!(
            "{}: {}",
            believer.name(),
            if believes { "believes it" } else { "does not" }
        ));
    }
    if all.is_empty() {
        line("No browser of this user was found.");
    }
    Ok(ExitCode::SUCCESS)
}

async fn install(client: &Client, system: bool, anew: bool) -> anyhow::Result<ExitCode> {
    let made = client.authority().await?.filter(|_| !anew);
    let vouches = match made {
        Some(made) => made,
        None => client.make_authority().await?,
    };
    tell(&vouches);
    let all = believers(system)?;
    for believer in &all {
        believer.forget()?;
        believer.believe(&vouches.pem)?;
        line(&format!("{}: believes it now", believer.name()));
    }
    if all.is_empty() {
        note(BY_HAND);
    }
    note("A browser that is open believes it once it was closed and opened again.");
    Ok(ExitCode::SUCCESS)
}

async fn remove(client: &Client) -> anyhow::Result<ExitCode> {
    for believer in believers(true)? {
        if believer.forget()? {
            line(&format!("{}: believes it no more", believer.name()));
        }
    }
    client.forget_authority().await?;
    line("The authority is destroyed.");
    Ok(ExitCode::SUCCESS)
}

fn export(vouches: Option<Vouches>, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let vouches = vouches.context("no authority was made: `busel ca install` makes one")?;
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
    line(&format!("Vouches for {}, and nothing else, for {days} days.", vouches.sites.join(", ")));
    if !vouches.left_out.is_empty() {
        let left_out = vouches.left_out.join(", ");
        line(&format!("Not for {left_out}: `busel ca install --anew` takes in what can be."));
    }
}
