//! What runs in a world: real origins, resolvers and a plain client. A [`Scene`] is a world with all
//! of them at their places. A [`Stage`] has the real `busel` in it too, and a [`Reader`] is
//! somebody who reads by that.

mod busel;
mod ca;
mod chromium;
mod curl;
mod dht;
mod dht_enumeration;
mod dns;
mod doctor;
mod doh;
mod firefox;
mod forger;
mod gallery;
mod igd;
mod magazine;
mod network;
mod nginx;
mod page;
mod prober;
mod quic;
mod reader;
mod scene;
mod stage;
mod tls;
mod tunnel;

pub use busel::Busel;
pub use ca::{Ca, Certified};
pub use chromium::Chromium;
pub use curl::{Curl, Failure, Load};
pub use dht::DhtNode;
pub use dht_enumeration::DhtEnumeration;
pub use dns::{Dns, Zone};
pub use doctor::Examined;
pub use doh::Doh;
pub use firefox::Firefox;
pub use forger::Forger;
pub use gallery::Gallery;
pub use igd::PortMapper;
pub use magazine::{FILM, MAGAZINE, Magazine, SCRIPT};
pub use network::{LISTED, Network, UNLISTED, VEIL, reaching, start_relay};
pub use nginx::Nginx;
pub use page::{PAGES, TRAP, body, numbered};
pub use prober::{Answer, End, Probe, Prober, Report};
pub use quic::{Quic, QuicClient};
pub use reader::{DOOR, Exposure, Reader, Visit, Way};
pub use scene::Scene;
pub use stage::Stage;
pub use tls::{Tls, trusting};
pub use tunnel::Tunnel;
