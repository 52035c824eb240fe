//! What readers and operators rely on, one behaviour per file, in whole worlds on loopback. One
//! binary, so that it links once.

#![allow(clippy::unwrap_used, reason = "a test may die")]

mod attacks;
mod coalesce;
mod double_post;
mod limits;
mod main_flow;
mod private;
mod renewal;
mod shares;
mod slow_reader;
mod splice;
mod ssrf;
mod stale;
mod support;
mod tunnel;
