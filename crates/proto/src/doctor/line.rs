//! The line as a whole: what of the provider, the country and the world is reached, and whether UDP
//! passes.

use super::{Diagnosis, Verdict};
use crate::failure::Failure;

/// Something that was tried to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// What it is, for a person.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Whether it was reached by TCP.
    pub tcp: Option<Result<(), Failure>>,
    /// Whether it answers questions by UDP.
    pub udp: Option<bool>,
    /// Whether it answers the same questions by TCP.
    pub dns_by_tcp: Option<bool>,
    /// Whether it answers QUIC.
    pub quic: Option<bool>,
}

/// Where a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The provider's resolver, or the router's on this device's own network.
    Provider,
    /// A site of the home country, by the person's word.
    Home,
    /// Anywhere else.
    World,
}

impl Point {
    /// A point about which nothing is known yet.
    pub fn new(name: impl Into<String>, place: Place) -> Self {
        Self { name: name.into(), place, tcp: None, udp: None, dns_by_tcp: None, quic: None }
    }

    fn answered(&self) -> bool {
        self.tcp == Some(Ok(())) || [self.udp, self.dns_by_tcp, self.quic].contains(&Some(true))
    }

    /// Whether it was tried and could have answered.
    fn tried(&self) -> bool {
        self.tcp.is_some() || self.udp.is_some()
    }

    /// Whether no packet could be sent at all.
    fn has_no_way(&self) -> bool {
        self.tcp == Some(Err(Failure::Unreachable))
    }

    fn says(&self) -> String {
        let tcp = self.tcp.as_ref().map(|tcp| match tcp {
            Ok(()) => "reached".to_owned(),
            Err(failure) => failure.to_string(),
        });
        let yes = |answers| if answers { "yes" } else { "no" };
        let parts = [
            tcp,
            self.udp.map(|udp| format!("answers by UDP: {}", yes(udp))),
            self.dns_by_tcp.map(|tcp| format!("by TCP: {}", yes(tcp))),
            self.quic.filter(|quic| *quic).map(|_| "answers QUIC".to_owned()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("{}: {}", self.name, parts.join(", "))
    }
}

/// Judges the line.
pub fn judge(points: &[Point]) -> Diagnosis {
    let mut told = Diagnosis::default();
    let tried: Vec<&Point> = points.iter().filter(|point| point.tried()).collect();
    for point in &tried {
        told.note(point.says());
    }
    let reached = |place| tried.iter().any(|point| point.place == place && point.answered());
    if reached(Place::World) {
        judge_udp(&tried, &mut told);
    } else if !tried.is_empty() {
        judge_cut(&tried, reached(Place::Home), reached(Place::Provider), &mut told);
    }
    told
}

/// Nothing of the world is reached.
fn judge_cut(tried: &[&Point], home: bool, provider: bool, told: &mut Diagnosis) {
    let asked_at_home = tried.iter().any(|point| point.place == Place::Home);
    let abroad = tried.iter().filter(|point| point.place == Place::World).count();
    let mut connects = tried.iter().filter(|point| point.tcp.is_some()).peekable();
    let no_way = connects.peek().is_some() && connects.all(|point| point.has_no_way());
    let verdict = match (home, provider) {
        (true, _) if abroad > 0 => Verdict::ForeignCut,
        (true, _) => Verdict::Unclear,
        (false, true) if asked_at_home => Verdict::DnsOnly,
        (false, true) if abroad > 1 => {
            told.note(
                "only the provider's resolver answers; name a site of your country with --home \
                 to tell a cut of the border from a cut of all",
            );
            Verdict::ForeignCut
        }
        (false, true) => Verdict::Unclear,
        (false, false) if no_way => Verdict::NoNetwork,
        (false, false) => Verdict::Blackout,
    };
    told.find(verdict);
}

/// UDP is off where one who answers a question by TCP does not by UDP, and nobody does.
fn judge_udp(tried: &[&Point], told: &mut Diagnosis) {
    let passes = |point: &&&Point| point.udp == Some(true) || point.quic == Some(true);
    let mut world = tried.iter().filter(|point| point.place == Place::World);
    if world.clone().any(|point| passes(&point)) {
        return;
    }
    if world.any(|point| point.udp == Some(false) && point.dns_by_tcp == Some(true)) {
        let at_provider = tried.iter().filter(passes).count() > 0;
        told.note(match at_provider {
            true => "questions abroad are answered by TCP, not by UDP",
            false => "questions are answered by TCP, not by UDP",
        });
        told.find(Verdict::UdpOff);
    }
}
