//! Proxies of other programs on this device: looked for only if that is allowed, used where the plain way
//! fails, left when they end.

use std::net::SocketAddr;
use std::time::Duration;

use busel_node::control::{Control, Upstream};
use busel_node::{Config, Node, Request, config};
use busel_proto::failure::Route;
use busel_proto::page::PageUrl;
use futures_util::FutureExt;
use tokio::net::TcpListener;

use crate::support::dns::Dns;
use crate::support::socks::Socks;
use crate::support::{HOST, World, body};

/// A reader for whom no name has an address, and who may look at these ports.
fn finder(world: &World, dns: SocketAddr, ports: Vec<u16>) -> Config {
    let mut config = world.reader_sent_to(world.origin.addr);
    config.connect_to.clear();
    config.dns = vec![config::Dns::Plain(dns)];
    config.upstream_find = true;
    config.upstream_ports = ports;
    config
}

async fn known(node: &Node) -> Vec<Upstream> {
    node.status().await.unwrap().upstreams.expect("it looks for some")
}

/// Waits until so many are known.
async fn knows(node: &Node, count: usize) -> Vec<Upstream> {
    loop {
        let known = known(node).await;
        if known.len() == count {
            return known;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_leads_where_the_plain_way_does_not() {
    let world = World::start().await;
    let (socks, dns) = (Socks::start().await, Dns::start(|_| vec![]).await);
    // Beside it a server that is no proxy.
    let ports = vec![socks.addr.port(), world.origin.addr.port()];
    let node = world.join(finder(&world, dns.addr, ports)).await;
    let found = knows(&node, 1).await;
    let proxy = format!("socks5://{}", socks.addr);
    assert_eq!(found, [Upstream { proxy, usual: None, used: true }]);
    assert_eq!(socks.targets(), [world.relay.addr().to_string()], "nobody else was asked");
    let url = |page: &str| {
        let port = world.origin.addr.port();
        Request::get(PageUrl::parse(&format!("https://{HOST}:{port}/{page}")).unwrap())
    };
    let response = node.fetch(url("page")).await.expect("through what was found");
    assert_eq!(response.route, Route::Direct);
    assert_eq!(body(response).await, "the page /page");
    let named = format!("{HOST}:{}", world.origin.addr.port());
    assert!(socks.targets().contains(&named), "{:?}", socks.targets());

    // The program ends. That is found out when it is needed.
    drop(socks);
    assert_eq!(known(&node).await.len(), 1, "nothing has asked yet");
    while !known(&node).await.is_empty() {
        let _ = node.fetch(url("other")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_looked_for_unless_that_is_allowed() {
    let world = World::start().await;
    let dns = Dns::start(|_| vec![]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = vec![listener.local_addr().unwrap().port()];
    let config = Config { upstream_find: false, ..finder(&world, dns.addr, ports.clone()) };
    let node = world.join(config).await;
    assert_eq!(node.status().await.unwrap().upstreams, None);
    let _ = node.fetch(Request::get(PageUrl::parse("https://other.example/").unwrap())).await;
    assert!(listener.accept().now_or_never().is_none(), "somebody came");
    let looks = world.join(finder(&world, dns.addr, ports)).await;
    listener.accept().await.expect("who may, does");
    looks.stop().await;
    node.stop().await;
}
