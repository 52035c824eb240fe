//! The lab's own tests: that worlds work and leave nothing behind, and one control test for each
//! technique: what must be blocked is, by a plain client, and what must pass does. One test is one
//! world is one process; see `busel_lab::sandbox`.

mod blackout;
mod dns_poison;
mod ip_block;
mod midflight;
mod national_cut;
mod sandbox;
mod seam;
mod sni_drop;
mod sni_reset;
mod speed;
mod world;

use std::time::Duration;

/// How long a load is given that a censor swallows: long enough for one that is not.
const SILENCE: Duration = Duration::from_secs(2);
