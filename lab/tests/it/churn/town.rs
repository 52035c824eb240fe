//! Who lives where: thirty nodes, six of which are open and have public addresses, the others in homes
//! behind NATs of each kind; each third one of those is open too, reached by the relay at home.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, ensure};
use busel_lab::censor::IpBlock;
use busel_lab::map::{Place, Point};
use busel_lab::program::{Busel, Curl, Exposure, LISTED, Network, Stage, reaching, start_relay};
use busel_lab::world::{Host, Nat};

/// Routers: where, called what, at which address, with which NAT.
const ROUTERS: [(Place, &str, &str, Nat); 8] = [
    (Place::IspA, "cone-a", "198.18.1.2", Nat::Cone),
    (Place::IspA, "restricted-a", "198.18.1.3", Nat::Restricted),
    (Place::IspA, "symmetric-a", "198.18.1.4", Nat::Symmetric),
    (Place::IspA, "carrier-a", "198.18.1.5", Nat::Symmetric),
    (Place::IspB, "cone-b", "198.18.2.2", Nat::Cone),
    (Place::IspB, "restricted-b", "198.18.2.3", Nat::Restricted),
    (Place::IspB, "strict-b", "198.18.2.4", Nat::PortRestricted),
    (Place::IspB, "carrier-b", "198.18.2.5", Nat::Symmetric),
];
/// Routers behind a carrier's.
const INNER: [(&str, &str, Nat); 3] = [
    ("carrier-a", "flat-a", Nat::PortRestricted),
    ("carrier-a", "flat-a2", Nat::Cone),
    ("carrier-b", "flat-b", Nat::Symmetric),
];
/// Where homes are, and where they may move to.
const LANS: [&str; 10] = [
    "cone-a",
    "restricted-a",
    "symmetric-a",
    "carrier-a",
    "flat-a",
    "flat-a2",
    "cone-b",
    "strict-b",
    "flat-b",
    "restricted-b",
];
/// Open nodes with public addresses.
const PUBLIC: [(Place, &str); 6] = [
    (Place::IspA, "198.18.1.41"),
    (Place::IspA, "198.18.1.42"),
    (Place::IspB, "198.18.2.41"),
    (Place::IspB, "198.18.2.42"),
    (Place::Exchange, "198.18.100.41"),
    (Place::Abroad, "198.19.60.41"),
];
const HOMES: usize = 24;
/// Each home has the invites of so many open nodes with public addresses …
const FRIENDS: usize = 2;
/// … which listen here.
const VEIL: u16 = 7000;
const DOOR: &str = "http://127.0.0.1:8118";
/// Pages beyond those of each site, a few KiB each.
pub(crate) const PAGES: usize = 4000;
const PAGE_BYTES: usize = 6 << 10;

/// One of the thirty.
pub(crate) struct Person {
    pub(crate) host: Host,
    pub(crate) exposure: Exposure,
    /// Whether it has a public address.
    pub(crate) public: bool,
    /// Whose invites it has: of open nodes with public addresses, and of one at home.
    pub(crate) friends: Vec<usize>,
    pub(crate) curl: Curl,
    busel: Mutex<Busel>,
    flags: Vec<String>,
}

/// All of them, and what is there for them.
pub(crate) struct Town {
    pub(crate) people: Vec<Person>,
    pub(crate) relay: Mutex<Busel>,
    pub(crate) relay_home: Mutex<Busel>,
    /// They end before the world does.
    _network: (Busel, Busel),
    pub(crate) scene: busel_lab::program::Scene,
}

impl Town {
    /// Builds the town; all of its people run. The site itself can't be reached from the country.
    pub(crate) fn build() -> anyhow::Result<Self> {
        let mut drawing = Network::drawing();
        for (place, name, addr, nat) in ROUTERS {
            drawing = drawing.nat(place, name, addr, nat);
        }
        for (carrier, name, nat) in INNER {
            drawing = drawing.inner(carrier, name, nat);
        }
        for (number, (place, addr)) in PUBLIC.into_iter().enumerate() {
            drawing = drawing.server(place, &format!("open-{number}"), addr);
        }
        for number in 0..HOMES {
            drawing = drawing.home(LANS[number % LANS.len()], &format!("home-{number}"));
        }
        let Stage { network, scene } = Stage::of(drawing)?;
        write_pages(scene.world.host("origin"))?;
        let origin = scene.world.host("origin").addrs().to_vec();
        scene.world.censor(Point::Border).only(IpBlock::new(origin));
        let Network { relay, relay_home, injector, helper, injector_invite, .. } = network;
        let mut relay_home = relay_home;
        let home_ways = relay_home.printed_invite()?;
        let mut town = Self {
            people: Vec::new(),
            relay: Mutex::new(relay),
            relay_home: Mutex::new(relay_home),
            _network: (injector, helper),
            scene,
        };
        let mut invites = Vec::new();
        for number in 0..PUBLIC.len() {
            let person = town.settle(&format!("open-{number}"), true, Exposure::Open, &[])?;
            person.busel().join(&injector_invite)?;
            person.start()?;
            invites.push(person.busel().invite()?);
            town.people.push(person);
        }
        for number in 0..HOMES {
            let open = number % 3 == 0;
            let exposure = if open { Exposure::Open } else { Exposure::Quiet };
            let mut friends: Vec<usize> =
                (0..FRIENDS).map(|n| (number + n * 2 + n) % PUBLIC.len()).collect();
            if !open {
                friends.push(PUBLIC.len() + number / 3 * 3);
            }
            let name = format!("home-{number}");
            let person = town.settle(&name, false, exposure, &friends)?;
            // An open node names the relay at home in its invites, if it knows no other yet.
            if open {
                person.busel().join_ways(&home_ways)?;
                person.start()?;
                person.busel().at_its_relay()?;
                invites.push(person.busel().invite()?);
            } else {
                invites.push(String::new());
            }
            for friend in &friends {
                person.busel().join_ways(&invites[*friend])?;
            }
            person.busel().join(&injector_invite)?;
            if !open {
                person.start()?;
            }
            town.people.push(person);
        }
        Ok(town)
    }

    fn settle(
        &self,
        name: &str,
        public: bool,
        exposure: Exposure,
        friends: &[usize],
    ) -> anyhow::Result<Person> {
        let host = self.scene.world.host(name).clone();
        let mut flags = ["up", "--tell", "--exposure", exposure.name(), "--lan", "off"]
            .map(str::to_owned)
            .to_vec();
        flags.extend(reaching(&self.scene));
        if public {
            flags.extend(["--veil-addr".to_owned(), format!("{}:{VEIL}", host.v4())]);
        }
        Ok(Person {
            busel: Mutex::new(Busel::new(&host, "busel")?),
            curl: Curl::new(&host, self.scene.ca.path()).arg("-x").arg(DOOR),
            exposure,
            public,
            friends: friends.to_vec(),
            flags,
            host,
        })
    }

    /// Cuts the power of a relay, or gives it back.
    pub(crate) fn power(&self, relay: &Mutex<Busel>, name: &str, on: bool) -> anyhow::Result<()> {
        let host = self.scene.world.host(name);
        let mut relay = lock(relay);
        if !on {
            host.kill()?;
            relay.kill();
            return Ok(());
        }
        host.revive()?;
        *relay = start_relay(host)?;
        relay.printed_invite().map(drop)
    }
}

impl Person {
    pub(crate) fn busel(&self) -> MutexGuard<'_, Busel> {
        lock(&self.busel)
    }

    /// Starts its node, and waits until it is up.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        let mut busel = self.busel();
        busel.start(&self.flags)?;
        busel.line("Busel is up").map(drop)
    }

    /// Its power is cut.
    pub(crate) fn dies(&self) -> anyhow::Result<()> {
        self.host.kill()?;
        self.busel().kill();
        Ok(())
    }

    /// Its power is back, and its node runs again.
    pub(crate) fn returns(&self) -> anyhow::Result<()> {
        self.host.revive()?;
        self.start().with_context(|| self.host.name().to_owned())
    }
}

/// What a page beyond those of each site holds.
pub(crate) fn page(number: usize) -> Vec<u8> {
    let word = format!("story {number} of {LISTED}; ");
    word.bytes().cycle().take(PAGE_BYTES + number % 977).collect()
}

/// Where they may move to by a lot.
pub(crate) fn lan(lot: usize) -> &'static str {
    LANS[lot % LANS.len()]
}

fn write_pages(origin: &Host) -> anyhow::Result<()> {
    let dir = origin.dir().join("nginx").join(LISTED).join("story");
    std::fs::create_dir_all(&dir)?;
    for number in 0..PAGES {
        std::fs::write(dir.join(number.to_string()), page(number))?;
    }
    let load = Curl::new(origin, "/dev/null").get("http://127.0.0.1/story/7")?;
    ensure!(load.body == page(7), "the site has its pages: {load:?}");
    Ok(())
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
