//! `busel status`: how the running node stands.

use std::process::ExitCode;

use busel_node::config::{Exit, Exposure};
use busel_node::control::client::Client;
use busel_node::control::{Control, Gives, Status as Told};

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
        false => {
            let used = told.wires_in_use.iter().map(|(wire, count)| format!("{wire} ({count})"));
            format!("in use: {}", used.collect::<Vec<_>>().join(", "))
        }
    };
    row("wires", &format!("{}; {used}", told.wires.join(", ")));
    if !told.veil_addrs.is_empty() {
        row("veil", &format!("others reach it at {}", told.veil_addrs.join(", ")));
    }
    row("relay", if told.relay_connected { "connected" } else { "not connected" });
    for relay in &told.relays {
        if relay.turned_away {
            let said = "takes this node for a stranger: its way in was taken back, or has run out";
            row("", &format!("{} {said}", relay.addr));
        }
        if let Some(left) = relay.left {
            row("", &format!("{}: {left} ways in left to hand on", relay.addr));
        }
    }
    for upstream in told.upstreams.iter().flatten() {
        let usual = upstream.usual.as_ref().map(|of| format!(", as {of} has it"));
        let used = if upstream.used { "; used where the plain way fails" } else { "" };
        row("upstream", &format!("{}{}{used}", upstream.proxy, usual.unwrap_or_default()));
    }
    if told.upstreams.as_ref().is_some_and(Vec::is_empty) {
        row("upstream", "looked for, none found yet");
    }
    row("nodes", &format!("{} known, {} connected", told.known_nodes, told.connected_nodes));
    if let Some(guards) = told.guards {
        row("guards", &format!("{} of them, {} answer", guards.known, guards.working));
    }
    let finders: Vec<_> =
        told.finders.iter().map(|finder| format!("{} {}", finder.name, finder.known)).collect();
    row("found by", &finders.join(", "));
    row("gives", &gives(&told.gives));
    if let Some(rests) = &told.gives.rests {
        row("", &format!("nothing now: {rests}"));
    }
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

/// What was given today, of what, and as what.
fn gives(gives: &Gives) -> String {
    let kinds = [
        (gives.relay.is_some(), gives.relayed, "relayed"),
        (gives.passes, gives.passed, "passed on"),
        (gives.exit != Exit::Off, gives.tunnelled, "tunnelled"),
        (gives.passes, gives.copied, "in copies"),
    ];
    let kinds: Vec<_> = kinds
        .iter()
        .filter(|(does, bytes, _)| *does || *bytes > 0)
        .map(|(_, bytes, kind)| format!("{} {kind}", size(*bytes)))
        .collect();
    if kinds.is_empty() {
        return "nothing to others".to_owned();
    }
    let of = gives.a_day.map_or_else(String::new, |day| format!(" of {}", size(day)));
    let rate = gives.a_second.map_or_else(String::new, |rate| format!(", {} a second", size(rate)));
    format!("{}{of} today{rate}: {}", size(gives.bytes), kinds.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_told_with_its_limits_and_what_is_not_offered_is_not_named() {
        let quiet = Gives {
            relay: None,
            passes: false,
            exit: Exit::Off,
            bytes: 0,
            relayed: 0,
            passed: 0,
            tunnelled: 0,
            copied: 0,
            a_day: Some(10 << 30),
            a_second: None,
            rests: None,
        };
        assert_eq!(gives(&quiet), "nothing to others");
        let open = Gives { passes: true, bytes: 2048, passed: 2048, ..quiet.clone() };
        let told = "2.0 KiB of 10.0 GiB today: 2.0 KiB passed on, 0 B in copies";
        assert_eq!(gives(&open), told);
        let relay = Some("relay.example:443".to_owned());
        let all = Gives { relay, relayed: 5, a_day: None, a_second: Some(1024), ..quiet };
        assert_eq!(gives(&all), "0 B today, 1.0 KiB a second: 5 B relayed");
    }
}
