//! What this node gives to others, by relaying, passing on, as an exit and in copies: within what its
//! owner gives, kept count of over restarts, and shown to the owner.
//!
//! The limits are [`busel_proto::giving`]'s. That the device lives on its battery is looked at when what
//! was given is kept, once a minute; what the line costs only the owner can say.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use busel_net::relay::{Meter, OutOfBytes};
use busel_proto::cbor;
use busel_proto::failure::Failure;
use busel_proto::giving::{Given, Giving, Kind, Limits, Rest, Supply};
use busel_proto::id::PeerId;
use busel_store::{ReadError, Store};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::debug;

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::node::Node;
use crate::places::{Place, Places};

/// Connections and sealed requests at once, for all peers together and for one of them: a browser holds
/// some dozens.
const MAX_AT_ONCE: usize = 512;
const MAX_PEER_AT_ONCE: usize = 64;
/// The name of a setting in the store.
const GIVEN: &str = "given";
/// What was given is kept so often, and whenever so many bytes were: a crash gives no more back.
const KEEP_EVERY: Duration = Duration::from_secs(60);
const KEEP_BYTES: u64 = 16 << 20;
/// Where Linux shows what the device lives on.
const SUPPLIES: &str = "/sys/class/power_supply";

/// What all that others get from this node shares.
#[derive(Debug)]
pub(crate) struct OwnGiving {
    places: Places,
    giving: Mutex<Giving>,
    clock: Clock,
    /// The owner says that the line is paid by the byte.
    metered: bool,
    /// What was given when that was last kept.
    kept: Mutex<Given>,
    /// Told when much was given since, or all.
    much: Notify,
}

/// What is given today, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) given: Given,
    pub(crate) limits: Limits,
    pub(crate) rest: Option<Rest>,
}

impl OwnGiving {
    /// Within what the configuration says, of which so much was given before.
    pub(crate) fn new(config: &Config, given: Given, clock: Clock) -> Self {
        let limits = Limits {
            day: config.give_quota.limit(),
            rate: config.give_rate,
            on_battery: config.give_on_battery,
        };
        let own = Self {
            places: Places::new(MAX_AT_ONCE, MAX_PEER_AT_ONCE),
            giving: Mutex::new(Giving::new(limits, given)),
            clock,
            metered: config.metered,
            kept: Mutex::new(given),
            much: Notify::new(),
        };
        own.look(Path::new(SUPPLIES));
        own
    }

    /// As it was kept.
    pub(crate) fn kept(store: &Store) -> Result<Given, ReadError> {
        let kept = store.setting(GIVEN)?;
        Ok(kept.and_then(|bytes| cbor::from_slice(&bytes, 128).ok()).unwrap_or_default())
    }

    /// A place for something that `peer` asks for, if anything is given now.
    pub(crate) fn place(&self, peer: PeerId) -> Result<Place, Failure> {
        self.may()?;
        Ok(self.places.take(peer)?)
    }

    /// Whether anything is given now.
    pub(crate) fn may(&self) -> Result<(), Failure> {
        self.giving().may(clock::now()).map_err(why)
    }

    /// Takes so many bytes from what is given, and says after which wait there may be more.
    pub(crate) fn take(&self, kind: Kind, bytes: usize) -> Result<Duration, Rest> {
        let (taken, given) = {
            let mut giving = self.giving();
            let taken = giving.take(kind, bytes as u64, clock::now(), self.clock.tick());
            (taken, giving.given())
        };
        let kept = *lock(&self.kept);
        let much = given.day != kept.day || given.bytes - kept.bytes.min(given.bytes) >= KEEP_BYTES;
        if taken == Err(Rest::UsedUp) || much {
            self.much.notify_one();
        }
        taken
    }

    /// The same, and waits.
    pub(crate) async fn pay(&self, kind: Kind, bytes: usize) -> Result<(), Failure> {
        let wait = self.take(kind, bytes).map_err(why)?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// How it stands.
    pub(crate) fn account(&self) -> Account {
        let mut giving = self.giving();
        let rest = giving.may(clock::now()).err();
        Account { given: giving.given_on(clock::now()), limits: giving.limits(), rest }
    }

    /// What was given, if that is news to be kept.
    fn news(&self) -> Option<Given> {
        let given = self.giving().given();
        let mut kept = lock(&self.kept);
        (*kept != given).then(|| {
            *kept = given;
            given
        })
    }

    /// Looks at what the device lives on. Waits for the system.
    fn look(&self, supplies: &Path) {
        let supply = Supply { battery: is_on_battery(supplies), metered: self.metered };
        self.giving().supplied(supply);
    }

    fn giving(&self) -> MutexGuard<'_, Giving> {
        lock(&self.giving)
    }
}

/// A relay of this node's is paid for as all else is.
impl Meter for OwnGiving {
    fn may(&self) -> bool {
        Self::may(self).is_ok()
    }

    fn take(&self, bytes: usize) -> Result<Duration, OutOfBytes> {
        Self::take(self, Kind::Relayed, bytes).map_err(|_| OutOfBytes)
    }
}

impl Node {
    /// Keeps what was given, again and again: a crash must not bring the day's bytes back.
    pub(crate) async fn keep_giving(&self) {
        loop {
            let _ = timeout(KEEP_EVERY, self.giving.much.notified()).await;
            self.keep_given().await;
        }
    }

    pub(crate) async fn keep_given(&self) {
        let node = self.clone();
        let keep = move || {
            node.giving.look(Path::new(SUPPLIES));
            let Some(given) = node.giving.news() else { return };
            if let Err(error) = node.store.set(GIVEN, &cbor::to_vec(&given)) {
                debug!(%error, "what was given was not kept");
            }
        };
        // The node's own, so that its end waits for it.
        let _ = self.spawn_blocking(keep).await;
    }
}

/// What others are told. What the device lives on is nobody's business.
pub(crate) fn why(rest: Rest) -> Failure {
    match rest {
        Rest::UsedUp => Failure::UsedUp,
        Rest::Battery | Rest::Metered => {
            Failure::Busy("this node does nothing for others now".into())
        }
    }
}

/// Whether a battery is being emptied, as far as the system says.
fn is_on_battery(supplies: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(supplies) else { return false };
    let says = |dir: &Path, what: &str, value: &str| {
        std::fs::read_to_string(dir.join(what)).is_ok_and(|text| text.trim() == value)
    };
    let dirs: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    let plugged = dirs.iter().any(|dir| says(dir, "online", "1") && !says(dir, "type", "Battery"));
    // A mouse's battery is none of the device's.
    let emptied = |dir: &std::path::PathBuf| {
        says(dir, "type", "Battery")
            && says(dir, "status", "Discharging")
            && !says(dir, "scope", "Device")
    };
    !plugged && dirs.iter().any(emptied)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, supply: &str, what: &[(&str, &str)]) {
        let dir = dir.join(supply);
        std::fs::create_dir_all(&dir).unwrap();
        for (name, value) in what {
            std::fs::write(dir.join(name), format!("{value}\n")).unwrap();
        }
    }

    #[test]
    fn only_a_battery_of_the_device_that_is_being_emptied_counts() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(!is_on_battery(&dir.join("none")), "a system that does not say has a plug");
        write(dir, "mouse", &[("type", "Battery"), ("status", "Discharging"), ("scope", "Device")]);
        write(dir, "BAT0", &[("type", "Battery"), ("status", "Full")]);
        assert!(!is_on_battery(dir));
        write(dir, "BAT0", &[("status", "Discharging")]);
        assert!(is_on_battery(dir));
        write(dir, "AC", &[("type", "Mains"), ("online", "1")]);
        assert!(!is_on_battery(dir));
        write(dir, "AC", &[("online", "0")]);
        assert!(is_on_battery(dir));
    }

    #[test]
    fn nothing_is_given_from_the_battery_or_over_a_metered_line_unless_its_owner_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let of = |config: &Config| OwnGiving::new(config, Given::default(), Clock::start());
        let own = of(&Config::default());
        own.look(dir.path());
        assert!(own.place(PeerId([1; 32])).is_ok());
        write(dir.path(), "BAT0", &[("type", "Battery"), ("status", "Discharging")]);
        own.look(dir.path());
        assert!(matches!(own.place(PeerId([1; 32])), Err(Failure::Busy(_))));
        assert_eq!(own.account().rest, Some(Rest::Battery));
        let own = of(&Config { give_on_battery: true, ..Config::default() });
        own.look(dir.path());
        assert!(own.place(PeerId([1; 32])).is_ok());
        let own = of(&Config { metered: true, give_on_battery: true, ..Config::default() });
        assert!(matches!(own.may(), Err(Failure::Busy(_))));
        assert_eq!(own.account().rest, Some(Rest::Metered));
    }
}
