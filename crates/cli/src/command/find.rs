//! `busel find`: what is to be had, as those say whom the reader trusts. Nobody is asked for it now, so it works while
//! nothing else does.

use std::process::ExitCode;
use std::time::Duration;

use busel_node::catalogue::Found;
use busel_node::clock;
use busel_node::control::Control;
use busel_node::control::client::Client;
use busel_proto::time::UnixTime;

use super::data_dir;
use crate::args::{Find, Setup};
use crate::screen::{line, note, size, span};

pub(crate) async fn run(setup: &Setup, find: Find) -> anyhow::Result<ExitCode> {
    let found = Client::of(&data_dir(setup)?).find(find.text.unwrap_or_default()).await?;
    if find.json {
        line(&serde_json::to_string_pretty(&found)?);
    } else {
        found.iter().for_each(|page| line(&row(page)));
    }
    if found.is_empty() {
        note("Nothing of that kind is known to be had. It may be all the same: try busel get URL.");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn row(Found { url, fetched_at, len, here }: &Found) -> String {
    let age: Duration = clock::now().since(UnixTime(*fetched_at));
    let here = if *here { "here" } else { "" };
    format!("{:>8}  {:>10}  {here:4}  {url}", span(age), size(*len))
}
