//! A small world for tests, all real, on loopback: see [`world`]. Beside it, those who don't keep
//! to the rules: [`peer`] (nodes that answer by a script), [`servers`] (origins and filters that
//! break connections), [`copy`] (snapshots with whatever is wrong with them), [`dns`] (a resolver
//! that lies), [`socks`] (an upstream proxy), [`censor`] (who makes lists of readers).

pub(crate) mod censor;
pub(crate) mod copy;
pub(crate) mod dns;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod servers;
pub(crate) mod socks;
pub(crate) mod world;

pub(crate) use copy::Copy;
pub(crate) use origin::Origin;
pub(crate) use peer::Peer;
pub(crate) use world::{HOST, LOOPBACK, World, body, get, kept, url};
