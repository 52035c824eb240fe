//! Doors: where programs on this device come in. Each makes a [`crate::Request`] or a tunnel.

pub mod http;
pub(crate) mod owner;
mod problem;
