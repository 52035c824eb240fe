//! How long the records of a leg are. In the first exchanges, where a handshake inside would show by
//! its lengths, each varies and none is short; afterwards only what is short is lengthened a little.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::frame::MAX_DATA;

/// Writes of a leg that are cut to varying lengths.
const CUT: u32 = 24;
/// Up to so many writes records are small, so that on a slow line an answer is not long in coming …
const SMALL: u32 = CUT + 64;
/// … and at most so long.
const SMALL_RECORD: usize = 4000;
/// Exchanges (a write after something was received) in which what is short is padded well.
const PADDED: u32 = 16;
/// Later, records below this get some bytes more.
const SHORT: usize = 256;

/// What was written on one leg so far.
#[derive(Debug, Default)]
pub(super) struct Shape {
    writes: u32,
    exchanges: u32,
    heard: bool,
}

/// The lengths of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    /// At least so long, if there is something to say …
    pub(super) least: usize,
    /// … and at most so long.
    pub(super) most: usize,
}

/// Which end writes, and how much padding its line bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Padding is cheap.
    Client,
    Server,
    /// The server on a leg with a budget.
    Sparing,
}

impl Shape {
    /// Something was received on the leg.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// The lengths of the record that is written next.
    pub(super) fn next(&mut self, side: Side, chance: &mut ChaCha8Rng) -> Lengths {
        self.writes = self.writes.saturating_add(1);
        if std::mem::take(&mut self.heard) {
            self.exchanges = self.exchanges.saturating_add(1);
        }
        let mut below = |n: u32| usize::try_from(chance.next_u32() % n).expect("small");
        let least = match side {
            Side::Client => 260 + below(700),
            Side::Server => 160 + below(500),
            Side::Sparing => 40 + below(120),
        };
        let most = match self.writes {
            writes if writes <= CUT => least.max(400) + below(600),
            writes if writes <= SMALL => SMALL_RECORD,
            _ => MAX_DATA,
        };
        match self.exchanges < PADDED {
            true => Lengths { least, most },
            false => Lengths { least: 0, most },
        }
    }

    /// How much padding a record of this length gets, its own head included.
    pub(super) fn padding(lengths: Lengths, len: usize, chance: &mut ChaCha8Rng) -> usize {
        let more = usize::try_from(chance.next_u32() % 64).expect("small");
        match (len < lengths.least, len < SHORT) {
            (true, _) => lengths.least - len,
            (false, true) => more,
            (false, false) => 0,
        }
    }
}
