//! A world with everything in it that most tests need: its sites' origins, its resolvers, its DoH
//! server, and a client in every host.

use super::{Ca, Curl, Dns, Doh, Nginx, Zone};
use crate::world::{Drawing, World};

/// The host of the DoH server, and its name.
const DOH: (&str, &str) = ("doh", "doh.example");

/// A world at work.
pub struct Scene {
    /// By host: its web server.
    origins: Vec<(String, Nginx)>,
    /// By host: its resolver.
    resolvers: Vec<(String, Dns)>,
    doh: Option<Doh>,
    /// The authority that all trust.
    pub ca: Ca,
    /// The world.
    pub world: World,
}

impl Scene {
    /// The country of most tests.
    pub fn start() -> anyhow::Result<Self> {
        Self::of(Drawing::country())
    }

    /// Another country.
    pub fn of(drawing: Drawing) -> anyhow::Result<Self> {
        let world = drawing.start()?;
        let ca = Ca::new("lab authority", world.dir())?;
        let mut origins = origins(&world, &ca)?;
        let mut resolvers = Vec::new();
        for host in world.hosts().iter().filter(|host| world.resolvers().contains(&host.v4())) {
            let dns = Dns::start(&world, host, Zone::of(&world))?;
            resolvers.push((host.name().to_owned(), dns));
        }
        let doh = world.hosts().iter().find(|host| host.name() == DOH.0);
        let doh =
            doh.map(|host| Doh::start(&world, host, &ca, DOH.1, Zone::of(&world))).transpose()?;
        for (_, origin) in &mut origins {
            origin.ready()?;
        }
        Ok(Self { origins, resolvers, doh, ca, world })
    }

    /// A plain client in a host.
    pub fn curl(&self, host: &str) -> Curl {
        Curl::new(self.world.host(host), self.ca.path())
    }

    /// The web server in a host.
    pub fn origin(&self, host: &str) -> Option<&Nginx> {
        self.origins.iter().find(|(name, _)| name == host).map(|(_, origin)| origin)
    }

    /// The resolver in a host.
    pub fn resolver(&self, host: &str) -> Option<&Dns> {
        self.resolvers.iter().find(|(name, _)| name == host).map(|(_, dns)| dns)
    }

    /// Ends the DoH server.
    pub fn end_doh(&mut self) {
        self.doh = None;
    }
}

/// A web server in each host that sites are at, but for the DoH server's.
fn origins(world: &World, ca: &Ca) -> anyhow::Result<Vec<(String, Nginx)>> {
    let mut origins = Vec::new();
    for host in world.hosts().iter().filter(|host| host.name() != DOH.0) {
        let here = world.names().iter().filter(|(_, addrs)| addrs.contains(&host.v4()));
        let sites: Vec<&str> = here.map(|(name, _)| name.as_str()).collect();
        if !sites.is_empty() {
            origins.push((host.name().to_owned(), Nginx::start(host, ca, &sites)?));
        }
    }
    Ok(origins)
}
