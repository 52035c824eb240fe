//! A bridge has moved: a reader who knows nobody but one node behind it, from an old invite that names the
//! bridge, reads on once it stands elsewhere. Neither of them is told of it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use busel_lab::program::{Busel, Exposure, LISTED, Reader, Stage, Way, Zone, numbered, reaching};
use busel_lab::sandbox::inside;
use busel_lab::world::Host;

/// The bridge's name, and where it stands first and then.
const BRIDGE: &str = "bridge.example";
const HOSTS: (&str, &str) = ("prober", "box-a");
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nodes may take to find the bridge again.
const FOUND: Duration = Duration::from_secs(80);

/// Has all resolvers know where the bridge is.
fn name(stage: &Stage, host: &Host) {
    for resolver in ["dns-a", "dns-b"] {
        let zone = Zone::of(&stage.scene.world).with(BRIDGE, &[host.v4()]);
        if let Some(dns) = stage.scene.resolver(resolver) {
            dns.set(zone);
        }
    }
}

fn start(host: &Host) -> anyhow::Result<(Busel, String)> {
    let mut bridge = Busel::new(host, "bridge")?;
    let public = format!("{BRIDGE}:443");
    let args = ["relay", "--public", &public, "--name", "www.example.org"];
    bridge.start(&args.map(ToOwned::to_owned))?;
    let invite = bridge.printed_invite()?;
    Ok((bridge, invite))
}

/// Carries all that a bridge is to another host.
fn carry(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(status.success(), "the bridge's directory was not copied");
    Ok(())
}

#[test]
fn a_reader_of_an_old_invite_finds_the_bridge_where_its_name_leads() {
    inside(|| {
        let mut stage = Stage::set()?;
        name(&stage, stage.host(HOSTS.0));
        let (mut bridge, invite) = start(stage.host(HOSTS.0))?;

        // Somebody at home who is reached by the bridge alone, and has read two pages.
        let mut friend = Busel::new(stage.host("home-a2"), "friend")?;
        friend.tell(&["join", &invite])?;
        let up = ["up", "--exposure", "open", "--no-direct"].map(ToOwned::to_owned);
        friend.start(&[up.to_vec(), reaching(&stage.scene)].concat())?;
        friend.line("Busel is up")?;
        friend.at_its_relay()?;
        let friends_invite = friend.invite()?;
        friend.join(&stage.network.injector_invite)?;
        for page in 1..=2 {
            let url = format!("https://{LISTED}{}", numbered(page));
            friend.tell(&["get", "-o", "read", &url])?;
            let kept = page as u64;
            friend.until("the page is kept", |s| s["store"]["snapshots"].as_u64() >= Some(kept))?;
        }

        // The reader knows whom to trust, and no injector is there.
        stage.network.injector.kill();
        let reader = Reader::start(&stage, "home-a", Way::Injector, Exposure::Quiet)?;
        reader.busel.join_ways(&friends_invite)?;
        let visit = reader.visit(&stage, &numbered(1), PATIENCE)?;
        ensure!(visit.passed(), "by the bridge: {}", visit.told());
        assert_eq!(visit.route.as_deref(), Some("swarm"));

        bridge.kill();
        let (old, new) = (stage.host(HOSTS.0), stage.host(HOSTS.1));
        carry(&old.dir().join("bridge"), &new.dir().join("bridge"))?;
        name(&stage, new);
        let (_bridge, again) = start(new)?;
        assert_eq!(again, invite, "it is the same bridge");
        let until = Instant::now() + FOUND;
        loop {
            let visit = reader.visit(&stage, &numbered(2), PATIENCE)?;
            if visit.passed() {
                assert_eq!(visit.route.as_deref(), Some("swarm"));
                return Ok(());
            }
            ensure!(Instant::now() < until, "nobody finds the bridge: {}", visit.told());
            std::thread::sleep(Duration::from_secs(1));
        }
    });
}
