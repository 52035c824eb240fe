//! The route `Local`: the own store, through the pages that are hot in memory.

use std::sync::Arc;

use busel_proto::failure::Failure;
use busel_proto::snapshot::Wanted;
use busel_store::BlobReader;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::{Head, Item, Items, Started};
use crate::hot::{MAX_BODY, Page};
use crate::node::Node;
use crate::request::Authority;

/// Bytes read from the store at once.
const PIECE: u64 = 256 * 1024;

/// The copy in the store, verified against what is trusted now.
pub(crate) async fn find(node: &Node, wanted: &Wanted) -> Option<Arc<Page>> {
    let key = wanted.key();
    if let Some(page) = node.hot.get(&key) {
        return Some(page);
    }
    // A miss is by far the most common answer, and found in the index's own cache.
    if matches!(node.store.find(&key), Ok(None)) {
        return None;
    }
    let (store, wanted, view) = (node.store.clone(), wanted.clone(), node.joined.view());
    let found = tokio::task::spawn_blocking(move || {
        let stored = store.find(&key).ok()??;
        let len = stored.len;
        let snapshot = stored.signed.verify_stored(&wanted, &view.trust, stored.received).ok()?;
        let label = view.trust.root(&snapshot.cert().root)?.label.clone();
        let reader = store.reader(&snapshot.head().root).ok()??;
        let small = usize::try_from(len).ok().filter(|_| len <= MAX_BODY);
        let body = match small {
            Some(len) => Some(reader.read_at(0, len).ok()?),
            None => None,
        };
        Some(Page { headers: snapshot.headers(), snapshot, body, label })
    });
    let page = Arc::new(found.await.ok()??);
    node.hot.put(key, page.clone());
    Some(page)
}

/// The newest copy that can be made of this one: with a newer head, if one is listed that has its body; and whether none
/// is listed that is newer.
pub(crate) fn renewed(node: &Node, wanted: &Wanted, page: Arc<Page>) -> (Arc<Page>, bool) {
    let Some(newer) = node.newer(wanted, page.snapshot.head().fetched_at) else {
        return (page, true);
    };
    if newer.head().root != page.snapshot.head().root {
        return (page, false);
    }
    let (body, label) = (page.body.clone(), page.label.clone());
    let page = Arc::new(Page { headers: newer.headers(), snapshot: newer, body, label });
    node.hot.put(wanted.key(), page.clone());
    (page, true)
}

/// The body of a copy from byte `from` on.
pub(crate) async fn start(node: &Node, page: &Page, from: u64) -> Result<Started, Failure> {
    let items = match &page.body {
        Some(body) => {
            let at = usize::try_from(from).unwrap_or(usize::MAX).min(body.len());
            let rest = body.slice(at..);
            stream::iter((!rest.is_empty()).then_some(Ok(Item::Data(rest)))).boxed()
        }
        None => {
            let (store, root) = (node.store.clone(), page.snapshot.head().root);
            let reader = tokio::task::spawn_blocking(move || store.reader(&root).ok().flatten());
            let reader = reader.await.ok().flatten().ok_or(Failure::NoCopy)?;
            pieces(reader, from)
        }
    };
    Ok(Started { head: head(page, from), items })
}

/// The head of a copy.
pub(crate) fn head(page: &Page, offset: u64) -> Head {
    let head = page.snapshot.head();
    Head {
        status: head.status,
        headers: page.headers.clone(),
        len: Some(head.len),
        offset,
        authority: Authority::Injector { label: page.label.clone(), tls: head.tls },
        fetched_at: Some(head.fetched_at),
        snapshot: Some(page.snapshot.clone()),
        peer: None,
        shaped: false,
    }
}

fn pieces(reader: BlobReader, from: u64) -> Items {
    stream::unfold((reader, from), |(reader, at)| async move {
        let size = PIECE.min(reader.len().checked_sub(at)?);
        let size = usize::try_from(size).ok().filter(|size| *size > 0)?;
        let own = reader.clone();
        let read = tokio::task::spawn_blocking(move || own.read_at(at, size)).await;
        let item = match read {
            Ok(Ok(bytes)) => Ok(Item::Data(bytes)),
            _ => Err(Failure::CutOff),
        };
        let next = at + item.as_ref().map_or(0, |_| size as u64);
        Some((item, (reader, next)))
    })
    .boxed()
}

/// A whole small body, without any stream around it.
pub(crate) fn whole(page: &Page) -> Option<Bytes> {
    page.body.clone()
}
