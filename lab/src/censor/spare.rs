//! A policy that leaves some hosts alone, as a box leaves those of its own operator: a prober must not
//! fall into the traps that it serves. It blocks nothing by itself, and is counted as what it wraps.

use std::net::IpAddr;

use super::{Context, Injected, Packet, Policy, Verdict};

/// Another policy, for all but some hosts.
#[derive(Clone, Debug)]
pub struct Spare<P> {
    hosts: Vec<IpAddr>,
    policy: P,
}

impl<P: Policy> Spare<P> {
    /// Lets all from and to these addresses pass, and the policy judge the rest.
    pub fn new(hosts: impl IntoIterator<Item = IpAddr>, policy: P) -> Self {
        Self { hosts: hosts.into_iter().collect(), policy }
    }
}

impl<P: Policy> Policy for Spare<P> {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn judge(&mut self, packet: &Packet, at: &Context<'_>, out: &mut Injected) -> Verdict {
        let spared = |addr| self.hosts.contains(&addr);
        if spared(packet.source()) || spared(packet.dest()) {
            Verdict::Pass
        } else {
            self.policy.judge(packet, at, out)
        }
    }
}
