//! The seam between the line and what censors it. A policy is one technique in one file below: it
//! judges packets one by one, may remember what it saw, and may put packets of its own on the line.
//! Each point of the map has one [`Censor`], whose chain of policies may be changed while traffic
//! flows.
//!
//! Policies are pure in time: `now` is in the [`Context`]. They open nothing and start nothing; one
//! that needs a program of its own (a prober, a forging proxy) is given a channel to it.
//!
//! A technique is added by a file here, its two lines below, and a control test of its name in
//! `lab/tests/it`: what must be blocked is, by a plain client, and what must pass does.

mod active_probing;
mod bittorrent_block;
mod blackout;
mod bucket;
mod connection_limit;
mod dht_poison;
mod dns_only;
mod dns_poison;
mod encapsulated_tls;
mod forged_certificate;
mod freeze;
mod fully_encrypted;
mod http_redirect;
mod inbound_cut;
mod ip_block;
mod lan_only;
mod names;
mod national_cut;
mod per_flow;
mod protocol_whitelist;
mod quic_block;
mod quic_sni;
mod residual;
mod sni_drop;
mod sni_reset;
mod sni_whitelist;
mod source_allowlist;
mod spare;
mod throttle;
mod tls_fingerprint;
mod udp_off;
mod unknown_udp_off;

pub use active_probing::{ActiveProbing, Guilty, Suspect};
pub use bittorrent_block::BittorrentBlock;
pub use blackout::Blackout;
pub use bucket::Bucket;
pub use connection_limit::ConnectionLimit;
pub use dht_poison::{DHT_BOOTSTRAP, DhtPoison};
pub use dns_only::DnsOnly;
pub use dns_poison::DnsPoison;
pub use encapsulated_tls::EncapsulatedTls;
pub use forged_certificate::{Diverted, ForgedCertificate};
pub use freeze::Freeze;
pub use fully_encrypted::FullyEncrypted;
pub use http_redirect::{Ending, HttpRedirect};
pub use inbound_cut::InboundCut;
pub use ip_block::IpBlock;
pub use lan_only::LanOnly;
pub use names::Names;
pub use national_cut::NationalCut;
pub use per_flow::PerFlow;
pub use protocol_whitelist::ProtocolWhitelist;
pub use quic_block::QuicBlock;
pub use quic_sni::QuicSni;
pub use residual::Residual;
pub use sni_drop::SniDrop;
pub use sni_reset::SniReset;
pub use sni_whitelist::SniWhitelist;
pub use source_allowlist::SourceAllowlist;
pub use spare::Spare;
pub use throttle::Throttle;
pub use tls_fingerprint::TlsFingerprint;
pub use udp_off::UdpOff;
pub use unknown_udp_off::UnknownUdpOff;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::flow::{Flow, Flows};
use crate::map::Point;
use crate::packet::Packet;

/// One technique of censoring.
pub trait Policy: Send {
    /// The name under which its deeds are counted: that of its file.
    fn name(&self) -> &'static str;

    /// Decides about a packet that passes, and may forge others.
    fn judge(&mut self, packet: &Packet, at: &Context<'_>, out: &mut Injected) -> Verdict;
}

/// What a policy knows beside the packet.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time since the world began.
    pub now: Duration,
    /// Where the censor sits.
    pub point: Point,
    /// Which way the packet goes.
    pub direction: Direction,
    /// The flow that it belongs to, with the packet taken into account already.
    pub flow: &'a Flow,
}

/// Which way a packet goes at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Away from the people: from a provider's customer, or out of the country. At the exchange:
    /// from the end that opened the flow.
    Outbound,
    /// Towards them.
    Inbound,
}

/// What becomes of a packet.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on, to the next policy and then on its way.
    Pass,
    /// It is gone, and no further policy sees it.
    Drop,
    /// This one goes on in its place, by its own address.
    Replace(Packet),
    /// It goes on, but later by this much.
    Delay(Duration),
}

/// The packets that a policy puts on the line. Each goes from this point to where its address says,
/// through the points and links that are left, whatever it says that it comes from.
#[derive(Debug, Default)]
pub struct Injected {
    packets: Vec<(Duration, Packet)>,
}

impl Injected {
    /// Sends a packet now: before the one that is being judged.
    pub fn send(&mut self, packet: Packet) {
        self.send_after(Duration::ZERO, packet);
    }

    /// Sends a packet somewhat later.
    pub fn send_after(&mut self, delay: Duration, packet: Packet) {
        self.packets.push((delay, packet));
    }

    /// All that was sent, for tests of a policy by itself.
    pub fn take(&mut self) -> Vec<(Duration, Packet)> {
        std::mem::take(&mut self.packets)
    }
}

/// Policies that judge one after the other.
#[derive(Default)]
pub struct Chain {
    policies: Vec<Box<dyn Policy>>,
}

impl Chain {
    /// A chain of one.
    pub fn of(policy: impl Policy + 'static) -> Self {
        Self::default().then(policy)
    }

    /// The same with one more at its end.
    #[must_use]
    pub fn then(mut self, policy: impl Policy + 'static) -> Self {
        self.policies.push(Box::new(policy));
        self
    }
}

impl Policy for Box<dyn Policy> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, out: &mut Injected) -> Verdict {
        (**self).judge(packet, at, out)
    }
}

/// What a policy did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that it let pass.
    pub passed: u64,
    /// Packets that it dropped.
    pub dropped: u64,
    /// Packets that it replaced.
    pub replaced: u64,
    /// Packets that it held back.
    pub delayed: u64,
    /// Packets that it put on the line.
    pub injected: u64,
}

impl Counts {
    /// Whether it did anything but watch.
    pub fn acted(&self) -> bool {
        self.dropped + self.replaced + self.delayed + self.injected > 0
    }
}

/// The box at one point.
pub struct Censor {
    point: Point,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    chain: Chain,
    counts: BTreeMap<&'static str, Counts>,
    flows: Flows,
}

/// What a censor made of a packet.
#[derive(Debug, Default)]
pub(crate) struct Ruling {
    /// What goes on, and how much later.
    pub(crate) onward: Option<(Duration, Packet)>,
    /// What was put on the line.
    pub(crate) injected: Vec<(Duration, Packet)>,
}

impl Censor {
    pub(crate) fn new(point: Point) -> Self {
        Self { point, state: Mutex::default() }
    }

    /// Puts these policies in force from the next packet on, instead of those before. What is
    /// counted stays, and so do the flows that the point knows.
    pub fn set(&self, chain: Chain) {
        self.state().chain = chain;
    }

    /// Puts one policy in force, instead of those before.
    pub fn only(&self, policy: impl Policy + 'static) {
        self.set(Chain::of(policy));
    }

    /// Lets all pass.
    pub fn clear(&self) {
        self.set(Chain::default());
    }

    /// What the policies of this name did here so far.
    pub fn counts(&self, name: &str) -> Counts {
        self.state().counts.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn judge(&self, packet: Packet, now: Duration, from_within: bool) -> Ruling {
        let mut state = self.state();
        let State { chain, counts, flows } = &mut *state;
        let flow = flows.see(&packet, now);
        let at = Context { now, point: self.point, direction: self.way(flow, from_within), flow };
        let mut ruling = Ruling::default();
        if self.point == Point::Inbound && crate::map::is_domestic(flow.client().ip()) {
            ruling.onward = Some((Duration::ZERO, packet));
            return ruling;
        }
        let mut out = Injected::default();
        let (mut packet, mut delay) = (packet, Duration::ZERO);
        for policy in &mut chain.policies {
            let verdict = policy.judge(&packet, &at, &mut out);
            let counts = counts.entry(policy.name()).or_default();
            counts.injected += out.packets.len() as u64;
            ruling.injected.append(&mut out.packets);
            match verdict {
                Verdict::Pass => counts.passed += 1,
                Verdict::Drop => {
                    counts.dropped += 1;
                    return ruling;
                }
                Verdict::Replace(other) => {
                    counts.replaced += 1;
                    packet = other;
                }
                Verdict::Delay(more) => {
                    counts.delayed += 1;
                    delay += more;
                }
            }
        }
        ruling.onward = Some((delay, packet));
        ruling
    }

    fn way(&self, flow: &Flow, from_within: bool) -> Direction {
        let outbound = if self.point == Point::Exchange { flow.from_client() } else { from_within };
        if outbound { Direction::Outbound } else { Direction::Inbound }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A policy that panics fails the test, and nothing is judged by it again.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
