//! What a prober sends and what it hears, with the questions that rules ask of it.

use std::time::Duration;

use crate::censor::Suspect;

/// One thing that a prober tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// The client's first words again.
    Replay,
    /// The same with one byte changed.
    Changed,
    /// So many random bytes.
    Junk(usize),
    /// A plain HTTP request.
    Get,
    /// A TLS handshake that takes any certificate, and an HTTP request within.
    Visit,
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the server said; of a visit, what it said within TLS.
    pub said: Vec<u8>,
    /// How it ended.
    pub end: End,
    /// How long that took.
    pub after: Duration,
}

/// How a server ended a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There was no connection.
    Refused,
    /// It closed in order.
    Closed,
    /// It cut the connection.
    Reset,
    /// It kept the connection, and said no more.
    Silent,
}

/// All that a prober knows of a server.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it was told of.
    pub suspect: Suspect,
    /// What came of each probe.
    pub answers: Vec<(Probe, Answer)>,
    /// Whether the rule has condemned it.
    pub guilty: bool,
}

impl Probe {
    /// Lengths of random first words: around what known servers wait for before they close.
    pub const JUNK: [usize; 8] = [1, 8, 24, 50, 100, 221, 600, 1400];

    /// What is tried on a server.
    pub(super) fn of(suspect: &Suspect) -> Vec<Self> {
        let mut probes = vec![Self::Replay, Self::Changed];
        probes.extend(Self::JUNK.map(Self::Junk));
        if !suspect.udp {
            probes.extend([Self::Get, Self::Visit]);
        }
        probes
    }
}

impl Answer {
    /// Whether the server spoke HTTP/1.
    pub fn is_http(&self) -> bool {
        self.said.starts_with(b"HTTP/1.")
    }

    /// Whether it spoke TLS: an alert or a handshake.
    pub fn is_tls(&self) -> bool {
        matches!(self.said.as_slice(), [0x15 | 0x16, 3, ..])
    }

    /// Whether it ended the connection.
    pub fn ended(&self) -> bool {
        matches!(self.end, End::Closed | End::Reset)
    }
}

impl Report {
    /// What came of a probe.
    pub fn answer(&self, probe: Probe) -> Option<&Answer> {
        self.answers.iter().find(|(made, _)| *made == probe).map(|(_, answer)| answer)
    }

    /// Whether it shows pages, plainly or within TLS.
    pub fn is_web_server(&self) -> bool {
        let http = |probe| self.answer(probe).is_some_and(Answer::is_http);
        http(Probe::Get) || http(Probe::Visit)
    }

    /// Whether there is nothing against it: it shows pages, or it answered to nothing; by TCP it must
    /// have listened to everything, too.
    pub fn is_clean(&self) -> bool {
        let said_nothing = self.answers.iter().all(|(_, answer)| answer.said.is_empty());
        let listened = || self.answers.iter().all(|(_, answer)| answer.end == End::Silent);
        said_nothing && (self.suspect.udp || listened()) || self.is_web_server()
    }

    /// Whether it answers a replay with anything but HTTP and TLS.
    pub fn answers_replay(&self) -> bool {
        let replayed = self.answer(Probe::Replay);
        replayed.is_some_and(|said| !said.said.is_empty() && !said.is_http() && !said.is_tls())
    }

    /// The shortest junk that makes it end the connection without a word, if it takes shorter junk
    /// in silence: a server that waits for a number of bytes before it finds them wrong.
    pub fn closes_after(&self) -> Option<usize> {
        let speechless = |len| self.answer(Probe::Junk(len)).filter(|at| at.said.is_empty());
        let first =
            Probe::JUNK.iter().position(|len| speechless(*len).is_some_and(Answer::ended))?;
        let silent = |len: &usize| speechless(*len).is_some_and(|at| at.end == End::Silent);
        let waits = first > 0 && Probe::JUNK[..first].iter().all(silent);
        waits.then_some(Probe::JUNK[first])
    }

    /// Whether its answer to a probe has these bytes.
    pub fn says(&self, probe: Probe, signature: &[u8]) -> bool {
        self.answer(probe).is_some_and(|answer| {
            answer.said.windows(signature.len().max(1)).any(|part| part == signature)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(answers: &[(Probe, &[u8], End)]) -> Report {
        let server = "198.19.40.10:443".parse().unwrap();
        let suspect = Suspect { server, udp: false, first: Vec::new() };
        let answer = |said: &[u8], end| Answer { said: said.to_vec(), end, after: Duration::ZERO };
        let answers = answers.iter().map(|(probe, said, end)| (*probe, answer(said, *end)));
        Report { suspect, answers: answers.collect(), guilty: false }
    }

    #[test]
    fn rules_find_what_gives_a_server_away() {
        let waits = |threshold: usize| {
            let junk = Probe::JUNK.map(|len| {
                let end = if len < threshold { End::Silent } else { End::Reset };
                (Probe::Junk(len), &b""[..], end)
            });
            report(&junk).closes_after()
        };
        assert_eq!([waits(50), waits(30), waits(1), waits(9999)], [Some(50), Some(50), None, None]);

        let web = report(&[
            (Probe::Replay, &[0x16, 3, 3, 0], End::Silent),
            (Probe::Get, b"HTTP/1.1 400 Bad Request\r\n", End::Closed),
        ]);
        assert!(web.is_web_server() && !web.answers_replay());
        assert!(web.says(Probe::Get, b"400 Bad") && !web.says(Probe::Replay, b"400"));
        assert!(report(&[(Probe::Replay, b"welcome", End::Silent)]).answers_replay());
    }
}
