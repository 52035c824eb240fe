//! Names: who is asked for them, who is believed, and who is not told.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use busel_node::config::{Dns as Resolver, Exposure, SiteConfig};
use busel_node::{Config, Node, Request, Unanswered};
use busel_proto::failure::{Failure, Route};
use busel_proto::page::{HostName, PageUrl};
use tokio::net::TcpListener;

use crate::support::dns::{Dns, SecureDns};
use crate::support::{HOST, LOOPBACK, World, body};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A reader who goes to sites directly, by these resolvers.
fn by(world: &World, dns: Vec<Resolver>) -> Config {
    let mut config = world.reader_sent_to(world.origin.addr);
    config.connect_to.clear();
    config.dns = dns;
    config
}

async fn get(node: &Node, host: &str, port: u16) -> Result<Route, Unanswered> {
    let url = PageUrl::parse(&format!("https://{host}:{port}/page")).unwrap();
    let response = node.fetch(Request::get(url)).await?;
    let route = response.route;
    assert_eq!(body(response).await, "the page /page");
    Ok(route)
}

fn direct(unanswered: &Unanswered) -> &Failure {
    &unanswered.tried.iter().find(|(route, _)| *route == Route::Direct).expect("it was tried").1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resolver_over_https_is_believed_by_the_own_authorities_and_by_no_other() {
    let world = World::start().await;
    let port = world.origin.addr.port();
    let dns = SecureDns::start(|_| vec![LOCALHOST]).await;
    let mut config = by(&world, vec![dns.resolver()]);
    dns.believed_by(&mut config);
    let node = Node::start(config).await.unwrap();
    assert_eq!(get(&node, HOST, port).await.expect("its name is known"), Route::Direct);
    assert!(dns.queries() > 0);

    let forged = SecureDns::start(|_| vec![LOCALHOST]).await;
    let node = Node::start(by(&world, vec![forged.resolver()])).await.unwrap();
    let unanswered = get(&node, HOST, port).await.expect_err("a resolver nobody vouches for");
    assert_eq!(direct(&unanswered), &Failure::NameUnanswered);
    assert_eq!(forged.queries(), 0, "it was told no name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_an_encrypted_resolver_does_not_know_is_not_told_to_others_in_clear_text() {
    let world = World::start().await;
    let clear = Dns::start(|_| vec![LOCALHOST]).await;
    let dns = SecureDns::start(|name| match name {
        "secret.example" => vec![],
        _ => vec![LOCALHOST],
    })
    .await;
    let mut config = by(&world, vec![dns.resolver(), Resolver::Plain(clear.addr)]);
    dns.believed_by(&mut config);
    let node = Node::start(config).await.unwrap();
    let unanswered = get(&node, "secret.example", 443).await.expect_err("there is no such name");
    assert_eq!(direct(&unanswered), &Failure::NameUnknown);
    assert!(dns.queries() > 0);
    assert_eq!(clear.names(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resolver_that_does_not_answer_is_not_waited_for_each_time() {
    let world = World::start().await;
    let port = world.origin.addr.port();
    let (dead, alive) = (Dns::silent().await, Dns::start(|_| vec![LOCALHOST]).await);
    let dns = vec![Resolver::Plain(dead.addr), Resolver::Plain(alive.addr)];
    let node = Node::start(by(&world, dns)).await.unwrap();
    assert_eq!(get(&node, HOST, port).await.expect("by the second one"), Route::Direct);
    assert_eq!(dead.names(), [HOST], "it was asked");
    for n in 0..5 {
        let host = format!("other-{n}.example");
        // Whatever the site says: its name was looked up.
        let unanswered = get(&node, &host, port).await.expect_err("it has no such certificate");
        assert_eq!(direct(&unanswered), &Failure::ForgedCertificate);
    }
    assert_eq!(alive.names().len(), 6);
    assert_eq!(dead.names(), [HOST], "it was not asked again");
}

/// A resolver over HTTPS that takes connections and says nothing, and how many it took.
async fn mute() -> (Resolver, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let taken = Arc::<AtomicUsize>::default();
    let count = taken.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            held.push(stream);
        }
    });
    (Resolver::Https(addr, HostName::parse("mute.example").unwrap()), taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_encrypted_resolver_is_silent_another_answers_and_nothing_is_said_in_clear_text()
{
    let world = World::start().await;
    let ((silent, taken), dns) = (mute().await, SecureDns::start(|_| vec![LOCALHOST]).await);
    let clear = Dns::start(|_| vec![LOCALHOST]).await;
    let mut config = by(&world, vec![silent, dns.resolver(), Resolver::Plain(clear.addr)]);
    dns.believed_by(&mut config);
    let node = Node::start(config).await.unwrap();
    let port = world.origin.addr.port();
    assert_eq!(get(&node, HOST, port).await.expect("by the second one"), Route::Direct);
    assert!(dns.queries() > 0);
    let asked = taken.load(Ordering::SeqCst);
    assert!(asked > 0, "it was asked");
    for n in 0..5 {
        // Whatever the site says: its name was looked up.
        let unanswered = get(&node, &format!("other-{n}.example"), port).await.expect_err("forged");
        assert_eq!(direct(&unanswered), &Failure::ForgedCertificate);
    }
    assert_eq!(taken.load(Ordering::SeqCst), asked, "whom another overtook is not asked first");
    assert_eq!(clear.names(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_encrypted_resolvers_are_silent_one_in_clear_text_is_asked_if_the_name_may_be_shown()
 {
    let world = World::start().await;
    let ((one, first), (other, second)) = (mute().await, mute().await);
    let clear = Dns::start(|_| vec![LOCALHOST]).await;
    let mut config = by(&world, vec![one, other, Resolver::Plain(clear.addr)]);
    let guarded = "guarded.example";
    config.sites =
        vec![SiteConfig { hosts: guarded.into(), query: vec![], guarded: true, https: true }];
    // An open node goes to a guarded site itself; its provider learns the address, not the name.
    config.exposure = Exposure::Open;
    let node = Node::start(config).await.unwrap();
    let port = world.origin.addr.port();
    let unanswered = get(&node, guarded, port).await.expect_err("nobody says where it is");
    assert_eq!(direct(&unanswered), &Failure::NameUnanswered);
    assert!(first.load(Ordering::SeqCst) > 0 && second.load(Ordering::SeqCst) > 0);
    assert_eq!(clear.names(), Vec::<String>::new());
    assert_eq!(get(&node, HOST, port).await.expect("by the last one"), Route::Direct);
    assert_eq!(clear.names(), [HOST]);
}
