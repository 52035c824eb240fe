//! Open nodes behind NATs come to each other: by holes that both punch while a relay introduces them, or
//! by a port that a router maps when it is asked.

use std::time::Duration;

use anyhow::ensure;
use busel_lab::censor::{IpBlock, NationalCut};
use busel_lab::map::{Place, Point};
use busel_lab::program::{Exposure, Network, PortMapper, Reader, Stage, Way, numbered};
use busel_lab::sandbox::inside;
use busel_lab::world::Nat;

const PATIENCE: Duration = Duration::from_secs(40);
/// What nobody meets in may take so long before it is believed.
const NEVER: Duration = Duration::from_secs(20);
/// The routers of those who come to the helper, whose own one lets in only whom it was sent to.
const ROUTERS: [(&str, &str, &str, Nat); 4] = [
    ("cone", "in-cone", "198.18.1.2", Nat::Cone),
    ("restricted", "in-restricted", "198.18.1.3", Nat::Restricted),
    ("strict", "in-strict", "198.18.1.4", Nat::PortRestricted),
    ("symmetric", "in-symmetric", "198.18.1.5", Nat::Symmetric),
];

/// The router that maps ports: at an address that might be anywhere.
const MAPPED: &str = "25.18.1.2";

fn start(stage: &Stage, home: &str) -> anyhow::Result<Reader> {
    let flags = ["--no-direct", "--allow-net-for-others", "198.18.0.0/15"];
    Reader::start_with(stage, home, Way::Any, Exposure::Open, &flags)
}

/// How many of a node's connections a wire carries.
fn carried(status: &serde_json::Value, wire: &str) -> u64 {
    status["wires_in_use"][wire].as_u64().unwrap_or_default()
}

#[test]
fn nodes_behind_nats_meet_and_read_from_each_other_when_all_relays_are_gone() {
    inside(|| {
        let mut drawing = Network::drawing();
        for (router, home, addr, nat) in ROUTERS {
            drawing = drawing.nat(Place::IspA, router, addr, nat).home(router, home);
        }
        let mut stage = Stage::of(drawing)?;
        for number in 0..3 {
            stage.network.warm(&numbered(number))?;
        }
        let mut readers = Vec::new();
        for (_, home, _, nat) in ROUTERS {
            let reader = start(&stage, home)?;
            let visit = reader.visit(&stage, &numbered(0), PATIENCE)?;
            ensure!(visit.identical, "{nat:?}: {}", visit.told());
            readers.push((reader, nat));
        }
        let (meet, apart) = readers.split_at(3);
        for (reader, nat) in meet {
            reader.busel.until(&format!("{nat:?}: no relay carries it"), |status| {
                carried(status, "relay") == 0 && carried(status, "veil") >= 2
            })?;
        }
        std::thread::sleep(NEVER);
        for (reader, _) in apart {
            ensure!(carried(&reader.busel.status()?, "relay") > 0, "its port is never the same");
        }
        stage.at(Point::Border).only(NationalCut);
        stage.network.relay_home.kill();
        for (reader, nat) in meet {
            let visit = reader.visit(&stage, &numbered(1), PATIENCE)?;
            let by_swarm = visit.route.as_deref() == Some("swarm");
            ensure!(visit.identical && by_swarm, "{nat:?}: {}", visit.told());
        }
        for (reader, nat) in apart {
            let visit = reader.visit(&stage, &numbered(2), PATIENCE)?;
            ensure!(!visit.identical, "{nat:?}: {}", visit.told());
        }
        Ok(())
    });
}

#[test]
fn a_router_that_maps_ports_lets_strangers_in() {
    inside(|| {
        let drawing = Network::drawing()
            .nat(Place::IspA, "mapping", MAPPED, Nat::PortRestricted)
            .home("mapping", "mapped");
        let stage = Stage::of(drawing)?;
        let _mapper = PortMapper::start(stage.host("mapping"))?;
        let mapped = start(&stage, "mapped")?;
        let visit = mapped.visit(&stage, &numbered(0), PATIENCE)?;
        ensure!(visit.identical, "{}", visit.told());
        mapped.busel.until("the page is kept", |status| status["store"]["snapshots"] != 0)?;
        let named = |status: &serde_json::Value| {
            let addrs = status["veil_addrs"].as_array().into_iter().flatten();
            let mut addrs = addrs.filter_map(serde_json::Value::as_str);
            addrs.any(|addr| addr.starts_with(MAPPED))
        };
        mapped.busel.until("it is reached from outside", named)?;
        // A stranger, by its invite alone, which names no relay.
        let invite = mapped.busel.invite()?;
        let far = ["origin", "injector"].map(|name| stage.host(name).addrs().to_vec()).concat();
        stage.at(Point::Border).only(IpBlock::new(far));
        let stranger = Reader::start(&stage, "home-a2", Way::Veil, Exposure::Quiet)?;
        stranger.busel.join_ways(&invite)?;
        let visit = stranger.visit(&stage, &numbered(0), PATIENCE)?;
        let by_swarm = visit.route.as_deref() == Some("swarm");
        ensure!(visit.identical && by_swarm, "{}", visit.told());
        Ok(())
    });
}
