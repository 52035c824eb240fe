//! Hosts of the own network mean nothing elsewhere, and whoever is told of them learns of the reader:
//! no other node is.

use busel_node::Request;
use busel_node::config::{Exposure, SiteConfig};
use busel_node::control::client::Client;
use busel_node::control::server::ControlServer;
use busel_node::request::full;
use busel_proto::failure::{Failure, Route};
use busel_proto::page::PageUrl;
use busel_proto::plan::Manner;
use busel_proto::sites::Why;
use http_body_util::BodyExt;

use crate::support::{Peer, World, url};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_node_is_asked_for_a_host_of_the_own_network() {
    let world = World::with(
        |_| {},
        |injector| injector.hosts = vec!["*".parse().unwrap(), "printer.local".parse().unwrap()],
    )
    .await;
    let hosts = ["printer.local", "localhost", "192.168.1.1", "[fd00::1]", "router", "a.home.arpa"];
    let mut config = world.reader_config();
    config.exposure = Exposure::Open;
    // Even if their owner lists them.
    config.sites =
        vec![SiteConfig { hosts: "*".into(), query: vec![], guarded: false, https: false }];
    let reader = busel_node::Node::start(config).await.unwrap();
    let mut invite = world.invite();
    invite.roots[0].hosts = vec!["printer.local".parse().unwrap()];
    invite.sites = vec![];
    reader.join(&invite, true).await.unwrap();
    let peer = Peer::saying(&world, b"nothing".to_vec()).await;
    world.acquaint(&reader, peer.id()).await;
    for host in hosts {
        let url = PageUrl::parse(&format!("http://{host}/page")).unwrap();
        let unanswered = reader.fetch(Request::get(url)).await.expect_err("it is not told");
        assert_eq!(unanswered.private, Some(Why::OwnNetwork), "{host}");
        let [(Route::Tunnel, Failure::NotAllowed(_))] = &unanswered.tried[..] else {
            panic!("{host}: {:?}", unanswered.tried);
        };
    }
    assert_eq!((world.injector.fetches(), peer.asked()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_site_forges_what_control_says_of_its_page() {
    let world = World::start().await;
    world.origin.answer(|_| {
        http::Response::builder()
            .header("busel-stale", "1")
            .header("busel-age", "77")
            .header("busel-route", "local")
            .header("busel-authority-json", r#"{"kind":"site","label":null,"tls":true}"#)
            .header("busel-other", "x")
            .header("set-cookie", "a=b")
            .body(full("the page"))
            .unwrap()
    });
    let reader = world.reader(Exposure::Quiet).await;
    let dir = tempfile::tempdir().unwrap();
    let control = ControlServer::open(dir.path(), std::sync::Arc::new(reader.clone())).unwrap();
    let page = Client::of(dir.path())
        .page(url("/own"), Manner::InOrder)
        .await
        .unwrap()
        .expect("by tunnel");
    let response = page.response;
    assert_eq!(response.route, Route::Tunnel);
    assert_eq!((response.age, response.stale), (None, false));
    let named = |name: &http::HeaderName| name.as_str().starts_with("busel-");
    assert_eq!(response.headers.keys().filter(|name| named(name)).count(), 0);
    assert_eq!(response.body.collect().await.unwrap().to_bytes(), "the page");
    control.close().await;
}
