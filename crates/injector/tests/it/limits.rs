//! Askers who take more than their share, lie, or hold the line.

use busel_node::clock;
use busel_node::config::{ConnectTo, Exposure, SiteConfig};
use busel_proto::blob::MAX_LEN;
use busel_proto::failure::Failure;
use busel_proto::id::{Hash, SnapshotKey};
use busel_proto::message::{Answer, Ask, MAX_FRAME, frame};
use busel_proto::page::PageUrl;
use busel_proto::sealed::MAX_ENVELOPE;
use busel_proto::snapshot::Wanted;
use busel_proto::time::UnixTime;
use futures_util::future::join_all;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use crate::support::origin::page;
use crate::support::peer::{answer, request, seal};
use crate::support::{HOST, Peer, World, url};

async fn asker_of(world: &World) -> Peer {
    let asker = Peer::asker(world).await;
    asker.meet(world, world.injector_node.id()).await;
    asker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greedy_client_is_declined_and_others_are_served() {
    let world = World::with(|_| {}, |config| config.requests_per_second = 1).await;
    let (greedy, modest) = (asker_of(&world).await, asker_of(&world).await);
    let asks = (0..200).map(|_| async {
        let (envelope, key) = seal(&world, &request(&url("/page")));
        greedy.inject_envelope(&world, envelope, &key).await.map(|_| ())
    });
    let answers = join_all(asks).await;
    let declined = answers.iter().filter(|a| matches!(a, Err(Failure::Busy(_)))).count();
    assert!(declined > 100, "{declined} of 200 declined");
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 200 - declined);

    let said = modest.inject(&world, &request(&url("/page"))).await.all().await;
    assert_eq!(said.data, b"the page /page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_envelope_is_refused_whoever_sends_it() {
    let world = World::start().await;
    let (asker, thief) = (asker_of(&world).await, asker_of(&world).await);
    let (envelope, key) = seal(&world, &request(&url("/page")));
    let first = asker.inject_envelope(&world, envelope.clone(), &key).await.unwrap();
    assert_eq!(first.all().await.data, b"the page /page");
    for again in [&asker, &thief] {
        let said = again.inject_envelope(&world, envelope.clone(), &key).await.unwrap().all().await;
        let why = Failure::Protocol("it has been seen before".into());
        assert_eq!((said.declined, said.signed, said.data.len()), (Some(why), None, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_is_told_the_time_and_then_served() {
    let world = World::start().await;
    let asker = asker_of(&world).await;
    let now = clock::now().0;
    for at in [UnixTime(now - 24 * 3600), UnixTime(now + 3600), UnixTime(0), UnixTime(u64::MAX)] {
        let mut asked = request(&url("/page"));
        asked.at = at;
        let said = asker.inject(&world, &asked).await.all().await;
        let told = said.clock.expect("the injector's time");
        assert!((now..now + 600).contains(&told.0), "{told:?}");
        assert!(said.signed.is_none() && said.data.is_empty());
        asked.at = told;
        asked.nonce = rand::random();
        let said = asker.inject(&world, &asked).await.all().await;
        assert_eq!(said.data, b"the page /page");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_for_another_key_or_a_changed_one_is_declined() {
    let world = World::start().await;
    let other = World::start().await;
    let asker = asker_of(&world).await;
    let (not_ours, key) = seal(&other, &request(&url("/page")));
    let (mut changed, _) = seal(&world, &request(&url("/page")));
    *changed.last_mut().unwrap() ^= 1;
    for envelope in [not_ours, changed, vec![], vec![0xff; 600]] {
        let failure = asker.inject_envelope(&world, envelope, &key).await.err();
        assert!(matches!(failure, Some(Failure::Protocol(_))), "{failure:?}");
    }
    assert_eq!(world.origin.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_numbers_and_junk_are_declined_by_name() {
    let world = World::start().await;
    let (asker, node) = (asker_of(&world).await, world.injector_node.id());
    let root = Hash([7; 32]);
    let impossible = [
        Ask::Fetch { key: SnapshotKey([1; 32]), from: Some(MAX_LEN + 1), root: None },
        Ask::Fetch { key: SnapshotKey([1; 32]), from: Some(u64::MAX), root: None },
        Ask::Blob { root, len: 10, from: 5, to: 5 },
        Ask::Blob { root, len: 10, from: 7, to: 5 },
        Ask::Blob { root, len: 10, from: 0, to: 11 },
        Ask::Blob { root, len: u64::MAX, from: 0, to: u64::MAX },
        Ask::Inject { envelope: vec![0; MAX_ENVELOPE + 1] },
        Ask::Tunnel { host: url("/").host(), port: 0 },
    ];
    let junk = [frame(&[]), frame(&[0xff; 40]), frame(b"GET / HTTP/1.1\r\n\r\n")];
    let frames = impossible.iter().map(Ask::to_frame).chain(junk);
    for bytes in frames {
        let mut stream = asker.send(node, &bytes).await;
        let said = answer(&mut stream).await;
        let declined = matches!(said, Answer::Declined { failure: Failure::Protocol(_) });
        assert!(declined, "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_beyond_the_end_of_a_body_gets_a_head_and_no_bytes() {
    let world = World::start().await;
    let open = world.reader(Exposure::Open).await;
    let copy = world.copy("/page", "short");
    copy.put_into(&open, clock::now()).await;
    copy.put_into(&world.injector_node, clock::now()).await;
    let asker = asker_of(&world).await;
    asker.meet(&world, open.id()).await;
    let key = Wanted::page(url("/page")).key();
    for from in [5, 6, 1 << 30, MAX_LEN] {
        let ask = Ask::Fetch { key, from: Some(from), root: None };
        let (said, mut stream) = asker.ask_on(open.id(), &ask).await;
        assert!(matches!(said, Answer::Found { .. }), "{from}: {said:?}");
        let rest = stream.recv.read_to_end(1000).await.unwrap();
        assert!(rest.is_empty(), "{from}: {} bytes", rest.len());

        let mut asked = request(&url("/page"));
        asked.from = Some(from);
        let said = asker.inject(&world, &asked).await.all().await;
        assert_eq!((said.signed.is_some(), said.data.len()), (true, 0), "{from}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_ask_and_a_slow_asker_are_dropped_and_the_node_serves_on() {
    let world = World::start().await;
    let (asker, node) = (asker_of(&world).await, world.injector_node.id());
    let too_long = u32::try_from(MAX_FRAME + 1).unwrap().to_be_bytes();
    // Says that it has more than is allowed; says nothing after two bytes; stops in the middle.
    let half = &Ask::Inject { envelope: vec![1; 1000] }.to_frame()[..500];
    for begun in [&too_long[..], &[0, 0], half] {
        let mut stream = asker.send(node, begun).await;
        let rest = stream.recv.read_to_end(1000).await.unwrap_or_default();
        assert!(rest.is_empty(), "{rest:?}");
    }
    let said = asker.inject(&world, &request(&url("/page"))).await.all().await;
    assert_eq!(said.data, b"the page /page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_longer_than_the_injector_fetches_is_declined_whether_it_says_so_or_not() {
    let world = World::with(|_| {}, |config| config.max_body = 100_000).await;
    let asker = asker_of(&world).await;
    world.origin.answer(|request| match request.uri().path() {
        "/told" => page(vec![7; 100_001]),
        _ => {
            let pieces = (0..11).map(|_| Ok::<_, Failure>(Frame::data(vec![7; 10_000].into())));
            page("").map(|_| StreamBody::new(stream::iter(pieces)).boxed_unsync())
        }
    });
    for path in ["/told", "/untold"] {
        let said = asker.inject(&world, &request(&url(path))).await.all().await;
        assert!(matches!(said.declined, Some(Failure::NotAllowed(_))), "{path}: {said:?}");
        assert!(said.signed.is_none() && said.data.len() <= 110_000);
    }
    assert!(world.injector_node.store().keys().unwrap().is_empty());
    world.origin.answer(|_| page(vec![7; 100_000]));
    let said = asker.inject(&world, &request(&url("/just"))).await.all().await;
    assert_eq!(said.data.len(), 100_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_not_on_the_injectors_list_is_declined() {
    let world = World::start().await;
    let asker = asker_of(&world).await;
    for other in
        ["https://evil.example/", "https://sub.news.example/", "https://news.example.evil/"]
    {
        let page = busel_proto::page::PageUrl::parse(other).unwrap();
        let said = asker.inject(&world, &request(&page)).await.all().await;
        assert!(matches!(said.declined, Some(Failure::NotAllowed(_))), "{other}: {said:?}");
    }
    for spelled in ["https://NEWS.example/", "https://news.example:443/", "news.example", ""] {
        let mut asked = request(&url("/"));
        asked.url = spelled.into();
        let said = asker.inject(&world, &asked).await.all().await;
        assert!(matches!(said.declined, Some(Failure::Protocol(_))), "{spelled}: {said:?}");
    }
    assert_eq!(world.origin.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_no_rule_names_is_declined() {
    let listed = |config: &mut busel_node::Config| {
        config.sites = vec![SiteConfig {
            hosts: HOST.into(),
            query: vec!["page".into()],
            guarded: false,
            https: true,
        }];
    };
    let world = World::with(listed, |_| {}).await;
    let asker = asker_of(&world).await;
    for personal in ["/?token=1", "/?page=2&token=1", "/?page=1&page=2"] {
        let said = asker.inject(&world, &request(&url(personal))).await.all().await;
        assert!(matches!(said.declined, Some(Failure::NotAllowed(_))), "{personal}: {said:?}");
    }
    assert_eq!(world.origin.count(), 0);
    let said = asker.inject(&world, &request(&url("/?page=2"))).await.all().await;
    assert!(said.signed.is_some(), "{said:?}");

    let unlisted = World::start().await;
    let asker = asker_of(&unlisted).await;
    let said = asker.inject(&unlisted, &request(&url("/?page=2"))).await.all().await;
    assert!(matches!(said.declined, Some(Failure::NotAllowed(_))), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_not_the_webs_is_declined_unless_configured() {
    let ask = async |world: &World| {
        let page = PageUrl::parse(&format!("https://{HOST}:8443/page")).unwrap();
        asker_of(world).await.inject(world, &request(&page)).await.all().await
    };
    let to = |config: &mut busel_node::Config| {
        let addr = config.connect_to[0].addr;
        config.connect_to.push(ConnectTo { host: HOST.into(), port: 8443, addr });
    };
    let world = World::with(to, |_| {}).await;
    let said = ask(&world).await;
    assert!(matches!(said.declined, Some(Failure::NotAllowed(_))), "{said:?}");
    assert_eq!(world.origin.count(), 0);
    let wider = World::with(to, |config| config.ports.push(8000..=8999)).await;
    assert_eq!(ask(&wider).await.data, b"the page /page");
}
