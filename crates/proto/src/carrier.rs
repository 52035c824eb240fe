//! The carrier: one stream of bytes both ways between a node and its relay, over TLS connections that
//! may come and go.
//!
//! A line may freeze after some kilobytes, or be reset in the middle. What is carried must not notice,
//! so the stream has offsets and acknowledgements of its own, and each connection, a *leg*, takes over
//! where the others stopped. Where nothing is wrong there is one leg for as long as it lives. The first
//! records of each leg vary in length, so that a handshake inside can't be known by its lengths.
//!
//! [`Client`] opens legs and finds out what the line does to them, [`Server`] takes them; both are
//! machines over the same [`Session`]. It encrypts and proves nothing: each leg is within TLS, and
//! whose session it is, a token in the leg's first request says. Which address, name or
//! handshake a leg is tried with is [`approach`]'s.

pub mod approach;
mod client;
mod frame;
mod habit;
mod inbox;
mod outbox;
mod server;
mod session;
mod shape;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientOutput};
pub use frame::{Decoder, Frame, FrameError, MAX_DATA};
pub use habit::Habit;
pub use server::{Server, ServerOutput};
pub use session::{Broken, LegId, Session};

/// The most bytes on their way in one direction: sent and not yet acknowledged, or received and not
/// yet taken.
pub const WINDOW: usize = 512 * 1024;
/// The most legs of one session at once.
pub const MAX_LEGS: usize = 3;
/// A session without a leg ends after this long, at both ends.
pub const EXPIRY: std::time::Duration = std::time::Duration::from_secs(60);
