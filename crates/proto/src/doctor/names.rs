//! What resolvers say of a site's name, compared. Only an answer that came over an authenticated
//! channel counts as true; another is held against it, and against what is found at its addresses.

use std::net::IpAddr;

use crate::network::Reach;

/// What one resolver said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which one, as the configuration names it.
    pub resolver: String,
    /// How it was asked.
    pub source: Source,
    /// What it said.
    pub said: Said,
}

/// How a resolver is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// By https: what it says is its own word. Fixed destinations of the owner count as this.
    Authenticated,
    /// The provider's own, in the clear.
    Provider,
    /// Another one, in the clear.
    Plain,
}

/// What a resolver said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// Two answers to one question that have no address in common: somebody races it.
    Contradiction(Vec<IpAddr>, Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// Nothing.
    Nothing,
}

impl Said {
    fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Addresses(addresses) => addresses,
            Self::Contradiction(first, _) => first,
            Self::NoSuchName | Self::Nothing => &[],
        }
    }

    pub(super) fn says(&self) -> String {
        match self {
            Self::Addresses(addresses) => list(addresses),
            Self::Contradiction(one, two) => {
                format!("two answers to one question: {}, and {}", list(one), list(two))
            }
            Self::NoSuchName => "no such name".into(),
            Self::Nothing => "no answer".into(),
        }
    }
}

pub(super) fn list(addresses: &[IpAddr]) -> String {
    match addresses {
        [] => "no address".into(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// All answers about one name.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) all: Vec<Answer>,
    reach: Reach,
}

impl Answers {
    pub(super) fn new(all: Vec<Answer>, reach: Reach) -> Self {
        Self { all, reach }
    }

    /// Whether it can be a site's.
    pub(super) fn is_possible(&self, ip: IpAddr) -> bool {
        self.reach.allows(ip)
    }

    /// What resolvers say whose word can be believed.
    pub(super) fn believed(&self) -> Vec<IpAddr> {
        self.from(|source| source == Source::Authenticated)
    }

    /// What others say beside that.
    pub(super) fn doubted(&self) -> Vec<IpAddr> {
        let believed = self.believed();
        let mut others = self.from(|source| source != Source::Authenticated);
        others.retain(|ip| !believed.contains(ip));
        others
    }

    /// Addresses that may be connected to, each once.
    fn from(&self, which: impl Fn(Source) -> bool) -> Vec<IpAddr> {
        let answers = self.all.iter().filter(|answer| which(answer.source));
        let mut found: Vec<IpAddr> = Vec::new();
        for ip in answers.flat_map(|answer| answer.said.addresses()) {
            if self.is_possible(*ip) && !found.contains(ip) {
                found.push(*ip);
            }
        }
        found
    }

    /// Whether all that answered say that there is no such name.
    pub(super) fn unknown(&self) -> bool {
        let mut answered = self.all.iter().filter(|answer| answer.said != Said::Nothing).peekable();
        answered.peek().is_some() && answered.all(|answer| answer.said == Said::NoSuchName)
    }
}

/// The first address of each kind.
pub(super) fn one_of_each(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let v4 = addresses.iter().find(|ip| ip.is_ipv4());
    let v6 = addresses.iter().find(|ip| ip.is_ipv6());
    v4.into_iter().chain(v6).copied().collect()
}
