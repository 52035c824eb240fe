//! DNS poisoning: questions for listed names get a false answer, by UDP on port 53. *Instead*: the
//! question is swallowed, as where the provider's own resolver lies (MTS Belarus, 2020). *Racing*: it
//! goes on, and the true answer comes too late (China). Questions by TCP, DoH and DoT pass.

use std::net::IpAddr;

use super::{Context, Injected, Names, Packet, Policy, Verdict};

/// Answers falsely.
#[derive(Clone, Debug)]
pub struct DnsPoison {
    names: Names,
    lies: Vec<IpAddr>,
    swallow: bool,
}

impl DnsPoison {
    /// The false answer comes instead of the true one. With no lies it is "no such name".
    pub fn instead(names: Names, lies: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { names, lies: lies.into_iter().collect(), swallow: true }
    }

    /// The false answer comes before the true one.
    pub fn racing(names: Names, lies: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { names, lies: lies.into_iter().collect(), swallow: false }
    }
}

impl Policy for DnsPoison {
    fn name(&self) -> &'static str {
        "dns_poison"
    }

    fn judge(&mut self, packet: &Packet, _: &Context<'_>, out: &mut Injected) -> Verdict {
        let Some(question) = packet.question() else { return Verdict::Pass };
        if !self.names.has(&question.name) {
            return Verdict::Pass;
        }
        if let Some(lie) = packet.dns_answer(&self.lies) {
            out.send(lie);
        }
        if self.swallow { Verdict::Drop } else { Verdict::Pass }
    }
}
