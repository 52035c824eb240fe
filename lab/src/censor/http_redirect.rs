//! HTTP redirect injection: a request for a listed site gets a forged "302 Found" to the block page,
//! and the server a reset. So did Belarus in 2020, each provider with marks of its own: Business
//! Network with a RST/ACK behind it, window 502 and IP id 0, on any port; Beltelecom with window
//! 32678 and IP id 1, mostly on port 80 only. Every request of a kept connection is looked at, also
//! over several segments and behind others in one.
//!
//! It sits beside the line: the request passes, and the true answer comes too late. It reads no TLS,
//! no HTTP/2, and no name but that in the Host header.

use std::time::Duration;

use super::{Context, Injected, Names, Packet, PerFlow, Policy, Verdict};

/// The longest head of a request that it puts together.
const MAX_HEAD: usize = 8 << 10;
/// More headers than this no request has that it reads.
const MAX_HEADERS: usize = 64;
/// So that a reset comes behind what it follows, and is believed.
const BEHIND: Duration = Duration::from_millis(1);

/// Redirects requests for listed sites.
#[derive(Debug)]
pub struct HttpRedirect {
    names: Names,
    answer: String,
    ending: Ending,
    port: Option<u16>,
    window: u16,
    ip_id: u16,
    heads: PerFlow<Head>,
}

/// How the forged answer ends the connection for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a FIN in the answer, as a server ends it.
    Fin,
    /// By the FIN and a RST/ACK right behind the answer.
    Reset,
}

/// The unfinished head of a request.
#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    /// The number of the byte that follows.
    next: u32,
}

impl HttpRedirect {
    /// Redirects requests for these names to a page, on any port, and ends with a FIN.
    pub fn new(names: Names, location: &str) -> Self {
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        let (ending, port) = (Ending::Fin, None);
        Self { names, answer, ending, port, window: 64_240, ip_id: 0, heads: PerFlow::default() }
    }

    /// As Business Network did it.
    pub fn business_network(names: Names, location: &str) -> Self {
        Self::new(names, location).ending(Ending::Reset).marked(502, 0)
    }

    /// As Beltelecom did it.
    pub fn beltelecom(names: Names, location: &str) -> Self {
        Self::new(names, location).only_port(80).marked(32_678, 1)
    }

    /// The same on one port of the server only.
    #[must_use]
    pub fn only_port(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }

    /// The same with another ending.
    #[must_use]
    pub fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    /// The same with this window and IP id in all that it forges.
    #[must_use]
    pub fn marked(self, window: u16, ip_id: u16) -> Self {
        Self { window, ip_id, ..self }
    }

    fn forge(&self, request: &Packet, out: &mut Injected) {
        let marked = |packet: Packet| packet.marked(self.window, self.ip_id);
        if let Some(answer) = request.answer_and_close(self.answer.as_bytes()).and_then(marked) {
            if let Some(reset) = answer.reset_forward().and_then(marked)
                && self.ending == Ending::Reset
            {
                out.send_after(BEHIND, reset);
            }
            out.send(answer);
        }
        if let Some(reset) = request.reset_forward().and_then(marked) {
            out.send_after(BEHIND, reset);
        }
    }
}

impl Policy for HttpRedirect {
    fn name(&self) -> &'static str {
        "http_redirect"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, out: &mut Injected) -> Verdict {
        let elsewhere = self.port.is_some_and(|port| at.flow.server().port() != port);
        let Some(tcp) = packet.tcp().filter(|_| at.flow.from_client() && !elsewhere) else {
            return Verdict::Pass;
        };
        let sites = self.heads.of(at.flow).take(tcp.seq, packet.payload());
        if sites.iter().any(|site| self.names.has(site)) {
            self.forge(packet, out);
        }
        Verdict::Pass
    }
}

impl Head {
    /// Takes a segment, and gives the sites of the requests whose heads end in it.
    fn take(&mut self, seq: u32, data: &[u8]) -> Vec<String> {
        if data.is_empty() {
            return Vec::new();
        }
        if seq != self.next {
            self.bytes.clear();
        }
        self.bytes.extend_from_slice(data);
        self.next = seq.wrapping_add(u32::try_from(data.len()).unwrap_or_default());
        let mut sites = Vec::new();
        while let Some((site, len)) = self.first() {
            sites.extend(site);
            self.bytes.drain(..len);
        }
        sites
    }

    /// The site of the first request here, and the length of its head. What is no request is
    /// forgotten.
    fn first(&mut self) -> Option<(Option<String>, usize)> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&self.bytes) {
            Ok(httparse::Status::Complete(len)) => Some((site(&request), len)),
            Ok(httparse::Status::Partial) if self.bytes.len() <= MAX_HEAD => None,
            Ok(httparse::Status::Partial) | Err(_) => {
                self.bytes.clear();
                None
            }
        }
    }
}

/// The name in the Host header, without the port.
fn site(request: &httparse::Request<'_, '_>) -> Option<String> {
    let host = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"))?;
    let host = std::str::from_utf8(host.value).ok()?.trim();
    Some(host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_however_they_lie() {
        let mut head = Head::default();
        let request = b"GET / HTTP/1.1\r\nhost: News.example:80\r\n\r\n";
        assert_eq!(head.take(100, request), ["News.example"]);
        // The next one in two pieces, the numbers going round.
        let mut head = Head { next: u32::MAX - 9, ..Head::default() };
        assert!(head.take(u32::MAX - 9, &request[..20]).is_empty());
        assert_eq!(head.take(10, &request[20..]), ["News.example"]);
        // Two at once, then a body, then another.
        let both = [&request[..], b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", b"\0body"].concat();
        assert_eq!(head.take(500, &both), ["News.example", "b"]);
        assert_eq!(head.take(600, request), ["News.example"]);
        assert!(head.take(700, &[b'G'; 9000]).is_empty() && head.bytes.is_empty());
    }
}
