//! What a censor does on this line, told from measurements.
//!
//! An [`Exam`] looks at one site: it says what to measure next, takes what was found, and at its end
//! says what it makes of it. [`line::judge`] does the same for the line as a whole. Both judge only
//! what they were given; who measures is in `busel-node`.
//!
//! A verdict is the plainest explanation of what was seen, with the evidence beside it. It is no
//! proof: a dead server looks like a blocked address. Where nothing explains it, it says so.

mod hello;
pub mod line;
mod names;
mod site;
mod transfer;

pub use hello::{Certificate, Hello, Shook};
pub use line::{Place, Point};
pub use names::{Answer, Said, Source};
pub use site::{Exam, Finding, Probe};
pub use transfer::{End, Load, Plain};

#[cfg(test)]
mod line_tests;
#[cfg(test)]
mod tests;

/// What is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing.
    Open,
    /// A resolver lies about the name.
    DnsPoisoned,
    /// Nothing comes back from the site's address, whatever is said to it.
    AddressBlocked,
    /// A connection that names the site is cut.
    SniReset,
    /// A connection that names the site goes silent.
    SniDrop,
    /// Somebody shows a certificate that no known authority made for the site.
    ForgedCertificate,
    /// Plain `http` is answered by somebody else.
    BlockPage,
    /// What comes is slowed down on purpose.
    Throttled,
    /// A connection stops after so many bytes.
    Freeze,
    /// Only the home country is to be reached.
    ForeignCut,
    /// Only the provider's resolver answers.
    DnsOnly,
    /// No UDP comes back.
    UdpOff,
    /// Nothing passes the provider.
    Blackout,
    /// This device has no way to any network.
    NoNetwork,
    /// It was not asked, because the provider must not see it being asked for.
    NotAsked,
    /// What was seen fits nothing of these.
    Unclear,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Open,
        Self::DnsPoisoned,
        Self::AddressBlocked,
        Self::SniReset,
        Self::SniDrop,
        Self::ForgedCertificate,
        Self::BlockPage,
        Self::Throttled,
        Self::Freeze,
        Self::ForeignCut,
        Self::DnsOnly,
        Self::UdpOff,
        Self::Blackout,
        Self::NoNetwork,
        Self::NotAsked,
        Self::Unclear,
    ];

    /// Its name in reports for programs. These names stay.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::DnsPoisoned => "dns_poisoned",
            Self::AddressBlocked => "address_blocked",
            Self::SniReset => "sni_reset",
            Self::SniDrop => "sni_drop",
            Self::ForgedCertificate => "forged_certificate",
            Self::BlockPage => "block_page",
            Self::Throttled => "throttled",
            Self::Freeze => "freeze",
            Self::ForeignCut => "foreign_cut",
            Self::DnsOnly => "dns_only",
            Self::UdpOff => "udp_off",
            Self::Blackout => "blackout",
            Self::NoNetwork => "no_network",
            Self::NotAsked => "not_asked",
            Self::Unclear => "unclear",
        }
    }

    /// What it is, in one line for a person.
    pub fn says(self) -> &'static str {
        match self {
            Self::Open => "nothing stands in the way",
            Self::DnsPoisoned => "a resolver lies about the name",
            Self::AddressBlocked => "the site's address is blocked",
            Self::SniReset => "connections that name the site are cut",
            Self::SniDrop => "connections that name the site go silent",
            Self::ForgedCertificate => "somebody forges the site's certificate",
            Self::BlockPage => "plain http is answered by somebody else",
            Self::Throttled => "the site is slowed down on purpose",
            Self::Freeze => "connections freeze after some kilobytes",
            Self::ForeignCut => "only the home country can be reached",
            Self::DnsOnly => "only the provider's resolver answers",
            Self::UdpOff => "UDP is blocked",
            Self::Blackout => "nothing passes the provider",
            Self::NoNetwork => "this device has no network",
            Self::NotAsked => "not asked, since it is guarded",
            Self::Unclear => "it does not work as it should, and the reason is not clear",
        }
    }

    /// What a person can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Open => "Nothing needs to be done.",
            Self::DnsPoisoned => {
                "Busel asks resolvers over https first, and reaches the site so. Elsewhere, set a \
                 resolver over https in the browser or system."
            }
            Self::AddressBlocked | Self::SniDrop | Self::SniReset => {
                "Busel gets the page from a copy or an injector: join an invite (busel join) and \
                 use busel up."
            }
            Self::ForgedCertificate => {
                "Never accept the certificate: whoever forged it could read along. Busel refuses \
                 it, and gets the page another way: join an invite (busel join)."
            }
            Self::BlockPage => "Use the https address. Busel does so for listed sites.",
            Self::Throttled | Self::Freeze => {
                "Busel continues by another way where one stops: join an invite (busel join)."
            }
            Self::ForeignCut => {
                "Ask somebody in the country who still has copies: nodes of other readers, by \
                 their invites. Pages on this device can still be read."
            }
            Self::DnsOnly | Self::Blackout => {
                "Pages on this device can still be read. Try another provider, mobile network \
                 or a later hour."
            }
            Self::UdpOff => "Busel's relay wire needs no UDP. Calls and some VPNs will fail.",
            Self::NoNetwork => "Look at the cable, the Wi-Fi or the flight mode first.",
            Self::NotAsked => {
                "To ask it anyway, add --guarded; the provider will see that it is asked for."
            }
            Self::Unclear => {
                "Try again in a while, and name a site that is sure to work beside it."
            }
        }
    }
}

/// What was made of measurements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// What is at work, in the order in which a request meets it. Empty where nothing is.
    pub found: Vec<Verdict>,
    /// What was seen, in words.
    pub evidence: Vec<String>,
}

impl Diagnosis {
    /// The first of what is at work.
    pub fn verdict(&self) -> Verdict {
        self.found.first().copied().unwrap_or(Verdict::Open)
    }

    fn find(&mut self, verdict: Verdict) {
        if !self.found.contains(&verdict) {
            self.found.push(verdict);
        }
    }

    fn note(&mut self, evidence: impl Into<String>) {
        self.evidence.push(evidence.into());
    }
}
