//! BitTorrent block: a connection that begins with the plain BitTorrent handshake, a uTP stream from
//! its opening on, and every DHT message (KRPC) are swallowed. Known by their first bytes, as by any
//! box since 2005.
//!
//! It does not know BitTorrent's own obfuscation (MSE), and lets all other UDP pass.

use super::{Context, Injected, Packet, PerFlow, Policy, Verdict};

/// The first bytes of the handshake over TCP and uTP.
const HANDSHAKE: &[u8] = b"\x13BitTorrent protocol";

/// Swallows BitTorrent.
#[derive(Debug, Default)]
pub struct BittorrentBlock {
    found: PerFlow<bool>,
}

impl BittorrentBlock {
    /// Looks at every flow.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Policy for BittorrentBlock {
    fn name(&self) -> &'static str {
        "bittorrent_block"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let payload = packet.payload();
        if packet.is_udp() && is_krpc(payload) {
            return Verdict::Drop;
        }
        let found = self.found.of(at.flow);
        *found |= packet.is_udp() && is_utp_syn(payload);
        *found |= at.flow.client_start().starts_with(HANDSHAKE);
        if *found { Verdict::Drop } else { Verdict::Pass }
    }
}

/// A message of the DHT: a bencoded dictionary that begins with its arguments, its answer or its
/// error, or with the address of the asker, and says of which kind it is.
fn is_krpc(payload: &[u8]) -> bool {
    let begins = [&b"d1:a"[..], b"d1:r", b"d1:e", b"d2:ip"];
    let says = |text: &[u8]| payload.windows(text.len()).any(|part| part == text);
    begins.into_iter().any(|begin| payload.starts_with(begin)) && says(b"1:y1:")
}

/// The packet that opens a uTP stream: version 1, type SYN, no measured delay yet, number 1.
fn is_utp_syn(payload: &[u8]) -> bool {
    let known = payload.len() >= 20 && payload[0] == 0x41 && payload[1] <= 3;
    known && payload[8..12] == [0; 4] && payload[16..18] == [0, 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_are_known() {
        let ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
        assert!(is_krpc(ping) && !is_krpc(&ping[1..]));
        assert!(is_krpc(b"d2:ip6:abcdef1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re"));
        assert!(!is_krpc(b"d1:a, a line of a song"));
        let mut syn = [0; 20];
        (syn[0], syn[17]) = (0x41, 1);
        assert!(is_utp_syn(&syn));
        syn[0] = 0x21;
        assert!(!is_utp_syn(&syn) && !is_utp_syn(&[0x41; 20]));
    }
}
