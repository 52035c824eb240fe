//! A reader who moves from one provider to the other and back: what is remembered of each is its own, also
//! over a restart, and what is being loaded goes on.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use busel_lab::censor::{Context, Injected, Names, Policy, SniReset, Verdict};
use busel_lab::map::{Place, Point};
use busel_lab::packet::Packet;
use busel_lab::program::{Busel, Exposure, Reader, Stage, UNLISTED, Way, reaching};
use busel_lab::sandbox::inside;

/// A node looks around at least so often while something is asked of it.
const LOOKS: Duration = Duration::from_secs(11);
/// How long a load may take in which the reader moves.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a node did for a page that may not be shared: by `direct` or by `tunnel`.
struct Told {
    /// Which way it tried first.
    first: String,
    /// Which way the page came.
    came: String,
}

/// Asks a running node for a page as its owner would, and has it explained.
fn get(node: &Busel) -> anyhow::Result<Told> {
    let url = format!("https://{UNLISTED}/");
    let ran = node.run_within(&["get", "--explain", "-o", "page", &url], PATIENCE)?;
    anyhow::ensure!(ran.status.success(), "{}", ran.stderr);
    let lines = || ran.stderr.lines().filter_map(|line| line.split_once(" ms  "));
    let way = |what: &str| {
        let mut found = lines().filter(|(_, said)| said.contains(what));
        let (_, said) = found.next().with_context(|| format!("{what} in {}", ran.stderr))?;
        anyhow::Ok(said.split_whitespace().next().unwrap_or_default().to_owned())
    };
    Ok(Told { first: way("started")?, came: way("won")? })
}

#[test]
fn each_provider_has_a_memory_of_its_own_also_over_a_restart() {
    inside(|| {
        let stage = Stage::set()?;
        stage.at(Point::IspA).only(SniReset::new(Names::new([UNLISTED])));
        let mut node = Busel::new(stage.host("home-a"), "wanderer")?;
        node.join(&stage.network.injector_invite)?;
        let up = [vec!["up".to_owned()], reaching(&stage.scene)].concat();
        node.start(&up)?;
        node.line("Busel is up")?;
        node.at_its_relay()?;

        let told = get(&node)?;
        assert_eq!(
            (&*told.first, &*told.came),
            ("direct", "tunnel"),
            "it learns that it is blocked"
        );
        assert_eq!(get(&node)?.first, "tunnel", "and knows it");

        stage.scene.world.move_home("home-a", Place::IspB)?;
        std::thread::sleep(LOOKS);
        let told = get(&node)?;
        assert_eq!(
            (&*told.first, &*told.came),
            ("direct", "direct"),
            "nothing is known of this one"
        );

        stage.scene.world.move_home("home-a", Place::IspA)?;
        std::thread::sleep(LOOKS);
        let told = get(&node)?;
        assert_eq!((&*told.first, &*told.came), ("tunnel", "tunnel"), "here it is blocked");

        node.tell(&["stop"])?;
        node.kill();
        node.start(&up)?;
        node.line("Busel is up")?;
        assert_eq!(get(&node)?.first, "tunnel", "nothing was forgotten");
        Ok(())
    });
}

/// Lets so many bytes in; then nothing passes.
struct Until(usize);

impl Policy for Until {
    fn name(&self) -> &'static str {
        "until"
    }

    fn judge(&mut self, packet: &Packet, _: &Context<'_>, _: &mut Injected) -> Verdict {
        self.0 = self.0.saturating_sub(packet.payload().len());
        if self.0 == 0 { Verdict::Drop } else { Verdict::Pass }
    }
}

/// In the middle of a load the line of the first provider falls silent, and the reader moves.
fn moves_in_the_middle(way: Way, route: &str) -> anyhow::Result<()> {
    let stage = Stage::set()?;
    let reader = Reader::start(&stage, "home-a", way, Exposure::Quiet)?;
    reader.busel.at_its_relay()?;
    let censor = stage.at(Point::IspA);
    censor.only(Until(1_000_000));
    let visit = std::thread::scope(|scope| {
        let visiting = scope.spawn(|| reader.visit(&stage, "/film", PATIENCE));
        let until = Instant::now() + PATIENCE;
        while censor.counts("until").dropped == 0 {
            assert!(Instant::now() < until, "nothing came of the page");
            std::thread::sleep(Duration::from_millis(5));
        }
        stage.scene.world.move_home("home-a", Place::IspB)?;
        visiting.join().expect("a visit does not panic")
    })?;
    let came = visit.load.body.len();
    assert!(visit.identical, "{came} bytes by {:?}, {}", visit.route, visit.told());
    assert_eq!(visit.route.as_deref(), Some(route), "{:?}", visit.load.headers);
    let again = reader.visit(&stage, "/article", PATIENCE)?;
    assert!(again.passed(), "{}", again.told());
    Ok(())
}

#[test]
fn a_page_that_the_site_sends_is_loaded_to_its_end_over_a_move() {
    inside(|| moves_in_the_middle(Way::Any, "direct"));
}

#[test]
fn a_page_that_an_injector_sends_is_loaded_to_its_end_over_a_move() {
    inside(|| moves_in_the_middle(Way::Injector, "injector"));
}
