//! The library: a node that answers requests by whatever way works.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use busel_node::{Config, Node, Request};
//! use busel_proto::{invite::Invite, page::PageUrl};
//!
//! let node = Node::start(Config::default()).await?;
//! node.join(&Invite::from_line("busel1…")?, true).await?;
//! let page = node.fetch(Request::get(PageUrl::parse("https://news.example/")?)).await?;
//! println!("{} by {}, true by {}", page.status, page.route, page.authority);
//! # Ok(())
//! # }
//! ```
//!
//! The main flow, one file each: a [`door`] makes a [`Request`], [`fetch`] decides who may see it,
//! `drive` runs the race over the `route`s, and `busel-net` carries what they say. `serve` is the
//! other side: what this node does for peers.

mod assigned;
pub mod authority;
pub mod catalogue;
pub mod clock;
pub mod config;
pub mod control;
mod crowd;
mod css;
pub mod decode;
mod dht;
pub mod doctor;
pub mod door;
mod drive;
pub mod edition;
mod exchange;
mod exit;
mod fetch;
mod giving;
mod guarded;
mod hearsay;
mod hold;
mod hot;
pub mod joined;
mod networks;
pub mod node;
pub mod origin;
mod own_relay;
mod partials;
pub mod parts;
mod pass;
pub mod places;
mod prove;
mod punch;
mod renew;
mod reply;
pub mod request;
pub mod resolve;
mod route;
mod save;
mod say;
pub mod serve;
mod tunnel;
mod upgrade;
mod upstreams;
mod wires;

pub use assigned::Held;
pub use config::Config;
pub use node::{Node, StartError};
pub use request::{Authority, Body, Request, RequestBody, Response, Unanswered};
