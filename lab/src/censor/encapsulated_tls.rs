//! TLS within a tunnel, known by its lengths (Russia, from May 2024): whatever the tunnel looks like,
//! a TLS handshake in it is a large message up, a flight of certificates down, and a short message
//! up that ends the handshake. The rest of such a connection is swallowed. A connection that is TLS
//! itself has one handshake for free; the next one is somebody else's.
//!
//! What the real boxes compare is not public but for one report: three client packets of 411 bytes or
//! more, then a pattern of the server. This is the same idea with fewer requests to wait for. It
//! joins nothing that came in disorder, misses short hellos such as rustls's, and knows no tunnels
//! over UDP.

use std::ops::RangeInclusive;

use super::{Context, Injected, Packet, PerFlow, Policy, Verdict};

/// As long is what the client says at once, at least, if it is a hello of a browser or curl.
const HELLO: u64 = 411;
/// As long is the server's flight at least.
const FLIGHT: u64 = 600;
/// The client's Finished with what a tunnel adds. A plain one is shorter than a request.
const FINISHED: RangeInclusive<u64> = 70..=180;
/// After so many exchanges there is no more to learn.
const EXCHANGES: u32 = 12;

/// Swallows tunnels with TLS in them.
#[derive(Debug, Default)]
pub struct EncapsulatedTls {
    seen: PerFlow<Seen>,
}

/// What was seen of a connection.
#[derive(Debug, Default)]
struct Seen {
    /// By direction: where the next new byte is.
    next: [Option<u32>; 2],
    /// How much came up, and then down, since the client began to speak last.
    up: u64,
    down: u64,
    exchanges: u32,
    /// Handshakes that are over.
    handshakes: u32,
    found: bool,
}

impl EncapsulatedTls {
    /// Looks at every TCP connection.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Policy for EncapsulatedTls {
    fn name(&self) -> &'static str {
        "encapsulated_tls"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let from_client = at.flow.from_client();
        let seen = self.seen.of(at.flow);
        if !seen.found && seen.is_new(packet, from_client) {
            let own = u32::from(at.flow.hello().is_some());
            seen.note(packet.payload().len() as u64, from_client, own);
        }
        if seen.found { Verdict::Drop } else { Verdict::Pass }
    }
}

impl Seen {
    /// Whether it has data that no earlier packet had.
    fn is_new(&mut self, packet: &Packet, from_client: bool) -> bool {
        let Some(tcp) = packet.tcp().filter(|_| !packet.payload().is_empty()) else { return false };
        let next = &mut self.next[usize::from(from_client)];
        // Numbers go round, so that a distance beyond the half means an old one.
        let new = next.is_none_or(|next| tcp.seq.wrapping_sub(next).cast_signed() >= 0);
        if new {
            *next = Some(tcp.seq.wrapping_add(packet.spans()));
        }
        new
    }

    /// Takes the next data; `own` is the number of handshakes that the connection may have.
    fn note(&mut self, len: u64, from_client: bool, own: u32) {
        if !from_client {
            self.down += len;
            return;
        }
        if self.down > 0 {
            self.exchanges += 1;
            let handshake = self.up >= HELLO && self.down >= FLIGHT;
            // The tunnel's own may end in any way; the one within has the tunnel around its end.
            if handshake && (self.handshakes < own || FINISHED.contains(&len)) {
                self.handshakes += 1;
            }
            self.found = self.handshakes > own && self.exchanges <= EXCHANGES;
            (self.up, self.down) = (0, 0);
        }
        self.up += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether lengths, those of the server negative, are taken for a tunnel.
    fn is_found(lens: &[i64], own: u32) -> bool {
        let mut seen = Seen::default();
        for len in lens {
            seen.note(len.unsigned_abs(), *len > 0, own);
        }
        seen.found
    }

    #[test]
    fn one_handshake_is_for_free() {
        let plain = [517, -1400, -900, 80, 110, -510, -1400, -1400, 110, -1400];
        assert!(!is_found(&plain, 1));
        let retried = [517, -99, 517, -1400, -900, 80, 110, -1400];
        assert!(!is_found(&retried, 1), "the server wanted another hello");
        let large = [517, -1400, -900, 64, 700, -1400, -1400, 31, 700, -1400, 700];
        assert!(!is_found(&large, 1), "requests with cookies");
        let tunnel = [517, -1400, -900, 64, 200, -60, 539, -1400, -900, 86, 130];
        assert!(is_found(&tunnel, 1));
        let two_packets = [1400, 400, -1400, 80, 200, -60, 1400, 422, -1400, -900, 102];
        assert!(is_found(&two_packets, 1));
    }

    #[test]
    fn a_tunnel_without_tls_of_its_own_has_none_for_free() {
        assert!(is_found(&[600, -1400, -900, 98], 0));
        assert!(!is_found(&[600, -1400, -900, 600, -1400], 0));
    }
}
