//! The lab's own tests: that worlds work and leave nothing behind, and one control test for each
//! technique: what must be blocked is, by a plain client, and what must pass does. One test is one
//! world is one process; see `busel_lab::sandbox`.

mod world;
