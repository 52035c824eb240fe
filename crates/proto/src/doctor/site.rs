//! The exam of one site: what to measure next, and what to make of it all.

use std::net::{IpAddr, SocketAddr};

use super::hello::{Handshakes, Hello, Shook};
use super::names::{Answer, Answers, Said, Source, list, one_of_each};
use super::transfer::{self, End, Load, Plain};
use super::{Diagnosis, Verdict};
use crate::failure::Failure;
use crate::network::Reach;
use crate::page::PageUrl;

/// Something to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Ask each resolver for the site's name.
    Names,
    /// Connect to this address and shake hands.
    Shake(SocketAddr, Hello),
    /// Load the page from this address.
    Load(SocketAddr),
    /// Ask this address by plain `http`.
    Plain(SocketAddr),
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Of [`Probe::Names`].
    Names(Vec<Answer>),
    /// Of [`Probe::Shake`].
    Shake(Shook),
    /// Of [`Probe::Load`].
    Load(Load),
    /// Of [`Probe::Plain`].
    Plain(Plain),
}

/// The exam of one site. Measure all that [`Exam::wanted`] says, [`Exam::take`] each finding, and ask
/// again until nothing is wanted.
#[derive(Debug, Clone)]
pub struct Exam {
    url: PageUrl,
    reach: Reach,
    answers: Option<Answers>,
    handshakes: Vec<(SocketAddr, Handshakes)>,
    loads: Vec<Load>,
    plain: Option<Plain>,
}

impl Exam {
    /// An exam that has measured nothing. It connects only to addresses that `reach` allows.
    pub fn new(url: PageUrl, reach: Reach) -> Self {
        Self { url, reach, answers: None, handshakes: Vec::new(), loads: Vec::new(), plain: None }
    }

    /// The page.
    pub fn url(&self) -> &PageUrl {
        &self.url
    }

    /// What to measure now, all at once. Nothing once the exam is over.
    pub fn wanted(&self) -> Vec<Probe> {
        if self.answers.is_none() {
            return vec![Probe::Names];
        }
        let next = |(at, done): &(SocketAddr, Handshakes)| Some(Probe::Shake(*at, done.next()?));
        let shakes: Vec<Probe> = match self.url.is_https() {
            true => self.handshakes.iter().filter_map(next).collect(),
            false => Vec::new(),
        };
        if shakes.is_empty() { self.next_transfer().into_iter().collect() } else { shakes }
    }

    fn next_transfer(&self) -> Option<Probe> {
        let https = self.url.is_https();
        if !https && self.plain.is_none() {
            return self.handshakes.first().map(|(at, _)| Probe::Plain(*at));
        }
        let good = match (https, &self.plain) {
            (true, _) => self.handshakes.iter().find(|(_, done)| done.is_good()),
            (false, Some(Plain::Answered { status: 200, .. })) => self.handshakes.first(),
            (false, _) => None,
        };
        if let Some((at, _)) = good
            && match self.loads.as_slice() {
                [] => true,
                // One stall may be chance.
                [only] => only.end != End::Whole,
                _ => false,
            }
        {
            return Some(Probe::Load(*at));
        }
        let (at, _) = good.or(self.handshakes.first())?;
        let ask = https && self.plain.is_none() && self.url.port() == 443;
        ask.then(|| Probe::Plain(SocketAddr::new(at.ip(), 80)))
    }

    /// Takes what a probe found.
    pub fn take(&mut self, probe: &Probe, finding: Finding) {
        match (probe, finding) {
            (Probe::Names, Finding::Names(answers)) => self.take_names(answers),
            (Probe::Shake(at, hello), Finding::Shake(shook)) => {
                if let Some((_, done)) = self.handshakes.iter_mut().find(|(known, _)| known == at) {
                    done.take(*hello, shook);
                }
            }
            (Probe::Load(_), Finding::Load(load)) => self.loads.push(load),
            (Probe::Plain(_), Finding::Plain(plain)) => self.plain = Some(plain),
            // A finding of another kind is no answer to the probe.
            _ => {}
        }
    }

    fn take_names(&mut self, answers: Vec<Answer>) {
        let answers = Answers::new(answers, self.reach.clone());
        let mut look_at = one_of_each(&answers.believed());
        look_at.extend(one_of_each(&answers.doubted()));
        let port = self.url.port();
        let with_port = |ip| (SocketAddr::new(ip, port), Handshakes::default());
        self.handshakes = look_at.into_iter().map(with_port).collect();
        self.answers = Some(answers);
    }

    /// Whether the site's address was reached by TCP; nothing if it was not tried.
    pub fn reached(&self) -> Option<Result<(), Failure>> {
        if !self.url.is_https() {
            return self.plain.as_ref().map(|plain| match plain {
                Plain::Answered { .. } => Ok(()),
                Plain::Failed(failure) => Err(failure.clone()),
            });
        }
        if self.handshakes.iter().any(|(_, done)| done.connected() == Some(true)) {
            return Some(Ok(()));
        }
        let failures = self.handshakes.iter().filter_map(|(_, done)| done.unconnected());
        // No way at all to one kind of address says little.
        failures.max_by_key(|failure| **failure != Failure::Unreachable).cloned().map(Err)
    }

    /// How fast the page came.
    pub fn rate(&self) -> Option<u64> {
        self.loads.iter().filter_map(Load::rate).max()
    }

    /// What is at work. `fastest` is the rate of the fastest of the other sites.
    pub fn diagnose(&self, fastest: Option<u64>) -> Diagnosis {
        let mut told = Diagnosis::default();
        let Some(answers) = &self.answers else { return told };
        self.judge_names(answers, &mut told);
        if self.url.is_https() {
            self.judge_addresses(answers, &mut told);
        }
        transfer::judge(&self.loads, fastest, &mut told);
        if let Some(plain) = &self.plain {
            let moved = self.loads.iter().find_map(|load| load.moved.as_ref());
            transfer::judge_plain(&self.url, plain, moved, &mut told);
        }
        told
    }

    fn judge_names(&self, answers: &Answers, told: &mut Diagnosis) {
        let believed = answers.believed();
        for answer in &answers.all {
            told.note(format!("{}: {}", answer.resolver, answer.said.says()));
            if answer.source != Source::Authenticated
                && let Some(why) = self.why_false(answers, &believed, answer)
            {
                told.note(format!("{}: a lie, since {why}", answer.resolver));
                told.find(Verdict::DnsPoisoned);
            }
        }
        if answers.unknown() {
            told.note("nobody knows the name");
            told.find(Verdict::Unclear);
        } else if self.handshakes.is_empty() {
            told.find(Verdict::Unclear);
        }
    }

    /// Why an answer in the clear is false; nothing if it may be true.
    fn why_false(
        &self,
        answers: &Answers,
        believed: &[IpAddr],
        answer: &Answer,
    ) -> Option<&'static str> {
        match &answer.said {
            Said::Nothing => None,
            Said::Contradiction(..) => Some("the answers contradict each other"),
            Said::NoSuchName => (!believed.is_empty()).then_some("the name exists"),
            Said::Addresses(given) if !given.iter().any(|ip| answers.is_possible(*ip)) => {
                (!given.is_empty()).then_some("no public site has such an address")
            }
            Said::Addresses(given) if given.iter().any(|ip| believed.contains(ip)) => None,
            Said::Addresses(given) => self.leads_astray(given, believed),
        }
    }

    fn leads_astray(&self, given: &[IpAddr], believed: &[IpAddr]) -> Option<&'static str> {
        let mut tried = self.at(given).peekable();
        tried.peek()?;
        if believed.is_empty() {
            let other = Shook::Certificate(super::Certificate::OtherName);
            return tried
                .all(|done| done.named() == Some(&other))
                .then_some("somebody else's server is there");
        }
        let true_one = self.at(believed).any(|d| d.connected() == Some(true) && !d.is_elsewhere());
        (true_one && tried.all(Handshakes::is_elsewhere)).then_some("the site is not there")
    }

    fn at<'a>(&'a self, ips: &'a [IpAddr]) -> impl Iterator<Item = &'a Handshakes> {
        self.handshakes.iter().filter(|(at, _)| ips.contains(&at.ip())).map(|(_, done)| done)
    }

    /// Judges the site's addresses: those that are believed, or if there are none, the others.
    fn judge_addresses(&self, answers: &Answers, told: &mut Diagnosis) {
        let believed = answers.believed();
        let astray = believed.is_empty() && told.found.contains(&Verdict::DnsPoisoned);
        if astray {
            return;
        }
        let ips = if believed.is_empty() { answers.doubted() } else { believed };
        let here = || self.handshakes.iter().filter(|(at, _)| ips.contains(&at.ip()));
        if let Some((at, _)) = here().find(|(_, done)| done.is_good()) {
            told.note(format!("{at} is the site, by its certificate"));
            for (at, failure) in here().filter_map(|(at, done)| Some((at, done.unconnected()?))) {
                told.note(format!("{at}: {failure}"));
            }
            return;
        }
        // Many devices have no way to one kind of address.
        let way = |done: &Handshakes| done.unconnected() != Some(&Failure::Unreachable);
        let chosen = here().find(|(_, done)| way(done)).or_else(|| here().next());
        if let Some((at, done)) = chosen {
            done.judge(*at, told);
        }
        if ips.len() > 1 && chosen.is_some() {
            told.note(format!("its addresses: {}", list(&ips)));
        }
    }
}
