//! With an upstream proxy nothing leaves the device around it, names least of all; and whoever
//! fetches for others judges each address all the same.

use std::net::{IpAddr, Ipv4Addr};

use busel_injector::Config as InjectorConfig;
use busel_node::config::Dns as Resolver;
use busel_node::{Config, Node, Request};
use busel_proto::failure::{Failure, Route};
use busel_proto::message::{Answer, Ask};
use busel_proto::page::{HostName, HostPattern, PageUrl};

use crate::support::dns::{Dns, SecureDns};
use crate::support::peer::{Said, request};
use crate::support::servers::{Act, Server};
use crate::support::socks::Socks;
use crate::support::{HOST, Peer, World, body, get};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_looked_up_by_the_proxy_and_by_nobody_else() {
    let world = World::start().await;
    let (socks, dns) = (Socks::start().await, Dns::start(|_| vec![LOCALHOST]).await);
    let mut config = world.reader_sent_to(world.origin.addr);
    config.connect_to.clear();
    config.dns = vec![Resolver::Plain(dns.addr), Resolver::System];
    config.upstream = Some(socks.addr.into());
    let node = Node::start(config).await.unwrap();
    let port = world.origin.addr.port();
    let url = PageUrl::parse(&format!("https://{HOST}:{port}/page")).unwrap();
    let response = node.fetch(Request::get(url)).await.expect("through the proxy");
    assert_eq!(response.route, Route::Direct);
    assert_eq!(body(response).await, "the page /page");
    assert_eq!(socks.targets(), [format!("{HOST}:{port}")]);
    assert_eq!(dns.names(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_the_own_network_is_not_told_to_the_proxy() {
    let world = World::start().await;
    let socks = Socks::start().await;
    let mut config = world.reader_sent_to(world.origin.addr);
    config.connect_to.clear();
    config.upstream = Some(socks.addr.into());
    let node = Node::start(config).await.unwrap();
    for host in ["localhost", "printer", "printer.local", "router.home.arpa"] {
        let url = format!("http://{host}:{}/page", world.origin.addr.port());
        let unanswered = node.fetch(Request::get(PageUrl::parse(&url).unwrap())).await;
        let tried = unanswered.expect_err("it is not the proxy's to say which host that is").tried;
        let direct = tried.iter().find(|(route, _)| *route == Route::Direct).expect("it was tried");
        assert!(matches!(direct.1, Failure::NotAllowed(_)), "{host}: {direct:?}");
    }
    assert_eq!(socks.targets(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_a_relay_is_looked_up_by_the_proxy() {
    let world = World::start().await;
    let socks = Socks::start().await;
    let mut invite = world.invite();
    let port = world.relay.addr().port();
    invite.relays[0].addr = format!("relay.example:{port}");
    let mut config = world.reader_config();
    config.upstream = Some(socks.addr.into());
    let reader = Node::start(config).await.unwrap();
    reader.join(&invite, true).await.unwrap();
    let response = get(&reader, "/page").await.expect("by the relay");
    assert_eq!(body(response).await, "the page /page");
    let targets = socks.targets();
    assert!(!targets.is_empty());
    let only = format!("relay.example:{port}");
    assert!(targets.iter().all(|target| *target == only), "{targets:?}");
}

/// An injector, and exit, behind the proxy, which fetches from any host that is named.
fn behind(socks: &Socks, dns: Vec<Resolver>) -> impl FnOnce(&mut Config) {
    let upstream = socks.addr;
    move |config| {
        config.allow_net_for_others.clear();
        config.connect_to.clear();
        config.upstream = Some(upstream.into());
        config.dns = dns;
    }
}

fn any_host(config: &mut InjectorConfig) {
    config.hosts = vec![HostPattern::parse("*").unwrap()];
    config.ports = vec![1..=u16::MAX];
}

async fn asker_of(world: &World) -> Peer {
    let asker = Peer::asker(world).await;
    asker.meet(world, world.injector_node.id()).await;
    asker
}

async fn asked_for(world: &World, asker: &Peer, url: &str) -> Said {
    asker.inject(world, &request(&PageUrl::parse(url).unwrap())).await.all().await
}

async fn tunnel(world: &World, asker: &Peer, host: &str) -> Failure {
    let ask = Ask::Tunnel { host: HostName::parse(host).unwrap(), port: 443 };
    match asker.ask(world.injector_node.id(), &ask).await {
        Answer::Declined { failure } => failure,
        other => panic!("not declined: {other:?}"),
    }
}

fn targets_but(socks: &Socks, known: &[u16]) -> Vec<String> {
    let known: Vec<_> = known.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    socks.targets().into_iter().filter(|target| !known.contains(target)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_others_no_name_is_left_to_the_proxy() {
    let (socks, dns) = (Socks::start().await, Dns::start(|_| vec![LOCALHOST]).await);
    let world = World::with(behind(&socks, vec![Resolver::Plain(dns.addr)]), any_host).await;
    let asker = asker_of(&world).await;
    let said = asked_for(&world, &asker, "https://loopback.example/").await;
    assert!(matches!(said.declined, Some(Failure::NotAllowed(_))), "{said:?}");
    let failure = tunnel(&world, &asker, "loopback.example").await;
    assert!(matches!(failure, Failure::NotAllowed(_)), "{failure:?}");
    assert_eq!(targets_but(&socks, &[world.relay.addr().port()]), Vec::<String>::new());
    assert_eq!(dns.names(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_others_an_encrypted_resolver_is_asked_through_the_proxy_and_its_answer_judged() {
    let socks = Socks::start().await;
    let dns = SecureDns::start(|name| match name {
        "allowed.example" => vec![[127, 0, 0, 2].into()],
        _ => vec![LOCALHOST],
    })
    .await;
    let set_up = behind(&socks, vec![dns.resolver()]);
    let change = |config: &mut Config| {
        set_up(config);
        dns.believed_by(config);
        config.allow_net_for_others = vec!["127.0.0.2/32".into()];
    };
    let world = World::with(change, any_host).await;
    let allowed = Server::start_at(&world, Act::Reset, ([127, 0, 0, 2], 0).into()).await;
    let asker = asker_of(&world).await;
    let port = allowed.addr.port();
    let said = asked_for(&world, &asker, &format!("https://loopback.example:{port}/")).await;
    assert_eq!(said.declined, Some(Failure::NamePoisoned));
    assert_eq!(tunnel(&world, &asker, "loopback.example").await, Failure::NamePoisoned);
    let said = asked_for(&world, &asker, &format!("https://allowed.example:{port}/")).await;
    assert_eq!(said.declined, Some(Failure::Reset));
    assert_eq!(allowed.connections(), 1);
    let known = [world.relay.addr().port(), dns.addr.port()];
    assert_eq!(targets_but(&socks, &known), [format!("127.0.0.2:{port}")]);
}
