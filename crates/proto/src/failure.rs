//! Why a way did not work, told apart as finely as a reader or the route choice can use it.

use std::fmt;

use minicbor::{Decode, Encode};

/// The ways to get one request answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Route {
    /// The own store.
    #[n(0)]
    Local,
    /// The origin itself.
    #[n(1)]
    Direct,
    /// Copies that known nodes hold.
    #[n(2)]
    Swarm,
    /// An injector fetches and signs.
    #[n(3)]
    Injector,
    /// End-to-end bytes through another node's exit.
    #[n(4)]
    Tunnel,
}

impl Route {
    /// All routes, in the order in which they are listed.
    pub const ALL: [Self; 5] =
        [Self::Local, Self::Direct, Self::Swarm, Self::Injector, Self::Tunnel];

    /// The name used in the `Busel-Route` header, in reports and in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Direct => "direct",
            Self::Swarm => "swarm",
            Self::Injector => "injector",
            Self::Tunnel => "tunnel",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why one try of one route failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Failure {
    /// The store has no copy.
    #[n(0)]
    NoCopy,
    /// The resolver says that the name does not exist.
    #[n(1)]
    NameUnknown,
    /// The resolver did not answer or failed.
    #[n(2)]
    NameUnanswered,
    /// The resolver gave an address that can't be the site's: loopback, private, or a known lie.
    #[n(3)]
    NamePoisoned,
    /// The connection was refused.
    #[n(4)]
    Refused,
    /// No way to the address.
    #[n(5)]
    Unreachable,
    /// The connection was cut by a reset, as filters do on a name that they know.
    #[n(6)]
    Reset,
    /// Nothing came for as long as this way is given.
    #[n(7)]
    Silent,
    /// The server showed a certificate that is not the site's.
    #[n(8)]
    ForgedCertificate,
    /// A page of the censor instead of the site's.
    #[n(9)]
    BlockPage,
    /// The body stopped coming.
    #[n(10)]
    Stalled,
    /// The body broke off before its end.
    #[n(11)]
    CutOff,
    /// What came is not signed as it must be.
    #[n(12)]
    NotAuthentic(#[n(0)] String),
    /// No node that could serve this way is known.
    #[n(13)]
    NobodyKnown,
    /// Nobody that was asked has it.
    #[n(14)]
    NobodyHasIt,
    /// A node was asked and refused, with its reason.
    #[n(15)]
    Declined(#[n(0)] String),
    /// The bytes at hand can't be continued by this way without splicing two versions.
    #[n(16)]
    CannotResume,
    /// The site's or node's answer breaks the protocol.
    #[n(17)]
    Protocol(#[n(0)] String),
    /// The reader's settings forbid this way.
    #[n(18)]
    NotAllowed(#[n(0)] String),
    /// Only a copy older than its publisher allows is to be had by this way.
    #[n(19)]
    OnlyStale,
    /// The node has no place for it now, or none more for this client.
    #[n(20)]
    Busy(#[n(0)] String),
    /// The exit has moved as many bytes today as its owner gives.
    #[n(21)]
    UsedUp,
    /// The injector's certificate has run out: what it would sign, nobody would believe.
    #[n(22)]
    NotCertified,
}

impl Failure {
    /// A node's own words about why it declined, cut to what a person would read. What says nothing
    /// about the way stays what it is, so that one busy moment does not count against the way.
    pub fn declined(by_node: &Self) -> Self {
        match by_node {
            Self::Busy(why) => Self::Busy(clean(why)),
            Self::NotAllowed(why) => Self::NotAllowed(clean(why)),
            Self::UsedUp => Self::UsedUp,
            other => Self::Declined(clean(&other.to_string())),
        }
    }

    /// The same, its words cut to what a person would read: for what a node says of a site.
    pub fn cleaned(self) -> Self {
        match self {
            Self::NotAuthentic(why) => Self::NotAuthentic(clean(&why)),
            Self::Declined(why) => Self::Declined(clean(&why)),
            Self::Protocol(why) => Self::Protocol(clean(&why)),
            Self::NotAllowed(why) => Self::NotAllowed(clean(&why)),
            Self::Busy(why) => Self::Busy(clean(&why)),
            other => other,
        }
    }

    /// Whether this is how a censor looks, rather than a fault of the site or of a node.
    pub fn looks_censored(&self) -> bool {
        matches!(
            self,
            Self::NamePoisoned
                | Self::Reset
                | Self::Silent
                | Self::ForgedCertificate
                | Self::BlockPage
                | Self::Stalled
        )
    }

    /// Whether the same may work in a moment: nodes, and the lines to them, come and go.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable | Self::Silent | Self::CutOff | Self::Busy(_))
    }

    /// Whether it says nothing about the way itself, so that the memory must not count it.
    pub fn is_neutral(&self) -> bool {
        matches!(
            self,
            Self::NoCopy
                | Self::NobodyKnown
                | Self::NobodyHasIt
                | Self::CannotResume
                | Self::NotAllowed(_)
                | Self::OnlyStale
                | Self::Busy(_)
                | Self::UsedUp
                | Self::NotCertified
        )
    }
}

/// What a person would read of a stranger's words.
fn clean(words: &str) -> String {
    const MOST: usize = 200;
    words.chars().filter(|c| !c.is_control()).take(MOST).collect()
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCopy => f.write_str("no copy on this device"),
            Self::NameUnknown => f.write_str("the name does not exist, says the resolver"),
            Self::NameUnanswered => f.write_str("the resolver did not answer"),
            Self::NamePoisoned => f.write_str("the resolver gave a false address"),
            Self::Refused => f.write_str("the connection was refused"),
            Self::Unreachable => f.write_str("the address can't be reached"),
            Self::Reset => f.write_str("the connection was cut by a reset"),
            Self::Silent => f.write_str("nothing came back"),
            Self::ForgedCertificate => f.write_str("the certificate is not the site's"),
            Self::BlockPage => f.write_str("a censor's page came instead of the site's"),
            Self::Stalled => f.write_str("the answer stopped coming"),
            Self::CutOff => f.write_str("the answer broke off"),
            Self::NotAuthentic(why) => write!(f, "not authentic: {why}"),
            Self::NobodyKnown => f.write_str("no node that could help is known"),
            Self::NobodyHasIt => f.write_str("no known node has a copy"),
            Self::Declined(why) => write!(f, "a node declined: {why}"),
            Self::CannotResume => f.write_str("the rest can't be had without mixing two versions"),
            Self::Protocol(why) => write!(f, "the answer makes no sense: {why}"),
            Self::NotAllowed(why) => write!(f, "not allowed: {why}"),
            Self::OnlyStale => f.write_str("only an old copy"),
            Self::Busy(why) => write!(f, "busy: {why}"),
            Self::UsedUp => f.write_str("this exit's bytes for today are used up"),
            Self::NotCertified => f.write_str("the injector's certificate has run out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_declines_for_now_is_not_held_against_the_way() {
        let odd = format!("wait\n\u{0}{}", "!".repeat(300));
        let (busy, no) = (Failure::Busy(odd.clone()), Failure::NotAllowed(odd.clone()));
        for failure in [busy, no, Failure::UsedUp] {
            let declined = Failure::declined(&failure);
            assert!(declined.is_neutral(), "{declined:?}");
            assert_eq!(declined, failure.cleaned());
        }
        let Failure::Busy(why) = Failure::declined(&Failure::Busy(odd.clone())) else { panic!() };
        assert!(why.starts_with("wait!") && why.len() == 200, "{why}");
        let other = Failure::declined(&Failure::Protocol(odd));
        assert!(matches!(&other, Failure::Declined(why) if !why.contains('\n')), "{other:?}");
    }
}
