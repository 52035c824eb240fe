//! What connections to a site's addresses tell: one that says a neutral name, one that says the
//! site's, and one that says it in two pieces.

use std::net::SocketAddr;

use super::{Diagnosis, Verdict};
use crate::failure::Failure;

/// What a connection says of whom it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    /// A name that no censor minds.
    Neutral,
    /// The site's name.
    Named,
    /// The site's name, with the hello cut in two within it.
    Split,
}

/// How a connection and its TLS handshake went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shook {
    /// No TCP connection.
    Unconnected(Failure),
    /// The handshake failed: cut, silent, or refused by the server's own word ([`Failure::Protocol`]).
    Failed(Failure),
    /// A certificate that can't be accepted.
    Certificate(Certificate),
    /// The site itself, by its certificate.
    Good,
}

/// Why a certificate can't be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// No known authority made it.
    UnknownIssuer,
    /// It is another site's.
    OtherName,
    /// It is not yet or no longer valid, by this device's clock.
    OutOfTime,
    /// Anything else.
    Bad,
}

impl Shook {
    /// Whether a TCP connection stood.
    pub fn connected(&self) -> bool {
        !matches!(self, Self::Unconnected(_))
    }

    /// Whether anything of TLS came back.
    fn answered(&self) -> bool {
        matches!(self, Self::Good | Self::Certificate(_) | Self::Failed(Failure::Protocol(_)))
    }

    pub(super) fn says(&self) -> String {
        match self {
            Self::Unconnected(failure) => format!("no connection: {failure}"),
            Self::Failed(failure) => format!("no handshake: {failure}"),
            Self::Certificate(Certificate::UnknownIssuer) => {
                "a certificate that no known authority made".into()
            }
            Self::Certificate(Certificate::OtherName) => "another site's certificate".into(),
            Self::Certificate(Certificate::OutOfTime) => {
                "a certificate that is not valid at this device's time".into()
            }
            Self::Certificate(Certificate::Bad) => "a certificate that can't be accepted".into(),
            Self::Good => "the site's own certificate".into(),
        }
    }
}

/// All handshakes with one address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Handshakes {
    neutral: Option<Shook>,
    named: Vec<Shook>,
    split: Option<Shook>,
}

impl Handshakes {
    /// What to say next. The neutral name comes first: after the site's, some censors hold it against
    /// the address for a time.
    pub(super) fn next(&self) -> Option<Hello> {
        match (&self.neutral, self.named.as_slice(), &self.split) {
            (None, _, _) => Some(Hello::Neutral),
            (Some(Shook::Unconnected(_)), _, _) => None,
            (_, [], _) => Some(Hello::Named),
            (_, [Shook::Good | Shook::Certificate(_), ..], _) => None,
            (_, _, None) => Some(Hello::Split),
            // The first failure may have been chance.
            (_, [_], Some(Shook::Good)) => Some(Hello::Named),
            _ => None,
        }
    }

    pub(super) fn take(&mut self, hello: Hello, shook: Shook) {
        match hello {
            Hello::Neutral => self.neutral = Some(shook),
            Hello::Named => self.named.push(shook),
            Hello::Split => self.split = Some(shook),
        }
    }

    /// How the site's name did, at the last try.
    pub(super) fn named(&self) -> Option<&Shook> {
        self.named.last()
    }

    /// Whether a TCP connection stood.
    pub(super) fn connected(&self) -> Option<bool> {
        self.neutral.as_ref().map(Shook::connected)
    }

    /// Why there was no TCP connection.
    pub(super) fn unconnected(&self) -> Option<&Failure> {
        match &self.neutral {
            Some(Shook::Unconnected(failure)) => Some(failure),
            _ => None,
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.named() == Some(&Shook::Good)
    }

    /// Whether it is sure not to be the site: nobody there, or somebody else.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.unconnected().is_some() || matches!(self.named(), Some(Shook::Certificate(_)))
    }

    /// What is at work at this address, where it is not good.
    pub(super) fn judge(&self, at: SocketAddr, told: &mut Diagnosis) {
        if let Some(failure) = self.unconnected() {
            judge_unconnected(at, failure, told);
            return;
        }
        let (Some(neutral), Some(named)) = (&self.neutral, self.named()) else { return };
        told.note(format!("{at}, asked for the site: {}", named.says()));
        match named {
            Shook::Good => {}
            Shook::Certificate(Certificate::OutOfTime) => {
                told.note("the clock of this device may be wrong");
                told.find(Verdict::Unclear);
            }
            Shook::Certificate(_) => told.find(Verdict::ForgedCertificate),
            Shook::Failed(Failure::Protocol(_)) => told.find(Verdict::Unclear),
            Shook::Unconnected(failure) | Shook::Failed(failure) => {
                self.judge_name(at, neutral, failure, told);
            }
        }
    }

    fn judge_name(&self, at: SocketAddr, neutral: &Shook, failure: &Failure, told: &mut Diagnosis) {
        if !neutral.answered() {
            told.note(format!("{at}, asked for a neutral name: {}", neutral.says()));
            told.find(Verdict::AddressBlocked);
            return;
        }
        told.note(format!("{at} answers when a neutral name is asked for"));
        match &self.split {
            Some(Shook::Good) => told.note("cutting the hello in two gets past it"),
            Some(_) => told.note("cutting the hello in two does not get past it"),
            None => {}
        }
        let silent = *failure == Failure::Silent;
        told.find(if silent { Verdict::SniDrop } else { Verdict::SniReset });
    }
}

fn judge_unconnected(at: SocketAddr, failure: &Failure, told: &mut Diagnosis) {
    told.note(format!("{at}: {failure}"));
    if *failure == Failure::Refused {
        told.note("the server is down, or a filter refuses in its place");
        told.find(Verdict::Unclear);
    } else {
        told.note("a server that is down looks the same");
        told.find(Verdict::AddressBlocked);
    }
}
