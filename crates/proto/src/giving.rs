//! What a node gives to others, whatever it is given as: so many bytes a day, so many a second, and
//! nothing while its owner's battery or line is not to pay for it.
//!
//! It counts and says no or not yet; who asks, and what for, it does not know.

use std::num::NonZeroU64;
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::budget::{DayBudget, Used};
use crate::time::{Tick, UnixTime};

/// At once, after a rest, as much is given as in this time.
const BURST: Duration = Duration::from_secs(1);

/// As what something is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Datagrams between two others.
    Relayed,
    /// Sealed requests to injectors, and the answers.
    Passed,
    /// Connections to sites.
    Tunnelled,
    /// Copies of pages.
    Copied,
}

/// Bytes given on one day, by kind; kept across restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Given {
    /// Days since 1970-01-01.
    #[n(0)]
    pub day: u64,
    /// All that counts, with what was used up by a piece that was too large.
    #[n(1)]
    pub bytes: u64,
    /// By kind.
    #[n(2)]
    pub relayed: u64,
    /// See [`Kind::Passed`].
    #[n(3)]
    pub passed: u64,
    /// See [`Kind::Tunnelled`].
    #[n(4)]
    pub tunnelled: u64,
    /// See [`Kind::Copied`].
    #[n(5)]
    pub copied: u64,
}

/// What the owner gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a day.
    pub day: Option<u64>,
    /// Bytes a second.
    pub rate: Option<NonZeroU64>,
    /// Also from the battery.
    pub on_battery: bool,
}

/// What the device lives on now, as far as that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Supply {
    /// Its battery is being emptied.
    pub battery: bool,
    /// Its line is paid by the byte.
    pub metered: bool,
}

/// Why nothing is given now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rest {
    /// Until the next day.
    #[error("what is given a day was given")]
    UsedUp,
    /// Until it is plugged in.
    #[error("the device runs on its battery")]
    Battery,
    /// Until it has another line.
    #[error("the line is paid by the byte")]
    Metered,
}

/// The limits, and what was given within them.
#[derive(Debug, Clone)]
pub struct Giving {
    limits: Limits,
    supply: Supply,
    budget: DayBudget,
    given: Given,
    pace: Option<Pace>,
}

impl Giving {
    /// Within these limits, of which so much was given before.
    pub fn new(limits: Limits, given: Given) -> Self {
        let used = Used { day: given.day, bytes: given.bytes };
        let pace = limits.rate.map(Pace::new);
        let budget = DayBudget::new(limits.day, used);
        Self { limits, supply: Supply::default(), budget, given, pace }
    }

    /// What was given on the last day on which anything was.
    pub fn given(&self) -> Given {
        self.given
    }

    /// What was given on the day of `now`.
    pub fn given_on(&mut self, now: UnixTime) -> Given {
        // A new day begins with nothing.
        self.budget.has_left(now);
        self.note_day();
        self.given
    }

    /// What the owner gives.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The device lives on this from now on.
    pub fn supplied(&mut self, supply: Supply) {
        self.supply = supply;
    }

    /// Whether something may be given now.
    pub fn may(&mut self, now: UnixTime) -> Result<(), Rest> {
        match () {
            () if self.supply.battery && !self.limits.on_battery => Err(Rest::Battery),
            () if self.supply.metered => Err(Rest::Metered),
            () if !self.budget.has_left(now) => Err(Rest::UsedUp),
            () => Ok(()),
        }
    }

    /// Takes bytes that are to be given; says after which wait the next may be.
    pub fn take(
        &mut self,
        kind: Kind,
        bytes: u64,
        now: UnixTime,
        tick: Tick,
    ) -> Result<Duration, Rest> {
        let may = self.may(now);
        let taken = may.and_then(|()| self.budget.take(bytes, now).map_err(|_| Rest::UsedUp));
        self.note_day();
        taken?;
        let of_kind = match kind {
            Kind::Relayed => &mut self.given.relayed,
            Kind::Passed => &mut self.given.passed,
            Kind::Tunnelled => &mut self.given.tunnelled,
            Kind::Copied => &mut self.given.copied,
        };
        *of_kind = of_kind.saturating_add(bytes);
        Ok(self.pace.as_mut().map_or(Duration::ZERO, |pace| pace.take(bytes, tick)))
    }
}

impl Giving {
    fn note_day(&mut self) {
        let used = self.budget.used();
        if used.day != self.given.day {
            self.given = Given { day: used.day, ..Given::default() };
        }
        self.given.bytes = used.bytes;
    }
}

/// So many bytes a second, over all that is given.
#[derive(Debug, Clone)]
struct Pace {
    rate: NonZeroU64,
    /// All that was taken is paid for by then.
    paid_at: Tick,
}

impl Pace {
    fn new(rate: NonZeroU64) -> Self {
        Self { rate, paid_at: Tick(0) }
    }

    fn take(&mut self, bytes: u64, now: Tick) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        let costs = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let from = self.paid_at.max(now);
        self.paid_at = from + costs;
        (self.paid_at - now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: UnixTime = UnixTime(1000 * 86_400 + 43_200);
    const SECOND: Duration = Duration::from_secs(1);

    fn giving(day: Option<u64>, rate: Option<u64>) -> Giving {
        let rate = rate.and_then(NonZeroU64::new);
        Giving::new(Limits { day, rate, ..Limits::default() }, Given::default())
    }

    #[test]
    fn all_kinds_share_one_days_bytes_and_each_is_counted() {
        let mut giving = giving(Some(100), None);
        let kinds = [Kind::Relayed, Kind::Passed, Kind::Tunnelled, Kind::Copied];
        for (kind, bytes) in kinds.into_iter().zip([10, 20, 30, 40]) {
            assert_eq!(giving.take(kind, bytes, NOON, Tick(0)), Ok(Duration::ZERO));
        }
        assert_eq!(giving.may(NOON), Err(Rest::UsedUp));
        assert_eq!(giving.take(Kind::Copied, 1, NOON, Tick(0)), Err(Rest::UsedUp));
        let given = giving.given();
        let by_kind = [given.relayed, given.passed, given.tunnelled, given.copied];
        assert_eq!((given.bytes, by_kind), (100, [10, 20, 30, 40]));
        let mut again = Giving::new(giving.limits(), given);
        assert_eq!(again.may(NOON), Err(Rest::UsedUp), "a restart gives nothing back");
        let tomorrow = UnixTime(NOON.0 + 43_200);
        assert_eq!(again.take(Kind::Passed, 5, tomorrow, Tick(0)), Ok(Duration::ZERO));
        assert_eq!(again.given(), Given { day: 1001, bytes: 5, passed: 5, ..Given::default() });
    }

    #[test]
    fn a_rate_is_kept_over_all_and_a_rest_saves_no_more_than_a_second() {
        let mut giving = giving(None, Some(1000));
        let now = Tick(0) + SECOND * 1000;
        let mut take = |bytes, at| giving.take(Kind::Relayed, bytes, NOON, at).unwrap();
        assert_eq!(take(1000, now), Duration::ZERO, "a second's worth at once");
        assert_eq!(take(500, now), SECOND / 2);
        assert_eq!(take(500, now), SECOND);
        assert_eq!(take(100, now + SECOND), SECOND / 10);
        assert_eq!(take(1000, now + SECOND * 1000), Duration::ZERO);
        assert_eq!(take(1000, now + SECOND * 1000), SECOND);
        assert!(take(u64::MAX, now + SECOND * 1000) > SECOND * 1_000_000);
    }

    #[test]
    fn nothing_is_given_over_a_metered_line_nor_from_a_battery_unless_the_owner_says_so() {
        let supply = |battery, metered| Supply { battery, metered };
        let take = |giving: &mut Giving| giving.take(Kind::Copied, 1, NOON, Tick(0));
        for (supply, rest) in
            [(supply(true, false), Rest::Battery), (supply(false, true), Rest::Metered)]
        {
            let mut shy = giving(None, None);
            shy.supplied(supply);
            assert_eq!(take(&mut shy), Err(rest));
            assert_eq!(shy.given().copied, 0);
            shy.supplied(Supply::default());
            assert_eq!(take(&mut shy), Ok(Duration::ZERO));
        }
        let bold = Limits { on_battery: true, ..Limits::default() };
        let mut bold = Giving::new(bold, Given::default());
        bold.supplied(supply(true, false));
        assert_eq!(take(&mut bold), Ok(Duration::ZERO));
        bold.supplied(supply(true, true));
        assert_eq!(take(&mut bold), Err(Rest::Metered));
    }
}
