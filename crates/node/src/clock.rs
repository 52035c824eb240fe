//! Where time is read: the core takes it as an argument, and this is who passes it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use busel_proto::time::{Tick, UnixTime};

/// A monotonic clock that starts with the node, at the wall time of then: what is kept over a restart
/// grows older meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    first: Tick,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), first: Tick(0) + since }
    }

    pub(crate) fn tick(&self) -> Tick {
        self.first + self.started.elapsed()
    }

    pub(crate) fn instant(&self, tick: Tick) -> tokio::time::Instant {
        (self.started + (tick - self.first)).into()
    }

    /// Waits until `tick`; for ever if there is none.
    pub(crate) async fn alarm(&self, tick: Option<Tick>) {
        match tick {
            Some(tick) => tokio::time::sleep_until(self.instant(tick)).await,
            None => std::future::pending().await,
        }
    }
}

/// Wall time now. A clock before 1970 counts as 1970.
pub fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
}
