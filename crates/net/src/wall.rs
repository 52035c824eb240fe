//! Where wall time is read in this crate: the core takes it as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use busel_proto::time::UnixTime;

/// Wall time now. A clock before 1970 counts as 1970.
pub(crate) fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
}
