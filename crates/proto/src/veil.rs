//! The veil: what a QUIC datagram looks like over UDP, so that nothing on the line tells what it is.
//!
//! Plain QUIC is known by its first bytes, and answers whoever asks. A veiled datagram has no byte
//! that means anything without a secret, no length of its own, and whoever lacks the secret is not
//! answered. The secret is in the node's invite, the same for all who hold it: this hides *what* a
//! datagram is, from the line and from probers. What is *in* it is QUIC's to protect, and a censor
//! who holds the invite knows the node anyway.
//!
//! * [`frame`]: the two forms of a datagram, *sealed* and *masked*.
//! * [`nonces`]: which sealed datagrams were seen before.
//! * [`sessions`]: who is at which address, and in which form to speak to it.
//!
//! Where no UDP comes through, the same datagrams go in a stream over TCP, whose first bytes are text:
//!
//! * [`lines`]: when to take the one, and when the other.
//! * [`hello`], [`text`]: what a stream begins with; [`record`]: what follows.
//! * [`doorstep`]: who is let in, and what everybody else notices.
//!
//! Sockets, clocks and random numbers are `busel-net`'s.

pub mod doorstep;
pub mod frame;
pub mod hello;
pub mod lines;
pub mod nonces;
pub mod record;
pub mod sessions;
pub mod text;

use minicbor::{Decode, Encode};

/// What opens the datagrams that are sealed to a node: 32 random bytes, kept with its identity and
/// given with its invite; or made for one address only, and given inside a sealed datagram.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct VeilSecret(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl std::fmt::Debug for VeilSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VeilSecret(…)")
    }
}
