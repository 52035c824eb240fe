//! What is somebody's own is never signed, stored or shown to another node.

use std::sync::Arc;

use busel_node::config::{Exposure, SiteConfig};
use busel_node::request::full;
use busel_node::{Node, Request, Response, Unanswered, clock};
use busel_proto::failure::{Failure, Route};
use busel_proto::message::{Answer, Ask};
use busel_proto::sites::Why;
use busel_proto::snapshot::Wanted;
use http::HeaderMap;

use crate::support::{Copy, HOST, Peer, World, body, get, kept, url};

fn stored(node: &Node) -> usize {
    node.store().keys().unwrap().len()
}

async fn get_with(
    node: &Node,
    path: &str,
    field: (&'static str, &str),
) -> Result<Response, Unanswered> {
    let mut headers = HeaderMap::new();
    headers.insert(field.0, field.1.parse().unwrap());
    node.fetch(Request { headers, ..Request::get(url(path)) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_marked_as_somebodys_own_load_by_tunnel_and_are_kept_nowhere() {
    let world = World::start().await;
    let open = world.reader(Exposure::Open).await;
    let asker = Peer::asker(&world).await;
    asker.meet(&world, open.id()).await;
    for (name, value) in [
        ("set-cookie", "session=1"),
        ("cache-control", "private"),
        ("cache-control", "max-age=60, Private=\"x\""),
        ("cache-control", "no-store"),
        ("vary", "accept, Cookie"),
        ("vary", "*"),
        ("www-authenticate", "Basic"),
    ] {
        world.origin.answer(move |_| {
            let response = http::Response::builder().header(name, value).header("etag", "\"v\"");
            response.body(full("your own page")).unwrap()
        });
        let response = get(&open, "/own").await.expect("by tunnel");
        assert_eq!(response.route, Route::Tunnel, "{name}: {value}");
        assert_eq!(response.headers[name], value);
        assert_eq!(body(response).await, "your own page");
        let key = Wanted::page(url("/own")).key();
        let asked = asker.ask(open.id(), &Ask::Fetch { key, from: Some(0), root: None }).await;
        assert_eq!(asked, Answer::Nothing);
    }
    open.stop().await;
    assert_eq!((stored(&open), stored(&world.injector_node)), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_tells_of_a_person_never_reaches_the_injector_by_inject() {
    let world = World::start().await;
    let reader = world.reader(Exposure::Open).await;
    let fields = [
        ("cookie", "session=1"),
        ("authorization", "Bearer secret"),
        ("cache-control", "no-store"),
    ];
    for (n, field) in fields.into_iter().enumerate() {
        let response = get_with(&reader, "/page", field).await.expect("by tunnel");
        assert_eq!(response.route, Route::Tunnel, "{field:?}");
        assert_eq!(body(response).await, "the page /page");
        let seen = world.origin.seen();
        assert_eq!(seen.len(), n + 1);
        assert_eq!(seen[n].headers[field.0], field.1, "the site sees it");
    }
    assert_eq!(world.injector.fetches(), 0);
    reader.stop().await;
    assert_eq!((stored(&reader), stored(&world.injector_node)), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_reader_is_in_what_the_injector_asks() {
    let world = World::start().await;
    let reader = world.reader(Exposure::Quiet).await;
    let mut headers = HeaderMap::new();
    let telling = [
        ("user-agent", "a rare browser"),
        ("accept-language", "be-tarask"),
        ("referer", "https://secret.example/"),
        ("x-forwarded-for", "192.0.2.7"),
        ("if-none-match", "\"my-own\""),
        ("dnt", "1"),
    ];
    for (name, value) in telling {
        headers.insert(name, value.parse().unwrap());
    }
    let response = reader.fetch(Request { headers, ..Request::get(url("/page")) }).await;
    let response = response.expect("by injector");
    assert_eq!(response.route, Route::Injector);
    assert_eq!(body(response).await, "the page /page");
    let seen = &world.origin.seen()[0];
    for (name, value) in telling {
        assert_ne!(seen.headers.get(name).map(|v| v.as_bytes()), Some(value.as_bytes()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_shared_only_where_the_site_list_says_so() {
    let sites = || {
        let query = vec!["q".into()];
        vec![SiteConfig { hosts: HOST.into(), query, guarded: false, https: true }]
    };
    let world = World::with(|config| config.sites = sites(), |_| {}).await;
    let mut config = world.reader_config();
    config.sites = sites();
    let reader = world.join(config).await;
    for (path, fetches) in [("/find?q=stork", 1), ("/reset?token=1", 1), ("/find?q=a&id=7", 1)] {
        let response = get(&reader, path).await.expect("some way");
        let public = path == "/find?q=stork";
        let expected = if public { Route::Injector } else { Route::Tunnel };
        assert_eq!(response.route, expected, "{path}");
        body(response).await;
        assert_eq!(world.injector.fetches(), fetches, "{path}");
    }
    kept(&reader, "/find?q=stork").await;
    reader.stop().await;
    assert_eq!(stored(&reader), 1);

    let alone = world.lonely_reader().await;
    let unanswered = get(&alone, "/reset?token=1").await.expect_err("no exit is known");
    assert_eq!(unanswered.private, Some(Why::Query));
    assert_eq!(unanswered.tried, [(Route::Tunnel, Failure::NobodyKnown)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_node_tells_nobody_what_it_read_and_an_open_one_serves_it() {
    let world = World::start().await;
    let copy = world.copy("/page", "what was read");
    let (quiet, open) = (world.reader(Exposure::Quiet).await, world.reader(Exposure::Open).await);
    let asker = Arc::new(Peer::asker(&world).await);
    for node in [&quiet, &open] {
        copy.put_into(node, clock::now()).await;
        asker.meet(&world, node.id()).await;
    }
    let fetch =
        |path: &str| Ask::Fetch { key: Wanted::page(url(path)).key(), from: Some(0), root: None };
    let blob = |root| Ask::Blob { root, len: copy.head.len, from: 0, to: copy.head.len };
    let unknown = busel_proto::id::Hash([7; 32]);

    for ask in [fetch("/page"), fetch("/other"), blob(copy.head.root), blob(unknown)] {
        assert_eq!(asker.ask(quiet.id(), &ask).await, Answer::Nothing, "{ask:?}");
    }
    let found = asker.ask(open.id(), &fetch("/page")).await;
    assert_eq!(found, Answer::Found { snapshot: copy.signed.clone(), revocation: None });
    assert_eq!(asker.ask(open.id(), &blob(copy.head.root)).await, Answer::Open);
    assert_eq!(asker.ask(open.id(), &fetch("/other")).await, Answer::Nothing);
    assert_eq!(asker.ask(open.id(), &blob(unknown)).await, Answer::Nothing);
    // It reads the page itself all the same.
    let own = get(&quiet, "/page").await.expect("from the own store");
    assert_eq!(own.route, Route::Local);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_while_quiet_is_not_served_when_the_node_is_open_one_day() {
    let world = World::start().await;
    let mut config = world.reader_config();
    let quiet = world.join(config.clone()).await;
    // Its clock was wrong then: no time tells what came when.
    let ahead = busel_proto::time::UnixTime(clock::now().0 + 1_000_000);
    let (read, seen) = (world.copy("/read", "while quiet"), world.copy("/seen", "while open"));
    read.put_into(&quiet, ahead).await;
    quiet.stop().await;
    drop(quiet);

    config.exposure = Exposure::Open;
    let open = crate::support::world::again(&config).await;
    seen.put_into(&open, clock::now()).await;
    let asker = Peer::asker(&world).await;
    asker.meet(&world, open.id()).await;
    let fetch =
        |path: &str| Ask::Fetch { key: Wanted::page(url(path)).key(), from: Some(0), root: None };
    let blob = |copy: &Copy| Ask::Blob {
        root: copy.head.root,
        len: copy.head.len,
        from: 0,
        to: copy.head.len,
    };
    assert_eq!(asker.ask(open.id(), &fetch("/read")).await, Answer::Nothing);
    assert_eq!(asker.ask(open.id(), &blob(&read)).await, Answer::Nothing);
    let found = Answer::Found { snapshot: seen.signed.clone(), revocation: None };
    assert_eq!(asker.ask(open.id(), &fetch("/seen")).await, found);
    assert_eq!(asker.ask(open.id(), &blob(&seen)).await, Answer::Open);
    let own = get(&open, "/read").await.expect("its owner reads it all the same");
    assert_eq!(own.route, Route::Local);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_cookies_is_shown_the_page_for_everybody_where_their_own_cannot_be_had() {
    let world = World::start().await;
    world.origin.answer(|request| {
        let known = request.headers().contains_key("cookie");
        let cache = if known { "private" } else { "max-age=600" };
        let response = http::Response::builder().header("cache-control", cache);
        response.body(full(if known { "your own page" } else { "a page" })).unwrap()
    });
    let open = world.reader(Exposure::Open).await;
    let reader = world.reader(Exposure::Quiet).await;
    world.acquaint(&reader, open.id()).await;
    assert_eq!(body(get(&open, "/news").await.unwrap()).await, "a page");
    kept(&open, "/news").await;
    let cookie = ("cookie", "session=1");
    let own = get_with(&reader, "/news", cookie).await.expect("by tunnel");
    assert_eq!(own.route, Route::Tunnel);
    assert_eq!(body(own).await, "your own page");
    assert_eq!(stored(&reader), 0);

    world.injector_node.stop().await;
    let asked = world.origin.count();
    let shown = get_with(&reader, "/news", cookie).await.expect("from the neighbour");
    assert_eq!(
        (shown.route, &shown.headers["cache-control"]),
        (Route::Swarm, &"no-store".parse().unwrap())
    );
    assert_eq!(body(shown).await, "a page");
    let own = get_with(&reader, "/mine", cookie).await.expect_err("nobody has that");
    assert_eq!(own.private, Some(Why::Credentials));
    let known = get_with(&reader, "/news", ("authorization", "Basic eDp5")).await;
    assert_eq!(known.expect_err("never as a stranger").private, Some(Why::Credentials));
    assert_eq!(world.origin.count(), asked);
    reader.stop().await;
    open.stop().await;
}
