//! Invites as pictures: a QR code that a terminal shows, a file that can be printed, and what somebody
//! took a photo of.
//!
//! Of QR's alphabets the one of capitals and digits takes an invite with half the room that bytes would
//! need: base32 in upper case fits it, and is read as well as lower case.

pub(crate) mod draw;
pub(crate) mod read;

/// Light modules around a code, without which no camera finds it.
const QUIET: usize = 4;

#[cfg(test)]
mod tests;
