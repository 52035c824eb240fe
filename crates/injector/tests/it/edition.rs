//! An edition: what a publisher's feed names is fetched ahead, taken by a reader, and opens whole where nothing but
//! a neighbour, and then nobody, is left.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use busel_node::config::Exposure;
use busel_node::edition::{TakeError, Taken};
use busel_node::{Body, Node};
use busel_proto::edition::PATH;
use busel_proto::failure::Route;
use busel_proto::page::HostName;
use http::Response;
use tokio::sync::watch;

use crate::support::{HOST, World, body, get, url};

/// A page and what it needs, and another page that needs some of it, too.
const FILES: [(&str, &str, &str); 6] = [
    ("/feed.xml", "application/rss+xml", ""),
    ("/a", "text/html", "<title>First</title><link rel=stylesheet href=a.css><img src=/p.png>"),
    ("/b", "text/html", "<title>Second</title><img src=https://spy.example/x.png><img src=p.png>"),
    ("/a.css", "text/css", "b { background: url(/q.png) }"),
    ("/p.png", "image/png", "a picture"),
    ("/q.png", "image/png", "another picture"),
];

fn feed(pages: &[&str]) -> String {
    let items = pages.iter().map(|page| format!("<item><link>https://{HOST}{page}</link></item>"));
    let items: String = items.collect();
    format!("<rss version='2.0'><channel><title>News</title>{items}</channel></rss>")
}

/// What the site was asked for.
type Asked = Arc<Mutex<Vec<String>>>;

/// A world whose site has these files and names pages in its feed, and whose injector follows that.
async fn world() -> (World, watch::Sender<String>, Asked) {
    let follow = |config: &mut busel_injector::Config| {
        config.feeds = vec![url("/feed.xml")];
        config.feeds_every = Duration::from_millis(200);
    };
    let world = World::with(|_| {}, follow).await;
    let (news, named) = watch::channel(feed(&["/a", "/b"]));
    let asked = Asked::default();
    let log = asked.clone();
    world.origin.answer(move |request| {
        let path = request.uri().path();
        log.lock().unwrap().push(path.to_owned());
        let known = FILES.iter().find(|(known, ..)| *known == path);
        let (_, kind, text) = known.copied().unwrap_or((path, "text/plain", "no such page"));
        let text = if path == "/feed.xml" { named.borrow().clone() } else { text.to_owned() };
        let answer = Response::builder().status(if known.is_some() { 200 } else { 404 });
        let answer = answer.header("content-type", kind).header("cache-control", "max-age=600");
        answer.body(whole(text)).unwrap()
    });
    (world, news, asked)
}

fn whole(text: String) -> Body {
    busel_node::request::full(text)
}

fn host() -> HostName {
    HostName::parse(HOST).unwrap()
}

/// Takes the edition until it has so many pages.
async fn take(node: &Node, pages: usize) -> Taken {
    for _ in 0..100 {
        if let Ok(taken) = node.take_edition(&host()).await
            && taken.pages == pages
        {
            return taken;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("no edition of {pages} pages came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_opens_whole_where_nobody_is_left() {
    let (world, _news, asked) = world().await;
    let a = world.reader(Exposure::Open).await;
    let first = take(&a, 2).await;
    assert_eq!((first.files, first.missing), (5, 0), "{first:?}");
    let again = a.take_edition(&host()).await.unwrap();
    assert_eq!((again.files, again.known, again.bytes), (5, 5, first.bytes));

    world.injector_node.stop().await;
    world.origin.cut().await;
    let b = world.reader(Exposure::Quiet).await;
    world.introduce(&b, &a).await;
    let from_a = b.take_edition(&host()).await.expect("from the other reader");
    assert_eq!((from_a.files, from_a.missing, from_a.made_at), (5, 0, first.made_at));

    a.stop().await;
    for (path, _, text) in &FILES[1..] {
        let response = get(&b, path).await.expect("from the own store");
        assert_eq!(response.route, Route::Local);
        assert!(response.age.is_some(), "it says how old it is");
        assert_eq!(body(response).await, *text);
    }
    let asked = asked.lock().unwrap();
    assert!(asked.contains(&"/a".to_owned()) && !asked.contains(&PATH.to_owned()), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_is_in_the_next_one() {
    let (world, news, _) = world().await;
    news.send_replace(feed(&["/a"]));
    let reader = world.reader(Exposure::Quiet).await;
    let first = take(&reader, 1).await;
    assert_eq!((first.files, first.known), (4, 0), "{first:?}");
    news.send_replace(feed(&["/b", "/a", "/gone"]));
    let second = take(&reader, 2).await;
    assert_eq!((second.files, second.known, second.missing), (5, 4, 0), "{second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_none_is_made_none_is_asked_of_the_site() {
    let world = World::start().await;
    let reader = world.reader(Exposure::Quiet).await;
    let none = reader.take_edition(&host()).await.unwrap_err();
    assert!(matches!(none, TakeError::NotHad(..)), "{none}");
    let page = get(&reader, PATH).await;
    assert!(page.is_err(), "nor as a page");
    assert_eq!(world.origin.count(), 0);
    let other = HostName::parse("other.example").unwrap();
    let unlisted = reader.take_edition(&other).await.unwrap_err();
    assert!(unlisted.to_string().contains("not on the site list"), "{unlisted}");
}
