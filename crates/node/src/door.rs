//! Doors: where programs on this device come in. Each makes a [`crate::Request`] or a tunnel.

pub mod http;
mod owner;
mod problem;
