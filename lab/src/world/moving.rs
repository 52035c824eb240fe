//! A home that moves: its cable is pulled from one provider's router and plugged into another's, as a
//! device leaves one network for the next. Its programs go on.
//!
//! Where it comes to it gets an IPv4 address alone: the line knows from the drawing where IPv6 addresses are.

use anyhow::Context as _;

use super::wiring::{ip, router_port};
use super::{Host, World};
use crate::map::{Lan, Place};

/// The number of a guest in a LAN; the drawing's homes have lower ones.
const GUEST: u8 = 200;

impl World {
    /// Moves a home to the LAN behind a provider's router, and gives it that provider's resolver, as in
    /// [`super::Drawing::country`]. One guest at a time.
    pub fn move_home(&self, home: &str, place: Place) -> anyhow::Result<()> {
        let (router, resolver) = match place {
            Place::IspA => ("isp-a", "dns-a"),
            Place::IspB => ("isp-b", "dns-b"),
            Place::Exchange | Place::Abroad => anyhow::bail!("nobody is at home there"),
        };
        let (home, router) = (self.host(home), self.host(router));
        // With one end of a cable the other goes, and all addresses and routes with it.
        home.enter(|| ip("link delete eth0\n")).context("the old cable")?;
        plug_in(home, router, Lan::of(place)).context("the new cable")?;
        home.resolve_by(self.host(resolver).v4())
    }
}

fn plug_in(home: &Host, router: &Host, lan: Lan) -> anyhow::Result<()> {
    let (plug, namespace) = (router_port(GUEST), home.namespace());
    router.enter(move || {
        ip(&format!(
            "link add {plug} type veth peer name eth0 netns {namespace}\n\
             link set {plug} master lan up\n"
        ))
    })?;
    let (own, gate) = (lan.v4(GUEST), lan.v4(1));
    home.enter(move || {
        ip(&format!(
            "address add {own}/24 dev eth0\n\
             link set eth0 up\n\
             route add default via {gate}\n"
        ))
    })
}
