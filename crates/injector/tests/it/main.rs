//! What readers and operators rely on, one behaviour per file, in whole worlds on loopback. One
//! binary, so that it links once.

#![allow(clippy::unwrap_used, reason = "a test may die")]

mod attacks;
mod beside;
mod catalogue;
mod coalesce;
mod crawler;
mod crowd;
mod double_post;
mod edition;
mod found;
mod giving;
mod heed;
mod hop;
mod invites;
mod languages;
mod limits;
mod main_flow;
mod many;
mod names;
mod own_network;
mod parts;
mod private;
mod quiet;
mod remember;
mod renewal;
mod shares;
mod slow_reader;
mod snitch;
mod splice;
mod ssrf;
mod stale;
mod support;
mod tunnel;
mod upstream;
mod veil;
mod vouched;
