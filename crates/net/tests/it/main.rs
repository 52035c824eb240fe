//! What a node relies on in its wires, one behaviour per file. One binary, so that it links once.

#![allow(clippy::unwrap_used, reason = "a test may die")]

mod carrier;
mod handshakes;
mod idle;
mod probe;
mod relay_ways;
mod relay_wire;
mod upstream;
mod veil_tcp;
mod veil_wire;
