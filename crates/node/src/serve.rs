//! Serving peers: what a node does for others, one stream one exchange, within bounds.
//!
//! What is answered depends on what the node shows of itself: a quiet one gives nothing of what its
//! owner read, so that an answer to a probe says nothing about the owner.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use busel_net::Connection;
use busel_net::endpoint::Stream;
use busel_net::frame;
use busel_proto::blob;
use busel_proto::failure::Failure;
use busel_proto::id::{Hash, PeerId, SnapshotKey};
use busel_proto::message::{Answer, Ask, MAX_FRAME};
use busel_proto::page::HostName;
use busel_store::BlobReader;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::sync::Semaphore;
use tracing::debug;

use crate::clock;
use crate::config::{Exit, Exposure};
use crate::node::Node;
use crate::origin::StreamIo;

/// Streams served at once, for all peers together.
const MAX_SERVED: usize = 1024;
/// Connections served at once.
const MAX_CONNECTIONS: usize = 1024;
/// Windows of a body that are read before the one being sent has gone.
const READ_AHEAD: usize = 2;
/// A peer has this long to say what it wants.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// A peer that takes no bytes for this long is dropped.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Answers `inject/1`; an injector registers itself as this.
pub trait Inject: Send + Sync + 'static {
    /// Answers a sealed request on `stream`, all of it.
    fn inject(&self, envelope: Vec<u8>, from: PeerId, stream: Stream) -> BoxFuture<'static, ()>;
}

/// Serves all connections until the endpoint closes.
pub(crate) async fn serve(node: Node) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let streams = Arc::new(Semaphore::new(MAX_SERVED));
    while let Some(connection) = node.endpoint.accept().await {
        let Ok(place) = connections.clone().try_acquire_owned() else { continue };
        let (node, streams) = (node.clone(), streams.clone());
        let tasks = node.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = node.stop.cancelled() => {}
                () = serve_connection(&node, &connection, &streams) => {}
            }
            drop(place);
        });
    }
}

async fn serve_connection(node: &Node, connection: &Connection, streams: &Arc<Semaphore>) {
    let peer = connection.peer();
    while let Some(stream) = connection.accept().await {
        let Ok(place) = streams.clone().acquire_owned().await else { return };
        let (stop, node) = (node.stop.clone(), node.clone());
        let tasks = node.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                served = serve_stream(&node, peer, stream) => {
                    if let Err(failure) = served {
                        debug!(%failure, "an exchange ended early");
                    }
                }
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
        Ask::Fetch { key, from, root } => fetch(node, stream, key, from, root).await,
        Ask::Blob { root, len, from, to } => blob(node, stream, root, len, from..to).await,
        Ask::Inject { envelope } => match node.injector() {
            Some(injector) => {
                injector.inject(envelope, peer, stream).await;
                Ok(())
            }
            None => decline(stream, Failure::NotAllowed("it is no injector".into())).await,
        },
        Ask::Tunnel { host, port } => tunnel(node, stream, host, port).await,
    }
}

async fn fetch(
    node: &Node,
    stream: Stream,
    key: SnapshotKey,
    from: Option<u64>,
    root: Option<Hash>,
) -> Result<(), Failure> {
    if node.config.exposure == Exposure::Quiet {
        return say(stream, &Answer::Nothing).await;
    }
    let store = node.store.clone();
    let found = tokio::task::spawn_blocking(move || {
        let stored = store.find(&key).ok()?.filter(|stored| stored.shared)?;
        let reader = store.reader(&stored.root).ok()??;
        store.touch(&key, clock::now());
        Some((stored, reader))
    });
    let found = found.await.ok().flatten();
    let Some((stored, reader)) = found.filter(|(s, _)| root.is_none_or(|r| r == s.root)) else {
        return say(stream, &Answer::Nothing).await;
    };
    let revocation = stored.signed.cert.peek().ok().and_then(|c| node.joined.revocation(&c.root));
    let answer = Answer::Found { snapshot: stored.signed, revocation };
    match from {
        None => say(stream, &answer).await,
        Some(from) => send_windows(stream, &answer, reader, from..stored.len).await,
    }
}

async fn blob(
    node: &Node,
    stream: Stream,
    root: Hash,
    len: u64,
    range: Range<u64>,
) -> Result<(), Failure> {
    if node.config.exposure == Exposure::Quiet {
        return say(stream, &Answer::Nothing).await;
    }
    let store = node.store.clone();
    let reader = tokio::task::spawn_blocking(move || {
        let shared = store.has_shared_blob(&root).unwrap_or(false);
        shared.then(|| store.reader(&root).ok().flatten()).flatten()
    })
    .await;
    match reader.ok().flatten().filter(|reader| reader.len() == len) {
        Some(reader) => send_windows(stream, &Answer::Open, reader, range).await,
        None => say(stream, &Answer::Nothing).await,
    }
}

/// Sends an answer and the windows of a range. The next windows are read while one is being sent.
async fn send_windows(
    mut stream: Stream,
    answer: &Answer,
    reader: BlobReader,
    range: Range<u64>,
) -> Result<(), Failure> {
    write(&mut stream, &answer.to_frame()).await?;
    let after = |at: u64| blob::window_after(range.start, at, range.end);
    let windows = std::iter::successors(after(range.start), |window| after(window.end));
    let mut read = stream::iter(windows)
        .map(|window| {
            let reader = reader.clone();
            // The last window of a range ends at a whole group, so that it can be proven.
            let whole = window.start..window.end.next_multiple_of(blob::GROUP).min(reader.len());
            tokio::task::spawn_blocking(move || reader.window(whole))
        })
        .buffered(READ_AHEAD);
    while let Some(window) = read.next().await {
        let encoded = window.ok().and_then(Result::ok).ok_or(Failure::CutOff)?;
        within_limit(frame::write(&mut stream.send, encoded.into())).await?;
    }
    finish(stream);
    Ok(())
}

async fn tunnel(node: &Node, stream: Stream, host: HostName, port: u16) -> Result<(), Failure> {
    if !exit_allows(node, &host, port) {
        let why = "its owner does not let others connect there".to_owned();
        return decline(stream, Failure::NotAllowed(why)).await;
    }
    let mut server = match node.lent.dial(&host, port).await {
        Ok(server) => server,
        Err(failure) => return decline(stream, failure).await,
    };
    let mut client = StreamIo(stream);
    client.write_all(&Answer::Open.to_frame()).await.map_err(|_| Failure::CutOff)?;
    const COPY: usize = 64 * 1024;
    // How it ends is between the two ends.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut server, COPY, COPY).await;
    Ok(())
}

fn exit_allows(node: &Node, host: &HostName, port: u16) -> bool {
    let web = matches!(port, 80 | 443);
    match node.config.exit {
        Exit::Off => false,
        Exit::Sites => web && node.joined.view().sites.find(host).is_some(),
        Exit::Web => web,
    }
}

async fn decline(stream: Stream, failure: Failure) -> Result<(), Failure> {
    say(stream, &Answer::Declined { failure }).await
}

async fn say(mut stream: Stream, answer: &Answer) -> Result<(), Failure> {
    write(&mut stream, &answer.to_frame()).await?;
    finish(stream);
    Ok(())
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> Result<(), Failure> {
    within_limit(stream.send.write_all(bytes)).await
}

async fn within_limit<E>(writing: impl Future<Output = Result<(), E>>) -> Result<(), Failure> {
    match tokio::time::timeout(WRITE_LIMIT, writing).await {
        Err(_) => Err(Failure::Stalled),
        Ok(Err(_)) => Err(Failure::CutOff),
        Ok(Ok(())) => Ok(()),
    }
}

/// Marks the end of what we send. A peer that closed the stream already has all it wants.
fn finish(mut stream: Stream) {
    let _ = stream.send.finish();
}
