//! How a node is set up: one definition of every key, read from TOML or made by a program.
//!
//! Unknown keys are errors: a misspelt safety setting must not be silently without effect.

use std::net::{SocketAddr, SocketAddrV4};
use std::num::NonZeroU64;
use std::path::PathBuf;

use busel_net::dial::{Dialer, Upstream};
use busel_net::finder::lan::Manners;
use busel_proto::network::{NetRange, Reach};
use busel_proto::page::{HostName, HostPattern};
use busel_proto::sites::{QueryRule, Site};
use busel_proto::upstreams::{MAX_PORTS, USUAL};
use serde::{Deserialize, Serialize};

/// The version of the configuration format.
pub const VERSION: u32 = 1;

/// How a node is set up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Version of this format.
    pub version: u32,
    /// Where the store is.
    pub dir: PathBuf,
    /// How much the node shows of itself.
    pub exposure: Exposure,
    /// Where the HTTP proxy listens; none if not given.
    pub http: Option<SocketAddr>,
    /// What programs show to the HTTP proxy where the system does not tell whose they are.
    pub http_credentials: Option<Credentials>,
    /// Whether its answers say by which way they came and who vouches for them: to every program that uses
    /// it, and to the scripts of the site that is read.
    pub http_tells: bool,
    /// The most bytes that the store may take.
    pub quota: u64,
    /// The most bytes of copies that a quiet node holds for others, none of which tells what its owner
    /// reads: it fetches about as much a day. 0: none.
    pub assigned_quota: u64,
    /// Hosts whose editions are taken as they come out, so that their news is here before a cut.
    pub editions: Vec<String>,
    /// Whether sites may be asked directly.
    pub direct: bool,
    /// Whether what worked on each network is kept over restarts: see `docs/threat-model.md`.
    pub remember: bool,
    /// Resolvers, in order: encrypted ones are asked beside each other, others after them.
    pub dns: Vec<Dns>,
    /// A proxy through which this device connects to everything, and which looks up names; what is
    /// fetched for others only resolvers over HTTPS look up, through it. `socks5://…` or `http://…`.
    pub upstream: Option<Upstream>,
    /// Whether that is the only way out, or a further one where the plain one fails.
    pub upstream_use: UpstreamUse,
    /// Whether proxies of other programs (Tor, Psiphon, Lantern…) are looked for on this device, as further
    /// ways where the plain one fails. It connects to local ports, and through what it finds to a relay
    /// or resolver.
    pub upstream_find: bool,
    /// The ports that are looked at for that, on loopback.
    pub upstream_ports: Vec<u16>,
    /// Certificates (PEM files) trusted for sites beside the built-in authorities.
    pub extra_ca: Vec<PathBuf>,
    /// Fixed destinations for some hosts, as curl's `--connect-to`.
    pub connect_to: Vec<ConnectTo>,
    /// Networks beside the public internet that its owner may connect to.
    pub allow_net: Vec<String>,
    /// Networks beside the public internet that others may connect to through this node.
    pub allow_net_for_others: Vec<String>,
    /// Listen for plain QUIC here: for tests and trusted networks only.
    pub plain_wire: Option<SocketAddr>,
    /// What the node does in its LAN; if not given, a quiet one listens and an open one beacons.
    pub lan: Option<Lan>,
    /// Whether it speaks to neighbours that beacon; if not given, only an open one does.
    pub lan_dial: Option<bool>,
    /// Whether nodes are reached by relays.
    pub relay: bool,
    /// Whether nodes whose invite names a veil address are tried there, too, over UDP, or
    /// over TCP where no UDP passes.
    pub veil: bool,
    /// Listen for the veil wire here (UDP and TCP).
    pub veil_addr: Option<SocketAddr>,
    /// Where others reach that: what invites say; the listening address if not given.
    pub veil_public: Vec<SocketAddr>,
    /// Whether an open node asks its router for a way in (PCP, NAT-PMP, UPnP), if others can't reach it
    /// otherwise; if not given, it does so unless it is absent in its LAN.
    pub port_map: Option<bool>,
    /// Whether an open node looks for others in BitTorrent's public DHT, where anyone sees that.
    pub dht: bool,
    /// Where those who found this node in the DHT ask it for its card (UDP): announced there, together
    /// with the address from which the DHT hears it.
    pub dht_addr: Option<SocketAddrV4>,
    /// The nodes of the DHT that are asked first, as host:port.
    pub dht_bootstrap: Vec<String>,
    /// Who may tunnel through this node, and where to.
    pub exit: Exit,
    /// The most bytes a day that this node gives to others, in whatever way, both ways together.
    pub give_quota: GiveQuota,
    /// The most bytes a second that it gives.
    pub give_rate: Option<NonZeroU64>,
    /// Whether it gives while the device lives on its battery.
    pub give_on_battery: bool,
    /// The line is paid by the byte: nothing is given.
    pub metered: bool,
    /// Relay for others here (TCP), behind a web site.
    pub relay_addr: Option<SocketAddr>,
    /// `host:port` under which others reach that: what invites say; the listening address if not given.
    pub relay_public: Option<String>,
    /// The name that this relay shows.
    pub relay_name: Option<String>,
    /// Directory of the web site that everyone else sees there.
    pub relay_site: Option<PathBuf>,
    /// Sites that the reader adds to the site list.
    pub sites: Vec<SiteConfig>,
}

/// How much a node shows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exposure {
    /// A reader's: announces nothing, serves nothing that its owner read, has a new id each day.
    #[default]
    Quiet,
    /// A helper's: keeps its id, serves what it has, may forward and be an exit.
    Open,
}

/// What an upstream proxy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamUse {
    /// Nothing leaves the device around it.
    #[default]
    Instead,
    /// It is tried where the plain way fails or is silent.
    Also,
}

/// What a node does in its LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lan {
    /// Nothing.
    Off,
    /// Hears those who beacon, and sends nothing.
    Listen,
    /// Says that it is there, to whoever is in the LAN and runs Busel, and takes their connections.
    Beacon,
}

/// Where a node lets others tunnel to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// Nowhere.
    #[default]
    Off,
    /// To the hosts of the site list.
    Sites,
    /// To any public host on ports 80 and 443.
    Web,
}

/// The most bytes a day: a number, or `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GiveQuota {
    /// No limit.
    Unlimited,
    /// So many.
    #[serde(untagged)]
    Bytes(u64),
}

impl GiveQuota {
    /// The limit, if there is one.
    pub fn limit(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

/// `user:password`; not shown in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credentials(pub String);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Whether a program can show them (RFC 7617: no control characters, no colon in the name).
    fn are_sound(&self) -> bool {
        let parts = self.0.split_once(':');
        parts.is_some_and(|(user, password)| !user.is_empty() && !password.is_empty())
            && !self.0.chars().any(char::is_control)
    }
}

/// A resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Dns {
    /// The system's.
    System,
    /// DNS over UDP and TCP at this address.
    Plain(SocketAddr),
    /// DNS over HTTPS (RFC 8484) at this address, under this name.
    Https(SocketAddr, HostName),
}

/// Connections to `host:port` go to `addr` instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectTo {
    /// The host as in the URL.
    pub host: String,
    /// The port as in the URL.
    pub port: u16,
    /// Where to connect.
    pub addr: SocketAddr,
}

/// One entry of the site list, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SiteConfig {
    /// `example.org`, `*.example.org`.
    pub hosts: String,
    /// Parameters of queries that are public.
    #[serde(default)]
    pub query: Vec<String>,
    /// The provider must not see it being asked for.
    #[serde(default)]
    pub guarded: bool,
    /// Plain `http` requests for it are answered with the `https` page.
    #[serde(default = "yes")]
    pub https: bool,
}

/// Where one enters the DHT, if nothing else is said: what its usual programs ask.
const DHT_BOOTSTRAP: [&str; 3] =
    ["router.bittorrent.com:6881", "dht.transmissionbt.com:6881", "dht.libtorrent.org:25401"];
/// First nodes of the DHT that may be named.
const MAX_BOOTSTRAP: usize = 16;

/// Reads `host:port`.
pub(crate) fn first_node(text: &str) -> Option<(HostName, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((HostName::parse(host).ok()?, port.parse().ok().filter(|port| *port != 0)?))
}

fn yes() -> bool {
    true
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Written for another version of the program.
    #[error("the configuration has version {0}; this program knows version {VERSION}")]
    Version(u32),
    /// A value makes no sense.
    #[error("{key}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl Default for Config {
    fn default() -> Self {
        let doh = |ip: [u8; 4], name: &str| {
            let name = HostName::parse(name).expect("a fixed host name");
            Dns::Https(SocketAddr::from((ip, 443)), name)
        };
        Self {
            version: VERSION,
            dir: PathBuf::from("busel-data"),
            exposure: Exposure::Quiet,
            http: None,
            http_credentials: None,
            http_tells: false,
            quota: 2 << 30,
            assigned_quota: 32 << 20,
            direct: true,
            remember: true,
            dns: vec![
                doh([9, 9, 9, 9], "dns.quad9.net"),
                doh([1, 1, 1, 1], "cloudflare-dns.com"),
                Dns::System,
            ],
            upstream: None,
            upstream_use: UpstreamUse::Instead,
            upstream_find: false,
            upstream_ports: USUAL.map(|(port, _)| port).into(),
            extra_ca: Vec::new(),
            connect_to: Vec::new(),
            allow_net: Vec::new(),
            allow_net_for_others: Vec::new(),
            plain_wire: None,
            lan: None,
            editions: Vec::new(),
            lan_dial: None,
            dht: false,
            dht_addr: None,
            dht_bootstrap: DHT_BOOTSTRAP.map(str::to_owned).into(),
            relay: true,
            veil: true,
            veil_addr: None,
            veil_public: Vec::new(),
            port_map: None,
            exit: Exit::Off,
            give_quota: GiveQuota::Bytes(10 << 30),
            give_rate: None,
            give_on_battery: false,
            metered: false,
            relay_addr: None,
            relay_public: None,
            relay_name: None,
            relay_site: None,
            sites: Vec::new(),
        }
    }
}

impl Config {
    /// Checks what types alone do not.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.version != VERSION {
            return Err(ConfigError::Version(self.version));
        }
        self.reach()?;
        self.reach_for_others()?;
        self.site_list()?;
        self.check_veil()?;
        self.check_dht()?;
        self.check_relay()?;
        self.check_upstreams()?;
        if self.http_credentials.as_ref().is_some_and(|given| !given.are_sound()) {
            let why = "write USER:PASSWORD, without control characters".into();
            return Err(ConfigError::Value { key: "http-credentials", why });
        }
        if let Some(host) = self.editions.iter().find(|host| HostName::parse(host).is_err()) {
            let why = format!("{host:?} is no host");
            return Err(ConfigError::Value { key: "editions", why });
        }
        if self.dns.is_empty() {
            let why = "at least one resolver is needed".into();
            return Err(ConfigError::Value { key: "dns", why });
        }
        Ok(())
    }

    /// What it does in its LAN; `None` if nothing.
    pub fn lan_manners(&self) -> Option<Manners> {
        // Whoever has all go through a proxy is not to be seen beside it.
        let open = self.exposure == Exposure::Open && self.upstream.is_none();
        let lan = self.lan.unwrap_or(if open { Lan::Beacon } else { Lan::Listen });
        let beacons = lan == Lan::Beacon;
        (lan != Lan::Off).then(|| Manners { beacons, speaks: self.lan_dial.unwrap_or(open) })
    }

    fn check_dht(&self) -> Result<(), ConfigError> {
        let wrong = |key, why: &str| Err(ConfigError::Value { key, why: why.into() });
        if self.dht && self.exposure == Exposure::Quiet {
            return wrong("dht", "a quiet node has no part in it: it would be on a public list");
        }
        if self.dht && self.upstream.is_some() {
            return wrong("dht", "with an upstream proxy nothing may go around it");
        }
        if self.dht_addr.is_some() && !(self.dht && self.veil_addr.is_some()) {
            return wrong("dht-addr", "it announces what is reached at veil-addr, and needs dht");
        }
        if self.dht_bootstrap.len() > MAX_BOOTSTRAP
            || self.dht_bootstrap.iter().any(|text| first_node(text).is_none())
        {
            return wrong("dht-bootstrap", "write HOST:PORT, and no more than 16 of them");
        }
        Ok(())
    }

    fn check_relay(&self) -> Result<(), ConfigError> {
        let wrong = |key, why: &str| Err(ConfigError::Value { key, why: why.into() });
        let Some(listen) = self.relay_addr else {
            let set = [
                ("relay-public", self.relay_public.is_some()),
                ("relay-name", self.relay_name.is_some()),
                ("relay-site", self.relay_site.is_some()),
            ];
            return match set.into_iter().find(|(_, set)| *set) {
                None => Ok(()),
                Some((key, _)) => wrong(key, "there is no relay-addr to listen on"),
            };
        };
        if self.exposure == Exposure::Quiet {
            return wrong("relay-addr", "a quiet node listens nowhere");
        }
        if !self.relay || (self.upstream.is_some() && self.upstream_use == UpstreamUse::Instead) {
            return wrong("relay-addr", "this node reaches no relay, its own among them");
        }
        let public = self.relay_public.as_deref().map(first_node);
        match public {
            Some(None) => return wrong("relay-public", "write HOST:PORT"),
            None if listen.ip().is_unspecified() => {
                return wrong("relay-public", "say under which HOST:PORT others reach relay-addr");
            }
            Some(Some(_)) | None => {}
        }
        match self.relay_name.as_deref().map(HostName::parse) {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) => wrong("relay-name", "that is no host name"),
            // One name for all would be a mark of all.
            None => {
                wrong("relay-name", "say which name the relay shows: one that fits its address")
            }
        }
    }

    fn check_upstreams(&self) -> Result<(), ConfigError> {
        let wrong = |key, why: &str| Err(ConfigError::Value { key, why: why.into() });
        if self.upstream_find && self.upstream.is_some() {
            return wrong("upstream-find", "there is an upstream proxy: no other is looked for");
        }
        if self.upstream_ports.len() > MAX_PORTS || self.upstream_ports.contains(&0) {
            return wrong("upstream-ports", "write ports, and no more than 32 of them");
        }
        Ok(())
    }

    /// Whether it asks its router for a way in, if that is needed.
    pub(crate) fn maps_port(&self) -> bool {
        let shows = self.lan != Some(Lan::Off);
        self.exposure == Exposure::Open && self.port_map.unwrap_or(shows)
    }

    fn check_veil(&self) -> Result<(), ConfigError> {
        let wrong = |key, why: &str| Err(ConfigError::Value { key, why: why.into() });
        let Some(listen) = self.veil_addr else {
            return match self.veil_public.is_empty() {
                true => Ok(()),
                false => wrong("veil-public", "there is no veil-addr to listen on"),
            };
        };
        if self.exposure == Exposure::Quiet {
            return wrong("veil-addr", "a quiet node listens nowhere");
        }
        if self.upstream.is_some() && self.upstream_use == UpstreamUse::Instead {
            return wrong("veil-addr", "with an upstream proxy nothing may go around it");
        }
        if listen.ip().is_unspecified() && self.veil_public.is_empty() && !self.maps_port() {
            let why = "say under which IP:PORT others reach veil-addr, or have the router asked";
            return wrong("veil-public", why);
        }
        if self.veil_public.iter().any(|addr| addr.ip().is_unspecified() || addr.port() == 0) {
            return wrong("veil-public", "that is no address that others could reach");
        }
        Ok(())
    }

    /// What opens connections, as configured.
    pub(crate) fn dialer(&self) -> Dialer {
        match (self.upstream.clone(), self.upstream_use) {
            (None, _) => Dialer::default(),
            (Some(upstream), UpstreamUse::Instead) => Dialer::through(upstream),
            (Some(upstream), UpstreamUse::Also) => Dialer::also_through(upstream),
        }
    }

    /// The networks that its owner may connect to.
    pub fn reach(&self) -> Result<Reach, ConfigError> {
        reach("allow-net", &self.allow_net)
    }

    /// The networks that others may connect to through it.
    pub fn reach_for_others(&self) -> Result<Reach, ConfigError> {
        reach("allow-net-for-others", &self.allow_net_for_others)
    }

    /// The configured part of the site list.
    pub fn site_list(&self) -> Result<Vec<Site>, ConfigError> {
        let bad = |why: String| ConfigError::Value { key: "sites", why };
        self.sites
            .iter()
            .map(|site| {
                let hosts = HostPattern::parse(&site.hosts)
                    .map_err(|_| bad(format!("“{}” is no host", site.hosts)))?;
                let query = match site.query.is_empty() {
                    true => QueryRule::None,
                    false => QueryRule::Only(site.query.clone()),
                };
                Ok(Site { hosts, query, guarded: site.guarded, https: site.https })
            })
            .collect()
    }
}

fn reach(key: &'static str, nets: &[String]) -> Result<Reach, ConfigError> {
    let allowed: Result<_, _> = nets.iter().map(|text| text.parse::<NetRange>()).collect();
    let allowed = allowed.map_err(|e| ConfigError::Value { key, why: e.to_string() })?;
    Ok(Reach { allowed })
}

impl TryFrom<String> for Dns {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || {
            format!("“{text}” is no resolver; write system, udp://IP:PORT or https://NAME@IP:PORT")
        };
        if text == "system" {
            return Ok(Self::System);
        }
        if let Some(addr) = text.strip_prefix("udp://") {
            return addr.parse().map(Self::Plain).map_err(|_| bad());
        }
        let rest = text.strip_prefix("https://").ok_or_else(bad)?;
        let (name, addr) = rest.split_once('@').ok_or_else(bad)?;
        let name = HostName::parse(name).map_err(|_| bad())?;
        addr.parse().map(|addr| Self::Https(addr, name)).map_err(|_| bad())
    }
}

impl From<Dns> for String {
    fn from(dns: Dns) -> Self {
        match dns {
            Dns::System => "system".into(),
            Dns::Plain(addr) => format!("udp://{addr}"),
            Dns::Https(addr, name) => format!("https://{name}@{addr}"),
        }
    }
}

impl std::str::FromStr for ConnectTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("“{text}” is not HOST:PORT:IP:PORT");
        let (host, rest) = text.split_once(':').ok_or_else(bad)?;
        let (port, addr) = rest.split_once(':').ok_or_else(bad)?;
        Ok(Self {
            host: HostName::parse(host).map_err(|_| bad())?.to_string(),
            port: port.parse().map_err(|_| bad())?,
            addr: addr.parse().map_err(|_| bad())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_is_read_in_each_form() {
        for text in ["system", "udp://127.0.0.1:53", "https://dns.quad9.net@9.9.9.9:443"] {
            let dns = Dns::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(dns), text);
        }
        for bad in ["", "udp://x", "https://9.9.9.9", "https://a b@9.9.9.9:443"] {
            assert!(Dns::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fixed_destination_is_read() {
        let to: ConnectTo = "News.example:443:127.0.0.1:8443".parse().unwrap();
        assert_eq!((to.host.as_str(), to.port), ("news.example", 443));
        assert!("news.example:443".parse::<ConnectTo>().is_err());
    }

    #[test]
    fn a_quiet_node_says_nothing_in_its_lan_unless_it_is_told_to() {
        let quiet = Config::default();
        assert_eq!(quiet.lan_manners(), Some(Manners { beacons: false, speaks: false }));
        let open = Config { exposure: Exposure::Open, ..Config::default() };
        assert_eq!(open.lan_manners(), Some(Manners { beacons: true, speaks: true }));
        let dials = Config { lan_dial: Some(true), ..Config::default() };
        assert_eq!(dials.lan_manners(), Some(Manners { beacons: false, speaks: true }));
        let off = Config { lan: Some(Lan::Off), lan_dial: Some(true), ..open };
        assert_eq!(off.lan_manners(), None);
    }

    #[test]
    fn only_an_open_node_has_a_part_in_the_dht() {
        let open = Config { exposure: Exposure::Open, dht: true, ..Config::default() };
        assert!(open.check().is_ok());
        let at = "192.0.2.1:9".parse().ok();
        let quiet = Config { exposure: Exposure::Quiet, ..open.clone() };
        let around = Config { upstream: "127.0.0.1:9050".parse().ok(), ..open.clone() };
        let unheard = Config { dht_addr: at, ..open.clone() };
        let odd = Config { dht_bootstrap: vec!["router".into()], ..open };
        for config in [quiet, around, unheard, odd] {
            let said = config.check().unwrap_err().to_string();
            assert!(said.starts_with("dht"), "{said}");
        }
        assert!(!Config::default().dht, "nobody is on a list unasked");
    }

    #[test]
    fn proxies_are_looked_for_only_if_allowed_and_beside_no_other() {
        assert!(!Config::default().upstream_find);
        let find = Config { upstream_find: true, ..Config::default() };
        assert!(find.check().is_ok());
        let two = Config { upstream: "127.0.0.1:9050".parse().ok(), ..find.clone() };
        let odd = Config { upstream_ports: vec![0], ..find.clone() };
        let many = Config { upstream_ports: (1..100).collect(), ..find };
        for (config, key) in [(two, "upstream-find"), (odd, "upstream-p"), (many, "upstream-p")] {
            let said = config.check().unwrap_err().to_string();
            assert!(said.starts_with(key), "{said}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let config = Config { allow_net: vec!["10.0.0.0/40".into()], ..Config::default() };
        assert!(config.check().unwrap_err().to_string().starts_with("allow-net: "));
        let config = Config { allow_net_for_others: vec!["lan".into()], ..Config::default() };
        let said = config.check().unwrap_err().to_string();
        assert!(said.starts_with("allow-net-for-others: "), "{said}");
        let config = Config { version: 9, ..Config::default() };
        assert!(matches!(config.check(), Err(ConfigError::Version(9))));
        for bad in ["", "user", "user:", ":password", "user:pass\nword"] {
            let http_credentials = Some(Credentials(bad.into()));
            let config = Config { http_credentials, ..Config::default() };
            let said = config.check().unwrap_err().to_string();
            assert!(said.starts_with("http-credentials: "), "{said}");
        }
        assert!(Config::default().check().is_ok());
    }

    #[test]
    fn who_relays_is_open_and_says_where_and_under_which_name() {
        let name = Some("www.example.org".to_owned());
        let open = Config { exposure: Exposure::Open, ..Config::default() };
        let at = |text: &str| text.parse().ok();
        let sound = Config { relay_addr: at("192.0.2.1:443"), relay_name: name, ..open.clone() };
        assert!(sound.check().is_ok());
        let quiet = Config { exposure: Exposure::Quiet, ..sound.clone() };
        let around = Config { upstream: "127.0.0.1:9050".parse().ok(), ..sound.clone() };
        let nowhere = Config { relay_addr: at("0.0.0.0:443"), ..sound.clone() };
        let odd = Config { relay_public: Some("here".into()), ..sound.clone() };
        let nameless = Config { relay_name: None, ..sound.clone() };
        let lone = Config { relay_site: Some("/srv".into()), ..open };
        for config in [quiet, around, nowhere, odd, nameless, lone] {
            let said = config.check().unwrap_err().to_string();
            assert!(said.starts_with("relay-"), "{said}");
        }
        let mapped = Config { relay_public: Some("me.example:8443".into()), ..sound };
        assert!(Config { relay_addr: at("0.0.0.0:443"), ..mapped }.check().is_ok());
    }

    #[test]
    fn who_listens_behind_a_veil_is_open_and_says_where() {
        let at = |text: &str| Some(text.parse().unwrap());
        let open = Config { exposure: Exposure::Open, ..Config::default() };
        let sound = Config { veil_addr: at("192.0.2.1:9"), ..open.clone() };
        assert!(sound.check().is_ok());
        let quiet = Config { exposure: Exposure::Quiet, ..sound.clone() };
        let around = Config { upstream: Some("127.0.0.1:9050".parse().unwrap()), ..sound.clone() };
        let mapped = Config { veil_addr: at("0.0.0.0:9"), ..open.clone() };
        assert!(mapped.check().is_ok(), "its router may let others in");
        let nowhere = Config { port_map: Some(false), ..mapped };
        let odd = Config { veil_public: vec!["0.0.0.0:9".parse().unwrap()], ..sound };
        let lone = Config { veil_public: vec!["192.0.2.1:9".parse().unwrap()], ..open };
        for config in [quiet, around, nowhere, odd, lone] {
            let said = config.check().unwrap_err().to_string();
            assert!(said.starts_with("veil-"), "{said}");
        }
    }
}
