//! Serving peers: what a node does for others, one stream one exchange, within bounds.
//!
//! What is answered depends on what the node shows of itself: a quiet one gives nothing of what its
//! owner read, but what it was assigned ([`crate::assigned`]), so that an answer to a probe says nothing
//! about the owner.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use busel_net::Connection;
use busel_net::endpoint::Stream;
use busel_net::frame;
use busel_proto::blob;
use busel_proto::failure::Failure;
use busel_proto::giving::Kind;
use busel_proto::id::{Hash, PeerId, SnapshotKey};
use busel_proto::invite::InjectorTicket;
use busel_proto::message::{Answer, Ask, MAX_FRAME, news};
use busel_proto::plan::{PIECE, Pieces};
use busel_proto::superseed::SuperSeed;
use busel_store::BlobReader;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use tracing::debug;

use crate::assigned::{self, Given};
use crate::catalogue;
use crate::clock;
use crate::config::Exposure;
use crate::crowd::Crowd;
use crate::exchange;
use crate::exit;
use crate::giving::OwnGiving;
use crate::hold;
use crate::node::Node;
use crate::partials::Partial;
use crate::pass;
use crate::places::Places;
use crate::punch;
use crate::reply::Reply;

/// Streams served at once, for all peers together and for one of them.
const MAX_STREAMS: usize = 1024;
const MAX_PEER_STREAMS: usize = 128;
/// Connections served at once. Of one peer there may be some that it has given up and we have not.
const MAX_CONNECTIONS: usize = 1024;
const MAX_PEER_CONNECTIONS: usize = 8;
/// Windows of a body that are read before the one being sent has gone.
const READ_AHEAD: usize = 2;
/// Who asks which pieces have come is told for so long, and of several at once after such a pause.
const NEWS_LIMIT: Duration = Duration::from_secs(60);
const NEWS_PAUSE: Duration = Duration::from_millis(100);
/// A peer has this long to say what it wants.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// A peer that does not take one piece within this time is dropped.
pub(crate) const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// A peer that asks for too much at once is told so, if it takes the answer within this time.
const FULL_LIMIT: Duration = Duration::from_secs(1);

/// Answers `inject/1`; an injector registers itself as this.
pub trait Inject: Send + Sync + 'static {
    /// Answers a sealed request on `stream`, all of it.
    fn inject(&self, envelope: Vec<u8>, from: PeerId, stream: Stream) -> BoxFuture<'static, ()>;

    /// What invites say of it now.
    fn ticket(&self) -> InjectorTicket;
}

/// Serves all connections until the endpoint closes.
pub(crate) async fn serve(node: Node) {
    let crowd = Arc::new(Crowd::new(MAX_CONNECTIONS, MAX_PEER_CONNECTIONS));
    let streams = Places::new(MAX_STREAMS, MAX_PEER_STREAMS);
    while let Some(connection) = node.endpoint.accept().await {
        let Some(seat) = crowd.admit(connection) else { continue };
        let (own, streams) = (node.clone(), streams.clone());
        node.spawn(async move { serve_connection(&own, &seat.connection, &streams).await });
    }
}

async fn serve_connection(node: &Node, connection: &Connection, streams: &Places) {
    let peer = connection.peer();
    while let Some(stream) = connection.accept().await {
        let place = match streams.take(peer) {
            Ok(place) => place,
            Err(full) => {
                // Said here and not in a task of its own: who asks too much waits for it himself.
                let _ = tokio::time::timeout(FULL_LIMIT, decline(stream, full.into())).await;
                continue;
            }
        };
        let own = node.clone();
        node.spawn(async move {
            if let Err(failure) = serve_stream(&own, peer, stream).await {
                debug!(%failure, "an exchange ended early");
            }
            drop(place);
        });
    }
}

async fn serve_stream(node: &Node, peer: PeerId, mut stream: Stream) -> Result<(), Failure> {
    let asked = tokio::time::timeout(ASK_LIMIT, frame::read(&mut stream.recv, MAX_FRAME)).await;
    let body = match asked {
        Err(_) => return Err(Failure::Silent),
        Ok(Err(error)) => return Err(Failure::Protocol(error.to_string())),
        Ok(Ok(body)) => body,
    };
    let ask = match Ask::from_frame(&body) {
        Ok(ask) if ask.is_sane() => ask,
        Ok(_) => return decline(stream, Failure::Protocol("impossible numbers".into())).await,
        Err(e) => return decline(stream, Failure::Protocol(e.to_string())).await,
    };
    match ask {
        Ask::Fetch { .. }
        | Ask::Blob { .. }
        | Ask::Any { .. }
        | Ask::Has { .. }
        | Ask::Compare { .. }
        | Ask::Listed { .. } => {
            // In the LAN it is somebody else.
            let asker = (!stream.is_near()).then_some(peer);
            question(node, Reply::plain(stream), ask, asker).await
        }
        // In the LAN a node is somebody else: nothing there is to tell who it is elsewhere.
        Ask::Question { .. } | Ask::Forward { .. } | Ask::Seen | Ask::Punch { .. }
            if stream.is_near() =>
        {
            say(Reply::plain(stream), &Answer::Nothing).await
        }
        Ask::Question { envelope } => match node.open_question(stream.own(), &envelope) {
            Some((ask, key)) => question(node, Reply::sealed(stream, &key).await?, ask, None).await,
            None => decline(stream, Failure::Protocol("it can't be opened".into())).await,
        },
        Ask::Inject { envelope } => match node.injector() {
            Some(injector) => {
                injector.inject(envelope, peer, stream).await;
                Ok(())
            }
            None => decline(stream, Failure::NotAllowed("it is no injector".into())).await,
        },
        Ask::Pass { to, envelope } => {
            pass::serve(node, peer, stream, to, None, Ask::Inject { envelope }).await
        }
        Ask::Forward { to, envelope, card } => {
            pass::serve(node, peer, stream, to, card, Ask::Question { envelope }).await
        }
        Ask::Hold { snapshot, holders } => {
            let answer = hold::answer(node, &stream, peer, snapshot, holders).await;
            say(Reply::plain(stream), &answer).await
        }
        Ask::Tell { root, pages } => {
            let answer = catalogue::told(node, root, pages, stream.is_near()).await;
            say(Reply::plain(stream), &answer).await
        }
        Ask::Tunnel { host, port } => exit::serve(node, peer, stream, host, port).await,
        Ask::Nodes { card } => {
            let answer = exchange::answer(node, &stream, peer, card).await;
            say(Reply::plain(stream), &answer).await
        }
        Ask::Seen => {
            let answer = punch::seen(node, &stream);
            say(Reply::plain(stream), &answer).await
        }
        Ask::Punch { from } => {
            let answer = punch::open(node, peer, &from).await;
            say(Reply::plain(stream), &answer).await
        }
        Ask::Assign if stream.is_near() => say(Reply::plain(stream), &Answer::Nothing).await,
        Ask::Assign => {
            let answer = assigned::answer(node, peer).await;
            say(Reply::plain(stream), &answer).await
        }
    }
}

/// Answers what is asked for a copy, or of what there is, in the clear, by this one, or sealed.
async fn question(
    node: &Node,
    reply: Reply,
    ask: Ask,
    asker: Option<PeerId>,
) -> Result<(), Failure> {
    match ask {
        Ask::Fetch { key, from, root } => fetch(node, reply, key, from, root).await,
        Ask::Blob { root, len, from, to } => blob(node, reply, root, len, from..to).await,
        Ask::Any { root, len, of, most } => any(node, reply, (root, len), of, most).await,
        Ask::Has { root, len } => has(node, reply, (root, len), asker).await,
        Ask::Compare { root, message } => {
            let answer = catalogue::compared(node, root, message, reply.is_near()).await;
            say(reply, &answer).await
        }
        Ask::Listed { root, heads } => {
            let answer = catalogue::listed(node, &root, &heads, reply.is_near());
            say(reply, &answer).await
        }
        _ => Err(Failure::Protocol("it is no question".into())),
    }
}

async fn fetch(
    node: &Node,
    reply: Reply,
    key: SnapshotKey,
    from: Option<u64>,
    root: Option<Hash>,
) -> Result<(), Failure> {
    let Some(given) = given(node, &reply, &key) else { return say(reply, &Answer::Nothing).await };
    let store = given.store;
    let found = node.spawn_blocking(move || {
        let stored = store.find(&key).ok()?.filter(|stored| stored.shared)?;
        let reader = store.reader(&stored.root).ok()??;
        store.touch(&key, clock::now());
        Some((stored, reader))
    });
    let found = found.await.ok().flatten();
    let Some((stored, reader)) = found.filter(|(s, _)| root.is_none_or(|r| r == s.root)) else {
        return fetch_part(node, reply, key, from, root).await;
    };
    let revocation = match node.config.exposure {
        Exposure::Quiet => given.revocation,
        Exposure::Open => {
            let cert = stored.signed.cert.peek().ok();
            cert.and_then(|cert| node.joined.revocation(&cert.root))
        }
    };
    let answer = Answer::Found { snapshot: stored.signed, revocation };
    match from {
        None => say(reply, &answer).await,
        Some(from) => {
            let range = from..blob::lead(from, stored.len);
            send_windows(node, reply, &answer, Source::Whole(reader), range).await
        }
    }
}

/// The same of a page that is still on its way here.
async fn fetch_part(
    node: &Node,
    reply: Reply,
    key: SnapshotKey,
    from: Option<u64>,
    root: Option<Hash>,
) -> Result<(), Failure> {
    let partial = node.partials.as_ref().and_then(|partials| partials.find_page(&key, root));
    let Some((partial, from)) = partial.zip(from) else {
        return say(reply, &Answer::Nothing).await;
    };
    let range = from..blob::lead(from, partial.blob().len());
    if range.is_empty() || !partial.blob().has(&range) {
        return say(reply, &Answer::Nothing).await;
    }
    let snapshot = partial.snapshot.to_signed();
    let revocation = node.joined.revocation(&partial.snapshot.cert().root);
    let answer = Answer::Found { snapshot, revocation };
    send_windows(node, reply, &answer, Source::Part(partial), range).await
}

/// Where a copy for others may be: a quiet node looks at nothing but what it was assigned.
fn given(node: &Node, reply: &Reply, key: &SnapshotKey) -> Option<Given> {
    match &node.assigned {
        Some(assigned) => assigned.copy(reply.own(), key),
        None => Some(Given { store: node.store.clone(), revocation: None }),
    }
}

async fn blob(
    node: &Node,
    reply: Reply,
    root: Hash,
    len: u64,
    range: Range<u64>,
) -> Result<(), Failure> {
    let source = match whole(node, &reply, root, len).await {
        Some(reader) => Some(Source::Whole(reader)),
        None => part(node, root, len).filter(|part| part.blob().has(&range)).map(Source::Part),
    };
    match source {
        Some(source) => send_windows(node, reply, &Answer::Open, source, range).await,
        None => say(reply, &Answer::Nothing).await,
    }
}

/// Of these pieces what was given least.
async fn any(
    node: &Node,
    reply: Reply,
    (root, len): (Hash, u64),
    mut of: Vec<u64>,
    most: u64,
) -> Result<(), Failure> {
    let bytes = |pieces: Range<u64>| pieces.start * PIECE..(pieces.end * PIECE).min(len);
    let source = match whole(node, &reply, root, len).await {
        Some(reader) => Some(Source::Whole(reader)),
        None => part(node, root, len).map(|part| {
            of.retain(|piece| part.blob().has(&bytes(*piece..piece + 1)));
            Source::Part(part)
        }),
    };
    let Some(source) = source.filter(|_| !of.is_empty()) else {
        return say(reply, &Answer::Nothing).await;
    };
    // What was chosen counts as given.
    if !reply.is_near()
        && let Err(failure) = node.giving.may()
    {
        return say(reply, &Answer::Declined { failure }).await;
    }
    // Who hides, or is somebody else in the LAN, remembers nothing that shows who asked it elsewhere.
    let remembers = node.config.exposure == Exposure::Open && !reply.is_near();
    let chosen = match remembers {
        true => node.superseed().choose(root, &of, most, node.clock.tick()),
        false => SuperSeed::new(rand::random()).choose(root, &of, most, node.clock.tick()),
    };
    let Some(pieces) = chosen else { return say(reply, &Answer::Nothing).await };
    let range = bytes(pieces.clone());
    let answer = Answer::Chosen { from: range.start, to: range.end };
    let sent = send_windows(node, reply, &answer, source, range).await;
    if sent.is_err() && remembers {
        node.superseed().kept(&root, pieces);
    }
    sent
}

/// A blob that may be given to others.
async fn whole(node: &Node, reply: &Reply, root: Hash, len: u64) -> Option<BlobReader> {
    let store = match &node.assigned {
        Some(assigned) => assigned.store(reply.own()),
        None => Some(node.store.clone()),
    }?;
    let reader = node.spawn_blocking(move || {
        let shared = store.has_shared_blob(&root).unwrap_or(false);
        shared.then(|| store.reader(&root).ok().flatten()).flatten()
    });
    reader.await.ok()?.filter(|reader| reader.len() == len)
}

/// One that is still on its way here.
fn part(node: &Node, root: Hash, len: u64) -> Option<Arc<Partial>> {
    let partial = node.partials.as_ref()?.find(&root)?;
    Some(partial).filter(|partial| partial.blob().len() == len)
}

/// Says which pieces of a blob are there, and then for a while which have come.
async fn has(
    node: &Node,
    mut reply: Reply,
    (root, len): (Hash, u64),
    asker: Option<PeerId>,
) -> Result<(), Failure> {
    if whole(node, &reply, root, len).await.is_some() {
        return say(reply, &Answer::Has { pieces: None }).await;
    }
    let Some(partial) = part(node, root, len) else { return say(reply, &Answer::Nothing).await };
    asker.into_iter().for_each(|asker| partial.asked_by(asker));
    let mut pieces = partial.pieces();
    // It is kept for those who load it, not for those who ask about it.
    drop(partial);
    let mut told = pieces.borrow_and_update().clone();
    let is_whole = |pieces: &Pieces| (0..len.div_ceil(PIECE)).all(|piece| pieces.has(piece));
    if is_whole(&told) {
        return say(reply, &Answer::Has { pieces: None }).await;
    }
    reply.write(&Answer::Has { pieces: Some(told.clone()) }.to_frame()).await?;
    reply.flush().await?;
    let until = tokio::time::Instant::now() + NEWS_LIMIT;
    while tokio::time::timeout_at(until, pieces.changed()).await.is_ok_and(|more| more.is_ok()) {
        let now = pieces.borrow_and_update().clone();
        reply.write_frame(news(&now.beyond(&told)).into()).await?;
        reply.flush().await?;
        told = now;
        if is_whole(&told) {
            break;
        }
        tokio::time::sleep(NEWS_PAUSE).await;
    }
    reply.finish().await
}

/// What windows are read from.
#[derive(Clone)]
enum Source {
    /// A blob that is stored.
    Whole(BlobReader),
    /// One on its way, of which the parts asked for are there.
    Part(Arc<Partial>),
}

impl Source {
    fn len(&self) -> u64 {
        match self {
            Self::Whole(reader) => reader.len(),
            Self::Part(partial) => partial.blob().len(),
        }
    }

    fn window(&self, range: Range<u64>) -> Option<Vec<u8>> {
        match self {
            Self::Whole(reader) => reader.window(range).ok(),
            Self::Part(partial) => partial.blob().window(range).ok().flatten(),
        }
    }
}

/// Sends an answer and the windows of a range. The next windows are read while one is being sent.
async fn send_windows(
    node: &Node,
    mut reply: Reply,
    answer: &Answer,
    source: Source,
    range: Range<u64>,
) -> Result<(), Failure> {
    // To a neighbour it costs the owner's line nothing.
    let giving = (!reply.is_near()).then_some(&node.giving);
    if let Some(Err(failure)) = giving.map(|giving| giving.may()) {
        return say(reply, &Answer::Declined { failure }).await;
    }
    let sent = try_send_windows(giving, &mut reply, answer, source, range).await;
    match sent {
        Ok(()) => reply.finish().await,
        Err(failure) => {
            reply.cut();
            Err(failure)
        }
    }
}

async fn try_send_windows(
    giving: Option<&Arc<OwnGiving>>,
    reply: &mut Reply,
    answer: &Answer,
    source: Source,
    range: Range<u64>,
) -> Result<(), Failure> {
    reply.write(&answer.to_frame()).await?;
    let after = |at: u64| blob::window_after(range.start, at, range.end);
    let windows = std::iter::successors(after(range.start), |window| after(window.end));
    let mut read = stream::iter(windows)
        .map(|window| {
            let source = source.clone();
            // The last window of a range ends at a whole group, so that it can be proven.
            let whole = window.start..window.end.next_multiple_of(blob::GROUP).min(source.len());
            tokio::task::spawn_blocking(move || source.window(whole))
        })
        .buffered(READ_AHEAD);
    while let Some(window) = read.next().await {
        let encoded = window.ok().flatten().ok_or(Failure::CutOff)?;
        if let Some(giving) = giving {
            giving.pay(Kind::Copied, encoded.len()).await?;
        }
        reply.write_frame(encoded.into()).await?;
    }
    Ok(())
}

pub(crate) async fn decline(stream: Stream, failure: Failure) -> Result<(), Failure> {
    say(Reply::plain(stream), &Answer::Declined { failure }).await
}

async fn say(mut reply: Reply, answer: &Answer) -> Result<(), Failure> {
    reply.write(&answer.to_frame()).await?;
    reply.finish().await
}

pub(crate) async fn write(stream: &mut Stream, bytes: &[u8]) -> Result<(), Failure> {
    within_limit(stream.send.write_all(bytes)).await
}

pub(crate) async fn within_limit<E>(
    writing: impl Future<Output = Result<(), E>>,
) -> Result<(), Failure> {
    match tokio::time::timeout(WRITE_LIMIT, writing).await {
        Err(_) => Err(Failure::Stalled),
        Ok(Err(_)) => Err(Failure::CutOff),
        Ok(Ok(())) => Ok(()),
    }
}
