//! A reader at home: a node with its proxy door, and the real curl as the browser behind it. What a
//! reader may use is a [`Way`]; by what way a page came is measured, not assumed.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use super::network::{LISTED, UNLISTED, reaching, words};
use super::{Busel, Curl, Load, Scene, Stage, body};

/// Where the door is, in each host.
pub const DOOR: &str = "http://127.0.0.1:8118";
/// What a browser does with a page whose connection broke: it loads it again. Of a page that is not
/// tunnelled this is the node's to do.
const RELOADING: [&str; 3] = ["--retry", "1", "--retry-all-errors"];
/// The host of the sites that readers read, and its log.
const ORIGIN: &str = "origin";
/// How long an origin may take to write down a request that it has answered.
const LOGGED: Duration = Duration::from_secs(5);

/// How much a reader's node shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exposure {
    /// What a reader gets unless they say otherwise.
    Quiet,
    /// A helper's.
    Open,
}

/// What a reader has joined and may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// All: the site itself, the injector and the helper, for a page that may be shared.
    Any,
    /// The same, for a page that may not: a browser's `https`, end to end.
    Connect,
    /// Nothing but the site itself.
    Direct,
    /// Nothing but the helper: there is no injector any more.
    Swarm,
    /// Nothing but the injector, by its relay.
    Injector,
    /// The same, for a page that may not be shared.
    Tunnel,
    /// Nothing but the injector, behind the veil, over UDP or TCP.
    Veil,
    /// Nothing but the injector, by whatever wire; no way of the matrix.
    Wires,
}

impl Exposure {
    /// Its name as a flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Open => "open",
        }
    }
}

impl Way {
    /// Those of the matrix, in the order in which they are tried: the last one has no injector.
    pub const ALL: [Self; 7] = [
        Self::Any,
        Self::Veil,
        Self::Connect,
        Self::Direct,
        Self::Injector,
        Self::Tunnel,
        Self::Swarm,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Connect => "connect",
            Self::Direct => "direct",
            Self::Swarm => "swarm",
            Self::Injector => "injector",
            Self::Tunnel => "tunnel",
            Self::Veil => "veil",
            Self::Wires => "wires",
        }
    }

    /// Whether the page is tunnelled end to end, so that the node does not see it.
    fn is_opaque(self) -> bool {
        matches!(self, Self::Connect | Self::Tunnel)
    }

    /// The site that is read.
    fn site(self) -> &'static str {
        if self.is_opaque() { UNLISTED } else { LISTED }
    }

    fn flags(self) -> Vec<String> {
        match self {
            Self::Any | Self::Connect => Vec::new(),
            Self::Direct => words(&["--site", LISTED]),
            Self::Swarm | Self::Injector | Self::Tunnel => words(&["--no-direct", "--no-veil"]),
            Self::Veil => words(&["--no-direct", "--no-relay"]),
            Self::Wires => words(&["--no-direct"]),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Way {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl Serialize for Exposure {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// A reader whose node is up.
pub struct Reader {
    /// The node.
    pub busel: Busel,
    way: Way,
    curl: Curl,
}

/// How the load of a page through a reader's door went.
#[derive(Debug)]
pub struct Visit {
    /// What curl got.
    pub load: Load,
    /// Whether exactly the origin's bytes came.
    pub identical: bool,
    /// By which route, if the page came.
    pub route: Option<String>,
    /// By which wires this node was connected then, if other nodes carried it.
    pub wire: Option<String>,
}

impl Reader {
    /// A reader in a host, who has what the way allows and whose door is open. Whether their node
    /// has got in touch with anybody is another matter.
    pub fn start(stage: &Stage, host: &str, way: Way, exposure: Exposure) -> anyhow::Result<Self> {
        Self::start_with(stage, host, way, exposure, &[])
    }

    /// The same with more flags.
    pub fn start_with(
        stage: &Stage,
        host: &str,
        way: Way,
        exposure: Exposure,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let (scene, network, host) = (&stage.scene, &stage.network, stage.host(host));
        let name = format!("{way}-{}-{}", exposure.name(), host.next_launch());
        let mut busel = Busel::new(host, &name)?;
        if way != Way::Direct {
            busel.join(&network.injector_invite)?;
        }
        if matches!(way, Way::Any | Way::Connect | Way::Swarm) {
            busel.join_ways(&network.helper_invite)?;
        }
        let up = words(&["up", "--tell", "--exposure", exposure.name()]);
        busel.start(&[up, reaching(scene), way.flags(), words(flags)].concat())?;
        busel.line("Busel is up")?;
        let mut curl = Curl::new(host, scene.ca.path()).arg("-x").arg(DOOR);
        if way == Way::Connect {
            curl = RELOADING.into_iter().fold(curl, Curl::arg);
        }
        Ok(Self { busel, way, curl })
    }

    /// Ends the node, as a power cut would, and starts it anew with what it kept, and these flags.
    pub fn again(
        &mut self,
        stage: &Stage,
        exposure: Exposure,
        flags: &[&str],
    ) -> anyhow::Result<()> {
        self.busel.kill();
        let up = words(&["up", "--tell", "--exposure", exposure.name()]);
        let all = [up, reaching(&stage.scene), self.way.flags(), words(flags)].concat();
        self.busel.start(&all)?;
        self.busel.line("Busel is up").map(drop)
    }

    /// The program behind the door: it asks for pages that may be shared by `http`, which the node
    /// makes `https`, and for others by `https`, end to end.
    pub fn curl(&self) -> &Curl {
        &self.curl
    }

    /// The address of a page as it is asked for.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.way.is_opaque() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.way.site())
    }

    /// Loads a page, and gives up after this long.
    pub fn visit(&self, stage: &Stage, path: &str, patience: Duration) -> anyhow::Result<Visit> {
        let before = answered(&stage.scene)?.len();
        let load = self.curl.clone().within(patience).get(&self.url(path))?;
        self.visited(&stage.scene, path, load, before)
    }

    /// What a load was, before which the origin had answered so many requests.
    fn visited(
        &self,
        scene: &Scene,
        path: &str,
        load: Load,
        before: usize,
    ) -> anyhow::Result<Visit> {
        let route = match load.header("busel-route") {
            Some(route) => Some(route.to_owned()),
            None if load.loaded() => who_asked(scene, self.way.site(), path, before)?,
            None => None,
        };
        let far = route.as_deref().is_some_and(|route| !["local", "direct"].contains(&route));
        let wire = if far { self.wires()? } else { None };
        let true_body = body(self.way.site(), path);
        let identical = load.loaded() && true_body.is_some_and(|body| body == load.body);
        Ok(Visit { load, identical, route, wire })
    }

    fn wires(&self) -> anyhow::Result<Option<String>> {
        let status = self.busel.status()?;
        let wires = status["wires_in_use"].as_object().into_iter().flatten();
        let names: Vec<&str> = wires.map(|(wire, _)| wire.as_str()).collect();
        Ok((!names.is_empty()).then(|| names.join(", ")))
    }
}

impl Visit {
    /// Whether the page is there, whole and true, and came from elsewhere than this device.
    pub fn passed(&self) -> bool {
        self.identical && self.route.as_deref().is_some_and(|route| route != "local")
    }

    /// What was said instead of the page.
    pub fn told(&self) -> String {
        let body = String::from_utf8_lossy(&self.load.body[..self.load.body.len().min(2000)]);
        let body = if self.load.loaded() { "" } else { body.trim() };
        format!("{} {body}", self.load.error.trim())
    }
}

/// All that the origin has answered.
fn answered(scene: &Scene) -> anyhow::Result<Vec<String>> {
    scene.origin(ORIGIN).map_or_else(|| Ok(Vec::new()), super::Nginx::requests)
}

/// The route of a page that the node did not see, by who has asked the origin for it: the injector,
/// or the reader's own provider. Each load is one request at most.
fn who_asked(
    scene: &Scene,
    site: &str,
    path: &str,
    before: usize,
) -> anyhow::Result<Option<String>> {
    let until = Instant::now() + LOGGED;
    let injector = scene.world.host("injector").addrs();
    loop {
        let lines = answered(scene)?;
        let new = lines.iter().skip(before).rev();
        let asked = new.filter_map(|line| {
            let (from, what) = line.split_once(' ')?;
            (what == format!("{site} {path}")).then_some(from)
        });
        if let Some(from) = asked.into_iter().next() {
            let far = injector.iter().any(|addr| addr.to_string() == from);
            return Ok(Some(if far { "tunnel" } else { "direct" }.to_owned()));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
