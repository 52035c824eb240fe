//! The connections with each node, whoever made them, so that those go on which nothing comes any more.
//!
//! iroh sends the first packets of a new connection only where the others with that node go now, be that
//! dead or not: as long as one is left, no other way is tried.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busel_proto::id::PeerId;
use iroh::endpoint::WeakConnectionHandle;

use super::{Connection, FORGET, MAX_PEERS, Streams, lock};

/// A node that there are connections with answers the first packets of another one within this, or
/// those connections are looked at.
pub(super) const AT_FIRST: Duration = Duration::from_secs(2);

/// All connections. It keeps none of them up.
#[derive(Debug, Default)]
pub(super) struct Lines(HashMap<PeerId, Vec<Line>>);

#[derive(Debug, Clone)]
struct Line {
    connection: WeakConnectionHandle,
    streams: Arc<Mutex<Streams>>,
}

/// A connection, and what had come on it when it was looked at.
pub(super) struct Heard {
    connection: iroh::endpoint::Connection,
    streams: Arc<Mutex<Streams>>,
    datagrams: u64,
}

impl Lines {
    pub(super) fn add(&mut self, connection: &Connection) {
        if self.0.len() >= MAX_PEERS {
            self.0.retain(|_, lines| lines.iter().any(Line::is_open));
        }
        let lines = self.0.entry(connection.peer()).or_default();
        lines.retain(Line::is_open);
        let streams = connection.streams.clone();
        lines.push(Line { connection: connection.inner.weak_handle(), streams });
    }

    /// Those with a node.
    pub(super) fn with(&self, peer: &PeerId) -> Vec<Heard> {
        let lines = self.0.get(peer).into_iter().flatten().filter(|line| line.is_open());
        let heard = lines.filter_map(|line| {
            let connection = line.connection.upgrade()?;
            let datagrams = connection.stats().udp_rx.datagrams;
            Some(Heard { connection, streams: line.streams.clone(), datagrams })
        });
        heard.collect()
    }
}

impl Line {
    fn is_open(&self) -> bool {
        self.connection.upgrade().is_some_and(|connection| connection.close_reason().is_none())
    }
}

impl Heard {
    fn is_silent(&self) -> bool {
        self.connection.stats().udp_rx.datagrams == self.datagrams
    }

    fn is_idle(&self) -> bool {
        lock(&self.streams).open == 0
    }
}

/// Closes those on which nothing came since; those on which something is under way only if `also_busy`.
/// Says whether there were any.
pub(super) async fn close_silent(lines: &[Heard], also_busy: bool) -> bool {
    let silent = lines.iter().filter(|line| line.is_silent() && (also_busy || line.is_idle()));
    let silent: Vec<_> = silent.collect();
    for line in &silent {
        close(&line.connection).await;
    }
    !silent.is_empty()
}

/// Closes a connection and has iroh forget the ways that it took.
pub(super) async fn close(connection: &iroh::endpoint::Connection) {
    connection.close(0u8.into(), b"");
    connection.closed().await;
    tokio::time::sleep(FORGET).await;
}
