//! A world on paper: which hosts are where, what their lines are like, and what the sites are
//! called. [`Drawing::country`] is the one that tests start from; [`Drawing::start`] makes it real.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::World;
use super::nat::Nat;
use super::wiring;
use crate::map::{Lan, Place};
use crate::middlebox::{Captures, LinkSpec};

/// From a home to its provider.
const ACCESS: LinkSpec = LinkSpec::latency(Duration::from_millis(3));
/// From a server to its network.
const SERVER: LinkSpec = LinkSpec::latency(Duration::from_millis(1));
/// From a provider to the core.
const TRUNK: LinkSpec = LinkSpec::latency(Duration::from_millis(1));
/// From the border to the world.
const ABROAD: LinkSpec = LinkSpec::latency(Duration::from_millis(10));
/// The number of the first host in a LAN, and of the last.
pub(super) const FIRST_SEAT: u8 = 10;
pub(super) const LAST_SEAT: u8 = 250;
/// The directory for captures of every test, each in one of its own, if whoever runs them wants any.
pub(crate) const PCAP: &str = "BUSEL_LAB_PCAP";

/// A plan of a world.
#[derive(Clone, Debug)]
pub struct Drawing {
    pub(super) hosts: Vec<Plan>,
    pub(super) names: Vec<(String, Vec<IpAddr>)>,
    pub(super) resolvers: [Option<IpAddr>; Place::ALL.len()],
    pub(super) trunks: [LinkSpec; Place::ALL.len()],
    pub(super) seed: u64,
    pub(super) capture: Option<PathBuf>,
}

/// A host on paper.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) role: Role,
    pub(super) v4: Ipv4Addr,
    pub(super) link: LinkSpec,
}

/// What a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Has a line of its own.
    Server,
    /// Has a line of its own, and a LAN behind a NAT.
    Router { nat: Nat, lan: Lan },
    /// Is the n-th host of the LAN behind this router.
    Home { router: usize, number: u8 },
    /// Is such a host, and a router with a LAN behind it.
    Inner { router: usize, number: u8, nat: Nat, lan: Lan },
}

impl Drawing {
    /// An empty map.
    pub fn new() -> Self {
        let mut trunks = [TRUNK; Place::ALL.len()];
        trunks[Place::Abroad as usize] = ABROAD;
        Self {
            hosts: Vec::new(),
            names: Vec::new(),
            resolvers: [None; Place::ALL.len()],
            trunks,
            seed: 1,
            capture: std::env::var_os(PCAP).map(|dir| PathBuf::from(dir).join(test_name())),
        }
    }

    /// The country of most tests.
    pub fn country() -> Self {
        use Place::{Abroad, Exchange, IspA, IspB};
        Self::new()
            .router(IspA, "isp-a", "198.18.1.1")
            .home("isp-a", "home-a")
            .home("isp-a", "home-a2")
            .resolver(IspA, "dns-a", "198.18.1.53")
            .router(IspB, "isp-b", "198.18.2.1")
            .home("isp-b", "home-b")
            .resolver(IspB, "dns-b", "198.18.2.53")
            .server(Exchange, "domestic", "198.18.100.10")
            .server(Abroad, "origin", "198.19.10.10")
            .server(Abroad, "origin-2", "198.19.11.10")
            .server(Abroad, "injector", "198.19.20.10")
            .server(Abroad, "relay", "198.19.30.10")
            .server(Abroad, "helper", "198.19.40.10")
            .resolver(Abroad, "doh", "198.19.53.53")
            .site("news.example", "origin")
            .site("weather.example", "origin")
            .site("sport.example", "origin-2")
            .site("shop.example", "domestic")
            .site("doh.example", "doh")
    }

    /// A server with a line of its own. Its IPv6 address is made from the IPv4 one.
    #[must_use]
    pub fn server(self, place: Place, name: &str, v4: &str) -> Self {
        self.host(place, name, v4, Role::Server, SERVER)
    }

    /// A server whose address is in the `resolv.conf` of all hosts of its place.
    #[must_use]
    pub fn resolver(mut self, place: Place, name: &str, v4: &str) -> Self {
        self.resolvers[place as usize] = Some(IpAddr::V4(parsed(v4)));
        if place == Place::Abroad {
            self.resolvers[Place::Exchange as usize].get_or_insert(IpAddr::V4(parsed(v4)));
        }
        self.server(place, name, v4)
    }

    /// A customer's router with the usual NAT and a LAN behind it.
    #[must_use]
    pub fn router(self, place: Place, name: &str, v4: &str) -> Self {
        self.nat(place, name, v4, Nat::PortRestricted)
    }

    /// A customer's router, or a carrier's, with this NAT and a LAN behind it.
    #[must_use]
    pub fn nat(self, place: Place, name: &str, v4: &str, nat: Nat) -> Self {
        let lan = self.next_lan();
        self.host(place, name, v4, Role::Router { nat, lan }, ACCESS)
    }

    /// A router in the LAN behind another one, as customers have it whose carrier has a NAT too.
    #[must_use]
    pub fn inner(self, router: &str, name: &str, nat: Nat) -> Self {
        let (lan, router) = (self.next_lan(), self.number(router));
        self.behind(router, name, |number| Role::Inner { router, number, nat, lan })
    }

    /// A host in the LAN behind a router: 192.168.1.10 is the first one behind the first router.
    #[must_use]
    pub fn home(self, router: &str, name: &str) -> Self {
        let router = self.number(router);
        self.behind(router, name, |number| Role::Home { router, number })
    }

    fn behind(self, router: usize, name: &str, role: impl FnOnce(u8) -> Role) -> Self {
        let place = self.hosts[router].place;
        let lan = self.hosts[router].role.lan().expect("a router has a LAN");
        let others = self.hosts.iter().filter(|host| host.router() == Some(router)).count();
        let number = FIRST_SEAT + u8::try_from(others).expect("a LAN has few hosts");
        self.host(place, name, &lan.v4(number).to_string(), role(number), ACCESS)
    }

    fn next_lan(&self) -> Lan {
        let routers = self.hosts.iter().filter(|host| host.role.lan().is_some()).count();
        Lan::of(u8::try_from(routers + 1).expect("a country of few routers"))
    }

    /// A site: its name has the addresses of this host.
    #[must_use]
    pub fn site(mut self, name: &str, host: &str) -> Self {
        let host = &self.hosts[self.number(host)];
        let addrs = vec![IpAddr::V4(host.v4), IpAddr::V6(host.place.v6(host.v4))];
        self.names.push((name.to_owned(), addrs));
        self
    }

    /// What the line of a host is like.
    #[must_use]
    pub fn link(mut self, host: &str, link: LinkSpec) -> Self {
        let number = self.number(host);
        self.hosts[number].link = link;
        self
    }

    /// What the line between a place and the core is like; that of `Abroad` is the border's.
    #[must_use]
    pub fn trunk(mut self, place: Place, link: LinkSpec) -> Self {
        self.trunks[place as usize] = link;
        self
    }

    /// The seed of all chance on the line.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Writes what passes each point to files in this directory, which stay.
    #[must_use]
    pub fn capture(self, dir: impl Into<PathBuf>) -> Self {
        Self { capture: Some(dir.into()), ..self }
    }

    /// Makes it real.
    pub fn start(self) -> anyhow::Result<World> {
        wiring::start(self)
    }

    fn host(mut self, place: Place, name: &str, v4: &str, role: Role, link: LinkSpec) -> Self {
        let (name, v4) = (name.to_owned(), parsed(v4));
        self.hosts.push(Plan { name, place, role, v4, link });
        self
    }

    fn number(&self, name: &str) -> usize {
        let found = self.hosts.iter().position(|host| host.name == name);
        found.unwrap_or_else(|| panic!("no host is called {name}"))
    }

    pub(super) fn captures(&self) -> anyhow::Result<Captures> {
        self.capture.clone().map_or_else(|| Ok(Captures::default()), Captures::into_dir)
    }
}

impl Default for Drawing {
    fn default() -> Self {
        Self::new()
    }
}

impl Plan {
    /// The router that it is behind.
    pub(super) fn router(&self) -> Option<usize> {
        match self.role {
            Role::Home { router, .. } | Role::Inner { router, .. } => Some(router),
            Role::Server | Role::Router { .. } => None,
        }
    }
}

impl Role {
    /// The LAN behind a router.
    pub(super) fn lan(&self) -> Option<Lan> {
        match self {
            Self::Router { lan, .. } | Self::Inner { lan, .. } => Some(*lan),
            Self::Server | Self::Home { .. } => None,
        }
    }
}

impl Drawing {
    /// The addresses of a host as others know them.
    pub(super) fn addrs(&self, plan: &Plan) -> Vec<IpAddr> {
        match plan.role {
            Role::Home { router, number } | Role::Inner { router, number, .. } => {
                let lan = self.hosts[router].role.lan().expect("a router has a LAN");
                vec![IpAddr::V4(plan.v4), IpAddr::V6(lan.v6(number)), IpAddr::V6(lan.ula(number))]
            }
            Role::Server | Role::Router { .. } => {
                vec![IpAddr::V4(plan.v4), IpAddr::V6(plan.place.v6(plan.v4))]
            }
        }
    }

    /// The routers behind this one, near or far.
    pub(super) fn routers_behind(&self, router: usize) -> Vec<usize> {
        let behind = (0..self.hosts.len()).filter(|host| {
            self.hosts[*host].router() == Some(router) && self.hosts[*host].role.lan().is_some()
        });
        behind.flat_map(|inner| [vec![inner], self.routers_behind(inner)].concat()).collect()
    }
}

/// The test that runs, as the name of a directory.
fn test_name() -> String {
    std::thread::current().name().unwrap_or("world").replace("::", ".")
}

fn parsed(v4: &str) -> Ipv4Addr {
    v4.parse().expect("an IPv4 address in the drawing")
}
