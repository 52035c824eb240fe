//! The rules of Busel, and nothing else: what a record is, who may sign it, which route starts
//! when, what may be shared, what a frame on the wire looks like.
//!
//! Everything here is pure. Time, chance and bytes are arguments: a machine takes
//! `handle(input, now)` and is then drained with `poll()` until it says when it wants to be called
//! again; a sealed request takes its randomness as 32 bytes. There is no clock, socket, file,
//! thread or random number generator in this crate, and `clippy.toml` beside it keeps it so. What
//! copies bytes or waits lives in `busel-net` and `busel-node`.
//!
//! Read in this order:
//!
//! * records: [`cbor`], [`signed`], [`cert`], [`snapshot`], [`blob`], [`edition`], [`invite`]
//! * requests: [`page`], [`sites`], [`freshness`], [`flight`], [`network`], [`shape`],
//!   [`gateway`]
//! * choosing: [`failure`], [`memory`], [`networks`], [`race`], [`favour`], [`lookup`],
//!   [`stagger`], [`upstreams`], [`evict`]
//! * the wire: [`message`], [`sealed`], [`question`], [`veil`], [`carrier`]
//! * finding one another: [`daily`], [`lan`], [`card`], [`exchange`], [`meeting`], [`saved`]
//! * showing little: [`guards`], [`assigned`]
//! * what stands in the way: [`doctor`]
//! * sharing with many: [`rates`], [`replay`], [`budget`], [`way_in`]

pub mod assigned;
pub mod blob;
pub mod budget;
pub mod card;
pub mod carrier;
pub mod catalogue;
pub mod cbor;
pub mod cert;
mod crowd;
pub mod daily;
pub mod doctor;
pub mod edition;
pub mod evict;
pub mod exchange;
pub mod failure;
pub mod favour;
pub mod flight;
pub mod freshness;
pub mod gateway;
pub mod giving;
pub mod guards;
pub mod holders;
pub mod id;
pub mod invite;
pub mod lan;
pub mod language;
pub mod lookup;
pub mod meeting;
pub mod memory;
pub mod message;
pub mod network;
pub mod networks;
pub mod page;
pub mod plan;
pub mod proven;
pub mod punch;
pub mod question;
pub mod race;
pub mod rates;
pub mod records;
pub mod replay;
pub mod saved;
pub mod sealed;
pub mod shape;
pub mod signed;
pub mod sites;
pub mod snapshot;
pub mod stagger;
pub mod superseed;
pub mod time;
pub mod upstreams;
pub mod veil;
pub mod way_in;
