//! `busel relay give | revoke | list`: the book of ways in on a relay's disk, and the running relay that
//! heeds what changes in it.
//!
//! Beside the book lie the relay's own invite, by which others are made, and how many of each batch are in
//! use: a count, from which nobody is known.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use busel_net::relay::{RelayServer, Use};
use busel_proto::invite::{Invite, RelayTicket};
use busel_proto::time::UnixTime;
use busel_proto::way_in::{Batch, Book, MAX_WAYS, WayIn, WayRoot};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::args::RelayWays;
use crate::command::join;
use crate::screen::{line, note};
use crate::secret_file;

/// The files' names.
const BOOK: &str = "ways";
const LOCK: &str = "ways.lock";
const INVITE: &str = "relay.invite";
const USES: &str = "uses.json";
/// How often a running relay looks at the book.
const LOOK: Duration = Duration::from_millis(300);
/// The book is read anew after this long though nobody wrote it: some of it may have run out.
const ANEW: Duration = Duration::from_secs(60);

pub(super) fn run(dir: &Path, ways: RelayWays) -> anyhow::Result<ExitCode> {
    match ways {
        RelayWays::Give { invites, spares, days } => give(dir, invites, spares, days)?,
        RelayWays::Revoke { invites, batch, shared } => {
            anyhow::ensure!(
                shared || !invites.is_empty() || !batch.is_empty(),
                "say what to take back: an invite, --batch NUMBER or --shared"
            );
            revoke(dir, &invites, &batch, shared)?;
        }
        RelayWays::List => list(dir)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn give(dir: &Path, invites: u32, spares: u32, days: u32) -> anyhow::Result<()> {
    let ticket = own_ticket(dir)?;
    let each = spares + 1;
    let count = invites.checked_mul(each).filter(|count| *count <= MAX_WAYS);
    let count = count.with_context(|| format!("at most {MAX_WAYS} ways in are good at once"))?;
    let mut made = Vec::new();
    let batch = change(dir, |book| {
        made = book.make(count, days, now())?;
        Ok(book.batches().last().map_or(0, |batch| batch.number))
    })?;
    // Which went together is known to nobody.
    made.shuffle(&mut rand::rng());
    note(&format!("Batch {batch}: {invites} invites with {each} ways in each, for {days} days."));
    for ways in made.chunks(usize::try_from(each)?) {
        let Some((own, spares)) = ways.split_first() else { continue };
        let relay = RelayTicket { secret: own.0, spares: Some(spares.to_vec()), ..ticket.clone() };
        line(&Invite { relays: vec![relay], ..Invite::default() }.to_line());
    }
    Ok(())
}

fn revoke(dir: &Path, invites: &[String], batches: &[u32], shared: bool) -> anyhow::Result<()> {
    let own = own_ticket(dir)?;
    let leaked = invites.iter().map(|text| join::read(text)).collect::<Result<Vec<_>, _>>()?;
    let mut told = Vec::new();
    change(dir, |book| {
        for invite in &leaked {
            told.push(taken_back(book, invite, &own)?);
        }
        for number in batches {
            anyhow::ensure!(
                book.batches().iter().any(|batch| batch.number == *number),
                "there is no batch {number}"
            );
            book.close(*number);
            told.push(format!("Batch {number} was taken back."));
        }
        if shared {
            book.close_shared();
            told.push("The shared way in was taken back.".to_owned());
        }
        Ok(())
    })?;
    told.iter().for_each(|told| line(told));
    Ok(())
}

/// Takes back what of this relay is in an invite.
fn taken_back(book: &mut Book, invite: &Invite, own: &RelayTicket) -> anyhow::Result<String> {
    let ways = invite.relays.iter().flat_map(|relay| {
        let spares = relay.spares.iter().flatten().copied();
        std::iter::once(WayIn(relay.secret)).chain(spares)
    });
    let (mut ours, mut news, mut shares) = (0, 0, false);
    for way in ways {
        shares |= way.0 == own.secret;
        if let Some(place) = book.find(&way) {
            ours += 1;
            news += usize::from(book.revoke(place));
        }
    }
    anyhow::ensure!(
        ours > 0 || !shares,
        "that invite holds the way in that all share: --shared takes it back from all of them"
    );
    anyhow::ensure!(ours > 0, "no way into this relay is in that invite, or it has run out");
    Ok(format!("{news} ways in were taken back, {} had been before.", ours - news))
}

fn list(dir: &Path) -> anyhow::Result<()> {
    let Some(book) = read(dir)? else {
        line("No ways in were given out: busel relay give");
        return Ok(());
    };
    let uses: Uses = std::fs::read(dir.join(USES))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let columns = ["batch", "made", "good until", "ways in", "taken back", "used", "in use"];
    let row = |cells: [&str; 7]| {
        let [batch, cells @ ..] = cells;
        let cells: String = cells.iter().map(|cell| format!("  {cell:>10}")).collect();
        line(&format!("{batch:>5}{cells}"));
    };
    row(columns);
    for batch in book.batches() {
        let Used { used, now } = uses.batches.get(&batch.number).copied().unwrap_or_default();
        row([
            &batch.number.to_string(),
            &day(batch.made),
            &day(batch.until),
            &batch.count.to_string(),
            &revoked(batch),
            &used.to_string(),
            &now.to_string(),
        ]);
    }
    if !book.shared() {
        line("The shared way in was taken back.");
    }
    line("Used and in use: as the running relay counts since its start, some seconds ago.");
    Ok(())
}

fn revoked(batch: &Batch) -> String {
    if batch.closed { "all".to_owned() } else { batch.revoked.len().to_string() }
}

/// A day as people write it (RFC 3339).
fn day(time: UnixTime) -> String {
    /// Far beyond what any clock says.
    const END: u64 = 200_000_000_000;
    let since = Duration::from_secs(time.0.min(END));
    (rcgen::date_time_ymd(1970, 1, 1) + since).date().to_string()
}

/// How the ways in are used, as a running relay writes it down.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Uses {
    batches: BTreeMap<u32, Used>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Used {
    used: usize,
    now: usize,
}

impl From<Use> for Used {
    fn from(of: Use) -> Self {
        Self { used: of.used, now: of.now }
    }
}

/// What a running relay watches.
pub(super) struct Watch {
    dir: PathBuf,
    book: Book,
    /// When the book was written, as it was read last.
    seen: Option<SystemTime>,
}

impl Watch {
    /// Admits whom the book admits, and notes the relay's own invite for those who give out others.
    pub(super) fn start(dir: &Path, server: &RelayServer) -> anyhow::Result<Self> {
        let own = Invite { relays: vec![server.ticket().clone()], ..Invite::default() };
        secret_file::replace(&dir.join(INVITE), own.to_line())?;
        let mut watch = Self { dir: dir.to_owned(), book: Book::new(WayRoot([0; 32])), seen: None };
        watch.look()?;
        watch.admit(server);
        Ok(watch)
    }

    pub(super) fn shared(&self) -> bool {
        self.book.shared()
    }

    /// Heeds what changes, until it is dropped.
    pub(super) async fn run(mut self, server: &RelayServer) {
        let (mut told, mut read) = (Uses::default(), tokio::time::Instant::now());
        loop {
            tokio::time::sleep(LOOK).await;
            let news = match self.look() {
                Ok(news) => news,
                Err(error) => {
                    tracing::error!("{error:#}; what was good before stays so");
                    false
                }
            };
            if news || read.elapsed() >= ANEW {
                self.admit(server);
                read = tokio::time::Instant::now();
            }
            let uses = server.uses().into_iter().map(|(batch, of)| (batch, of.into()));
            let uses = Uses { batches: uses.collect() };
            if uses != told {
                self.tell(&uses);
                told = uses;
            }
        }
    }

    fn admit(&self, server: &RelayServer) {
        server.admit(self.book.shared(), self.book.good(now()));
    }

    /// Reads the book, if it was written since it was read last.
    fn look(&mut self) -> anyhow::Result<bool> {
        let file = self.dir.join(BOOK);
        let written = match file.metadata().and_then(|about| about.modified()) {
            Ok(written) => Some(written),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("{}", file.display())),
        };
        if written == self.seen {
            return Ok(false);
        }
        // One that has gone is no word of the operator's.
        if let Some(book) = read(&self.dir)? {
            self.book = book;
        }
        self.seen = written;
        Ok(true)
    }

    fn tell(&self, uses: &Uses) {
        let text = serde_json::to_vec(uses).unwrap_or_default();
        if let Err(error) = secret_file::replace(&self.dir.join(USES), text) {
            tracing::warn!("{error:#}");
        }
    }
}

/// Removes the counts of a relay that has ended.
pub(super) fn forget_uses(dir: &Path) {
    // There may be none.
    let _ = std::fs::remove_file(dir.join(USES));
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixTime(since.map_or(0, |since| since.as_secs()))
}

fn own_ticket(dir: &Path) -> anyhow::Result<RelayTicket> {
    let text = std::fs::read_to_string(dir.join(INVITE));
    let text = text.context("start the relay first: until then it is not known where it is")?;
    let invite = Invite::from_line(&text)?;
    invite.relays.into_iter().next().context("the relay's own invite is empty")
}

fn read(dir: &Path) -> anyhow::Result<Option<Book>> {
    let file = dir.join(BOOK);
    match std::fs::read(&file) {
        Ok(bytes) => {
            let book = Book::from_bytes(&bytes).with_context(|| format!("{}", file.display()))?;
            Ok(Some(book))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}", file.display())),
    }
}

/// Changes the book, on the disk when this returns. Two who change it at once do so in turn.
fn change<T>(dir: &Path, change: impl FnOnce(&mut Book) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let lock = dir.join(LOCK);
    let turn = File::create(&lock).with_context(|| format!("{}", lock.display()))?;
    turn.lock().with_context(|| format!("{}", lock.display()))?;
    let mut book = match read(dir)? {
        Some(book) => book,
        None => Book::new(WayRoot(rand::random())),
    };
    let changed = change(&mut book)?;
    secret_file::replace(&dir.join(BOOK), book.to_bytes())?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_088, "2024-12-31"),
            (20_089, "2025-01-01"),
            (u64::MAX / 86_400 - 1, "8307-10-01"),
        ] {
            assert_eq!(day(UnixTime(days * 86_400 + 3)), text);
        }
    }
}
