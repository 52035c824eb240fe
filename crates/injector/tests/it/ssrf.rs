//! Whoever fetches for others is not turned against the own machine or network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use busel_injector::Config as InjectorConfig;
use busel_node::Config;
use busel_node::config::{ConnectTo, Dns as Resolver};
use busel_proto::failure::Failure;
use busel_proto::message::{Answer, Ask};
use busel_proto::page::{HostName, HostPattern, PageUrl};

use crate::support::dns::Dns;
use crate::support::peer::{Said, request};
use crate::support::servers::{Act, Server};
use crate::support::{HOST, Peer, World};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Another address of this machine, which stands for the public internet where the operator allows
/// it: nothing outside is ever connected to.
const ALLOWED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn any_host(config: &mut InjectorConfig) {
    config.hosts = vec![HostPattern::parse("*").unwrap()];
    // The servers of these tests listen where there is room.
    config.ports = vec![1..=u16::MAX];
}

fn resolved_by(dns: &Dns) -> impl FnOnce(&mut Config) {
    let addr = dns.addr;
    move |config| {
        config.allow_net_for_others.clear();
        config.connect_to.clear();
        config.dns = vec![Resolver::Plain(addr)];
    }
}

/// What the injector says when asked for this address.
async fn asked_for(world: &World, asker: &Peer, url: &str) -> Said {
    asker.inject(world, &request(&PageUrl::parse(url).unwrap())).await.all().await
}

async fn asker_of(world: &World) -> Peer {
    let asker = Peer::asker(world).await;
    asker.meet(world, world.injector_node.id()).await;
    asker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_are_not_public_are_never_connected_to_whatever_their_spelling() {
    let dns = Dns::start(|_| vec![]).await;
    let world = World::with(resolved_by(&dns), any_host).await;
    let victim = Server::start(&world, Act::Nothing).await;
    let port = victim.addr.port();
    let asker = asker_of(&world).await;
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[fe80::1]",
        "[fd00::1]",
    ] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{port}/");
            let said = asked_for(&world, &asker, &url).await;
            let refused = matches!(said.declined, Some(Failure::NotAllowed(_)));
            assert!(refused, "{url}: {said:?}");
        }
    }
    assert_eq!((victim.connections(), dns.queries()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_resolve_to_such_addresses_are_never_connected_to() {
    let dns = Dns::start(|name| match name.split('.').next().unwrap() {
        "loopback" => vec![LOCALHOST],
        "private" => vec![[192, 168, 0, 1].into(), [10, 0, 0, 1].into()],
        "metadata" => vec![[169, 254, 169, 254].into()],
        "mapped" => vec!["::ffff:127.0.0.1".parse().unwrap()],
        "six" => vec!["::1".parse().unwrap(), "fe80::1".parse().unwrap()],
        "both" => vec![LOCALHOST, "::1".parse().unwrap()],
        _ => vec![],
    })
    .await;
    let world = World::with(resolved_by(&dns), any_host).await;
    let victim = Server::start(&world, Act::Nothing).await;
    let asker = asker_of(&world).await;
    for name in ["loopback", "private", "metadata", "mapped", "six", "both"] {
        let url = format!("https://{name}.example:{}/", victim.addr.port());
        let said = asked_for(&world, &asker, &url).await;
        assert_eq!(said.declined, Some(Failure::NamePoisoned), "{url}");
    }
    assert!(dns.queries() >= 6, "the names were looked up");
    assert_eq!(victim.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_may_allow_a_network_by_name() {
    let dns = Dns::start(|_| vec![LOCALHOST]).await;
    let resolved = resolved_by(&dns);
    let allow = |config: &mut Config| {
        resolved(config);
        config.allow_net_for_others = vec!["127.0.0.1/32".into()];
    };
    let world = World::with(allow, any_host).await;
    let listener = Server::start(&world, Act::Reset).await;
    let asker = asker_of(&world).await;
    let url = format!("https://loopback.example:{}/", listener.addr.port());
    let said = asked_for(&world, &asker, &url).await;
    assert_eq!(said.declined, Some(Failure::Reset));
    assert_eq!(listener.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_changes_its_address_is_judged_each_time_it_is_resolved() {
    let rebound = Arc::new(AtomicBool::new(false));
    let answer = rebound.clone();
    let dns = Dns::start(move |_| match answer.load(Ordering::SeqCst) {
        false => vec![ALLOWED],
        true => vec![LOCALHOST],
    })
    .await;
    let resolved = resolved_by(&dns);
    let allow = |config: &mut Config| {
        resolved(config);
        config.allow_net_for_others = vec![format!("{ALLOWED}/32")];
    };
    let world = World::with(allow, any_host).await;
    let victim = Server::start(&world, Act::Nothing).await;
    let at = SocketAddr::new(ALLOWED, victim.addr.port());
    let allowed = Server::start_at(&world, Act::Reset, at).await;
    let asker = asker_of(&world).await;
    let url = format!("https://rebound.example:{}/", at.port());

    let said = asked_for(&world, &asker, &url).await;
    assert_eq!(said.declined, Some(Failure::Reset), "the first answer is connected to");
    assert_eq!(allowed.connections(), 1);
    rebound.store(true, Ordering::SeqCst);
    let said = asked_for(&world, &asker, &url).await;
    assert_eq!(said.declined, Some(Failure::NamePoisoned), "the second is not");
    assert_eq!((allowed.connections(), victim.connections()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_addresses_only_those_that_are_allowed_are_tried() {
    let dns = Dns::start(|_| vec![LOCALHOST, ALLOWED]).await;
    let resolved = resolved_by(&dns);
    let allow = |config: &mut Config| {
        resolved(config);
        config.allow_net_for_others = vec![format!("{ALLOWED}/32")];
    };
    let world = World::with(allow, any_host).await;
    let victim = Server::start(&world, Act::Nothing).await;
    let asker = asker_of(&world).await;
    let url = format!("https://several.example:{}/", victim.addr.port());
    let said = asked_for(&world, &asker, &url).await;
    assert_eq!(said.declined, Some(Failure::Refused), "nobody listens on the allowed one");
    assert_eq!(victim.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_to_the_own_machine_is_signed_and_not_followed() {
    let world = World::start().await;
    let victim = Server::start(&world, Act::Nothing).await;
    let target = format!("http://{}/", victim.addr);
    world.origin.answer(move |_| {
        let response = http::Response::builder().status(302).header("location", &target);
        response.body(busel_node::request::full("")).unwrap()
    });
    let asker = asker_of(&world).await;
    let said = asked_for(&world, &asker, &format!("https://{HOST}/moved")).await;
    assert_eq!(said.preview.map(|preview| preview.status), Some(302));
    assert_eq!(victim.connections(), 0);
}

fn tunnel(host: &str, port: u16) -> Ask {
    Ask::Tunnel { host: HostName::parse(host).unwrap(), port }
}

fn refused(answer: Answer) -> Failure {
    match answer {
        Answer::Declined { failure } => failure,
        other => panic!("not declined: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_leads_to_no_address_that_is_not_public() {
    let dns = Dns::start(|name| match name {
        "loopback.example" => vec![LOCALHOST],
        "mapped.example" => vec!["::ffff:127.0.0.1".parse().unwrap()],
        _ => vec![],
    })
    .await;
    let hosts = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254"];
    let victim_of_all = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    victim_of_all.set_nonblocking(true).unwrap();
    let addr = victim_of_all.local_addr().unwrap();
    let resolved = resolved_by(&dns);
    let mapped = |config: &mut Config| {
        resolved(config);
        // Wherever it goes with this host and port, it would end up at the listener.
        config.connect_to = ["fixed.example", "127.0.0.1"]
            .map(|host| ConnectTo { host: host.into(), port: 443, addr })
            .into();
    };
    let world = World::with(mapped, |_| {}).await;
    let (asker, exit) = (asker_of(&world).await, world.injector_node.id());
    for host in hosts.into_iter().chain(["fixed.example"]) {
        for port in [80, 443] {
            let failure = refused(asker.ask(exit, &tunnel(host, port)).await);
            let unknown = host == "fixed.example" && port == 80;
            let fits = matches!(failure, Failure::NotAllowed(_))
                || (unknown && failure == Failure::NameUnknown);
            assert!(fits, "{host}:{port}: {failure:?}");
        }
    }
    for host in ["loopback.example", "mapped.example"] {
        let failure = refused(asker.ask(exit, &tunnel(host, 443)).await);
        assert_eq!(failure, Failure::NamePoisoned, "{host}");
    }
    let nobody = victim_of_all.accept().expect_err("nobody connected");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_to_the_web_leads_to_the_ports_of_the_web_only() {
    let victim = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    victim.set_nonblocking(true).unwrap();
    let addr = victim.local_addr().unwrap();
    let ports = [22, 25, 53, 465, 3306, 8080, 8443, 65535];
    let mapped = move |config: &mut Config| {
        for port in ports {
            config.connect_to.push(ConnectTo { host: HOST.into(), port, addr });
        }
    };
    let world = World::with(mapped, |_| {}).await;
    let (asker, exit) = (asker_of(&world).await, world.injector_node.id());
    for port in ports {
        let failure = refused(asker.ask(exit, &tunnel(HOST, port)).await);
        assert!(matches!(failure, Failure::NotAllowed(_)), "{port}: {failure:?}");
    }
    assert_eq!(asker.ask(exit, &tunnel(HOST, 443)).await, Answer::Open);
    let nobody = victim.accept().expect_err("nobody connected");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}
