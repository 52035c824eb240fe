//! What can be typed: each flag is defined here once, and help, man page and completions come of it.

use std::net::{SocketAddr, SocketAddrV4};
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use busel_net::dial::Upstream;
use busel_node::config::{ConnectTo, Exit, Exposure, GiveQuota, Lan};
use busel_proto::page::{HostName, HostPattern, PageError, PageUrl};
use clap::{Parser, Subcommand, ValueEnum};

/// Keeps news reachable while a state censors the internet.
#[derive(Debug, Parser)]
#[command(name = "busel", version, about, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) setup: Setup,
    /// What to log to standard error: off, error, warn, info, debug, trace or a filter; from debug
    /// on, it names addresses and nodes
    #[arg(long, global = true, env = "BUSEL_LOG", default_value = "error", hide_env = true)]
    pub(crate) log: String,
    /// Log what happens, as --log info: no addresses and no nodes
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where a node's things are.
#[derive(Debug, clap::Args)]
pub(crate) struct Setup {
    /// Configuration file (TOML) [default: config.toml in the data directory, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Data directory [default: the platform's place for a program's data]
    #[arg(long, global = true, value_name = "DIR", env = "BUSEL_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// File with the passphrase that opens the store; a new store is protected by it
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell the whole story on this machine: a site, a censor, and readers who still read
    Demo(Demo),
    /// Run a reader's or helper's node with its HTTP proxy
    Up(Up),
    /// Get a page by whatever way works
    Get(Get),
    /// Say what is to be had, as the injectors that are trusted say, the newest first
    Find(Find),
    /// Run an injector: a node that fetches pages for others and signs what it saw
    Injector(Injector),
    /// Make and use an injector's root key, which belongs offline
    #[command(subcommand)]
    Root(Root),
    /// Run a relay behind an ordinary web site
    Relay(Relay),
    /// Print an invite for a friend, made by the running node
    Invite(Invite),
    /// Join an invite
    Join(Join),
    /// Take the word of a root: keys that it takes back, or copies that it vouches for
    Heed(Heed),
    /// Open a browser in a profile of its own that asks for everything through the running node
    Browse(Browse),
    /// Have browsers on this device read listed sites through Busel though they speak HTTPS: by a
    /// certificate authority that is made here, for these sites alone
    #[command(subcommand)]
    Ca(Ca),
    /// Say how the running node stands
    Status(Status),
    /// Find out what stands between this device and some sites, and name it
    #[command(after_help = DOCTOR_EXIT)]
    Doctor(Doctor),
    /// End the running node
    Stop,
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
    /// The provider of the demo, a process of its own
    #[command(hide = true)]
    DemoIsp,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Show this directory as the site instead of a generated one
    #[arg(long, value_name = "DIR")]
    pub(crate) site: Option<PathBuf>,
    /// Keep it running afterwards, for a browser or curl at reader B
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What a node needs to know, whatever it is run for.
#[derive(Debug, Default, PartialEq, clap::Args)]
pub(crate) struct NodeFlags {
    /// quiet: show nothing of what is read; open: serve others
    #[arg(long, value_enum)]
    pub(crate) exposure: Option<ExposureFlag>,
    /// Connect to everything through this proxy: socks5://[USER:PASSWORD@]IP:PORT or http://…
    #[arg(long, value_name = "PROXY")]
    pub(crate) upstream: Option<Upstream>,
    /// Use that proxy only where the plain way fails
    #[arg(long)]
    pub(crate) upstream_also: bool,
    /// Look for proxies of other programs on this device (Tor, Psiphon, Lantern…), and use what is found
    /// where the plain way fails
    #[arg(long, conflicts_with = "upstream")]
    pub(crate) upstream_find: bool,
    /// A resolver: system, udp://IP:PORT or https://NAME@IP:PORT; several are tried in order
    #[arg(long, value_name = "RESOLVER")]
    pub(crate) dns: Vec<String>,
    /// Connect to IP:PORT instead of HOST:PORT
    #[arg(long, value_name = "HOST:PORT:IP:PORT")]
    pub(crate) connect_to: Vec<ConnectTo>,
    /// Allow connections to this network beside the public internet, e.g. 10.0.0.0/8
    #[arg(long, value_name = "NET")]
    pub(crate) allow_net: Vec<String>,
    /// Allow others to connect to this network through this node; an injector's --allow-net does, too
    #[arg(long, value_name = "NET")]
    pub(crate) allow_net_for_others: Vec<String>,
    /// Trust the authorities in this PEM file for sites, beside the built-in ones
    #[arg(long, value_name = "FILE")]
    pub(crate) extra_ca: Vec<PathBuf>,
    /// Add a site to the site list, e.g. '*.example.org'
    #[arg(long, value_name = "HOSTS")]
    pub(crate) site: Vec<HostPattern>,
    /// Never ask sites directly
    #[arg(long)]
    pub(crate) no_direct: bool,
    /// Speak plain QUIC on this address: any filter recognises it; for tests and trusted networks
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) plain_wire: Option<SocketAddr>,
    /// What this node does in its LAN: nothing, listen, or say that it is there [default: a quiet
    /// node listens, an open one beacons]
    #[arg(long, value_enum)]
    pub(crate) lan: Option<LanFlag>,
    /// Take the editions of this host as they come out, so that its news is on this device before a cut
    #[arg(long, value_name = "HOST", value_parser = host)]
    pub(crate) keep_edition: Vec<HostName>,
    /// Whether to speak to neighbours in the LAN, who can then see that this device runs Busel
    /// [default: only an open node does]
    #[arg(long, value_name = "YES", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) lan_dial: Option<bool>,
    /// Listen for other nodes on this UDP address, in datagrams that look like nothing; not for quiet
    /// nodes
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) veil_addr: Option<SocketAddr>,
    /// Where others reach that address, for invites [default: the address itself]
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
    pub(crate) veil_public: Vec<SocketAddr>,
    /// Whether to ask the router for a way in (PCP, NAT-PMP, UPnP), if others can't reach this node
    /// otherwise [default: an open node does, unless it is absent in its LAN]
    #[arg(long, value_name = "YES", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) port_map: Option<bool>,
    /// Reach no node by a relay
    #[arg(long)]
    pub(crate) no_relay: bool,
    /// Reach no node behind the veil, neither over UDP nor TCP
    #[arg(long, conflicts_with = "veil_addr")]
    pub(crate) no_veil: bool,
    /// Look for other open nodes in BitTorrent's public DHT, where anyone sees that; not for quiet nodes
    #[arg(long)]
    pub(crate) dht: bool,
    /// Announce this node there, for those who ask at this UDP address; needs --veil-addr
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) dht_addr: Option<SocketAddrV4>,
    /// Enter the DHT here instead of where its usual programs do
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) dht_bootstrap: Vec<String>,
    /// Where others may connect to through this node
    #[arg(long, value_enum)]
    pub(crate) exit: Option<ExitFlag>,
    /// The most that this node gives to others a day, in whatever way, in MiB, or `unlimited`
    #[arg(long, value_name = "MIB", value_parser = give_quota)]
    pub(crate) give_quota: Option<GiveQuota>,
    /// The most KiB a second that it gives
    #[arg(long, value_name = "KIB")]
    pub(crate) give_rate: Option<NonZeroU64>,
    /// Give also while the device lives on its battery
    #[arg(long)]
    pub(crate) give_on_battery: bool,
    /// The line is paid by the byte: give nothing
    #[arg(long)]
    pub(crate) metered: bool,
    /// Relay for others on this TCP address, behind a web site; not for quiet nodes
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) relay_addr: Option<SocketAddr>,
    /// HOST:PORT under which others reach that, for invites [default: the address itself]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) relay_public: Option<String>,
    /// The name that this relay shows, which should fit its address
    #[arg(long, value_name = "NAME")]
    pub(crate) relay_name: Option<String>,
    /// Directory of the web site that everyone else sees there
    #[arg(long, value_name = "DIR")]
    pub(crate) relay_site: Option<PathBuf>,
    /// The most that the store may take, in MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) quota: Option<u64>,
    /// The most that a quiet node holds for others, in MiB: nothing of it tells what its owner reads,
    /// and 0 turns it off [default: 32]
    #[arg(long, value_name = "MIB")]
    pub(crate) assigned_quota: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExposureFlag {
    Quiet,
    Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LanFlag {
    Off,
    Listen,
    Beacon,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExitFlag {
    /// Nowhere
    Off,
    /// To the hosts of the site list
    Sites,
    /// To any public host on ports 80 and 443
    Web,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Where the HTTP proxy listens
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Have the proxy say in each answer by which way it came (Busel-Route) and who vouches for it
    /// (Busel-Authority): to every program that uses it, and to the scripts of the site that is read
    #[arg(long)]
    pub(crate) tell: bool,
    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// The page
    #[arg(required_unless_present = "edition")]
    pub(crate) url: Option<String>,
    /// Instead: the latest edition of this host, its news with all that they need, to be read without any line
    #[arg(long, value_name = "HOST", value_parser = host,
        conflicts_with_all = ["url", "output", "include", "explain"])]
    pub(crate) edition: Option<HostName>,
    /// Write the page to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print status and header fields before the page
    #[arg(short, long)]
    pub(crate) include: bool,
    /// Say on standard error which ways were tried, when, and how each did
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

/// What the exit code of `busel doctor` means.
const DOCTOR_EXIT: &str = "Exit code: 0 if nothing stands in the way, 3 if something was named, 4 if \
    something is wrong that could not be named, 1 if no examination could be made.";

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Pages to look at [default: the front pages of the first sites on the site list]
    #[arg(value_name = "URL")]
    pub(crate) urls: Vec<String>,
    /// Look at this page too, which is in your country, to tell a cut of the border from others
    #[arg(long, value_name = "URL")]
    pub(crate) home: Vec<String>,
    /// Ask guarded sites too: the provider will see that they are asked for
    #[arg(long)]
    pub(crate) guarded: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Injector {
    /// Hosts to fetch from, e.g. '*.example.org'
    #[arg(long, required = true, value_name = "HOSTS", value_delimiter = ',')]
    pub(crate) hosts: Vec<HostPattern>,
    /// What readers see as the authority of its pages
    #[arg(long, default_value = "injector")]
    pub(crate) label: String,
    /// Root key file that certifies this injector's subkey anew as needed, while it runs, too
    #[arg(long, value_name = "FILE", conflicts_with = "cert")]
    pub(crate) root: Option<PathBuf>,
    /// Certificate for this injector's subkey, made by `busel root certify`; a newer one put into
    /// this file is taken in time
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Print the request for `busel root certify`, and end
    #[arg(long)]
    pub(crate) request: bool,
    /// Requests that one client may make a second
    #[arg(long, default_value_t = 50)]
    pub(crate) rate: u32,
    /// Ports to fetch from beside 80 and 443, e.g. 8443 or 8000-8999
    #[arg(long, value_name = "PORTS", value_delimiter = ',', value_parser = ports)]
    pub(crate) ports: Vec<RangeInclusive<u16>>,
    /// RSS or Atom feed, or sitemap, of whose pages an edition is made for readers to take ahead
    #[arg(long = "feed", value_name = "URL", value_parser = page)]
    pub(crate) feeds: Vec<PageUrl>,
    /// Look at the feeds every so many minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) feeds_every: u32,
    /// The longest body to fetch, in MiB
    #[arg(long, default_value_t = 1024)]
    pub(crate) max_body: u64,
    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Root {
    /// Make a root key
    New {
        /// Where to keep it; must not exist
        file: PathBuf,
    },
    /// Certify an injector's subkey
    Certify {
        /// The root key
        file: PathBuf,
        /// What `busel injector --request` printed
        request: String,
        /// For how many days
        #[arg(long, default_value_t = 30)]
        days: u64,
    },
    /// Take subkeys back; each list must repeat the earlier ones
    Revoke {
        /// The root key
        file: PathBuf,
        /// Counts up with each list
        #[arg(long)]
        seq: u64,
        /// The subkeys
        #[arg(required = true)]
        subkeys: Vec<busel_proto::id::PublicKey>,
    },
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Relay {
    #[command(subcommand)]
    pub(crate) ways: Option<RelayWays>,
    /// Where to listen
    #[arg(long, default_value = "0.0.0.0:443", value_name = "IP:PORT")]
    pub(crate) listen: SocketAddr,
    /// HOST:PORT under which others reach it [default: the listening address]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) public: Option<String>,
    /// The name that it shows
    #[arg(long, default_value = "www.example.org")]
    pub(crate) name: String,
    /// Another name that readers may show instead, where a filter does not let that one pass
    #[arg(long, value_name = "NAME")]
    pub(crate) sni: Vec<String>,
    /// Directory of the web site that everyone else sees
    #[arg(long, value_name = "DIR")]
    pub(crate) site: Option<PathBuf>,
    /// Web site that everyone else is passed on to instead, e.g. http://127.0.0.1:8080
    #[arg(long, value_name = "URL", conflicts_with = "site")]
    pub(crate) site_proxy: Option<String>,
    /// Certificate chain of the site (PEM) [default: one made by itself, pinned by the invite]
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// The most KiB a second that one client may send
    #[arg(long, value_name = "KIB")]
    pub(crate) client_rate: Option<NonZeroU32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RelayWays {
    /// Make invites that are counted: each with ways in of its own, which can be taken back
    Give {
        /// How many invites
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
        invites: u32,
        /// How many spare ways in each brings, to hand on to others
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=256))]
        spares: u32,
        /// For how many days they are good
        #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Take ways in back; a running relay heeds it within a second
    Revoke {
        /// Invites that leaked, as for `busel join`: what of this relay is in them is taken back
        invites: Vec<String>,
        /// A whole batch
        #[arg(long, value_name = "NUMBER")]
        batch: Vec<u32>,
        /// The way in of the invite that the relay prints, which all its holders share
        #[arg(long)]
        shared: bool,
    },
    /// List the batches that were given out, and how many of each are used
    List,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Browse {
    /// The page to begin with
    pub(crate) url: Option<String>,
    /// This browser [default: the first that is found of Chromium and its kin, and Firefox]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) browser: Option<PathBuf>,
    /// Keep the profile here, with its history and cookies [default: none is left when it is closed]
    #[arg(long, value_name = "DIR")]
    pub(crate) profile: Option<PathBuf>,
    /// What else to tell the browser
    #[arg(last = true, value_name = "ARGUMENT")]
    pub(crate) arguments: Vec<std::ffi::OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Say for which sites it vouches, until when, and which browsers believe it
    Status,
    /// Make it for the sites that are listed now, and have this user's browsers believe it
    Install {
        /// Have the whole system believe it, too: needs root
        #[arg(long)]
        system: bool,
        /// Make it anew, for sites that were listed since
        #[arg(long)]
        anew: bool,
    },
    /// Have nobody believe it any more, and destroy it
    Remove,
    /// Write its certificate (PEM), for a browser that is not found; it is made if there is none
    Export {
        /// Where to [default: standard output]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Invite {
    /// Show it as a QR code, too, for a friend's camera
    #[arg(long)]
    pub(crate) qr: bool,
    /// Write its QR code to this file, a PNG picture; must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) png: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The invite; or the file that holds it, as text or as a QR code in a picture (PNG or JPEG, a
    /// photo, say); or -, for standard input
    pub(crate) invite: String,
    /// Trust what it asks to be trusted, without being asked
    #[arg(long)]
    pub(crate) trust: bool,
    /// Take the ways, trust nothing
    #[arg(long, conflicts_with = "trust")]
    pub(crate) no_trust: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Find {
    /// What is in its address: a host, say [default: anything]
    pub(crate) text: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Heed {
    /// What `busel root revoke` printed, or the file that holds it
    pub(crate) word: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn give_quota(text: &str) -> Result<GiveQuota, String> {
    if text == "unlimited" {
        return Ok(GiveQuota::Unlimited);
    }
    let mib: u64 = text.parse().map_err(|_| "write a number of MiB, or unlimited".to_owned())?;
    Ok(GiveQuota::Bytes(mib.saturating_mul(1 << 20)))
}

fn page(text: &str) -> Result<PageUrl, PageError> {
    PageUrl::parse(text)
}

fn host(text: &str) -> Result<HostName, PageError> {
    HostName::parse(text)
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err("write PORT or FIRST-LAST".into()),
    }
}

impl From<ExposureFlag> for Exposure {
    fn from(flag: ExposureFlag) -> Self {
        match flag {
            ExposureFlag::Quiet => Self::Quiet,
            ExposureFlag::Open => Self::Open,
        }
    }
}

impl From<LanFlag> for Lan {
    fn from(flag: LanFlag) -> Self {
        match flag {
            LanFlag::Off => Self::Off,
            LanFlag::Listen => Self::Listen,
            LanFlag::Beacon => Self::Beacon,
        }
    }
}

impl From<ExitFlag> for Exit {
    fn from(flag: ExitFlag) -> Self {
        match flag {
            ExitFlag::Off => Self::Off,
            ExitFlag::Sites => Self::Sites,
            ExitFlag::Web => Self::Web,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        super::Args::command().debug_assert();
    }
}
