//! What a user of the store relies on, one behaviour per file. One binary, so that it links once.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may die")]

mod damage;
mod eviction;
mod fault;
mod fixture;
mod full_disk;
mod heads;
mod kill9;
mod no_plaintext;
mod power_cut;
mod roundtrip;
mod settings;
mod sharing;
#[cfg(unix)]
mod size;
mod speed;
mod support;
mod unlock;
mod wipe;
