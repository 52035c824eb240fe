//! What the censor forbids, and the judgement on one connection. Pure: it knows no sockets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is forbidden. A name stands for itself and all names under it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Policy {
    /// Names that are answered with the block page's address.
    pub(crate) poison: Vec<String>,
    /// Names whose connections are reset when they show as SNI or Host.
    pub(crate) reset_sni: Vec<String>,
    /// Names whose connections fall silent when they show as SNI or Host.
    pub(crate) drop_sni: Vec<String>,
    /// Addresses that are blocked.
    pub(crate) block_addr: Vec<AddrRule>,
    /// If given, everything but these is cut, the block page too.
    pub(crate) only: Option<Vec<AddrRule>>,
    /// Addresses are blocked by silence, not by a refusal.
    pub(crate) blackhole: bool,
}

impl Policy {
    /// Whether a name, in its plain form, is answered falsely.
    pub(super) fn poisons(&self, name: &str) -> bool {
        listed(&self.poison, name)
    }

    /// What happens to a connection; nothing if it is allowed.
    pub(super) fn judge(&self, facts: &Facts) -> Option<Fate> {
        let covers = |rules: &[AddrRule]| rules.iter().any(|rule| rule.covers(facts.addr));
        let spared = self.only.as_deref().is_none_or(covers);
        if !spared || covers(&self.block_addr) {
            return Some(if self.blackhole { Fate::Swallow } else { Fate::Reset });
        }
        let name = facts.name.as_deref().filter(|_| !facts.own_page)?;
        if listed(&self.reset_sni, name) {
            return Some(Fate::Reset);
        }
        listed(&self.drop_sni, name).then_some(Fate::Swallow)
    }
}

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Facts {
    /// The virtual address that was dialled.
    pub(super) addr: SocketAddr,
    /// The name that was read on it, in its plain form.
    pub(super) name: Option<String>,
    /// It leads to the block page, whose visitors name what is blocked.
    pub(super) own_page: bool,
}

/// What is done to a forbidden connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A reset to both ends; before it is open, a refusal.
    Reset,
    /// It stays open and carries nothing.
    Swallow,
}

/// What was done about something seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It was let through.
    Passed,
    /// A false answer was given.
    Poisoned,
    /// The connection was reset.
    Reset,
    /// It was met with silence.
    Dropped,
    /// It was refused, or doesn't exist.
    Refused,
}

/// An address, on one port or on all; written `203.0.113.10` or `203.0.113.10:443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct AddrRule {
    ip: IpAddr,
    port: Option<u16>,
}

impl AddrRule {
    fn covers(&self, addr: SocketAddr) -> bool {
        self.ip == addr.ip() && self.port.is_none_or(|port| port == addr.port())
    }
}

impl From<IpAddr> for AddrRule {
    fn from(ip: IpAddr) -> Self {
        Self { ip, port: None }
    }
}

impl From<SocketAddr> for AddrRule {
    fn from(addr: SocketAddr) -> Self {
        Self { ip: addr.ip(), port: Some(addr.port()) }
    }
}

impl FromStr for AddrRule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(ip.into());
        }
        let addr = text.parse::<SocketAddr>().map(Self::from);
        addr.map_err(|_| anyhow::anyhow!("{text:?} is no IP address, with or without a port"))
    }
}

impl TryFrom<String> for AddrRule {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Self> {
        text.parse()
    }
}

impl From<AddrRule> for String {
    fn from(rule: AddrRule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for AddrRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// A name as it is compared: lower case, without a dot at its end.
pub(super) fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn listed(names: &[String], name: &str) -> bool {
    names.iter().any(|listed| {
        let rest = name.strip_suffix(plain(listed).as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_what_is_under_it_and_no_more() {
        let names = ["News.Example.".to_owned()];
        assert!(listed(&names, "news.example"));
        assert!(listed(&names, "www.news.example"));
        assert!(!listed(&names, "fakenews.example"));
        assert!(!listed(&names, "example"));
    }

    #[test]
    fn address_rules_come_back_as_they_were_written() {
        for text in ["203.0.113.10", "203.0.113.10:443", "2001:db8::1", "[2001:db8::1]:443"] {
            assert_eq!(text.parse::<AddrRule>().expect("a rule").to_string(), text);
        }
        assert!("news.example:443".parse::<AddrRule>().is_err());
    }

    #[test]
    fn a_cut_spares_only_what_it_names() {
        let facts = |addr: &str| Facts {
            addr: addr.parse().expect("an address"),
            name: Some("news.example".to_owned()),
            own_page: false,
        };
        let mut policy = Policy {
            only: Some(vec!["203.0.113.2".parse().expect("a rule")]),
            ..Policy::default()
        };
        assert_eq!(policy.judge(&facts("203.0.113.2:443")), None);
        assert_eq!(policy.judge(&facts("203.0.113.3:443")), Some(Fate::Reset));
        policy.blackhole = true;
        assert_eq!(policy.judge(&facts("203.0.113.3:443")), Some(Fate::Swallow));
        policy.drop_sni = vec!["example".to_owned()];
        assert_eq!(policy.judge(&facts("203.0.113.2:443")), Some(Fate::Swallow));
    }
}
