//! Fully encrypted traffic: a TCP connection whose first packet looks like nothing at all is swallowed,
//! and for some time so is everything between the same client and the same port of the server (China,
//! since November 2021; measured in "How the Great Firewall of China Detects and Blocks Fully Encrypted
//! Traffic", USENIX Security 2023). "Nothing at all" means that none of five cheap exemptions fits.
//!
//! The real one does this to some hosters' nets only, and to a part of their connections by chance;
//! here it may be limited to nets, and strikes always. UDP is not looked at.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::{Context, Injected, Packet, Policy, Residual, Verdict};

/// Set bits per byte that noise has, times ten.
const NOISE: std::ops::Range<u32> = 34..46;
/// Printable bytes at the beginning that excuse a packet.
const FIRST: usize = 6;
/// More printable bytes in a row than this excuse it too.
const RUN: usize = 20;
const METHODS: [&[u8]; 4] = [b"GET ", b"PUT ", b"POST ", b"HEAD "];

/// Swallows what looks like noise.
#[derive(Debug)]
pub struct FullyEncrypted {
    nets: Option<Vec<IpNet>>,
    held: Residual<(IpAddr, SocketAddr)>,
}

impl FullyEncrypted {
    /// Holds a sight of it against the pair of hosts for `residual`; in China that is 180 seconds.
    pub fn new(residual: Duration) -> Self {
        Self { nets: None, held: Residual::new(residual) }
    }

    /// The same for servers in these nets only.
    #[must_use]
    pub fn only_to<N: Into<IpNet>>(self, nets: impl IntoIterator<Item = N>) -> Self {
        Self { nets: Some(nets.into_iter().map(Into::into).collect()), ..self }
    }

    fn concerns(&self, server: SocketAddr) -> bool {
        let has = |nets: &Vec<IpNet>| nets.iter().any(|net| net.contains(&server.ip()));
        self.nets.as_ref().is_none_or(has)
    }
}

impl Policy for FullyEncrypted {
    fn name(&self) -> &'static str {
        "fully_encrypted"
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, _: &mut Injected) -> Verdict {
        let (flow, data) = (at.flow, packet.payload());
        if packet.tcp().is_none() || !self.concerns(flow.server()) {
            return Verdict::Pass;
        }
        let pair = (flow.client().ip(), flow.server());
        if self.held.holds(&pair, at.now) {
            return Verdict::Drop;
        }
        let first = flow.from_client() && flow.up().bytes == data.len() as u64;
        if first && !data.is_empty() && is_noise(data) {
            self.held.hold(pair, at.now);
            return Verdict::Drop;
        }
        Verdict::Pass
    }
}

/// Whether nothing excuses a first packet.
fn is_noise(data: &[u8]) -> bool {
    let printable = |byte: &u8| (0x20..=0x7e).contains(byte);
    let bits: u32 = data.iter().map(|byte| byte.count_ones()).sum();
    let len = u32::try_from(data.len()).expect("a packet is small");
    // Both ends of the range excuse a packet.
    let noisy = bits * 10 > NOISE.start * len && bits * 10 < NOISE.end * len;
    let first = data.len() >= FIRST && data[..FIRST].iter().all(printable);
    let half = data.iter().filter(|byte| printable(byte)).count() * 2 > data.len();
    let run = data.split(|byte| !printable(byte)).any(|run| run.len() > RUN);
    let tls = matches!(data, [0x16 | 0x17, 3, 0..=9, ..]);
    let http = METHODS.iter().any(|method| data.starts_with(method));
    noisy && !(first || half || run || tls || http)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four bits in each byte, none of them printable.
    const NOISY: [u8; 200] = [0xb8; 200];

    fn with(at: usize, data: &[u8]) -> Vec<u8> {
        let mut noise = NOISY.to_vec();
        noise[at..at + data.len()].copy_from_slice(data);
        noise
    }

    #[test]
    fn each_exemption_excuses_and_its_neighbour_does_not() {
        assert!(is_noise(&NOISY));
        assert!(!is_noise(&with(0, b"SSH-2.")) && is_noise(&with(0, b"SSH-2")));
        assert!(!is_noise(&with(50, &[b'e'; 21])) && is_noise(&with(50, &[b'e'; 20])));
        let pairs = |count| (0..200).map(move |at| if at % 2 < count { b'e' } else { 0xb8 });
        assert!(is_noise(&pairs(1).collect::<Vec<_>>()), "half is not more than half");
        assert!(!is_noise(&[&pairs(1).collect::<Vec<_>>()[..], b"e"].concat()));
        for excused in [&b"GET "[..], b"POST ", b"\x16\x03\x01", b"\x17\x03\x09"] {
            assert!(!is_noise(&with(0, excused)), "{excused:?}");
        }
        assert!(is_noise(&with(0, b"\x18\x03\x01")) && is_noise(&with(0, b"get ")));
    }

    #[test]
    fn the_share_of_bits_has_two_bounds() {
        // Ten bytes with three or four bits each, four or five.
        let share = |few: u8, much: u8, count: usize| {
            let block: Vec<u8> = (0..10).map(|at| if at < count { much } else { few }).collect();
            is_noise(&block)
        };
        assert!(!share(0x91, 0xb8, 4) && share(0x91, 0xb8, 5));
        assert!(!share(0xb8, 0xf8, 6) && share(0xb8, 0xf8, 5));
    }
}
