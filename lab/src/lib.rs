//! The censor lab: every known way of censoring, as a test against real programs. A claim of
//! reachability counts only against a censor, and the live internet is no place to try.
//!
//! A test draws a country ([`world::Drawing`]), starts programs in its hosts ([`program`]), puts a
//! censor on the line ([`censor`], or all of one place and time by [`profile`]) and looks what
//! arrives:
//!
//! ```no_run
//! use busel_lab::{censor, map::Point, program::Scene, sandbox};
//!
//! sandbox::inside(|| {
//!     let scene = Scene::start()?;
//!     let names = censor::Names::new(["news.example"]);
//!     scene.world.censor(Point::Border).only(censor::SniReset::new(names));
//!     let load = scene.curl("home-a").get("https://news.example/")?;
//!     assert!(!load.loaded());
//!     Ok(())
//! });
//! ```
//!
//! Nothing here is shipped, and what passes here has passed these rules, not a real censor.

pub mod censor;
pub mod flow;
pub mod healing;
pub mod loads;
pub mod map;
pub mod matrix;
pub mod middlebox;
pub mod named;
pub mod packet;
pub mod pictures;
pub mod profile;
pub mod program;
pub mod sandbox;
pub mod swarm;
pub mod watcher;
pub mod world;
