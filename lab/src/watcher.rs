//! What a provider could learn from what passes it: the watcher reads the capture of a point and
//! writes down the names, addresses, protocols and habits in it, so that a test can hold that against
//! a list of what must not be seen.
//!
//! It undoes what anybody can undo (TCP segments, TLS records, QUIC's Initial packets), keeps the
//! first [`crate::flow::MAX_START`] bytes of each end, and breaks no encryption. It knows nothing of
//! timing, and compares lengths only as far as [`Alike`] goes.

mod alike;
mod certificates;
mod search;

pub use alike::Alike;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use pcap_file::pcap::PcapReader;

use crate::flow::{ClientHello, Flow, Flows, Initials};
use crate::map::Point;
use crate::packet::{Packet, Transport};

/// So many lengths of packets are kept of a flow.
const LENGTHS: usize = 12;
/// QUIC's transport parameters in a ClientHello (RFC 9001 §8.2).
const QUIC_PARAMETERS: u16 = 0x39;

/// What a provider could learn.
#[derive(Debug, Default)]
pub struct Report {
    /// Names that were asked for in the clear.
    pub questions: BTreeSet<String>,
    /// Names that ClientHellos say, of TLS and of QUIC.
    pub sni: BTreeSet<String>,
    /// Protocols that ClientHellos offer.
    pub alpn: BTreeSet<String>,
    /// Fingerprints (JA4) of who said them, and to whom.
    pub fingerprints: BTreeSet<(SocketAddr, String)>,
    /// Host and path of HTTP requests in the clear.
    pub requests: BTreeSet<String>,
    /// Names in certificates that servers showed in the clear.
    pub certificates: BTreeSet<String>,
    /// QUIC's transport parameters, by number.
    pub parameters: BTreeSet<u64>,
    /// Who was spoken to.
    pub servers: BTreeSet<SocketAddr>,
    /// What flows to one server have in common.
    pub alike: Vec<Alike>,
    flows: BTreeMap<u64, Seen>,
    payloads: Vec<Vec<u8>>,
}

/// What carries a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Over {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What was seen of one flow.
#[derive(Debug)]
struct Seen {
    server: SocketAddr,
    over: Over,
    up: Vec<u8>,
    down: Vec<u8>,
    /// Lengths of the first packets with a payload; those of the server are negative.
    lengths: Vec<i32>,
    hello: Option<ClientHello>,
}

impl Report {
    /// Watches what arrived at a point, from a directory of captures. What the censor itself put on
    /// the line is no news to the provider, and is left out.
    pub fn of(captures: &Path, point: Point) -> anyhow::Result<Self> {
        let path = captures.join(format!("{}.pcap", point.name()));
        let file = File::open(&path).with_context(|| format!("{}", path.display()))?;
        let mut capture = PcapReader::new(file)?;
        let mut watching = Watching::default();
        while let Some(packet) = capture.next_packet() {
            let packet = packet?;
            if let Some(parsed) = Packet::parse(packet.data.into_owned()) {
                watching.see(&parsed, packet.timestamp);
            }
        }
        Ok(watching.end())
    }

    /// Each place where a text can be read, in any case, in the clear; also as a name in DNS is
    /// written.
    pub fn shows(&self, text: &str) -> Vec<String> {
        search::find(self, text)
    }

    /// What the flows to a server have in common; nothing if there were fewer than two.
    pub fn alike(&self, server: SocketAddr, over: Over) -> Option<&Alike> {
        self.alike.iter().find(|alike| (alike.server, alike.over) == (server, over))
    }
}

#[derive(Default)]
struct Watching {
    flows: Flows,
    initials: BTreeMap<u64, Initials>,
    report: Report,
}

impl Watching {
    fn see(&mut self, packet: &Packet, now: std::time::Duration) {
        if let Some(question) = packet.question() {
            self.report.questions.insert(question.name);
        }
        if !packet.is_udp() && packet.tcp().is_none() {
            return;
        }
        let flow = self.flows.see(packet, now);
        self.report.servers.insert(flow.server());
        let seen = self.report.flows.entry(flow.id()).or_insert_with(|| Seen::new(flow, packet));
        seen.note(flow, packet);
        if packet.is_udp() && flow.from_client() {
            let initials = self.initials.entry(flow.id()).or_default();
            if seen.hello.is_none() {
                seen.hello = initials.take(packet.payload()).cloned();
            }
        }
        if !packet.payload().is_empty() {
            self.report.payloads.push(packet.payload().to_vec());
        }
    }

    fn end(self) -> Report {
        let mut report = self.report;
        let flows = std::mem::take(&mut report.flows);
        for seen in flows.values() {
            report.read(seen);
        }
        report.alike = alike::all(flows.values());
        report.flows = flows;
        report
    }
}

impl Seen {
    fn new(flow: &Flow, packet: &Packet) -> Self {
        Self {
            server: flow.server(),
            over: if packet.is_udp() { Over::Udp } else { Over::Tcp },
            up: Vec::new(),
            down: Vec::new(),
            lengths: Vec::new(),
            hello: None,
        }
    }

    fn note(&mut self, flow: &Flow, packet: &Packet) {
        let (kept, now) = if flow.from_client() {
            (&mut self.up, flow.client_start())
        } else {
            (&mut self.down, flow.server_start())
        };
        if kept.len() < now.len() {
            now.clone_into(kept);
        }
        let length = i32::try_from(packet.payload().len()).expect("a packet is small");
        if length > 0 && self.lengths.len() < LENGTHS {
            self.lengths.push(if flow.from_client() { length } else { -length });
        }
        if self.hello.is_none() && matches!(packet.transport(), Transport::Tcp(_)) {
            self.hello = flow.hello().cloned();
        }
    }
}

impl Report {
    fn read(&mut self, seen: &Seen) {
        if let Some(hello) = &seen.hello {
            self.sni.extend(hello.sni.clone());
            self.alpn.extend(hello.alpn.iter().cloned());
            self.fingerprints.insert((seen.server, hello.ja4(seen.over == Over::Udp)));
            let parameters = hello.extensions.iter().filter(|(kind, _)| *kind == QUIC_PARAMETERS);
            self.parameters.extend(parameters.flat_map(|(_, content)| numbers(content)));
        }
        self.requests.extend(request(&seen.up));
        self.certificates.extend(certificates::names(&seen.down));
    }
}

/// Host and path of an HTTP request.
fn request(start: &[u8]) -> Option<String> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    if start.is_empty() || request.parse(start).is_err() {
        return None;
    }
    let path = request.path?;
    let host = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"));
    let host = host.map_or("", |field| std::str::from_utf8(field.value).unwrap_or_default());
    Some(format!("{host}{path}"))
}

/// The numbers of QUIC's transport parameters.
fn numbers(mut content: &[u8]) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some((number, rest)) = varint(content)
        && let Some((len, rest)) = varint(rest)
    {
        numbers.push(number);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        content = rest.get(len..).unwrap_or_default();
    }
    numbers
}

/// A number of QUIC's (RFC 9000 §16), and what follows.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let len = 1 << (first >> 6);
    let (number, rest) = bytes.split_at_checked(len)?;
    let value = number[1..].iter().fold(u64::from(first & 0x3f), |v, b| v << 8 | u64::from(*b));
    Some((value, rest))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "names asked for: {:?}", self.questions)?;
        writeln!(f, "spoken to: {:?}", self.servers)?;
        writeln!(f, "names in hellos: {:?}", self.sni)?;
        writeln!(f, "protocols in hellos: {:?}", self.alpn)?;
        writeln!(f, "fingerprints: {:?}", self.fingerprints)?;
        writeln!(f, "http in the clear: {:?}", self.requests)?;
        writeln!(f, "names in certificates: {:?}", self.certificates)?;
        writeln!(f, "QUIC parameters: {:x?}", self.parameters)?;
        for alike in &self.alike {
            writeln!(f, "{alike}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_parameters_are_read() {
        let get = b"GET /article HTTP/1.1\r\nHost: news.example\r\n\r\n";
        assert_eq!(request(get).as_deref(), Some("news.example/article"));
        assert_eq!(request(b"\x16\x03\x01"), None);
        assert_eq!(numbers(&[1, 2, 0x40, 0x64, 0x7f, 0xff, 0, 0x0f, 1, 9]), [1, 0x3fff, 15]);
        assert!(numbers(&[0xff]).is_empty());
    }
}
