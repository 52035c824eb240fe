//! A resolver whose answers a test decides, one by one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::LOOPBACK;

const A: u16 = 1;
const AAAA: u16 = 28;

/// The resolver.
pub(crate) struct Dns {
    pub(crate) addr: SocketAddr,
    queries: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Dns {
    /// Answers each query for IPv4 addresses by `answer`, which gets the name and how many such
    /// queries came before; the IPv6 addresses among them answer the other kind of query. Nothing
    /// may be remembered: each has a lifetime of 0.
    pub(crate) async fn start(
        answer: impl Fn(&str, usize) -> Vec<IpAddr> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
        let addr = socket.local_addr().unwrap();
        let queries = Arc::<AtomicUsize>::default();
        let count = queries.clone();
        let task = tokio::spawn(async move {
            let mut packet = [0; 1500];
            loop {
                let (len, from) = socket.recv_from(&mut packet).await.unwrap();
                let Some((name, kind, end)) = question(&packet[..len]) else { continue };
                let before = match kind {
                    A => count.fetch_add(1, Ordering::SeqCst),
                    _ => count.load(Ordering::SeqCst).saturating_sub(1),
                };
                let ips = answer(&name, before);
                let reply = reply(&packet[..end], kind, &ips);
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        Self { addr, queries, task }
    }

    /// Queries for IPv4 addresses.
    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The name and type asked for, and where the question ends (RFC 1035 §4.1.2).
fn question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut name) = (12, Vec::new());
    loop {
        let len = usize::from(*packet.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        name.push(String::from_utf8(packet.get(at..at + len)?.to_ascii_lowercase()).ok()?);
        at += len;
    }
    let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
    Some((name.join("."), kind, at + 4))
}

fn reply(question: &[u8], kind: u16, ips: &[IpAddr]) -> Vec<u8> {
    let records: Vec<Vec<u8>> = ips
        .iter()
        .filter_map(|ip| match (ip, kind) {
            (IpAddr::V4(ip), A) => Some(ip.octets().to_vec()),
            (IpAddr::V6(ip), AAAA) => Some(ip.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut reply = question.to_vec();
    // A response, recursion desired and available, one question, so many answers.
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[4..6].copy_from_slice(&1u16.to_be_bytes());
    reply[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    reply[8..12].fill(0);
    for record in records {
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 0]);
        reply.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
        reply.extend(record);
    }
    reply
}
