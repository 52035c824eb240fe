//! Pages that a site has in several languages: a copy of each, and none that tells who asked.

use busel_node::config::Exposure;
use busel_node::{Node, Request};
use busel_proto::failure::Route;
use busel_proto::page::Variant;
use busel_proto::snapshot::Wanted;
use http::{HeaderMap, HeaderValue};

use crate::support::origin::page;
use crate::support::world::until;
use crate::support::{World, body, url};

/// Reads a page as a browser does that is set to these languages: the route and the text.
async fn read(node: &Node, languages: &str) -> (Route, String) {
    let mut headers = HeaderMap::new();
    headers.insert("accept-language", HeaderValue::from_str(languages).unwrap());
    let asked = node.fetch(Request { headers, ..Request::get(url("/news")) }).await;
    let response = asked.expect("an answer");
    let route = response.route;
    (route, String::from_utf8(body(response).await.to_vec()).unwrap())
}

/// Waits until a node keeps the page in this form.
async fn kept_in(node: &Node, variant: &str) {
    let variant = Variant::parse(variant).unwrap();
    let key = Wanted { variant, ..Wanted::page(url("/news")) }.key();
    until(|| node.store().find(&key).unwrap().is_some()).await;
}

fn speaks_belarusian(world: &World) {
    world.origin.answer(|request| {
        let asked =
            request.headers().get("accept-language").map(|v| v.to_str().unwrap().to_owned());
        let mut response = match asked.as_deref() {
            Some("be") => page("Навіны"),
            _ => page("News"),
        };
        response.headers_mut().insert("vary", HeaderValue::from_static("Accept-Language"));
        response
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reads_in_their_own_language_and_is_not_known_by_it() {
    let world = World::start().await;
    speaks_belarusian(&world);
    let reader = world.reader(Exposure::Open).await;
    let ours = "be-BY,be;q=0.9,ru-RU;q=0.7,en;q=0.3";
    assert_eq!(read(&reader, ours).await, (Route::Injector, "Навіны".into()));
    kept_in(&reader, "be").await;
    assert_eq!(read(&reader, "be").await, (Route::Local, "Навіны".into()));
    assert_eq!(read(&reader, "pl").await.1, "News", "what the site has instead");
    assert_eq!(read(&reader, "tlh").await.1, "News", "a language of too few");
    for seen in world.origin.seen() {
        let asked = seen.headers.get("accept-language").map(|asked| asked.to_str().unwrap());
        assert!(matches!(asked, None | Some("be" | "pl")), "{asked:?}");
    }

    let neighbour = world.lonely_reader().await;
    world.introduce(&neighbour, &reader).await;
    let read_there = read(&neighbour, "be-BY").await;
    assert_eq!(read_there, (Route::Swarm, "Навіны".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_have_their_own_language_reads_what_there_is() {
    let world = World::start().await;
    speaks_belarusian(&world);
    let reader = world.reader(Exposure::Open).await;
    assert_eq!(read(&reader, "tlh").await, (Route::Injector, "News".into()));
    kept_in(&reader, "").await;
    let neighbour = world.lonely_reader().await;
    world.introduce(&neighbour, &reader).await;
    assert_eq!(read(&neighbour, "be").await, (Route::Swarm, "News".into()));
    kept_in(&neighbour, "").await;
    assert_eq!(read(&neighbour, "be").await, (Route::Local, "News".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_the_same_for_all_is_fetched_once_for_all() {
    let world = World::start().await;
    let reader = world.reader(Exposure::Quiet).await;
    for languages in ["be", "pl", "en-US,en;q=0.5"] {
        assert_eq!(read(&reader, languages).await.1, "the page /news");
        kept_in(&reader, "").await;
    }
    assert_eq!(world.origin.count(), 1);
}
