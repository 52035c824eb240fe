//! How this benchmark's Busel nodes are set up: as their users would, but for what loopback needs.

use std::net::SocketAddr;

use anyhow::Result;
use busel_node::Config;
use busel_node::config::{ConnectTo, Dns};

use super::{World, own_dir};
use crate::child::Proc;
use crate::invites::{self, PRIVATE, PUBLIC};
use crate::load::Server;
use crate::role::Role;

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A quiet reader with a door, who can't reach the site and joined these invites; `change` makes
/// it another.
pub(crate) fn reader(
    world: &World,
    name: &str,
    invites: &[&str],
    change: impl FnOnce(&mut Config),
) -> Result<Proc> {
    let config = config(world, name, change)?;
    let invite = invites::together(invites)?;
    Proc::start(&Role::Node { config, invite, injector: false })
}

/// An injector on the plain wire.
pub(crate) fn injector(world: &World, name: &str) -> Result<Proc> {
    let config = config(world, name, |config| {
        config.exposure = busel_node::config::Exposure::Open;
        config.direct = true;
        config.http = None;
        plain(config);
    })?;
    Proc::start(&Role::Node { config, invite: invites::together(&[])?, injector: true })
}

/// Puts a node on the plain wire.
pub(crate) fn plain(config: &mut Config) {
    config.plain_wire = Some(LOOPBACK);
}

/// The door of `node`.
pub(crate) fn door(node: &Proc, host: &str, route: &'static str) -> Result<Server> {
    let (addr, site) = (node.door()?, format!("http://{host}"));
    Ok(Server { addr, site, root: None, proxy: true, closes: false, route: Some(route) })
}

fn config(world: &World, name: &str, change: impl FnOnce(&mut Config)) -> Result<Box<Config>> {
    let to = |host: &str| ConnectTo { host: host.into(), port: 80, addr: world.origin };
    let mut config = Config {
        dir: own_dir(world, name)?,
        http: Some(LOOPBACK),
        http_tells: true,
        quota: 16 << 30,
        direct: false,
        // Nobody is asked: the two hosts have fixed destinations.
        dns: vec![Dns::Plain(SocketAddr::from(([127, 0, 0, 1], 9)))],
        connect_to: vec![to(PUBLIC), to(PRIVATE)],
        allow_net: vec!["127.0.0.0/8".into()],
        allow_net_for_others: vec!["127.0.0.0/8".into()],
        lan: Some(busel_node::config::Lan::Off),
        ..Config::default()
    };
    change(&mut config);
    Ok(Box::new(config))
}
