//! Pictures of a page that its line resets, as a browser shows it in each way, for the docs.

use std::path::Path;

use crate::censor::{Names, SniReset};
use crate::map::Point;
use crate::program::{Chromium, DOOR, Exposure, LISTED, MAGAZINE, Magazine, Reader, Stage, Way};

/// Makes them, in a sandbox.
pub fn make(dir: &Path) -> anyhow::Result<()> {
    let stage = Stage::set()?;
    let _magazine = Magazine::open(&stage)?;
    let url = format!("https://{LISTED}{MAGAZINE}");
    stage.at(Point::Border).only(SniReset::new(Names::new([LISTED])));
    let plain = Chromium::new(stage.host("home-a"), &stage.scene.ca)?;
    let reader = Reader::start(&stage, "home-a", Way::Any, Exposure::Quiet)?;
    plain.picture(&format!("{DOOR}/{url}"), &dir.join("magazine-gateway.png"))?;
    let behind = plain.through(DOOR);
    behind.picture(&url, &dir.join("magazine-proxy.png"))?;
    behind.believe(&reader.busel)?;
    behind.picture(&url, &dir.join("magazine-ca.png"))
}
