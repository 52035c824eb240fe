//! `busel status`: how the running node stands.

use std::process::ExitCode;

use busel_node::config::Exposure;
use busel_node::control::client::Client;
use busel_node::control::{Control, Status as Told};

use super::data_dir;
use crate::args::{Setup, Status};
use crate::screen::{line, size};

pub(crate) async fn run(setup: &Setup, status: Status) -> anyhow::Result<ExitCode> {
    let told = Client::of(&data_dir(setup)?).status().await?;
    if status.json {
        line(&serde_json::to_string_pretty(&told)?);
    } else {
        show(&told);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(told: &Told) {
    let exposure = match told.exposure {
        Exposure::Quiet => "quiet: it shows others nothing of what you read",
        Exposure::Open => "open: it serves to others what you read through it",
    };
    let row = |name: &str, value: &str| line(&format!("{name:<10} {value}"));
    row("node", &told.id);
    row("exposure", exposure);
    if told.injector {
        row("injector", "it fetches and signs for others");
    }
    let proxy = told.http.map_or_else(|| "off".to_owned(), |addr| format!("http://{addr}"));
    row("proxy", &proxy);
    let used = match told.wires_in_use.is_empty() {
        true => "none in use".to_owned(),
        false => format!("in use: {}", told.wires_in_use.join(", ")),
    };
    row("wires", &format!("{}; {used}", told.wires.join(", ")));
    row("relay", if told.relay_connected { "connected" } else { "not connected" });
    row("nodes", &format!("{} known, {} connected", told.known_nodes, told.connected_nodes));
    if let Some(guards) = told.guards {
        row("guards", &format!("{} of them, {} answer", guards.known, guards.working));
    }
    let finders: Vec<_> =
        told.finders.iter().map(|finder| format!("{} {}", finder.name, finder.known)).collect();
    row("found by", &finders.join(", "));
    for root in &told.trusted {
        row("trusts", &format!("“{}” for {}", root.label, root.hosts.join(", ")));
    }
    if told.trusted.is_empty() {
        row("trusts", "nobody yet: join an invite");
    }
    row("sites", &told.sites.join(", "));
    let store = &told.store;
    let lock =
        if store.passphrase { "passphrase" } else { "no passphrase: the disk protects nothing" };
    let used = format!("{} of {}", size(store.bytes), size(store.quota));
    row("store", &format!("{} snapshots, {used}, {lock}", store.snapshots));
    match told.assigned {
        Some(held) if held.quota == 0 => row("for others", "nothing: it is turned off"),
        Some(held) => {
            let used = format!("{} of {}", size(held.bytes), size(held.quota));
            row("for others", &format!("{} pages that it was given to hold, {used}", held.copies));
        }
        None => {}
    }
}
