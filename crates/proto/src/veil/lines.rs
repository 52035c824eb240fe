//! By which line to speak to an address: datagrams, or a stream where no datagrams come through.
//!
//! Datagrams are tried first and cost least, so a stream is dialled only when several went without
//! an answer, and used only once it stands. While it is used a datagram goes beside it now and then, more
//! and more seldom, that asks for an answer; one that comes leads back. Nothing here waits by itself:
//! all is decided when something is to be sent.

use std::time::Duration;

use crate::time::Tick;

/// To an address that never answered: so many datagrams, and so long after the first of them.
const FIRST: (u32, Duration) = (2, Duration::from_millis(700));
/// To one that did: three, and the longer of this and twice what answers took lately …
const KNOWN: (u32, Duration) = (3, Duration::from_millis(300));
/// … but no longer than this. Some of these needed no answer, so then one more is waited for, as long …
const MOST: Duration = Duration::from_secs(3);
/// … but within this.
const ONCE_MORE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(1));
/// Datagrams that lie further apart are counted anew: what needs an answer is sent again sooner.
const APART: Duration = Duration::from_secs(3);
/// A stream that could not be had is tried again after this, then after twice as long …
const RETRY: Duration = Duration::from_secs(2);
/// … up to this.
const MOST_RETRY: Duration = Duration::from_secs(64);
/// On a stream, datagrams are asked for after this, then after twice as long …
const ASK: Duration = Duration::from_secs(2);
/// … up to this.
const MOST_ASK: Duration = Duration::from_secs(64);
/// Who came back to datagrams and had to leave them again within this has not come back.
const STEADY: Duration = Duration::from_secs(30);

/// What carries datagrams to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
}

/// What to do with something that is to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How it goes.
    pub by: By,
    /// Whether to dial a stream.
    pub dial: bool,
    /// Whether to keep it for the stream that is being dialled.
    pub keep: bool,
    /// Whether to ask by a datagram for an answer, beside it.
    pub ask: bool,
}

impl Step {
    /// To who has no stream.
    pub const PLAIN: Self = Self { by: By::Udp, dial: false, keep: false, ask: false };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    None,
    Dialled,
    Stands,
}

/// The lines to one address.
#[derive(Debug)]
pub struct Line {
    by: By,
    stream: Stream,
    /// The first datagram without an answer, the last one, and how many there were.
    waiting: Option<(Tick, Tick, u32)>,
    /// Since when answers seem to be missing.
    missing: Option<Tick>,
    /// How long answers took lately.
    slow: Duration,
    /// When a stream may be dialled, and how often that failed in a row.
    retry: (Tick, u32),
    /// When to ask for an answer next, and how often that was done.
    ask: (Tick, u32),
    /// When it last went over to another line.
    since: Tick,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            by: By::Udp,
            stream: Stream::None,
            waiting: None,
            missing: None,
            slow: Duration::ZERO,
            retry: (Tick(0), 0),
            ask: (Tick(0), 0),
            since: Tick(0),
        }
    }
}

impl Line {
    /// Something is to be sent. `heard` is when a datagram of theirs last came; `chance` a random byte.
    pub fn send(&mut self, heard: Option<Tick>, now: Tick, chance: u8) -> Step {
        self.hear(heard);
        if self.by == By::Tcp {
            let ask = now >= self.ask.0;
            if ask {
                self.ask = (now + spread(ASK, MOST_ASK, self.ask.1, chance), self.ask.1 + 1);
            }
            return Step { by: By::Tcp, dial: false, keep: false, ask };
        }
        let silent = self.count(heard.is_some(), now);
        if silent && self.stream == Stream::Stands {
            self.go_over(now, chance);
            return Step { by: By::Tcp, dial: false, keep: false, ask: false };
        }
        let dial = silent && self.stream == Stream::None && now >= self.retry.0;
        if dial {
            self.stream = Stream::Dialled;
        }
        let keep = silent && self.stream == Stream::Dialled;
        Step { by: By::Udp, dial, keep, ask: false }
    }

    /// The stream that was dialled stands. It is used if there is still no answer.
    pub fn stands(&mut self, heard: Option<Tick>, now: Tick, chance: u8) {
        (self.stream, self.retry) = (Stream::Stands, (now, 0));
        self.hear(heard);
        if self.waiting.is_some() && self.by == By::Udp {
            self.go_over(now, chance);
        }
    }

    /// The stream could not be had, or is gone.
    pub fn is_gone(&mut self, now: Tick, chance: u8) {
        // One that stood is dialled again at once, if it is needed.
        if self.stream == Stream::Dialled {
            self.retry.0 = now + spread(RETRY, MOST_RETRY, self.retry.1, chance);
            self.retry.1 += 1;
        }
        (self.stream, self.by) = (Stream::None, By::Udp);
    }

    /// What carries now.
    pub fn by(&self) -> By {
        self.by
    }

    /// Another network: what was learnt of the last one is worth nothing.
    pub fn moved(&mut self) {
        *self = Self { stream: self.stream, ..Self::default() };
    }

    fn go_over(&mut self, now: Tick, chance: u8) {
        let steady = now - self.since > STEADY || self.since == Tick(0);
        let asked = if steady { 0 } else { self.ask.1 };
        (self.by, self.waiting, self.missing, self.since) = (By::Tcp, None, None, now);
        self.ask = (now + spread(ASK, MOST_ASK, asked, chance), asked + 1);
    }

    /// Takes note of what came by datagrams.
    fn hear(&mut self, heard: Option<Tick>) {
        let Some(heard) = heard else { return };
        if let Some((first, last, _)) = self.waiting
            && heard >= first
        {
            self.slow = (heard - last).max(self.slow * 7 / 8);
            (self.waiting, self.missing) = (None, None);
        }
        if self.by == By::Tcp && heard > self.since {
            (self.by, self.since) = (By::Udp, heard);
        }
    }

    /// Counts a datagram; whether answers are missing.
    fn count(&mut self, known: bool, now: Tick) -> bool {
        let (first, sent) = match self.waiting {
            Some((first, last, sent)) if now - last <= APART => (first, sent + 1),
            _ => (now, 1),
        };
        self.waiting = Some((first, now, sent));
        if !known {
            return sent >= FIRST.0 && now - first >= FIRST.1;
        }
        if sent < KNOWN.0 || now - first < KNOWN.1.max(self.slow * 2).min(MOST) {
            self.missing = None;
            return false;
        }
        let since = *self.missing.get_or_insert(now);
        now - since >= (self.slow * 2).clamp(ONCE_MORE.0, ONCE_MORE.1)
    }
}

/// `base`, doubled so many times, up to `most`, and up to a quarter more by chance.
fn spread(base: Duration, most: Duration, times: u32, chance: u8) -> Duration {
    let wait = base.saturating_mul(1 << times.min(16)).min(most);
    wait + wait.mul_f32(f32::from(chance) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick(millis * 1000)
    }

    /// QUIC's first packets to somebody who does not answer.
    fn dialled(line: &mut Line, heard: Option<Tick>, start: u64) -> u64 {
        for after in [0, 200, 500, 1000, 2000] {
            let step = line.send(heard, at(start + after), 0);
            assert_eq!(step.by, By::Udp);
            if step.dial {
                assert!(step.keep, "it goes by the stream, too");
                return start + after;
            }
        }
        panic!("a stream is never dialled");
    }

    #[test]
    fn a_stream_is_dialled_only_when_answers_are_missing() {
        let mut line = Line::default();
        assert!(!line.send(None, at(0), 0).dial, "one has gone");
        assert!(!line.send(None, at(100), 0).dial, "too soon");
        assert!(!line.send(Some(at(300)), at(1000), 0).dial, "it answered");
        // What needs no answer may be as old as it likes.
        for second in 2..10 {
            assert!(!line.send(Some(at(300)), at(second * 5000), 0).dial);
        }
        assert_eq!(dialled(&mut Line::default(), None, 0), 1000);
        assert_eq!(dialled(&mut line, Some(at(300)), 60_000), 61_000);
    }

    #[test]
    fn what_needed_no_answer_is_not_held_against_the_line() {
        let mut line = Line::default();
        line.send(None, at(0), 0);
        for second in 1..10 {
            let (start, heard) = (second * 1000, Some(at(second * 1000 - 940)));
            // The first of a request, an answer, and what ends it.
            assert!(!line.send(heard, at(start), 0).dial, "{second}");
            for after in [65, 70, 80, 90] {
                assert!(!line.send(Some(at(start + 60)), at(start + after), 0).dial, "{second}");
            }
        }
    }

    #[test]
    fn a_slow_line_is_waited_for() {
        let mut line = Line::default();
        line.send(None, at(0), 0);
        for (sent, heard) in [(100, 900), (1000, 1900)] {
            line.send(Some(at(heard - 900)), at(sent), 0);
            line.send(Some(at(heard)), at(heard + 10), 0);
        }
        for after in [0, 300, 600, 900, 1200] {
            assert!(!line.send(Some(at(1900)), at(5000 + after), 0).dial, "{after}");
        }
        assert!(!line.send(Some(at(1900)), at(7000), 0).dial, "not sure yet");
        assert!(line.send(Some(at(1900)), at(8000), 0).dial);
    }

    #[test]
    fn it_goes_by_the_stream_and_back_when_a_datagram_comes() {
        let mut line = Line::default();
        let start = dialled(&mut line, None, 0);
        line.stands(None, at(start + 100), 0);
        assert_eq!(line.by(), By::Tcp);
        let mut asks = 0;
        for millis in (start..60_000).step_by(100).skip(2) {
            let step = line.send(None, at(millis), 0);
            assert_eq!((step.by, step.dial), (By::Tcp, false));
            asks += u32::from(step.ask);
        }
        assert_eq!(asks, 4, "more and more seldom");
        let back = Some(at(60_050));
        assert_eq!(line.send(back, at(60_100), 0).by, By::Udp);
        // The stream still stands: the next silence costs no dialling.
        let mut gone = None;
        for after in [100, 300, 600, 900, 1300] {
            let step = line.send(back, at(60_100 + after), 0);
            assert!(!step.dial);
            gone = gone.or((step.by == By::Tcp).then_some(after));
        }
        assert_eq!(gone, Some(600));
        let soon = (61_000..66_000).step_by(100).any(|t| line.send(back, at(t), 0).ask);
        assert!(!soon, "who comes and goes is asked seldom");
    }

    #[test]
    fn a_stream_that_comes_too_late_is_not_used() {
        let mut line = Line::default();
        let start = dialled(&mut line, None, 0);
        line.stands(Some(at(start + 50)), at(start + 100), 0);
        assert_eq!(line.send(Some(at(start + 50)), at(start + 110), 0).by, By::Udp);
    }

    #[test]
    fn one_that_can_not_be_had_is_tried_ever_more_seldom_and_one_that_broke_at_once() {
        let mut line = Line::default();
        let mut dials = Vec::new();
        for millis in (0..120_000).step_by(250) {
            if line.send(None, at(millis), 0).dial {
                dials.push(millis);
                line.is_gone(at(millis), 0);
            }
        }
        assert_eq!(dials, [750, 2750, 6750, 14_750, 30_750, 62_750]);
        let mut line = Line::default();
        let start = dialled(&mut line, None, 0);
        line.stands(None, at(start), 0);
        line.is_gone(at(start + 1000), 0);
        assert_eq!(dialled(&mut line, None, start + 1000), start + 2000);
    }

    #[test]
    fn another_network_is_another_beginning() {
        let mut line = Line::default();
        let start = dialled(&mut line, None, 0);
        line.stands(None, at(start), 0);
        line.moved();
        assert_eq!(line.send(None, at(start + 10), 0).by, By::Udp);
    }
}
