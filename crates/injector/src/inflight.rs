//! One origin fetch for all who ask at once, streamed while it comes in.
//!
//! The fetch writes into the store and into a short window in memory. Who asks first, or soon, reads
//! from the window; who is slower than the window, or comes late, reads from the store once the
//! body is there. The fetch runs at the pace of the quickest reader, so memory stays flat whatever
//! the body's size.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busel_node::clock;
use busel_node::places::Place;
use busel_node::{Body, Node, RequestBody};
use busel_proto::failure::Failure;
use busel_proto::freshness;
use busel_proto::id::SnapshotKey;
use busel_proto::language;
use busel_proto::page::Variant;
use busel_proto::sealed::Preview;
use busel_proto::signed::Signed;
use busel_proto::sites::why_not_shareable;
use busel_proto::snapshot::{Head, SignedSnapshot, Snapshot, Wanted, kept_headers};
use busel_store::{BlobReader, BlobWriter, FinishedBlob};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use crate::{Inner, lock};

/// Bytes of a body kept in memory while it comes in.
const WINDOW: u64 = 1 << 20;
/// An origin's head is waited for this long.
const HEAD_LIMIT: Duration = Duration::from_secs(20);
/// The next bytes of an origin's body are waited for this long.
pub(crate) const BODY_LIMIT: Duration = Duration::from_secs(30);
/// Bytes read from the store at once.
const PIECE: u64 = 256 * 1024;
/// What every canonical request says of itself: one form for all readers, of a common browser.
const USER_AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0";
const ACCEPT: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// A fetch under way. Clones are one.
#[derive(Clone)]
pub struct InFlight {
    /// The head, once it is there.
    head: watch::Receiver<Option<Result<Preview, Failure>>>,
    /// Bytes that have come, and whether the body is whole.
    progress: watch::Receiver<Progress>,
    window: Arc<Mutex<Window>>,
    /// Told when a reader moves on.
    moved: watch::Sender<u64>,
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InFlight")
    }
}

#[derive(Debug, Clone)]
enum Progress {
    Bytes(u64),
    Kept(Box<Snapshot>),
    Failed(Failure),
}

#[derive(Default)]
struct Window {
    pieces: VecDeque<Bytes>,
    /// Where in the body the first piece begins.
    base: u64,
    end: u64,
    /// Where each reader stands.
    readers: BTreeMap<u64, u64>,
    /// How far the quickest one has come, and how much was taken on the way.
    front: u64,
    taken: u64,
    next_reader: u64,
}

/// What a reader gets next.
pub enum Next {
    /// Bytes of the body.
    Data(Bytes),
    /// The body is whole; `at` it goes on from the store, if the reader has not all yet.
    Kept(Box<Snapshot>),
    /// The fetch broke off.
    Failed(Failure),
}

/// One who reads along.
pub struct Reader {
    flight: InFlight,
    id: u64,
    at: u64,
}

impl InFlight {
    /// Starts to fetch `wanted` as a task of the injector's node, in `place`.
    pub(crate) fn start(inner: &Arc<Inner>, wanted: Wanted, place: Place) -> Self {
        let (head, head_seen) = watch::channel(None);
        let (progress, progress_seen) = watch::channel(Progress::Bytes(0));
        let flight = Self {
            head: head_seen,
            progress: progress_seen,
            window: Arc::default(),
            moved: watch::Sender::new(0),
        };
        let fetch = Fetch {
            inner: inner.clone(),
            window: flight.window.clone(),
            moved: flight.moved.subscribe(),
            head,
            progress,
            patience: Patience::default(),
        };
        let listed = Listed { inner: inner.clone(), key: wanted.key(), _place: place };
        inner.node.spawn(async move {
            let _listed = listed;
            fetch.run(wanted).await;
        });
        flight
    }

    /// The head, as soon as it is there.
    pub async fn head(&mut self) -> Result<Preview, Failure> {
        match self.head.wait_for(Option::is_some).await {
            Ok(head) => head.clone().unwrap_or(Err(Failure::CutOff)),
            Err(_) => Err(Failure::CutOff),
        }
    }

    /// The snapshot, once the body is whole and kept.
    pub(crate) async fn kept(&mut self) -> Result<Snapshot, Failure> {
        let ended = |progress: &Progress| !matches!(progress, Progress::Bytes(_));
        match self.progress.wait_for(ended).await.as_deref() {
            Ok(Progress::Kept(snapshot)) => Ok((**snapshot).clone()),
            Ok(Progress::Failed(failure)) => Err(failure.clone()),
            Ok(Progress::Bytes(_)) | Err(_) => Err(Failure::CutOff),
        }
    }

    /// Whether it is long until byte `at` comes.
    pub(crate) fn is_far_behind(&self, at: u64) -> bool {
        lock(&self.window).end + WINDOW < at
    }

    /// Whether byte `at` has come and gone.
    pub(crate) fn has_passed(&self, at: u64) -> bool {
        at < lock(&self.window).base
    }

    /// How many read along.
    pub(crate) fn readers(&self) -> usize {
        lock(&self.window).readers.len()
    }

    /// Reads along from byte `from`.
    pub fn reader(&self, from: u64) -> Reader {
        let mut window = lock(&self.window);
        let id = window.next_reader;
        window.next_reader += 1;
        window.readers.insert(id, from);
        Reader { flight: self.clone(), id, at: from }
    }
}

impl Reader {
    /// Where this reader stands.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next bytes, or how it ended.
    pub async fn next(&mut self) -> Next {
        loop {
            let taken = lock(&self.flight.window).take(self.at);
            if let Some(bytes) = taken {
                let from = self.at;
                self.at += bytes.len() as u64;
                lock(&self.flight.window).moved(self.id, from, self.at);
                self.flight.moved.send_replace(self.at);
                return Next::Data(bytes);
            }
            // Not in the window: not there yet, or gone by. Either way there will be news.
            let at = self.at;
            let news = self.flight.progress.wait_for(|progress| match progress {
                Progress::Bytes(end) => *end > at && lock(&self.flight.window).base <= at,
                Progress::Kept(_) | Progress::Failed(_) => true,
            });
            match news.await.as_deref() {
                Ok(Progress::Bytes(_)) => {}
                Ok(Progress::Kept(snapshot)) => {
                    if lock(&self.flight.window).take(at).is_none() {
                        return Next::Kept(snapshot.clone());
                    }
                }
                Ok(Progress::Failed(failure)) => return Next::Failed(failure.clone()),
                Err(_) => return Next::Failed(Failure::CutOff),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        lock(&self.flight.window).readers.remove(&self.id);
        self.flight.moved.send_replace(self.at);
    }
}

impl Window {
    fn push(&mut self, bytes: Bytes) {
        self.end += bytes.len() as u64;
        self.pieces.push_back(bytes);
        while self.end - self.base > WINDOW && self.pieces.len() > 1 {
            if let Some(old) = self.pieces.pop_front() {
                self.base += old.len() as u64;
            }
        }
    }

    /// The piece that holds byte `at`, from there on.
    fn take(&self, at: u64) -> Option<Bytes> {
        let mut begin = self.base;
        for piece in &self.pieces {
            let end = begin + piece.len() as u64;
            if (begin..end).contains(&at) {
                let skip = usize::try_from(at - begin).ok()?;
                return Some(piece.slice(skip..));
            }
            begin = end;
        }
        None
    }

    /// A reader took the bytes from `from` to `to`.
    fn moved(&mut self, id: u64, from: u64, to: u64) {
        self.readers.insert(id, to);
        if to > self.front {
            self.taken += to - from.max(self.front);
            self.front = to;
        }
    }

    /// Whether another piece may come: no reader, or one that has read most of the window. Those for whom
    /// it has gone by wait for the store.
    fn has_room(&self) -> bool {
        let quickest = self.readers.values().filter(|at| **at >= self.base).max();
        quickest.is_none_or(|at| self.end.saturating_sub(*at) < WINDOW / 2)
    }
}

/// That a fetch is under way; dropped, however it ended, it no longer is, and its place is free.
struct Listed {
    inner: Arc<Inner>,
    key: SnapshotKey,
    _place: Place,
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&self.inner.inflight).remove(&self.key);
    }
}

/// How long a fetch waits for its readers. It follows the quickest of them, so that what they take
/// need not be read from the disk; but one that takes next to nothing must not hold the fetch, its
/// place and everyone else who waits for the signature.
#[derive(Default)]
pub(crate) struct Patience {
    waited: Duration,
}

impl Patience {
    /// For nothing taken.
    const FIRST: Duration = Duration::from_secs(30);
    /// Who takes so many bytes a second is followed to the end.
    const BYTES_PER_SECOND: u64 = 32 * 1024;

    /// What is left of it, once so many bytes were taken.
    fn left(&self, taken: u64) -> Duration {
        Self::of(taken).saturating_sub(self.waited)
    }

    /// All of it.
    pub(crate) fn of(taken: u64) -> Duration {
        Self::FIRST + Duration::from_secs(taken / Self::BYTES_PER_SECOND)
    }
}

/// The fetch itself.
struct Fetch {
    inner: Arc<Inner>,
    window: Arc<Mutex<Window>>,
    moved: watch::Receiver<u64>,
    head: watch::Sender<Option<Result<Preview, Failure>>>,
    progress: watch::Sender<Progress>,
    patience: Patience,
}

impl Fetch {
    async fn run(mut self, wanted: Wanted) {
        if let Err(failure) = self.fetch(&wanted).await {
            debug!(%failure, "a fetch failed");
            self.head.send_if_modified(|head| {
                let first = head.is_none();
                if first {
                    *head = Some(Err(failure.clone()));
                }
                first
            });
            self.progress.send_replace(Progress::Failed(failure));
        }
    }

    async fn fetch(&mut self, wanted: &Wanted) -> Result<(), Failure> {
        let (parts, mut body) = self.ask(wanted).await?.into_parts();
        if let Some(why) = why_not_shareable(parts.status.as_u16(), &parts.headers) {
            return Err(Failure::NotAllowed(format!("this page may not be shared: {why}")));
        }
        let preview = Preview {
            status: parts.status.as_u16(),
            headers: kept_headers(&parts.headers),
            fetched_at: clock::now(),
            tls: wanted.url.is_https(),
            len: length(&parts.headers),
        };
        if preview.len.is_some_and(|len| len > self.inner.config.max_body) {
            return Err(too_long());
        }
        self.head.send_replace(Some(Ok(preview.clone())));
        let mut sink = Sink::start(&self.inner)?;
        while let Some(frame) =
            tokio::time::timeout(BODY_LIMIT, body.frame()).await.map_err(|_| Failure::Stalled)?
        {
            let Ok(bytes) = frame?.into_data() else { continue };
            self.take(bytes, &mut sink).await?;
        }
        let len = lock(&self.window).end;
        if preview.len.is_some_and(|said| said != len) {
            return Err(Failure::CutOff);
        }
        let snapshot = keep(&self.inner, wanted, preview, sink).await?;
        self.progress.send_replace(Progress::Kept(Box::new(snapshot)));
        Ok(())
    }

    /// What the site has. If it says that this is what is in the store, then that, with the fields of now.
    async fn ask(&self, wanted: &Wanted) -> Result<Response<Body>, Failure> {
        let known = Known::find(&self.inner, wanted).await;
        let asked = known.as_ref().map(|known| known.conditions.clone());
        let response = send(&self.inner, wanted, asked.unwrap_or_default()).await?;
        let Some(known) = known.filter(|_| response.status() == StatusCode::NOT_MODIFIED) else {
            return Ok(response);
        };
        if let Some(why) = why_not_shareable(known.status.as_u16(), response.headers()) {
            return Err(Failure::NotAllowed(format!("this page may not be shared: {why}")));
        }
        match known.renewed(&self.inner, response.headers()) {
            Some(response) => Ok(response),
            None => send(&self.inner, wanted, HeaderMap::new()).await,
        }
    }

    async fn take(&mut self, bytes: Bytes, sink: &mut Sink) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = {
            let mut window = lock(&self.window);
            window.push(bytes.clone());
            window.end
        };
        if end > self.inner.config.max_body {
            return Err(too_long());
        }
        self.progress.send_replace(Progress::Bytes(end));
        sink.write(bytes).await?;
        self.follow().await;
        Ok(())
    }

    /// Waits until the quickest reader has read most of the window, or patience ends.
    async fn follow(&mut self) {
        loop {
            let (room, taken) = {
                let window = lock(&self.window);
                (window.has_room(), window.taken)
            };
            let left = self.patience.left(taken);
            if room || left.is_zero() {
                return;
            }
            let since = Instant::now();
            let moved = tokio::time::timeout(left, self.moved.changed()).await;
            self.patience.waited += since.elapsed();
            if !matches!(moved, Ok(Ok(()))) {
                return;
            }
        }
    }
}

/// Asks the site, with these fields beside the canonical ones.
pub(crate) async fn send(
    inner: &Inner,
    wanted: &Wanted,
    fields: HeaderMap,
) -> Result<Response<Body>, Failure> {
    let mut headers = canonical_headers(&wanted.variant);
    headers.extend(fields);
    let sent = inner.node.origin().send(Method::GET, &wanted.url, headers, RequestBody::empty());
    match tokio::time::timeout(HEAD_LIMIT, sent).await {
        Err(_) => Err(Failure::Silent),
        Ok(sent) => sent.map_err(|failed| failed.failure),
    }
}

/// Signs what was seen, and stores it.
pub(crate) async fn keep(
    inner: &Inner,
    wanted: &Wanted,
    preview: Preview,
    sink: Sink,
) -> Result<Snapshot, Failure> {
    let body = sink.finish().await?;
    let keys = &inner.keys;
    let cert = keys.cert_at(preview.fetched_at).ok_or(Failure::NotCertified)?;
    let head = Head {
        v: 1,
        url: wanted.url.as_str().to_owned(),
        variant: wanted.variant.clone(),
        status: preview.status,
        headers: preview.headers,
        root: body.root(),
        len: body.len(),
        fetched_at: preview.fetched_at,
        tls: preview.tls,
        injector: cert.subkey,
        epoch: cert.epoch,
    };
    let signed =
        SignedSnapshot { head: Signed::sign(&head, keys.signing()), cert: cert.signed().clone() };
    let snapshot = signed
        .verify(wanted, &inner.node.joined().view().trust)
        .map_err(|e| Failure::NotAllowed(e.to_string()))?;
    let (store, own) = (inner.node.store().clone(), snapshot.clone());
    let put = inner.node.spawn_blocking(move || store.put(&own, body, clock::now())).await;
    match put {
        Ok(Ok(())) => Ok(snapshot),
        Ok(Err(error)) => Err(Failure::Protocol(format!("the store: {error}"))),
        Err(_) => Err(Failure::CutOff),
    }
}

/// A page in the store that this injector saw before, and by which fields its site can tell that it is still what it was.
struct Known {
    conditions: HeaderMap,
    status: StatusCode,
    headers: HeaderMap,
    body: BlobReader,
}

impl Known {
    async fn find(inner: &Inner, wanted: &Wanted) -> Option<Self> {
        let (store, wanted) = (inner.node.store().clone(), wanted.clone());
        let (view, own) = (inner.node.joined().view(), inner.keys.cert().subkey);
        let found = inner.node.spawn_blocking(move || {
            let stored = store.find(&wanted.key()).ok()?.filter(|stored| stored.shared)?;
            let snapshot =
                stored.signed.verify_stored(&wanted, &view.trust, stored.received).ok()?;
            // What others saw is not ours to vouch for.
            if snapshot.head().injector != own {
                return None;
            }
            let headers = snapshot.headers();
            Some(Self {
                conditions: freshness::conditions(&headers)?,
                status: StatusCode::from_u16(snapshot.head().status).ok()?,
                headers,
                body: store.reader(&snapshot.head().root).ok()??,
            })
        });
        found.await.ok().flatten()
    }

    /// The page as its site would send it now.
    fn renewed(self, inner: &Inner, told: &HeaderMap) -> Option<Response<Body>> {
        let status = self.status.as_u16();
        let mut headers = freshness::renewed(status, &self.headers, told, clock::now())?;
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        let mut response = Response::new(body_of(&inner.node, self.body));
        (*response.status_mut(), *response.headers_mut()) = (self.status, headers);
        Some(response)
    }
}

/// What is in the store, as it would come from its site.
pub(crate) fn body_of(node: &Node, body: BlobReader) -> Body {
    let node = node.clone();
    let pieces = stream::try_unfold(0, move |at| {
        let (node, own) = (node.clone(), body.clone());
        async move {
            if at >= own.len() {
                return Ok(None);
            }
            let len = usize::try_from(PIECE.min(own.len() - at)).unwrap_or(usize::MAX);
            let read = node.spawn_blocking(move || own.read_at(at, len)).await;
            let bytes = read.ok().and_then(Result::ok).ok_or(Failure::CutOff)?;
            let next = at + bytes.len() as u64;
            Ok(Some((Frame::data(bytes), next)))
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// The body on its way into the store, on a thread that may wait for the disk.
pub(crate) struct Sink {
    pieces: tokio::sync::mpsc::Sender<Bytes>,
    done: tokio::task::JoinHandle<Result<FinishedBlob, Failure>>,
}

impl Sink {
    pub(crate) fn start(inner: &Inner) -> Result<Self, Failure> {
        let mut writer: BlobWriter = inner.node.store().writer().map_err(store_failed)?;
        let (pieces, mut coming) = tokio::sync::mpsc::channel::<Bytes>(16);
        let done = inner.node.spawn_blocking(move || {
            while let Some(bytes) = coming.blocking_recv() {
                writer.write(&bytes).map_err(store_failed)?;
            }
            writer.finish().map_err(store_failed)
        });
        Ok(Self { pieces, done })
    }

    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let gone = || Failure::Protocol("the store does not take the body".into());
        self.pieces.send(bytes).await.map_err(|_| gone())
    }

    async fn finish(self) -> Result<FinishedBlob, Failure> {
        drop(self.pieces);
        self.done.await.unwrap_or(Err(Failure::CutOff))
    }
}

fn store_failed(error: busel_store::WriteError) -> Failure {
    Failure::Protocol(format!("the store: {error}"))
}

pub(crate) fn too_long() -> Failure {
    Failure::NotAllowed("the page is longer than this injector fetches".into())
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The canonical public request: nothing in it is the reader's but one language of a few.
fn canonical_headers(variant: &Variant) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.extend(language::accepted(variant).map(|value| (header::ACCEPT_LANGUAGE, value)));
    headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_bounded_and_gives_what_it_holds() {
        let mut window = Window::default();
        for n in 0..64u8 {
            window.push(Bytes::from(vec![n; 64 * 1024]));
        }
        assert!(window.end - window.base <= WINDOW);
        assert_eq!(window.take(0), None);
        let last = window.take(window.end - 1).unwrap();
        assert_eq!(last, [63][..]);
        assert_eq!(window.take(window.end), None);
    }

    #[test]
    fn the_fetch_follows_the_quickest_reader() {
        let mut window = Window::default();
        window.push(Bytes::from(vec![0; 700 * 1024]));
        assert!(window.has_room(), "nobody reads");
        window.readers.insert(1, 0);
        assert!(!window.has_room(), "the only reader is behind");
        window.readers.insert(2, 700 * 1024);
        assert!(window.has_room(), "another one is not");
        window.readers.remove(&2);
        window.push(Bytes::from(vec![0; 700 * 1024]));
        assert!(window.base > 0 && window.has_room(), "for the one left it has gone by");
    }

    #[test]
    fn only_what_was_taken_counts_and_once() {
        let mut window = Window::default();
        window.moved(1, 1_000_000, 1_000_010);
        window.moved(2, 1_000_000, 1_000_010);
        window.moved(2, 1_000_010, 1_000_030);
        assert_eq!(window.taken, 30);
    }

    #[test]
    fn a_reader_that_takes_next_to_nothing_is_followed_for_a_while_only() {
        // It takes a byte every 29 seconds, just before it would count as stuck.
        let (mut patience, mut taken) = (Patience::default(), 0);
        while !patience.left(taken).is_zero() {
            patience.waited += patience.left(taken).min(Duration::from_secs(29));
            taken += 1;
        }
        assert_eq!((patience.waited, taken), (Patience::FIRST, 2));
    }

    #[test]
    fn a_reader_on_a_slow_line_is_followed_to_the_end() {
        let mut patience = Patience::default();
        for second in 0..10_000 {
            assert!(!patience.left(second * 40_000).is_zero(), "after {second} seconds");
            patience.waited += Duration::from_secs(1);
        }
    }
}
