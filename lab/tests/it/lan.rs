//! Neighbours in one LAN whose provider is gone find each other by beacons, and one reads what the
//! other has. Who only listens sends nothing at all.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use busel_lab::censor::{Blackout, LanOnly};
use busel_lab::map::Point;
use busel_lab::program::{Busel, Exposure, Reader, Stage, Way};
use busel_lab::sandbox::inside;
use busel_lab::world::Host;

const PAGE: &str = "/article";
const PATIENCE: Duration = Duration::from_secs(40);
/// What a node that must send nothing is given to send something. It announces nothing that could be
/// waited for.
const IDLE: Duration = Duration::from_secs(8);

/// A neighbour who has read the page while there was a provider.
fn neighbour(stage: &Stage) -> anyhow::Result<Reader> {
    let neighbour = Reader::start(stage, "home-a2", Way::Injector, Exposure::Open)?;
    let visit = neighbour.visit(stage, PAGE, PATIENCE)?;
    ensure!(visit.identical, "{}", visit.told());
    neighbour.busel.until("the page is kept", |status| status["store"]["snapshots"] != 0)?;
    Ok(neighbour)
}

#[test]
fn neighbours_read_what_one_of_them_has() {
    inside(|| {
        let stage = Stage::set()?;
        let neighbour = neighbour(&stage)?;
        let house = ["isp-a", "home-a", "home-a2"].map(|name| stage.host(name).addrs());
        stage.at(Point::IspA).only(LanOnly::new(house.concat()));
        let reader = Reader::start(&stage, "home-a", Way::Swarm, Exposure::Open)?;
        reader.busel.until("it hears its neighbour", Busel::hears)?;
        let visit = reader.visit(&stage, PAGE, PATIENCE)?;
        ensure!(visit.identical && visit.route.as_deref() == Some("swarm"), "{}", visit.told());
        drop(neighbour);
        Ok(())
    });
}

#[test]
fn a_quiet_reader_who_chose_to_speak_reads_in_a_blackout_and_one_who_did_not_does_not() {
    inside(|| {
        let stage = Stage::set()?;
        let _neighbour = neighbour(&stage)?;
        stage.at(Point::IspA).only(Blackout);
        let shy = Reader::start(&stage, "home-a", Way::Swarm, Exposure::Quiet)?;
        shy.busel.until("it hears its neighbour", Busel::hears)?;
        let visit = shy.visit(&stage, PAGE, Duration::from_secs(12))?;
        ensure!(!visit.passed(), "it spoke to a neighbour unasked");
        drop(shy);
        let flags = ["--lan-dial"];
        let bold = Reader::start_with(&stage, "home-a", Way::Swarm, Exposure::Quiet, &flags)?;
        bold.busel.until("it hears its neighbour", Busel::hears)?;
        let visit = bold.visit(&stage, PAGE, PATIENCE)?;
        ensure!(visit.identical && visit.route.as_deref() == Some("swarm"), "{}", visit.told());
        Ok(())
    });
}

#[test]
fn who_listens_sends_nothing_and_a_cable_that_comes_later_is_noticed() {
    inside(|| {
        let stage = Stage::set()?;
        let home = stage.host("home-a");
        count(home)?;
        let reader = Reader::start(&stage, "home-a", Way::Direct, Exposure::Quiet)?;
        std::thread::sleep(IDLE);
        ensure!(counted(home)? == 0, "a listener has sent to a group, or said that it is in one");
        drop(reader);

        let loud = Reader::start(&stage, "home-a", Way::Direct, Exposure::Open)?;
        let hearing = Reader::start(&stage, "home-a2", Way::Direct, Exposure::Quiet)?;
        hearing.busel.until("it hears its neighbour", Busel::hears)?;
        ensure!(counted(home)? > 0, "beacons are counted");
        drop((loud, hearing));

        home.enter(|| link("down"))?;
        let late = Reader::start(&stage, "home-a", Way::Direct, Exposure::Open)?;
        let hearing = Reader::start(&stage, "home-a2", Way::Direct, Exposure::Quiet)?;
        home.enter(|| link("up"))?;
        hearing.busel.until("it hears its neighbour", Busel::hears)?;
        drop((late, hearing));
        Ok(())
    });
}

/// The cable of the host that it runs in, unplugged or plugged in.
fn link(state: &str) -> anyhow::Result<()> {
    let args = ["link", "set", "eth0", state];
    let status = std::process::Command::new("ip").args(args).status()?;
    ensure!(status.success(), "ip {args:?}");
    Ok(())
}

/// Counts what a host sends to groups, but for what its system does to know its routers.
fn count(host: &Host) -> anyhow::Result<()> {
    let rules = "add table inet sent\n\
                 add chain inet sent out { type filter hook output priority 0; }\n\
                 add rule inet sent out meta l4proto udp ip daddr 224.0.0.0/4 counter\n\
                 add rule inet sent out meta l4proto igmp counter\n\
                 add rule inet sent out meta l4proto udp ip6 daddr ff00::/8 counter\n";
    let file = host.dir().join("sent.nft");
    std::fs::write(&file, rules)?;
    let ran = host.command("nft").arg("-f").arg(&file).run()?;
    ensure!(ran.status.success(), "nft: {}", ran.stderr);
    Ok(())
}

fn counted(host: &Host) -> anyhow::Result<u64> {
    let ran = host.command("nft").arg("list").arg("ruleset").run()?;
    let text = String::from_utf8(ran.stdout)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let counts = words.windows(3).filter(|words| words[..2] == ["counter", "packets"]);
    let counts: Vec<u64> = counts.map(|words| words[2].parse()).collect::<Result<_, _>>()?;
    ensure!(counts.len() == 3, "all rules count");
    Some(counts.iter().sum()).context("a sum")
}
