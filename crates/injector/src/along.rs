//! A body sent to one reader while it comes in. Most read along with the fetch; who begins far ahead of
//! it, or has fallen behind what it keeps in memory, gets the next bytes by a cut of their own, as long
//! as the site gives them.

use std::time::Duration;

use busel_proto::failure::Failure;
use busel_proto::snapshot::Snapshot;

use crate::answer::Sealed;
use crate::cut::Cut;
use crate::inflight::{InFlight, Next, Reader};

/// A reader waits so long for bytes that others have had already to be in the store.
const LATE_WAIT: Duration = Duration::from_secs(1);
/// Cuts for one reader.
const CUTS: usize = 3;

/// How it ended.
pub(crate) enum Sent {
    /// The body is in the store, and sent up to this byte.
    To(u64, Box<Snapshot>),
    /// The fetch broke off.
    Failed(Failure),
    /// Nobody reads any more.
    Unwanted,
}

/// How reading along ended.
enum Read {
    Ended(Sent),
    /// What comes next, from this byte on, has gone by.
    Passed(u64),
}

/// Sends the body from byte `at` on; `reader` stands there, if it reads along already.
pub(crate) async fn send(
    flight: &InFlight,
    cut: &Cut<'_>,
    mut reader: Option<Reader>,
    mut at: u64,
    out: &mut Sealed,
) -> Result<Sent, Failure> {
    let mut left = CUTS;
    loop {
        if reader.is_none() && left > 0 {
            left -= 1;
            at = match send_cut(cut, at, out).await? {
                Some(at) => at,
                None => return Ok(Sent::Unwanted),
            };
        }
        // Who only waits for the signature reads at the end, and holds nothing up.
        let along = reader.take().unwrap_or_else(|| flight.reader(at));
        match read(flight, along, left > 0, out).await? {
            Read::Ended(sent) => return Ok(sent),
            Read::Passed(next) => at = next,
        }
    }
}

async fn read(
    flight: &InFlight,
    mut reader: Reader,
    may_leave: bool,
    out: &mut Sealed,
) -> Result<Read, Failure> {
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(LATE_WAIT, reader.next()) => next,
            () = out.unwanted() => return Ok(Read::Ended(Sent::Unwanted)),
        };
        match next {
            Ok(Next::Data(bytes)) => out.data(&bytes).await?,
            Ok(Next::Kept(snapshot)) => return Ok(Read::Ended(Sent::To(reader.at(), snapshot))),
            Ok(Next::Failed(failure)) => return Ok(Read::Ended(Sent::Failed(failure))),
            // Who began earlier takes their time.
            Err(_) if may_leave && flight.has_passed(reader.at()) => {
                return Ok(Read::Passed(reader.at()));
            }
            Err(_) => {}
        }
    }
}

/// Sends what the site cuts from byte `at` on, if it does; says how far that went, or nothing if
/// nobody reads any more.
async fn send_cut(cut: &Cut<'_>, mut at: u64, out: &mut Sealed) -> Result<Option<u64>, Failure> {
    let Some(mut body) = cut.from(at).await else { return Ok(Some(at)) };
    loop {
        let piece = tokio::select! {
            piece = body.next() => piece,
            () = out.unwanted() => return Ok(None),
        };
        let Some(bytes) = piece else { return Ok(Some(at)) };
        out.data(&bytes).await?;
        at += bytes.len() as u64;
    }
}
