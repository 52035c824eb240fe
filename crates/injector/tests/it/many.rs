//! A long body comes from several nodes at once, and goes on from one to the next before it is whole.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use busel_node::Node;
use busel_node::config::Exposure;
use busel_proto::blob::MAX_WINDOW;
use busel_proto::failure::Route;
use busel_proto::message::{Answer, Ask, frame, news};
use busel_proto::plan::PIECE;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use crate::support::copy::noise;
use crate::support::world::{seen, until};
use crate::support::{Copy, Peer, World, get, kept};

const LEN: usize = 12 << 20;
const WINDOW: usize = MAX_WINDOW as usize;
/// A holder's line takes this long for a window.
const PACE: Duration = Duration::from_millis(15);

/// What a holder does with the parts that it is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// Changes a byte of each.
    Lies,
    /// Sends one window of each, and no more.
    Stalls,
}

/// One who has a copy, and how many bytes of it that one has sent.
struct Holder {
    peer: Peer,
    sent: Arc<AtomicUsize>,
}

impl Holder {
    async fn start(world: &World, copy: &Copy, manner: Manner) -> Self {
        let (copy, sent) = (copy.clone(), Arc::<AtomicUsize>::default());
        // One line for all that it sends.
        let (count, line) = (sent.clone(), Arc::new(Semaphore::new(1)));
        let peer = Peer::start(world, move |ask, mut stream| {
            let (copy, count, line) = (copy.clone(), count.clone(), line.clone());
            async move {
                let part = matches!(ask, Ask::Blob { .. });
                for (at, mut frame) in copy.answer(&ask).into_iter().enumerate() {
                    if part && at > 1 && manner == Manner::Stalls {
                        return std::future::pending().await;
                    }
                    if part && at > 0 && manner == Manner::Lies {
                        *frame.last_mut().unwrap() ^= 1;
                    }
                    let _sending = line.acquire().await;
                    tokio::time::sleep(
                        PACE * u32::try_from(frame.len()).unwrap() / MAX_WINDOW as u32,
                    )
                    .await;
                    if stream.send.write_all(&frame).await.is_err() {
                        return;
                    }
                    count.fetch_add(frame.len(), Ordering::SeqCst);
                }
                let _ = stream.send.finish();
            }
        })
        .await;
        Self { peer, sent }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

/// Reads the film of these holders, and returns them.
async fn read_from(manners: &[Manner]) -> Vec<Holder> {
    let world = World::start().await;
    let copy = world.copy("/film", noise(LEN));
    let reader = world.lonely_reader().await;
    let mut holders = Vec::new();
    for manner in manners {
        let holder = Holder::start(&world, &copy, *manner).await;
        world.acquaint(&reader, holder.peer.id()).await;
        holders.push(holder);
    }
    let response = get(&reader, "/film").await.expect("it is there");
    assert_eq!(response.route, Route::Swarm);
    let (bytes, failure) = seen(response.body).await;
    assert_eq!(failure, None);
    assert!(bytes == copy.body, "byte for byte");
    kept(&reader, "/film").await;
    holders
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_have_it_send_parts_of_it() {
    let holders = read_from(&[Manner::Honest; 3]).await;
    let sent: Vec<_> = holders.iter().map(Holder::sent).collect();
    assert!(sent.iter().all(|sent| *sent > LEN / 8), "{sent:?}");
    assert!(sent.iter().sum::<usize>() < LEN + LEN / 4, "little is sent twice: {sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lies_is_found_out_by_the_first_window_and_asked_no_more() {
    let holders = read_from(&[Manner::Honest, Manner::Lies, Manner::Lies]).await;
    for liar in &holders[1..] {
        // Its answer to the first question may be the one that the page comes from.
        let most = 5 * WINDOW + 2 * WINDOW;
        assert!(liar.sent() < most, "{}", liar.sent());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stalls_is_replaced_by_the_others() {
    let holders = read_from(&[Manner::Honest, Manner::Stalls]).await;
    assert!(holders[0].sent() > LEN / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_that_they_have_it_and_sends_nothing_of_it_has_not_answered() {
    let world = World::start().await;
    let copy = world.copy("/film", noise(LEN));
    let reader = world.lonely_reader().await;
    let head = copy.found(None);
    let silent = Peer::start(&world, move |_, mut stream| {
        let head = head.clone();
        async move {
            let _ = stream.send.write_all(&head).await;
            std::future::pending().await
        }
    })
    .await;
    let (own, open) = (copy.clone(), Arc::new(Semaphore::new(0)));
    let gate = open.clone();
    let holder = Peer::start(&world, move |ask, mut stream| {
        let (copy, gate) = (own.clone(), gate.clone());
        async move {
            let _open = gate.acquire().await.unwrap();
            let _ = stream.send.write_all(&copy.answer(&ask).concat()).await;
            let _ = stream.send.finish();
        }
    })
    .await;
    world.acquaint(&reader, silent.id()).await;
    world.acquaint(&reader, holder.id()).await;
    let mut getting = pin!(get(&reader, "/film"));
    tokio::select! {
        biased;
        _ = &mut getting => panic!("a head alone"),
        () = until(|| silent.asked() == 1 && holder.asked() == 1) => {}
    }
    open.add_permits(1000);
    let response = getting.await.expect("it is there");
    let (bytes, failure) = seen(response.body).await;
    assert_eq!((failure, bytes == copy.body), (None, true));
}

/// A node that has it and sends as many parts as there are permits; the permits, and how often it was asked for the
/// beginning.
async fn holder_of_parts(
    world: &World,
    copy: &Copy,
    parts: usize,
) -> (Peer, Arc<Semaphore>, Arc<AtomicUsize>) {
    let (permits, begun) = (Arc::new(Semaphore::new(parts)), Arc::<AtomicUsize>::default());
    let (own, allowed, begins) = (copy.clone(), permits.clone(), begun.clone());
    let holder = Peer::start(world, move |ask, mut stream| {
        let (copy, permits) = (own.clone(), allowed.clone());
        let begin = usize::from(matches!(ask, Ask::Fetch { .. }));
        begins.fetch_add(begin, Ordering::SeqCst);
        async move {
            if let Ask::Blob { .. } = ask {
                permits.acquire().await.unwrap().forget();
            }
            let _ = stream.send.write_all(&copy.answer(&ask).concat()).await;
            let _ = stream.send.finish();
        }
    });
    (holder.await, permits, begun)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loads_it_gives_on_what_has_come() {
    let world = World::start().await;
    let copy = world.copy("/film", noise(LEN));
    let (holder, allowed, _) = holder_of_parts(&world, &copy, 4).await;
    let first = world.lonely(Exposure::Open).await;
    world.acquaint(&first, holder.id()).await;
    let loading = tokio::spawn(loads(first.clone()));
    let second = world.lonely_reader().await;
    world.introduce(&second, &first).await;

    // The second one knows only the first, who has the beginning.
    let mut response = loop {
        match get(&second, "/film").await {
            Ok(response) => break response,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let mut bytes = Vec::new();
    while bytes.len() <= 1 << 20 {
        let frame = response.body.frame().await.unwrap().unwrap();
        bytes.extend_from_slice(&frame.into_data().unwrap());
    }
    assert!(!loading.is_finished(), "the first one does not have all of it itself");
    allowed.add_permits(1000);
    let (rest, failure) = seen(response.body).await;
    assert_eq!(failure, None);
    assert!([bytes, rest].concat() == copy.body, "byte for byte");
    assert!(loading.await.unwrap() == copy.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_what_is_on_its_way_is_asked_for_it_in_return() {
    let world = World::start().await;
    let copy = world.copy("/film", noise(LEN));
    let (holder, _allowed, begun) = holder_of_parts(&world, &copy, 3).await;
    let reader = world.lonely(Exposure::Open).await;
    world.acquaint(&reader, holder.id()).await;
    let loading = tokio::spawn(loads(reader.clone()));
    let (own, sent) = (copy.clone(), Arc::<AtomicUsize>::default());
    let count = sent.clone();
    let other = Peer::hearing(&world, rand::random(), move |_, ask, mut stream| {
        let frames = match ask {
            Ask::Any { root, len, of, .. } => {
                let (from, to) = (of[0] * PIECE, len.min((of[0] + 1) * PIECE));
                let mut frames = own.answer(&Ask::Blob { root, len, from, to });
                frames[0] = Answer::Chosen { from, to }.to_frame();
                frames
            }
            Ask::Blob { .. } | Ask::Has { .. } => own.answer(&ask),
            _ => vec![Answer::Nothing.to_frame()],
        };
        let count = count.clone();
        async move {
            count.fetch_add(frames.concat().len(), Ordering::SeqCst);
            let _ = stream.send.write_all(&frames.concat()).await;
            let _ = stream.send.finish();
        }
    })
    .await;
    // The reader learns where it is when it has begun already.
    reader.learn(world.contact(other.id())).await;
    other.meet(&world, reader.id()).await;
    let has = Ask::Has { root: copy.head.root, len: copy.head.len };
    while let Answer::Nothing = other.ask(reader.id(), &has).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // That it has the film the reader knows by that alone: it says so to nobody who asks for the page.
    assert!(loading.await.unwrap() == copy.body);
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent > LEN / 2, "{sent}");
    assert_eq!(begun.load(Ordering::SeqCst), 1, "it was not begun anew, by whom it knew then");
}

async fn loads(reader: Node) -> Vec<u8> {
    let response = get(&reader, "/film").await.expect("it is there");
    let (bytes, failure) = seen(response.body).await;
    assert_eq!(failure, None);
    bytes.to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_it_slowly_is_asked_as_long_as_it_has_something_new_to_say() {
    let world = World::start().await;
    let copy = world.copy("/film", noise(usize::try_from(20 * PIECE).unwrap()));
    let (own, talks) = (copy.clone(), AtomicUsize::new(2));
    let begun = Arc::<AtomicUsize>::default();
    let begins = begun.clone();
    // In each talk it has got one piece more, and then says no more.
    let holder = Peer::start(&world, move |ask, mut stream| {
        let frames = match ask {
            Ask::Has { .. } => {
                let there = talks.fetch_add(1, Ordering::SeqCst) as u64;
                let answer = Answer::Has { pieces: Some((0..there).collect()) }.to_frame();
                vec![answer, frame(&news(&[there]))]
            }
            ask => {
                let begin = usize::from(matches!(ask, Ask::Fetch { .. }));
                begins.fetch_add(begin, Ordering::SeqCst);
                own.answer(&ask)
            }
        };
        async move {
            let _ = stream.send.write_all(&frames.concat()).await;
            let _ = stream.send.finish();
        }
    })
    .await;
    let reader = world.lonely(Exposure::Open).await;
    world.acquaint(&reader, holder.id()).await;
    assert!(loads(reader.clone()).await == copy.body, "byte for byte");
    assert_eq!(begun.load(Ordering::SeqCst), 1, "it is one load");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_a_load_was_broken_off_is_not_asked_for_again() {
    let world = World::start().await;
    let copy = world.copy("/film", noise(LEN));
    let holder = Holder::start(&world, &copy, Manner::Honest).await;
    let reader = world.lonely(Exposure::Open).await;
    world.acquaint(&reader, holder.peer.id()).await;

    let mut response = get(&reader, "/film").await.expect("it is there");
    let mut read = 0;
    while read < LEN / 2 {
        read += response.body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    drop(response);
    let before = holder.sent();
    assert!(loads(reader.clone()).await == copy.body, "byte for byte");
    let again = holder.sent() - before;
    assert!(again < LEN / 2 + LEN / 4, "{again} bytes of {LEN}, half of which were there");
    kept(&reader, "/film").await;
}
