//! Reach and find nodes.
//!
//! * [`Endpoint`] is a node's presence: iroh's QUIC endpoint with no outside service configured, on
//!   the wires it was given, with one pooled connection per peer.
//! * A [`wire::Wire`] is a way for datagrams to travel: [`wire::relay`] and, for tests and trusted
//!   networks, [`wire::plain`]. Later wires add a file there.
//! * A [`finder::Finder`] is a way to learn of nodes: [`finder::invite`], [`finder::saved`] and
//!   [`finder::lan`], whose neighbours are spoken to by an endpoint of the day (`near`).
//! * [`relay`] is the other end of the relay wire: a server that is an ordinary web site to
//!   everyone who does not know the way in.
//! * [`dial::Dialer`] is the one place where this device opens TCP connections, and [`shake::Shaker`]
//!   the one where it begins TLS to relays and sites.
//!
//! Nothing here knows of pages, stores or channels, and nothing contacts a host that it was not
//! given.

mod carrier;
pub mod dial;
pub mod endpoint;
pub mod finder;
pub mod frame;
mod link;
mod near;
mod path;
pub mod port_map;
pub mod relay;
pub mod shake;
mod tls;
mod wall;
pub mod wire;

pub use endpoint::{Connection, Endpoint};
