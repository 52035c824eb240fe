//! `busel heed`: takes the word of a root by hand, as one gets it when no copy can carry it: keys that
//! it takes back, or copies that it vouches for.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use busel_node::control::client::Client;
use busel_node::control::{Control, Heard};
use busel_node::joined::{Joined, MAX_WORD, Word};
use busel_node::{Config, clock};
use busel_store::{Options, Store};

use super::root::decode;
use super::{config, data_dir, unlock};
use crate::args::{Heed, NodeFlags, Setup};
use crate::screen::line;

pub(crate) async fn run(setup: &Setup, heed: Heed) -> anyhow::Result<ExitCode> {
    let word = read(&heed.word)?;
    let client = Client::of(&data_dir(setup)?);
    let heard = if client.is_running().await {
        client.heed(word).await?
    } else {
        into_store(setup, &config(setup, &NodeFlags::default())?, &word)?
    };
    if heard.revoked > 0 {
        line(&format!(
            "Keys taken back: {}. What they sign is not believed any more;",
            heard.revoked
        ));
        line("copies that this device had before stay.");
    }
    if heard.vouched > 0 {
        line(&format!(
            "Copies vouched for: {}. They stay, whatever becomes of their keys.",
            heard.vouched
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The word itself, or the file that holds it.
fn read(text: &str) -> anyhow::Result<Vec<u8>> {
    let neither = || format!("{text} is neither the word of a root nor a file that can be read");
    if !Path::new(text).exists() {
        return decode(text).with_context(neither);
    }
    let most = u64::try_from(MAX_WORD * 2).unwrap_or(u64::MAX);
    anyhow::ensure!(std::fs::metadata(text)?.len() <= most, "{text} is too long");
    decode(&std::fs::read_to_string(text).with_context(neither)?)
}

/// No node runs: it is heeded from the next start on.
fn into_store(setup: &Setup, config: &Config, word: &[u8]) -> anyhow::Result<Heard> {
    let options = Options { dir: config.dir.clone(), unlock: unlock(setup)?, quota: config.quota };
    let joined = Joined::load(Store::open(options)?, config.site_list()?)?;
    Ok(joined.heed(Word::from_bytes(word)?, clock::now())?.into())
}
