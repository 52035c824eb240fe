//! What of the line is reached beside the sites: the resolvers by TCP, UDP and QUIC, and the relays of
//! invites. The question that resolvers are asked names nothing: the servers of the root.

use std::net::SocketAddr;
use std::time::Duration;

use busel_proto::doctor::{Place, Point};
use busel_proto::failure::Failure;
use busel_proto::invite::RelayTicket;
use futures_util::future::{BoxFuture, join_all};
use hickory_resolver::proto::rr::RecordType;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::names::{any_of, by_tcp, by_udp, name_of, question, system};
use super::{Tools, shake};
use crate::config::Dns;
use crate::node::Node;

/// How long an answer by QUIC is waited for.
const QUIC_LIMIT: Duration = Duration::from_secs(3);
/// How long a relay is.
const RELAY_LIMIT: Duration = Duration::from_secs(6);
/// So many relays are tried.
const MAX_RELAYS: usize = 4;

/// Tries them all.
pub(super) async fn measure(tools: &Tools, node: &Node) -> Vec<Point> {
    tools.progress("the line", "trying resolvers and relays");
    let relays = relays(node);
    let mut all: Vec<BoxFuture<'_, Point>> = Vec::new();
    for dns in &tools.dns {
        match dns {
            Dns::System => {
                let servers = if tools.own_line { system() } else { Vec::new() };
                for at in servers {
                    all.push(Box::pin(resolver(tools, dns, at, Place::Provider)));
                }
            }
            Dns::Plain(at) | Dns::Https(at, _) => {
                all.push(Box::pin(resolver(tools, dns, *at, Place::World)));
            }
        }
    }
    all.extend(relays.iter().map(|relay| reach(node, relay)));
    join_all(all).await
}

fn reach<'a>(node: &'a Node, relay: &'a RelayTicket) -> BoxFuture<'a, Point> {
    Box::pin(async move {
        let reached = timeout(RELAY_LIMIT, node.relay_wire.reach(relay)).await;
        let tcp = Some(reached.unwrap_or(Err(Failure::Silent)));
        Point { tcp, ..Point::new(format!("relay {}", relay.addr), Place::World) }
    })
}

/// The first relays of the invites, each once.
fn relays(node: &Node) -> Vec<RelayTicket> {
    let mut relays: Vec<RelayTicket> = Vec::new();
    for relay in node.joined().invites().into_iter().flat_map(|invite| invite.relays) {
        if !relays.contains(&relay) && relays.len() < MAX_RELAYS {
            relays.push(relay);
        }
    }
    relays
}

async fn resolver(tools: &Tools, dns: &Dns, at: SocketAddr, place: Place) -> Point {
    let mut point = Point::new(name_of(dns, at), place);
    let by_https = matches!(dns, Dns::Https(..));
    if by_https {
        point.tcp = Some(shake::dial(tools, at).await.map(drop));
    }
    if !tools.own_line {
        return point;
    }
    let port = if by_https { 53 } else { at.port() };
    let server = SocketAddr::new(at.ip(), port);
    let Some(question) = question(".", RecordType::NS) else { return point };
    point.udp = Some(!by_udp(server, &question).await.is_empty());
    if point.udp == Some(false) {
        let (by_tcp, by_quic) = tokio::join!(by_tcp(server, &question), quic(at, by_https));
        point.dns_by_tcp = Some(by_tcp.is_some());
        point.quic = by_quic;
    }
    point
}

/// Whether a server answers a version of QUIC that nobody speaks (RFC 9000 §6): most servers do, with
/// those that they speak.
async fn quic(server: SocketAddr, wanted: bool) -> Option<bool> {
    if !wanted {
        return None;
    }
    let asking = async {
        let socket = UdpSocket::bind(any_of(server)).await.ok()?;
        socket.connect(server).await.ok()?;
        socket.send(&unknown_version(&rand::random())).await.ok()?;
        let mut buffer = [0; 1500];
        let len = socket.recv(&mut buffer).await.ok()?;
        (len > 5 && buffer[1..5] == [0; 4]).then_some(())
    };
    Some(timeout(QUIC_LIMIT, asking).await.ok().flatten().is_some())
}

/// A long-header packet of a version that is reserved for this.
fn unknown_version(ids: &[u8; 16]) -> Vec<u8> {
    let mut packet = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8];
    packet.extend(&ids[..8]);
    packet.push(8);
    packet.extend(&ids[8..]);
    packet.resize(1200, 0);
    packet
}
