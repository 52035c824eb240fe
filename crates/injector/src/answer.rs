//! What one asker is told: opens the sealed request, checks it, and seals the answer part by part.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use busel_net::endpoint::Stream;
use busel_node::clock;
use busel_proto::edition;
use busel_proto::failure::Failure;
use busel_proto::freshness;
use busel_proto::holders::{MOST_NAMED, NAMED};
use busel_proto::id::PeerId;
use busel_proto::language;
use busel_proto::message::{Answer, frame};
use busel_proto::page::{PageUrl, Variant};
use busel_proto::sealed::{
    CHUNK, ChunkCipher, InjectRequest, Part, ResponseKey, SealError, open_request,
};
use busel_proto::sites::QueryRule;
use busel_proto::snapshot::{Snapshot, Wanted};
use busel_store::BlobReader;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use tracing::debug;

use crate::along::{self, Sent};
use crate::cut::Cut;
use crate::inflight::{InFlight, too_long};
use crate::{Inner, holders, listing, lock};

/// An asker that takes no bytes for this long is dropped.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// A place for a fetch is waited for this long, looking so often.
const PLACE_WAIT: Duration = Duration::from_secs(5);
const PLACE_PAUSE: Duration = Duration::from_millis(20);
/// A body is sent to so many at once while it comes in. Who comes then and can ask others waits until it is there, …
const MAX_ALONG: usize = 8;
/// … if it is no longer than this, in bytes, and comes within this time.
const MAX_AWAITED: u64 = 8 << 20;
const WAIT_FOR_ALL: Duration = Duration::from_secs(5);
/// Bytes read from the store at once.
const PIECE: u64 = 256 * 1024;

/// Answers a sealed request of `from` on `stream`.
pub(crate) async fn answer(inner: Arc<Inner>, envelope: Vec<u8>, from: PeerId, stream: Stream) {
    if let Err(failure) = try_answer(inner, &envelope, from, stream).await {
        debug!(%failure, "a sealed request was not answered");
    }
}

async fn try_answer(
    inner: Arc<Inner>,
    envelope: &[u8],
    from: PeerId,
    stream: Stream,
) -> Result<(), Failure> {
    if !inner.limits.allow(&from, Instant::now()) {
        let failure = Failure::Busy("too many requests; wait a moment".into());
        return decline(stream, failure).await;
    }
    let opened = open_request(envelope, &inner.keys.cert().subkey, inner.keys.hpke());
    let (request, key) = match opened {
        Ok(opened) => opened,
        Err(error) => return decline(stream, Failure::Protocol(error.to_string())).await,
    };
    let out = Sealed::open(stream, &key).await?;
    let now = clock::now();
    let checked = lock(&inner.replays).check(&request, &from, now);
    match checked {
        Ok(()) => {}
        Err(SealError::Clock(_)) => return out.last(&Part::Clock(now)).await,
        Err(error) => {
            return out.last(&Part::Declined(refusal(&error))).await;
        }
    }
    match wanted(&inner, &request) {
        Ok(wanted) => respond(&inner, from, &request, wanted, out).await,
        Err(failure) => out.last(&Part::Declined(failure)).await,
    }
}

/// What is wrong with a request that was opened.
fn refusal(error: &SealError) -> Failure {
    match error {
        SealError::Overloaded => Failure::Busy(error.to_string()),
        _ => Failure::Protocol(error.to_string()),
    }
}

/// The page that is asked for, if this injector fetches it.
fn wanted(inner: &Inner, request: &InjectRequest) -> Result<Wanted, Failure> {
    let malformed = || Failure::Protocol("no canonical address".into());
    let url = PageUrl::parse(&request.url).map_err(|e| Failure::Protocol(e.to_string()))?;
    let form =
        request.variant == Variant::default() || language::accepted(&request.variant).is_some();
    if url.as_str() != request.url || !form {
        return Err(malformed());
    }
    fetched(inner, &url)?;
    Ok(Wanted { url, variant: request.variant.clone() })
}

/// Whether this injector fetches that page.
pub(crate) fn fetched(inner: &Inner, url: &PageUrl) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::NotAllowed(why.into()));
    let host = url.host();
    if !inner.config.hosts.iter().any(|pattern| pattern.matches(&host)) {
        return refuse("this injector does not fetch from that site");
    }
    if !inner.config.ports.iter().any(|ports| ports.contains(&url.port())) {
        return refuse("this injector does not fetch from that port");
    }
    let view = inner.node.joined().view();
    let rule = view.sites.find(&host).map_or(&QueryRule::None, |site| &site.query);
    if url.query().is_some_and(|query| !rule.allows(query)) {
        return refuse("this injector does not fetch pages with that query: it may be personal");
    }
    Ok(())
}

async fn respond(
    inner: &Arc<Inner>,
    from: PeerId,
    request: &InjectRequest,
    wanted: Wanted,
    mut out: Sealed,
) -> Result<(), Failure> {
    // An edition is what the injector itself made; no site is asked for it.
    let made = edition::is_address(&wanted.url);
    let known = stored(inner, &wanted, |snapshot| {
        let mut asked = HeaderMap::new();
        if request.new {
            asked.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        made || freshness::judge(snapshot, &asked, clock::now()).fresh
    });
    match known.await {
        Some((snapshot, reader)) => {
            return send_stored(inner, from, out, snapshot, reader, request).await;
        }
        None if made => {
            let why = "this injector makes no edition of that site".into();
            return out.last(&Part::Declined(Failure::NotAllowed(why))).await;
        }
        None => {}
    }
    let begin = request.from.unwrap_or(0);
    if begin > inner.config.max_body {
        return out.last(&Part::Declined(too_long())).await;
    }
    let mut flight = match fly(inner, from, &wanted).await {
        Ok(flight) => flight,
        Err(failure) => return out.last(&Part::Declined(failure)).await,
    };
    let may_be_told = request.held.is_some_and(|before| before < MOST_NAMED);
    let crowded = may_be_told && flight.readers() >= MAX_ALONG;
    if crowded
        && ends_soon(&mut flight).await
        && let Some((snapshot, reader)) = stored(inner, &wanted, |_| true).await
    {
        return send_stored(inner, from, out, snapshot, reader, request).await;
    }
    // Reading begins before the head is there, so that the fetch waits for this reader; but not for
    // one that is far ahead.
    let reader = (!flight.is_far_behind(begin)).then(|| flight.reader(begin));
    let preview = match flight.head().await {
        Ok(preview) => preview,
        Err(failure) => return out.last(&Part::Declined(failure)).await,
    };
    let beyond = preview.len.is_some_and(|len| begin > len);
    if request.from.is_none() || beyond {
        return out.last(&Part::Preview(preview)).await;
    }
    out.part(&Part::Preview(preview.clone())).await?;
    inner.bodies.fetch_add(1, Ordering::Relaxed);
    let cut = Cut { inner, client: from, wanted: &wanted, preview: &preview };
    match along::send(&flight, &cut, reader, begin, &mut out).await? {
        Sent::To(at, snapshot) => {
            listing::asked(inner, &snapshot, from);
            send_rest(inner, out, *snapshot, at).await
        }
        Sent::Failed(failure) => out.last(&Part::Declined(failure)).await,
        Sent::Unwanted => Ok(()),
    }
}

/// The fetch of this page that is under way, or a new one, which `client` has begun. A client whose
/// earlier pages are being stored still is not told at once that it has too many.
pub(crate) async fn fly(
    inner: &Arc<Inner>,
    client: PeerId,
    wanted: &Wanted,
) -> Result<InFlight, Failure> {
    let until = Instant::now() + PLACE_WAIT;
    loop {
        match try_fly(inner, client, wanted) {
            Err(Failure::Busy(_)) if Instant::now() < until => {
                tokio::time::sleep(PLACE_PAUSE).await;
            }
            flown => return flown,
        }
    }
}

fn try_fly(inner: &Arc<Inner>, client: PeerId, wanted: &Wanted) -> Result<InFlight, Failure> {
    if edition::is_address(&wanted.url) {
        return Err(Failure::NotAllowed("no site is asked for an edition".into()));
    }
    let mut inflight = lock(&inner.inflight);
    let key = wanted.key();
    if let Some(flight) = inflight.get(&key) {
        return Ok(flight.clone());
    }
    if inner.keys.cert_at(clock::now()).is_none() {
        return Err(Failure::NotCertified);
    }
    let place = inner.limits.fetch(client)?;
    let flight = InFlight::start(inner, wanted.clone(), place);
    inflight.insert(key, flight.clone());
    Ok(flight)
}

/// The snapshot in the store, if it will do.
pub(crate) async fn stored(
    inner: &Arc<Inner>,
    wanted: &Wanted,
    will_do: impl Fn(&Snapshot) -> bool,
) -> Option<(Snapshot, BlobReader)> {
    let (store, wanted) = (inner.node.store().clone(), wanted.clone());
    let view = inner.node.joined().view();
    let found = inner.node.spawn_blocking(move || {
        let stored = store.find(&wanted.key()).ok()?.filter(|stored| stored.shared)?;
        let snapshot = stored.signed.verify_stored(&wanted, &view.trust, stored.received).ok()?;
        let reader = store.reader(&snapshot.head().root).ok()??;
        Some((snapshot, reader))
    });
    found.await.ok().flatten().filter(|(snapshot, _)| will_do(snapshot))
}

/// Waits for the end of a fetch that is not too long to be waited for. Returns whether it came.
async fn ends_soon(flight: &mut InFlight) -> bool {
    let ended = async {
        let len = flight.head().await.ok()?.len;
        len.filter(|len| *len <= MAX_AWAITED)?;
        flight.kept().await.ok()
    };
    tokio::time::timeout(WAIT_FOR_ALL, ended).await.is_ok_and(|ended| ended.is_some())
}

/// Sends what is in the store; or, if many ask for it, says who holds it.
async fn send_stored(
    inner: &Arc<Inner>,
    asker: PeerId,
    mut out: Sealed,
    snapshot: Snapshot,
    reader: BlobReader,
    request: &InjectRequest,
) -> Result<(), Failure> {
    listing::asked(inner, &snapshot, asker);
    let head = Part::Signed(Box::new(snapshot.to_signed()));
    let other = request.root.is_some_and(|root| root != snapshot.head().root);
    let from = request.from.filter(|from| !other && *from < reader.len());
    let Some(from) = from else { return out.last(&head).await };
    out.part(&head).await?;
    if let Some(before) = request.held {
        let named = holders::named(inner, &snapshot, asker, from, before);
        // One of fewer may be gone.
        if named.len() >= NAMED {
            return out.last(&Part::Held(named)).await;
        }
    }
    inner.bodies.fetch_add(1, Ordering::Relaxed);
    send_body(&mut out, reader, from).await?;
    out.end().await
}

/// The rest of a body whose beginning was sent while it came in, and its signature.
async fn send_rest(
    inner: &Arc<Inner>,
    mut out: Sealed,
    snapshot: Snapshot,
    at: u64,
) -> Result<(), Failure> {
    if at < snapshot.head().len {
        let (store, root) = (inner.node.store().clone(), snapshot.head().root);
        let reader = inner.node.spawn_blocking(move || store.reader(&root).ok().flatten());
        let reader = reader.await.ok().flatten().ok_or(Failure::CutOff)?;
        send_body(&mut out, reader, at).await?;
    }
    out.last(&Part::Signed(Box::new(snapshot.to_signed()))).await
}

async fn send_body(out: &mut Sealed, reader: BlobReader, from: u64) -> Result<(), Failure> {
    let mut at = from;
    while at < reader.len() {
        let size = usize::try_from(PIECE.min(reader.len() - at)).unwrap_or(usize::MAX);
        let own = reader.clone();
        let read = tokio::task::spawn_blocking(move || own.read_at(at, size)).await;
        let bytes = read.ok().and_then(Result::ok).ok_or(Failure::CutOff)?;
        at += bytes.len() as u64;
        out.data(&bytes).await?;
    }
    Ok(())
}

async fn decline(mut stream: Stream, failure: Failure) -> Result<(), Failure> {
    let frame = Answer::Declined { failure }.to_frame();
    write(&mut stream, &frame).await?;
    let _ = stream.send.finish();
    Ok(())
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> Result<(), Failure> {
    match tokio::time::timeout(WRITE_LIMIT, stream.send.write_all(bytes)).await {
        Err(_) => Err(Failure::Stalled),
        Ok(Err(_)) => Err(Failure::CutOff),
        Ok(Ok(())) => Ok(()),
    }
}

/// A sealed response being written.
pub(crate) struct Sealed {
    stream: Stream,
    cipher: ChunkCipher,
    whole: bool,
}

impl Drop for Sealed {
    fn drop(&mut self) {
        if !self.whole {
            self.stream.cut();
        }
    }
}

impl Sealed {
    async fn open(mut stream: Stream, key: &ResponseKey) -> Result<Self, Failure> {
        let nonce: [u8; 32] = rand::random();
        let mut first = Answer::Open.to_frame();
        first.extend_from_slice(&nonce);
        write(&mut stream, &first).await?;
        Ok(Self { stream, cipher: key.cipher(&nonce), whole: false })
    }

    async fn part(&mut self, part: &Part<'_>) -> Result<(), Failure> {
        let sealed = frame(&self.cipher.seal(part, false));
        write(&mut self.stream, &sealed).await
    }

    /// Ends when nobody reads this any more.
    pub(crate) async fn unwanted(&self) {
        // Why does not matter: an error means that the connection is gone.
        let _ = self.stream.send.stopped().await;
    }

    pub(crate) async fn data(&mut self, bytes: &Bytes) -> Result<(), Failure> {
        let mut sealed = Vec::with_capacity(bytes.len() + 64 * bytes.len().div_ceil(CHUNK));
        for piece in bytes.chunks(CHUNK) {
            sealed.extend(frame(&self.cipher.seal(&Part::Data(piece), false)));
        }
        write(&mut self.stream, &sealed).await
    }

    async fn last(mut self, part: &Part<'_>) -> Result<(), Failure> {
        let sealed = frame(&self.cipher.seal(part, true));
        write(&mut self.stream, &sealed).await?;
        let _ = self.stream.send.finish();
        self.whole = true;
        Ok(())
    }

    async fn end(self) -> Result<(), Failure> {
        self.last(&Part::Data(&[])).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_requests_are_no_fault_of_the_protocol() {
        assert!(matches!(refusal(&SealError::Overloaded), Failure::Busy(_)));
        assert!(matches!(refusal(&SealError::Replayed), Failure::Protocol(_)));
    }
}
