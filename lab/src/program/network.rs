//! All of Busel that is there for a reader: a relay abroad and one at home, an injector abroad, and a
//! helper at home behind the other provider, whose node is open and has read the pages already.
//!
//! They meet as people would, by invites, before anything is censored.

use super::{Busel, Scene};
use crate::map::Place;
use crate::world::{Drawing, Host};

/// The site whose pages may be shared: the injector fetches them.
pub const LISTED: &str = "news.example";
/// Another site at the same origin, which is no injector's business.
pub const UNLISTED: &str = "weather.example";
/// The UDP port on which the injector listens.
pub const VEIL: u16 = 41_641;
/// The host of the relay at home.
const RELAY_HOME: &str = "relay-home";

/// Who is there.
pub struct Network {
    /// The relay abroad.
    pub relay: Busel,
    /// The relay at home.
    pub relay_home: Busel,
    /// The injector abroad, which is reached by the relay abroad, and behind the veil.
    pub injector: Busel,
    /// The helper, who is reached by the relay at home.
    pub helper: Busel,
    /// The injector's invite.
    pub injector_invite: String,
    /// The helper's invite: the way to the helper, and nobody to trust.
    pub helper_invite: String,
}

impl Network {
    /// The country with a place for all of them, and for the programs of censors: a box of the first
    /// provider's and a prober.
    pub fn drawing() -> Drawing {
        Drawing::country()
            .server(Place::Exchange, RELAY_HOME, "198.18.100.30")
            .server(Place::IspA, "box-a", "198.18.1.80")
            .server(Place::Exchange, "prober", "198.18.100.66")
    }

    /// Starts them.
    pub fn start(scene: &Scene) -> anyhow::Result<Self> {
        let host = |name| scene.world.host(name);
        let (mut relay, mut relay_home) =
            (start_relay(host("relay"))?, start_relay(host(RELAY_HOME))?);
        let mut injector = Busel::new(host("injector"), "busel")?;
        injector.tell(&["join", &relay.printed_invite()?])?;
        injector.start(&fetching(scene))?;
        // The helper makes the invite while it knows no relay but the one at home.
        let mut helper = Busel::new(host("home-b"), "busel")?;
        helper.tell(&["join", &relay_home.printed_invite()?])?;
        let open = ["up", "--exposure", "open", "--no-direct", "--allow-net-for-others"];
        let open = [&open[..], &["198.18.0.0/15"]].concat();
        helper.start(&[words(&open), reaching(scene)].concat())?;
        helper.line("Busel is up")?;
        helper.at_its_relay()?;
        let helper_invite = helper.invite()?;
        let injector_invite = injector.printed_invite()?;
        helper.join(&injector_invite)?;
        Ok(Self { relay, relay_home, injector, helper, injector_invite, helper_invite })
    }

    /// Has the injector make editions out of this feed, too.
    pub fn follow(&mut self, scene: &Scene, feed: &str) -> anyhow::Result<()> {
        self.injector.kill();
        self.injector.start(&[fetching(scene), words(&["--feed", feed])].concat())?;
        self.injector.printed_invite()?;
        self.injector.at_its_relay()
    }

    /// Has the helper read a page of the listed site, and waits until it is kept.
    pub fn warm(&self, path: &str) -> anyhow::Result<()> {
        let kept = |status: &serde_json::Value| status["store"]["snapshots"].as_u64();
        let before = kept(&self.helper.status()?);
        self.helper.tell(&["get", "-o", "read", &format!("https://{LISTED}{path}")])?;
        self.helper.until("the page is kept", |status| kept(status) > before)
    }
}

fn fetching(scene: &Scene) -> Vec<String> {
    let fetching = ["injector", "--hosts", LISTED, "--label", "Newsroom", "--rate", "10000"];
    let veil = format!("{}:{VEIL}", scene.world.host("injector").v4());
    [words(&fetching), words(&["--veil-addr", &veil]), reaching(scene)].concat()
}

/// What a node is told so that it finds its way in the lab: resolvers, networks that are no public
/// ones outside, and the authority of the sites.
pub fn reaching(scene: &Scene) -> Vec<String> {
    let doh = scene.world.host("doh").v4();
    let doh = format!("https://doh.example@{doh}:443");
    let ca = scene.ca.path().display().to_string();
    let nets = ["--allow-net", "198.18.0.0/15", "--allow-net", "2001:2::/48"];
    [words(&["--dns", &doh, "--dns", "system", "--extra-ca", &ca]), words(&nets)].concat()
}

pub(super) fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

/// A relay in a host, with what it kept there if it ran before.
pub fn start_relay(host: &Host) -> anyhow::Result<Busel> {
    let mut relay = Busel::new(host, "busel")?;
    let public = format!("{}:443", host.v4());
    let names = ["--sni", "sport.example", "--sni", "shop.example"];
    relay.start(&words(&[&["relay", "--public", &public][..], &names].concat()))?;
    Ok(relay)
}
