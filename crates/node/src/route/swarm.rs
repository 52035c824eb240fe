//! The route `Swarm`: copies that known nodes hold.
//!
//! They are asked for a key, one after the other with a small delay; the first answer that verifies
//! wins, and it does so with the first bytes of its body: while a node that says that it has it sends nothing, or something
//! else, others are asked. The body comes in windows, each verified before a byte of it is shown; a long one from
//! several nodes at once ([`super::many`]). A quiet node asks through its guards.

use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use busel_net::frame;
use busel_proto::blob;
use busel_proto::failure::Failure;
use busel_proto::freshness;
use busel_proto::id::Hash;
use busel_proto::message::{self, Answer, Ask, MAX_WINDOW_FRAME};
use busel_proto::snapshot::Snapshot;
use busel_proto::time::Tick;
use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use http::Method;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use tracing::debug;

use super::beside::is_its_fault;
use super::voice::{Voice, Way, broken, heard_through};
use super::{Head, Item, Items, Lost, Resume, Started, Want, many};
use crate::clock;
use crate::node::Node;
use crate::partials::Partial;
use crate::request::Authority;

/// The next peer is asked after this long, though the one before has not answered.
const STAGGER: Duration = Duration::from_millis(60);
/// A peer's answer is waited for this long, and then its first bytes: many may share its line.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Peers asked for one page.
const MAX_ASKED: usize = 16;

/// A peer's answer that verified.
struct Found {
    way: Way,
    snapshot: Snapshot,
    /// Whether no other body is listed that is newer.
    is_newest: bool,
    voice: Voice,
}

/// Asks known peers.
pub(crate) async fn start(node: &Node, want: &Want) -> Result<Started, Lost> {
    let mut ways = node.ways_to_ask(MAX_ASKED);
    if ways.is_empty() {
        return Err(Failure::NobodyKnown.into());
    }
    if let Some(resume) = &want.resume {
        for stopped in &resume.peers {
            node.failed(stopped);
        }
        ways.sort_by_key(|way| resume.peers.contains(&way.peer));
    }
    let mut others = ways.clone();
    let mut asking = FuturesUnordered::new();
    for (at, way) in ways.into_iter().enumerate() {
        let delay = STAGGER * u32::try_from(at).unwrap_or(u32::MAX);
        asking.push(async move {
            // Even a sleep of nothing waits for the next tick of the timer.
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let since = node.clock.tick();
            let answer = ask(node, &way, want).await;
            note(node, &way, since, &answer);
            answer.map_err(|failure| (way.peer, failure))
        });
    }
    let mut stale: Option<Found> = None;
    let mut why = Failure::NobodyHasIt;
    while let Some(answer) = asking.next().await {
        match answer {
            Ok(found) if is_good(&found, want) => {
                drop(asking);
                return Ok(started(node, found, others, want));
            }
            Ok(found) => {
                let newer = stale.as_ref().is_none_or(|old| {
                    old.snapshot.head().fetched_at < found.snapshot.head().fetched_at
                });
                if newer {
                    stale = Some(found);
                }
            }
            Err((peer, failure)) => {
                let at = others.iter().position(|way| way.peer == peer);
                let other = at.map(|at| others.remove(at));
                // It may have begun to load it since, as others do at the same time.
                others.extend(other.filter(|_| failure == Failure::NobodyHasIt));
                // A lie outweighs a miss: the reader should learn of it.
                if matches!(failure, Failure::NotAuthentic(_)) || why == Failure::NobodyHasIt {
                    why = failure;
                }
            }
        }
    }
    let stale = stale.map(|found| Box::new(started(node, found, others, want)));
    let failure = if stale.is_some() { Failure::OnlyStale } else { why };
    Err(Lost { failure, sent: false, stale })
}

/// Remembers who had it and who did not answer. That one has no copy says nothing about it.
fn note(node: &Node, way: &Way, since: Tick, answer: &Result<Found, Failure>) {
    let took = node.clock.tick() - since;
    match answer {
        Ok(_) => node.worked(&way.peer, took),
        // Through a guard it may be that one's fault, which is noted there.
        Err(failure) if way.by.is_empty() && is_its_fault(failure) => node.failed(&way.peer),
        Err(_) => {}
    }
}

/// To continue a body the same bytes are wanted, however old.
fn is_good(found: &Found, want: &Want) -> bool {
    let fresh = || freshness::judge(&found.snapshot, &want.headers, clock::now()).fresh;
    want.resume.is_some() || (found.is_newest && fresh())
}

async fn ask(node: &Node, way: &Way, want: &Want) -> Result<Found, Failure> {
    let from = (want.method != Method::HEAD).then_some(want.from);
    let root = want.resume.as_ref().and_then(|resume| resume.root);
    let ask = Ask::Fetch { key: want.page.key(), from, root };
    let asked = timeout(ANSWER_LIMIT, heard_through(node, way, &ask)).await;
    let (answer, voice, by) = asked.unwrap_or(Err(Failure::Silent))?;
    let (snapshot, revocation) = match answer {
        Answer::Found { snapshot, revocation } => (snapshot, revocation),
        Answer::Nothing => return Err(Failure::NobodyHasIt),
        Answer::Declined { failure } => return Err(Failure::declined(&failure)),
        _ => return Err(Failure::Protocol("an unexpected answer".into())),
    };
    if let Some(revocation) = revocation {
        node.revoked(revocation).await;
    }
    let view = node.joined.view();
    let snapshot = snapshot.verify(&want.page, &view.trust).map_err(|error| {
        if error.is_a_lie() {
            node.lied(&way.peer);
        }
        Failure::NotAuthentic(error.to_string())
    })?;
    node.certified(snapshot.cert());
    if let Some(Resume { root: Some(root), .. }) = &want.resume
        && snapshot.head().root != *root
    {
        return Err(Failure::CannotResume);
    }
    let begun = timeout(ANSWER_LIMIT, begun(voice, &snapshot, from)).await;
    let begun = begun.unwrap_or(Err(Failure::Silent));
    // Who has passed on an answer that then stops may be why, or not: it is asked later for a while, and stays a guard.
    if let (Err(Failure::Silent | Failure::CutOff), Some(guard)) = (&begun, by) {
        node.favour().failed(&guard, node.clock.tick());
    }
    let voice = begun?;
    let (snapshot, is_newest) = node.renewed(&want.page, snapshot);
    Ok(Found { way: way.clone(), snapshot, is_newest, voice })
}

/// The same voice, whose next words are bytes of the body from there on, if it has any.
async fn begun(mut voice: Voice, snapshot: &Snapshot, from: Option<u64>) -> Result<Voice, Failure> {
    let (root, len) = (snapshot.head().root, snapshot.head().len);
    let window = from.and_then(|from| blob::window_after(from, from, blob::lead(from, len)));
    let Some(range) = window else { return Ok(voice) };
    let range = range.start..range.end.next_multiple_of(blob::GROUP).min(len);
    let encoded = frame::read(&mut voice, MAX_WINDOW_FRAME).await.map_err(broken)?;
    blob::verify_window(root, len, range, &encoded)
        .map_err(|error| Failure::NotAuthentic(error.to_string()))?;
    Ok(Box::new(Cursor::new(message::frame(&encoded)).chain(voice)))
}

/// `others` may have it, too.
fn started(node: &Node, found: Found, others: Vec<Way>, want: &Want) -> Started {
    let Found { way, snapshot, voice, .. } = found;
    let peer = way.peer;
    let view = node.joined.view();
    let label = view.trust.root(&snapshot.cert().root).map(|r| r.label.clone());
    let head = Head {
        status: snapshot.head().status,
        headers: snapshot.headers(),
        len: Some(snapshot.head().len),
        offset: want.from,
        authority: Authority::Injector {
            label: label.unwrap_or_default(),
            tls: snapshot.head().tls,
        },
        fetched_at: Some(snapshot.head().fetched_at),
        snapshot: Some(snapshot.clone()),
        peer: Some(peer),
        shaped: false,
    };
    let items = match want.method {
        Method::HEAD => stream::empty().boxed(),
        _ => {
            let others = others.into_iter().filter(|other| other.peer != peer);
            let ways = std::iter::once(way).chain(others).collect();
            many::body(node, &snapshot, (want.from, want.manner), Some(voice), ways)
        }
    };
    Started { head, items }
}

/// A body that comes in windows.
#[derive(Clone)]
pub(crate) struct Blob {
    pub(crate) root: Hash,
    pub(crate) len: u64,
    /// Where what was verified is put, so that others have it, too.
    pub(crate) partial: Option<Arc<Partial>>,
}

/// These bytes of a blob, out of the windows that `voice` brings.
pub(crate) fn windows(voice: Voice, blob: Blob, bytes: Range<u64>) -> Items {
    let Range { start: from, end: to } = bytes;
    stream::unfold((voice, from, blob), move |(mut voice, at, blob)| async move {
        let range = blob::window_after(from, at, to)?;
        let next = range.end;
        // The last window of a range ends at a whole group, so that it can be proven.
        let range = range.start..next.next_multiple_of(blob::GROUP).min(blob.len);
        match window(&mut voice, &blob, range.clone()).await {
            Ok(content) => {
                // The first window begins at a whole group, too, which may lie before what is wanted.
                let cut = |n: u64| usize::try_from(n - range.start).unwrap_or(0).min(content.len());
                Some((Ok(Item::Data(content.slice(cut(at)..cut(next)))), (voice, next, blob)))
            }
            Err(failure) => Some((Err(failure), (voice, to, blob))),
        }
    })
    .boxed()
}

async fn window(voice: &mut Voice, blob: &Blob, range: Range<u64>) -> Result<Bytes, Failure> {
    let encoded = frame::read(voice, MAX_WINDOW_FRAME).await.map_err(broken)?;
    let window = blob::verify_window(blob.root, blob.len, range, &encoded)
        .map_err(|e| Failure::NotAuthentic(e.to_string()))?;
    let content = window.content.clone();
    if let Some(partial) = blob.partial.clone() {
        let put = tokio::task::spawn_blocking(move || partial.put(&window)).await;
        // Whoever reads has it all the same.
        if let Ok(Err(error)) = put {
            debug!(%error, "a part was not kept for others");
        }
    }
    Ok(content)
}
