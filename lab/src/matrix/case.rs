//! A technique as the matrix knows it: how it is put in force, and who gets past it by design.

use std::any::Any;
use std::collections::BTreeMap;

use crate::program::{Exposure, Stage, Way};

/// Puts a technique in force. What it returns is kept until the world ends.
type Force = Box<dyn Fn(&Stage) -> anyhow::Result<Box<dyn Any>>>;

/// What putting a technique in force leaves behind: nothing, or a program of the censor's.
pub trait Left {
    /// What is to be kept.
    fn kept(self) -> anyhow::Result<Box<dyn Any>>;
}

impl Left for () {
    fn kept(self) -> anyhow::Result<Box<dyn Any>> {
        Ok(Box::new(()))
    }
}

impl<T: 'static> Left for anyhow::Result<T> {
    fn kept(self) -> anyhow::Result<Box<dyn Any>> {
        Ok(Box::new(self?))
    }
}

/// One technique.
pub struct Case {
    name: &'static str,
    force: Force,
    scheme: &'static str,
    curl: Expected,
    ways: BTreeMap<Way, Expected>,
    /// Where it is otherwise for a reader whose node is open.
    open: BTreeMap<Way, Expected>,
}

/// What is expected of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The page comes.
    Passes,
    /// It can't come: that is what the technique is for.
    Blocked,
    /// It ought to come and does not yet, for this reason.
    Gap(&'static str),
}

impl Expected {
    /// Whether the page is expected.
    pub fn passes(self) -> bool {
        self == Self::Passes
    }
}

impl Case {
    /// A technique that strikes at the site alone: all ways but the direct one lead around it.
    pub fn site<L: Left>(name: &'static str, force: impl Fn(&Stage) -> L + 'static) -> Self {
        Self::nothing(name, force).passing(&[
            Way::Any,
            Way::Veil,
            Way::Connect,
            Way::Injector,
            Way::Tunnel,
            Way::Swarm,
        ])
    }

    /// One that lets web pages be, and strikes at something else.
    pub fn harmless<L: Left>(name: &'static str, force: impl Fn(&Stage) -> L + 'static) -> Self {
        Self::nothing(name, force).passing(&Way::ALL).curl_passes()
    }

    /// One that strikes at all that is abroad: who is at home is left.
    pub fn abroad<L: Left>(name: &'static str, force: impl Fn(&Stage) -> L + 'static) -> Self {
        Self::nothing(name, force).passing(&[Way::Any, Way::Swarm])
    }

    /// One that lets nothing pass.
    pub fn nothing<L: Left>(name: &'static str, force: impl Fn(&Stage) -> L + 'static) -> Self {
        let force: Force = Box::new(move |stage| force(stage).kept());
        let ways = Way::ALL.map(|way| (way, Expected::Blocked)).into();
        Self { name, force, scheme: "https", curl: Expected::Blocked, ways, open: BTreeMap::new() }
    }

    /// The same, where these ways lead past it too.
    #[must_use]
    pub fn passing(mut self, ways: &[Way]) -> Self {
        self.ways.extend(ways.iter().map(|way| (*way, Expected::Passes)));
        self
    }

    /// The same, where these ways lead past it for a reader whose node is open.
    #[must_use]
    pub fn passing_open(mut self, ways: &[Way]) -> Self {
        self.open.extend(ways.iter().map(|way| (*way, Expected::Passes)));
        self
    }

    /// The same, where these ways are blocked too.
    #[must_use]
    pub fn blocking(mut self, ways: &[Way]) -> Self {
        self.ways.extend(ways.iter().map(|way| (*way, Expected::Blocked)));
        self
    }

    /// The same, where these ways ought to lead past it, but do not yet.
    #[must_use]
    pub fn gap(mut self, ways: &[Way], why: &'static str) -> Self {
        self.ways.extend(ways.iter().map(|way| (*way, Expected::Gap(why))));
        self
    }

    /// The same, where a plain client is let alone.
    #[must_use]
    pub fn curl_passes(self) -> Self {
        Self { curl: Expected::Passes, ..self }
    }

    /// The same, where the plain client says `http`.
    #[must_use]
    pub fn over_http(self) -> Self {
        Self { scheme: "http", ..self }
    }

    /// What begins the address that the plain client asks for.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Its name: that of the policy's file.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Puts it in force, for as long as what this returns is kept.
    pub fn force(&self, stage: &Stage) -> anyhow::Result<Box<dyn Any>> {
        (self.force)(stage)
    }

    /// What is expected of a plain client.
    pub fn of_curl(&self) -> Expected {
        self.curl
    }

    /// Whether it makes a difference that a reader's node is open.
    pub fn tells_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// What is expected of Busel by this way.
    pub fn of(&self, way: Way, exposure: Exposure) -> Expected {
        let open = self.open.get(&way).filter(|_| exposure == Exposure::Open);
        open.or_else(|| self.ways.get(&way)).copied().unwrap_or(Expected::Blocked)
    }
}
