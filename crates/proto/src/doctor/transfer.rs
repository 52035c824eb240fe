//! What a transfer tells: how fast it came, where it stopped, and who answers plain `http`.

use std::time::Duration;

use super::{Diagnosis, Verdict};
use crate::failure::Failure;
use crate::page::{HostName, PageUrl};

/// Slower than this many bytes a second is slow.
const SLOW: u64 = 40 << 10;
/// Somewhere else must be this many times as fast for it to be on purpose.
const CONTRAST: u64 = 4;
/// A body of fewer bytes tells nothing of speed.
const ENOUGH_FOR_SPEED: u64 = 32 << 10;
/// A connection of fewer bytes tells nothing of freezes.
const ENOUGH_FOR_FREEZE: u64 = 64 << 10;
/// A connection that freezes does so within this.
const FREEZES_WITHIN: u64 = 256 << 10;

/// How pages came over one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// All bytes of bodies.
    pub bytes: u64,
    /// How the longest body came: the time since its first byte, and how much was there by then.
    pub course: Vec<(Duration, u64)>,
    /// How it ended.
    pub end: End,
    /// To which host the page sends its readers.
    pub moved: Option<HostName>,
}

/// How a load ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All that was asked for came, or as much as is wanted.
    Whole,
    /// Nothing more came.
    Stalled,
    /// It was cut.
    Cut(Failure),
}

/// How plain `http` was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plain {
    /// With this status, and this page to go to.
    Answered {
        /// The status.
        status: u16,
        /// Where it sends the reader.
        location: Option<PageUrl>,
    },
    /// Not at all.
    Failed(Failure),
}

impl Load {
    /// Bytes a second in the second half of the longest body, past what a queue lets through at once.
    pub fn rate(&self) -> Option<u64> {
        let (end, total) = self.course.last()?;
        if *total < ENOUGH_FOR_SPEED {
            return None;
        }
        let (from, before) = self.course.iter().find(|(_, bytes)| *bytes >= total / 2)?;
        let millis = u64::try_from((*end - *from).as_millis()).ok()?;
        Some((total - before) * 1000 / millis.max(1))
    }

    fn stalled_at(&self) -> Option<u64> {
        (self.end == End::Stalled).then_some(self.bytes)
    }
}

/// Judges loads of one page. `fastest` is the rate of the fastest of the others.
pub(super) fn judge(loads: &[Load], fastest: Option<u64>, told: &mut Diagnosis) {
    let [first, rest @ ..] = loads else { return };
    if let (Some(one), Some(two)) = (first.stalled_at(), rest.first().and_then(Load::stalled_at)) {
        judge_stall(one, two, told);
        return;
    }
    match (&first.end, rest.first().map(|load| &load.end)) {
        (End::Whole, _) | (_, Some(End::Whole)) => {}
        (End::Stalled, _) => told.find(Verdict::Unclear),
        (End::Cut(_), _) => told.find(Verdict::Unclear),
    }
    for load in loads {
        match &load.end {
            End::Whole => {}
            End::Stalled => told.note(format!("a transfer stopped after {}", size(load.bytes))),
            End::Cut(why) => told.note(format!("a transfer ended at {}: {why}", size(load.bytes))),
        }
    }
    let best = loads.iter().filter_map(Load::rate).max();
    judge_speed(best, fastest, told);
    if loads.iter().all(|load| load.bytes < ENOUGH_FOR_FREEZE) && told.found.is_empty() {
        told.note("too little came to see throttling or freezing");
    }
}

fn judge_stall(one: u64, two: u64, told: &mut Diagnosis) {
    told.note(format!("two transfers stopped, after {} and {}", size(one), size(two)));
    let alike = one.max(two) <= 2 * one.min(two) && one.min(two) > 0;
    let freeze = alike && one.max(two) <= FREEZES_WITHIN;
    told.find(if freeze { Verdict::Freeze } else { Verdict::Unclear });
}

fn judge_speed(rate: Option<u64>, fastest: Option<u64>, told: &mut Diagnosis) {
    let Some(rate) = rate else { return };
    told.note(format!("pages come at {} a second", size(rate)));
    if rate >= SLOW {
        return;
    }
    match fastest {
        Some(fastest) if fastest >= CONTRAST * rate => {
            told.note(format!("another site comes at {} a second", size(fastest)));
            told.find(Verdict::Throttled);
        }
        Some(_) => told.note("so do others: the line is slow as a whole"),
        None => {
            told.note("there is nothing to compare it with; name another site beside it");
            told.find(Verdict::Unclear);
        }
    }
}

/// Judges how plain `http` for `url` was answered. `moved` is where the site itself, by https, sends
/// its readers.
pub(super) fn judge_plain(
    url: &PageUrl,
    plain: &Plain,
    moved: Option<&HostName>,
    told: &mut Diagnosis,
) {
    match plain {
        Plain::Answered { status: 451, .. } => {
            told.note("plain http: status 451, unavailable for legal reasons");
            told.find(Verdict::BlockPage);
        }
        Plain::Answered { status, location: Some(to) } if (300..400).contains(status) => {
            let host = to.host();
            if !is_related(&url.host(), &host) && moved != Some(&host) {
                told.note(format!("plain http sends the reader to another site, {host}"));
                told.find(Verdict::BlockPage);
            }
        }
        Plain::Answered { .. } => {}
        Plain::Failed(why) if url.is_https() => told.note(format!("plain http: {why}")),
        Plain::Failed(Failure::Refused) => {
            told.note("plain http: the connection was refused");
            told.find(Verdict::Unclear);
        }
        Plain::Failed(why) => {
            told.note(format!("plain http: {why}"));
            let cut = matches!(why, Failure::Reset | Failure::CutOff | Failure::Protocol(_));
            told.find(if cut { Verdict::Unclear } else { Verdict::AddressBlocked });
        }
    }
}

/// Whether two hosts are likely one site's: their last two labels are the same.
fn is_related(one: &HostName, other: &HostName) -> bool {
    let tail = |host: &HostName| {
        let labels: Vec<String> = host.as_str().rsplit('.').take(2).map(Into::into).collect();
        labels
    };
    one == other || (one.ip().is_none() && tail(one) == tail(other))
}

/// Bytes, for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes >> 20),
    }
}
