//! What flows to one server have in common, by which a provider could know the next one: bytes at the
//! same place, and lengths of the first packets.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use super::{Over, Seen};

/// So many first bytes are compared.
const BYTES: usize = 256;

/// What flows to one server have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// The server.
    pub server: SocketAddr,
    /// By what they were carried.
    pub over: Over,
    /// How many flows were compared.
    pub flows: usize,
    /// What all of them begin with, from the client.
    pub up: Vec<u8>,
    /// What all of them begin with, from the server.
    pub down: Vec<u8>,
    /// How many of the client's first bytes are the same in all, wherever they are.
    pub same_bytes: usize,
    /// The lengths with which all of them begin; those of the server are negative.
    pub lengths: Vec<i32>,
}

/// For each server with at least two flows that carried something.
pub(super) fn all<'a>(flows: impl Iterator<Item = &'a Seen>) -> Vec<Alike> {
    let mut by_server: BTreeMap<(SocketAddr, Over), Vec<&Seen>> = BTreeMap::new();
    for seen in flows.filter(|seen| !seen.up.is_empty()) {
        by_server.entry((seen.server, seen.over)).or_default().push(seen);
    }
    let several = by_server.into_iter().filter(|(_, flows)| flows.len() > 1);
    several.map(|((server, over), flows)| compare(server, over, &flows)).collect()
}

fn compare(server: SocketAddr, over: Over, flows: &[&Seen]) -> Alike {
    let ups: Vec<&[u8]> = flows.iter().map(|seen| seen.up.as_slice()).collect();
    let downs: Vec<&[u8]> = flows.iter().map(|seen| seen.down.as_slice()).collect();
    let lengths: Vec<&[i32]> = flows.iter().map(|seen| seen.lengths.as_slice()).collect();
    Alike {
        server,
        over,
        flows: flows.len(),
        up: start(&ups),
        down: start(&downs),
        same_bytes: (0..BYTES).filter(|at| is_same(&ups, *at)).count(),
        lengths: start(&lengths),
    }
}

/// What all begin with.
fn start<T: Copy + PartialEq>(all: &[&[T]]) -> Vec<T> {
    let len = (0..BYTES).take_while(|at| is_same(all, *at)).count();
    all.first().map(|one| one[..len].to_vec()).unwrap_or_default()
}

fn is_same<T: Copy + PartialEq>(all: &[&[T]], at: usize) -> bool {
    let first = all.first().and_then(|one| one.get(at));
    first.is_some() && all.iter().all(|one| one.get(at) == first)
}

impl fmt::Display for Alike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, over, flows, up, down, same_bytes, lengths } = self;
        write!(
            f,
            "{flows} flows over {over:?} to {server} begin with {} and {} bytes in common",
            up.len(),
            down.len()
        )?;
        write!(f, ", have {same_bytes} of the first {BYTES} in common, and lengths {lengths:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_common_is_found() {
        assert_eq!(start(&[b"abcd".as_slice(), b"abxd", b"abc"]), b"ab");
        assert_eq!(start::<u8>(&[]), b"");
        let all = [b"abcd".as_slice(), b"xbcd"];
        assert_eq!((0..BYTES).filter(|at| is_same(&all, *at)).count(), 3);
    }
}
