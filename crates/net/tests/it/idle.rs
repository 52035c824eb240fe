//! An idle node sends no packet to any address that it was not given.
//!
//! A node and the one relay that it was given run in network namespaces of their own, joined by one
//! line, with a default route so that every address seems to be reachable; nftables counts what the
//! node sends. The namespaces are those of two processes (this very test, in other roles), so that
//! nothing is left when these end, however they end.
#![allow(clippy::print_stderr, reason = "a test may")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use busel_net::Endpoint;
use busel_net::dial::Dialer;
use busel_net::relay::{Identity, RelayConfig, RelayServer};
use busel_net::wire::Wire;
use busel_net::wire::plain::Plain;
use busel_net::wire::relay::Relay;
use busel_proto::invite::{Invite, RelayTicket};
use busel_proto::page::HostName;

/// How long the nodes idle. Whatever they might do is not announced, so time is all there is.
const IDLE: Duration = Duration::from_secs(20);
/// Which part a process of this test plays.
const ROLE: &str = "BUSEL_IDLE_ROLE";
const TEST: &str = "idle::an_idle_node_sends_nothing_to_an_address_that_it_was_not_given";
/// What the processes say to one another begins so; the test harness prints lines, too.
const SAY: &str = "idle: ";
const RELAY: &str = "198.51.100.1:443";

#[test]
fn an_idle_node_sends_nothing_to_an_address_that_it_was_not_given() {
    match std::env::var(ROLE).as_deref() {
        Ok("relay") => return block_on(play_relay()),
        Ok("node") => return block_on(play_node()),
        _ => {}
    }
    for (file, package) in
        [("/usr/sbin/nft", "nftables"), ("/bin/ip", "iproute2"), ("/usr/bin/nsenter", "util-linux")]
    {
        let there = Path::new(file).exists();
        assert!(there, "this test needs {file}: install the Debian package {package}");
    }
    if !is_root() {
        eprintln!("skipped: only root makes network namespaces");
        return;
    }
    let mut relay = Part::start("relay");
    let mut node = Part::start("node");
    join(&relay, &node);

    node.say("strangers");
    node.hears("sent");
    assert_eq!(count(&node), Counts { given: 0, others: 4 }, "strays are counted");
    node.inside("nft reset counters");

    relay.say("begin");
    let invite = relay.hears("invite ");
    node.say(&invite);
    node.hears("idled");
    let counts = count(&node);
    assert!(counts.given > 0, "the relay that it was given was not even asked");
    assert_eq!(counts.others, 0, "packets to others: {}", node.inside("nft list ruleset"));
}

/// A process of this test in a network namespace of its own.
struct Part {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Part {
    fn start(role: &str) -> Self {
        let mut child = Command::new("/usr/bin/unshare")
            .arg("--net")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut part = Self { child, to, from: BufReader::new(from) };
        // It speaks only once it is inside.
        part.hears("inside");
        part
    }

    fn say(&mut self, line: &str) {
        writeln!(self.to, "{line}").unwrap();
    }

    fn hears(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.from.read_line(&mut line).unwrap();
            assert!(read > 0, "it ended and never said “{begin}”");
            let said = line.split_once(SAY).map(|(_, said)| said.trim_end());
            if let Some(rest) = said.and_then(|said| said.strip_prefix(begin)) {
                return rest.to_owned();
            }
        }
    }

    /// Runs a command in its namespace.
    fn inside(&self, command: &str) -> String {
        let output = Command::new("/usr/bin/nsenter")
            .args(["--net", "--target", &self.child.id().to_string(), "/bin/sh", "-ec", command])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended already. Its namespace goes with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line between the two; the node believes that the whole internet lies behind the relay.
fn join(relay: &Part, node: &Part) {
    relay.inside(&format!("ip link add line type veth peer name line netns {}", node.child.id()));
    for (part, n) in [(relay, 1), (node, 2)] {
        part.inside(&format!(
            "ip link set lo up
             ip addr add 198.51.100.{n}/24 dev line
             ip -6 addr add 2001:db8::{n}/64 dev line nodad
             ip link set line up"
        ));
    }
    node.inside(
        "ip route add default via 198.51.100.1
         ip -6 route add default via 2001:db8::1
         nft -f - <<END
         table inet idle {
             counter given { }
             counter others { }
             set strangers4 { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 999; }
             set strangers6 { type ipv6_addr . inet_proto . inet_service; flags dynamic; size 999; }
             chain out {
                 type filter hook output priority 0;
                 oifname lo accept
                 ip daddr 198.51.100.1 tcp dport 443 counter name given accept
                 ip protocol igmp counter name others accept
                 meta l4proto { tcp, udp } counter name others
                 meta l4proto { tcp, udp } add @strangers4 { ip daddr . meta l4proto . th dport }
                 meta l4proto { tcp, udp } add @strangers6 { ip6 daddr . meta l4proto . th dport }
             }
         }
END",
    );
}

#[derive(Debug, PartialEq, Eq)]
struct Counts {
    given: u64,
    others: u64,
}

fn count(node: &Part) -> Counts {
    let of = |name: &str| {
        let told = node.inside(&format!("nft list counter inet idle {name}"));
        let packets = told.split("packets ").nth(1).unwrap().split(' ').next().unwrap();
        packets.parse().unwrap()
    };
    Counts { given: of("given"), others: of("others") }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let uids = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    uids.split_whitespace().nth(2) == Some("0")
}

async fn play_relay() {
    tell("inside");
    ask();
    let server = RelayServer::start(RelayConfig {
        listen: RELAY.parse().unwrap(),
        public: None,
        identity: Identity::generate(&HostName::parse("www.example.org").unwrap()).unwrap(),
        secret: [7; 16],
        site: None,
        site_proxy: None,
        also: Vec::new(),
        bytes_per_second: None,
    })
    .await
    .unwrap();
    let invite = Invite { relays: vec![server.ticket().clone()], ..Invite::default() };
    tell(&format!("invite {}", invite.to_line()));
    // Until the test ends.
    ask();
}

async fn play_node() {
    tell("inside");
    ask();
    // The measure is measured: one packet each to a stranger, a group, the local net and over IPv6.
    for (from, to) in [
        ("0.0.0.0:0", "192.0.2.1:9"),
        ("0.0.0.0:0", "224.0.0.251:5353"),
        ("0.0.0.0:0", "198.51.100.77:9"),
        ("[::]:0", "[2001:db8:1::1]:9"),
    ] {
        UdpSocket::bind(from).unwrap().send_to(b"x", to).unwrap();
    }
    tell("sent");
    let invite = Invite::from_line(&ask()).unwrap();
    let given = node(1, &invite.relays, None).await;
    let uninvited = node(2, &[], None).await;
    let plain = node(3, &[], Some("0.0.0.0:0".parse().unwrap())).await;
    while given.home_relay().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(IDLE).await;
    assert!(given.home_relay().is_some(), "it lost its relay");
    for endpoint in [&given, &uninvited, &plain] {
        assert!(endpoint.connected().is_empty());
    }
    tell("idled");
    // Until the counters were read: ending is no idling.
    ask();
}

async fn node(seed: u8, relays: &[RelayTicket], plain: Option<SocketAddr>) -> Endpoint {
    let relay = Relay::start(Dialer::default(), relays).await.unwrap();
    let mut wires: Vec<Arc<dyn Wire>> = vec![Arc::new(relay)];
    wires.extend(plain.map(|listen| Arc::new(Plain::new(listen)) as Arc<dyn Wire>));
    Endpoint::bind([seed; 32], wires, vec![]).await.unwrap()
}

fn tell(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{SAY}{what}").and_then(|()| out.flush()).unwrap();
}

/// The next line that the test says; empty once it has ended.
fn ask() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(work);
}
