//! The connections with each node, whoever made them, so that those go on which nothing comes any more.
//!
//! iroh sends the first packets of a new connection only where the others with that node go now, be that
//! dead or not: as long as one is left, no other way is tried.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use busel_proto::id::PeerId;
use iroh::endpoint::WeakConnectionHandle;

use super::{Connection, FORGET, MAX_PEERS, PATH_SILENT, Streams, lock};

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
    /// How many datagrams had come when it was looked at, and when they first were so many.
    heard: (u64, Instant),
}

/// A connection, and what had come on it when it was looked at.
pub(super) struct Heard {
    connection: iroh::endpoint::Connection,
    streams: Arc<Mutex<Streams>>,
    heard: (u64, Instant),
}

impl Lines {
    pub(super) fn add(&mut self, connection: &Connection) {
        if self.0.len() >= MAX_PEERS {
            self.0.retain(|_, lines| lines.iter().any(Line::is_open));
        }
        let lines = self.0.entry(connection.peer()).or_default();
        lines.retain(Line::is_open);
        let streams = connection.streams.clone();
        let heard = (0, Instant::now());
        lines.push(Line { connection: connection.inner.weak_handle(), streams, heard });
    }

    /// Those with a node.
    pub(super) fn with(&mut self, peer: &PeerId) -> Vec<Heard> {
        let lines = self.0.get_mut(peer).into_iter().flatten().filter(|line| line.is_open());
        let heard = lines.filter_map(|line| {
            let connection = line.connection.upgrade()?;
            let datagrams = connection.stats().udp_rx.datagrams;
            if datagrams != line.heard.0 {
                line.heard = (datagrams, Instant::now());
            }
            Some(Heard { connection, streams: line.streams.clone(), heard: line.heard })
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
        self.connection.stats().udp_rx.datagrams == self.heard.0
    }

    /// Whether nothing is lost if it is closed: nothing is under way, or QUIC itself found no other way
    /// for it.
    fn is_lost(&self) -> bool {
        lock(&self.streams).open == 0 || self.heard.1.elapsed() > PATH_SILENT
    }
}

/// Closes those on which nothing came since they were looked at; what is under way is left alone as long as
/// there is hope. Says whether there were any.
pub(super) async fn close_silent(lines: &[Heard]) -> bool {
    let silent = lines.iter().filter(|line| line.is_silent() && line.is_lost());
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
