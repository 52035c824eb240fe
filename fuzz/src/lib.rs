//! Fuzz targets: one function per decoder, each with the invariants that its input must not break.
//!
//! No panic is the least of them. What decodes must encode to the same bytes, a canonical form must
//! be a fixed point, a machine must keep its promises under any input. The functions know of no
//! fuzzer: `fuzz_targets/` hands them to libFuzzer, `src/bin/bounded.rs` to a small mutator that
//! needs no special toolchain. What decodes files (`busel-store`) or talks HTTP (`busel-node`) is
//! not here.

mod blob;
mod carrier;
mod catalogue;
mod edition;
mod feed;
mod flight;
mod gateway;
mod invite;
mod network;
mod page;
mod race;
mod records;
mod sealed;
pub mod seeds;
mod shape;
mod veil;
mod veil_stream;
mod wire;

pub use blob::blob_window;
pub use carrier::carrier;
pub use catalogue::catalogue;
pub use edition::edition;
pub use flight::flight;
pub use gateway::gateway;
pub use invite::invite;
pub use network::net_range;
pub use page::page_url;
pub use race::race;
pub use records::cbor_head;
pub use sealed::sealed;
pub use shape::shape;
pub use veil::veil;
pub use veil_stream::veil_stream;
pub use wire::{answer, ask};

/// A target: its name and the function that takes the input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    ("answer", answer),
    ("ask", ask),
    ("blob_window", blob_window),
    ("carrier", carrier),
    ("catalogue", catalogue),
    ("cbor_head", cbor_head),
    ("edition", edition),
    ("flight", flight),
    ("gateway", gateway),
    ("invite", invite),
    ("net_range", net_range),
    ("page_url", page_url),
    ("race", race),
    ("sealed", sealed),
    ("shape", shape),
    ("veil", veil),
    ("veil_stream", veil_stream),
];
