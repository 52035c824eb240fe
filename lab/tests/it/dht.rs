//! Open nodes that never met find each other in a DHT of domestic nodes while the country is cut off,
//! and read from each other; who was met is found again without any DHT; a crawler finds them, and no
//! quiet node, which sends the DHT nothing.

use std::time::Duration;

use anyhow::ensure;
use busel_lab::censor::{BittorrentBlock, NationalCut};
use busel_lab::map::{Place, Point};
use busel_lab::program::{Busel, DhtNode, Exposure, Network, Reader, Stage, Way};
use busel_lab::sandbox::inside;
use busel_lab::world::Host;

const PAGE: &str = "/article";
const PATIENCE: Duration = Duration::from_secs(40);
/// What a quiet node is given to speak to the DHT. It announces nothing that could be waited for.
const IDLE: Duration = Duration::from_secs(8);
const DHT: [(&str, &str); 3] =
    [("dht-1", "198.18.100.51"), ("dht-2", "198.18.100.52"), ("dht-3", "198.18.100.53")];
const OPEN: [(Place, &str, &str); 3] = [
    (Place::Exchange, "open-a", "198.18.100.41"),
    (Place::IspB, "open-b", "198.18.2.41"),
    (Place::IspA, "open-c", "198.18.1.41"),
];
/// Where the DHT is entered.
const FIRST: &str = "198.18.100.51:6881";

fn stage() -> anyhow::Result<(Stage, Vec<DhtNode>)> {
    let mut drawing = Network::drawing();
    for (name, addr) in DHT {
        drawing = drawing.server(Place::Exchange, name, addr);
    }
    for (place, name, addr) in OPEN {
        drawing = drawing.server(place, name, addr);
    }
    let stage = Stage::of(drawing)?;
    let mut nodes = vec![DhtNode::serving(stage.host(DHT[0].0), &[])?];
    for (name, _) in &DHT[1..] {
        nodes.push(DhtNode::serving(stage.host(name), &[FIRST])?);
    }
    let world = &stage.scene.world;
    ensure!(nodes.iter().all(|node| node.finds_others(world)), "the DHT is not whole");
    Ok((stage, nodes))
}

/// What an open node in a host is told.
fn flags(host: &Host) -> [String; 7] {
    let at = |port: u16| format!("{}:{port}", host.v4());
    [
        "--veil-addr".to_owned(),
        at(7000),
        "--dht".to_owned(),
        "--dht-addr".to_owned(),
        at(7001),
        "--dht-bootstrap".to_owned(),
        FIRST.to_owned(),
    ]
}

fn open(stage: &Stage, name: &str) -> anyhow::Result<Reader> {
    let flags = flags(stage.host(name));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Reader::start_with(stage, name, Way::Veil, Exposure::Open, &flags)
}

fn has_read(stage: &Stage, reader: &Reader) -> anyhow::Result<()> {
    let visit = reader.visit(stage, PAGE, PATIENCE)?;
    ensure!(visit.identical, "{}", visit.told());
    reader.busel.until("the page is kept", |status| status["store"]["snapshots"] != 0)
}

#[test]
fn who_never_met_share_a_page_in_the_national_cut() {
    inside(|| {
        let (stage, dht) = stage()?;
        let a = open(&stage, "open-a")?;
        has_read(&stage, &a)?;
        stage.at(Point::Border).only(NationalCut);
        let mut b = open(&stage, "open-b")?;
        b.busel.until("it has met the other", |status| Busel::found(status, "dht") > 0)?;
        b.busel.until("it knows its card", |status| Busel::found(status, "exchange") > 0)?;
        let visit = b.visit(&stage, PAGE, PATIENCE)?;
        ensure!(visit.identical && visit.route.as_deref() == Some("swarm"), "{}", visit.told());
        b.busel.until("it is kept", |status| Busel::found(status, "saved") > 0)?;

        // The DHT is gone, and who was met is found again.
        drop(dht);
        b.again(&stage, Exposure::Open, &[])?;
        let connected = |status: &serde_json::Value| status["connected_nodes"] != 0;
        b.busel.until("it is connected to a node that it kept", connected)
    });
}

#[test]
fn nodes_tell_of_nodes() {
    inside(|| {
        let (stage, _dht) = stage()?;
        let a = open(&stage, "open-a")?;
        has_read(&stage, &a)?;
        let b = open(&stage, "open-b")?;
        b.busel.until("it has met the other", |status| Busel::found(status, "dht") > 0)?;
        // One who has no part in the DHT knows the second, and hears of the first from it.
        stage.at(Point::Border).only(NationalCut);
        let at = format!("{}:7000", stage.host("open-c").v4());
        let flags = ["--veil-addr", &at];
        let c = Reader::start_with(&stage, "open-c", Way::Veil, Exposure::Open, &flags)?;
        c.busel.join_ways(&b.busel.invite()?)?;
        let told = |status: &serde_json::Value| Busel::found(status, "exchange") > 1;
        c.busel.until("it hears of both", told)?;
        let visit = c.visit(&stage, PAGE, PATIENCE)?;
        ensure!(visit.identical && visit.route.as_deref() == Some("swarm"), "{}", visit.told());
        Ok(())
    });
}

#[test]
fn a_quiet_node_has_no_part_in_it() {
    inside(|| {
        let (stage, _dht) = stage()?;
        let line = stage.at(Point::IspA);
        line.only(BittorrentBlock::new());
        let quiet = Reader::start(&stage, "home-a", Way::Veil, Exposure::Quiet)?;
        has_read(&stage, &quiet)?;
        std::thread::sleep(IDLE);
        ensure!(line.counts("bittorrent_block").dropped == 0, "a quiet node spoke to the DHT");
        let refused = quiet.busel.run(&["up", "--dht"])?;
        ensure!(!refused.status.success() && refused.stderr.contains("dht"), "it may not be quiet");
        drop(quiet);
        let _open = open(&stage, "open-c")?;
        let dropped = || line.counts("bittorrent_block").dropped > 0;
        let counted = (0..400).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            dropped()
        });
        ensure!(counted, "what is said to the DHT is counted");
        Ok(())
    });
}
