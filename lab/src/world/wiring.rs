//! Makes a drawing real: a namespace for each host, a TUN device in each that has a line, bridges
//! and NAT for the LANs. Everything is made within the sandbox and by `ip` and `nft`; nothing is
//! taken down again.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::drawing::{Drawing, Plan, Role};
use super::{Host, World, host, system};
use crate::map::Lan;
use crate::middlebox::{Attached, Middlebox, Parts, Routes, Shared};
use crate::sandbox::OWN;

/// The device of each host that leads to the world.
const UPLINK: &str = "wan";
/// As long as a TUN device's queue may be, so that it is not the bottleneck.
const TUN_QUEUE: u32 = 2000;

pub(super) fn start(drawing: Drawing) -> anyhow::Result<World> {
    static WORLDS: AtomicU32 = AtomicU32::new(0);
    let dir = PathBuf::from(format!("{OWN}/world-{}", WORLDS.fetch_add(1, Ordering::Relaxed)));
    let shared = Arc::new(Shared::new(drawing.hosts.len()));
    let began = Instant::now();
    let (hosts, devices) = hosts(&drawing, &dir, &shared)?;
    for (number, plan) in drawing.hosts.iter().enumerate() {
        if let Role::Home { router, number: home } = plan.role {
            connect(&hosts[router], &hosts[number], Lan::of(plan.place), home)
                .with_context(|| format!("the LAN of {}", plan.name))?;
        }
    }
    let parts = Parts {
        routes: routes(&drawing),
        devices,
        links: drawing.hosts.iter().map(|plan| plan.link).collect(),
        trunks: drawing.trunks,
        captures: drawing.captures()?,
        seed: drawing.seed,
        began,
    };
    let middlebox = Middlebox::start(parts, &shared)?;
    let tasks = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("servers")
        .enable_all()
        .build()?;
    let resolvers = drawing.resolvers.into_iter().flatten().collect();
    Ok(World {
        names: drawing.names,
        resolvers,
        tasks,
        hosts,
        shared,
        _middlebox: middlebox,
        dir,
        began,
    })
}

/// Starts all hosts at once, since most of it is waiting for `ip`.
fn hosts(
    drawing: &Drawing,
    dir: &Path,
    shared: &Arc<Shared>,
) -> anyhow::Result<(Vec<Host>, Vec<Option<SyncDevice>>)> {
    let mut hosts: Vec<Host> = Vec::new();
    for (number, plan) in drawing.hosts.iter().enumerate() {
        let spec = host::Spec {
            name: plan.name.clone(),
            addrs: plan.addrs(),
            dir: dir.join(&plan.name),
            resolver: drawing.resolvers[plan.place as usize],
            number,
            router: match plan.role {
                Role::Home { router, .. } => Some(Host::clone(&hosts[router])),
                Role::Server | Role::Router => None,
            },
        };
        hosts.push(Host::start(spec, Arc::clone(shared))?);
    }
    let setting_up: Vec<_> = hosts
        .iter()
        .zip(&drawing.hosts)
        .map(|(host, plan)| {
            let plan = plan.clone();
            host.begin(move || uplink(&plan))
        })
        .collect();
    let devices = setting_up
        .into_iter()
        .zip(&drawing.hosts)
        .map(|(device, plan)| device.end().with_context(|| format!("host {}", plan.name)))
        .collect::<anyhow::Result<_>>()?;
    Ok((hosts, devices))
}

/// Runs in a host: its device to the world, and for a router its LAN and NAT.
fn uplink(plan: &Plan) -> anyhow::Result<Option<SyncDevice>> {
    if let Role::Home { .. } = plan.role {
        ip("link set lo up\n")?;
        return Ok(None);
    }
    let device = DeviceBuilder::new().name(UPLINK).mtu(1500).build_sync()?;
    device.set_tx_queue_len(TUN_QUEUE)?;
    let (v4, v6) = (plan.v4, plan.place.v6(plan.v4));
    ip(&format!(
        "link set lo up\n\
         address add {v4}/32 dev {UPLINK}\n\
         address add {v6}/128 dev {UPLINK}\n\
         link set {UPLINK} up\n\
         route add default dev {UPLINK}\n\
         route add ::/0 dev {UPLINK}\n"
    ))?;
    if plan.role == Role::Router {
        router(Lan::of(plan.place))?;
    }
    Ok(Some(device))
}

/// A bridge for the LAN, and a NAT as homes have it: IPv4 is masked, IPv6 is not, and neither lets
/// in what nobody within has asked for.
fn router(lan: Lan) -> anyhow::Result<()> {
    let (v4, v6, ula) = (lan.v4(1), lan.v6(1), lan.ula(1));
    ip(&format!(
        "link add lan type bridge mcast_snooping 0\n\
         address add {v4}/24 dev lan\n\
         address add {v6}/64 dev lan nodad\n\
         address add {ula}/64 dev lan nodad\n\
         link set lan up\n"
    ))?;
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{family}"), "1").context(family)?;
    }
    let rules = format!(
        "table ip nat {{\n\
           chain after {{ type nat hook postrouting priority srcnat;\n\
             oifname {UPLINK} masquerade\n\
           }}\n\
         }}\n\
         table inet guard {{\n\
           chain through {{ type filter hook forward priority filter; policy drop;\n\
             iifname lan accept\n\
             ct state established,related accept\n\
           }}\n\
         }}\n"
    );
    system("nft", &["-f", "-"], &rules)
}

/// Plugs a home into its router's bridge.
fn connect(router: &Host, home: &Host, lan: Lan, number: u8) -> anyhow::Result<()> {
    let (plug, namespace) = (router_port(number), home.namespace());
    router.enter(move || {
        ip(&format!(
            "link add {plug} type veth peer name eth0 netns {namespace}\n\
             link set {plug} master lan up\n"
        ))
    })?;
    let (v4, v6, ula) = (lan.v4(number), lan.v6(number), lan.ula(number));
    let (gate4, gate6) = (lan.v4(1), lan.v6(1));
    home.enter(move || {
        ip(&format!(
            "address add {v4}/24 dev eth0\n\
             address add {v6}/64 dev eth0 nodad\n\
             address add {ula}/64 dev eth0 nodad\n\
             link set eth0 up\n\
             route add default via {gate4}\n\
             route add ::/0 via {gate6}\n"
        ))
    })
}

/// The router's end of the cable to a home.
pub(super) fn router_port(number: u8) -> String {
    format!("port{number}")
}

/// All ways of the drawing: what is behind a router and has a public address is reached through it.
fn routes(drawing: &Drawing) -> Routes {
    let numbered = drawing.hosts.iter().enumerate();
    let attached = numbered.map(|(number, plan)| {
        if let Role::Home { .. } = plan.role {
            return None;
        }
        let behind = drawing.hosts.iter().filter(|host| host.is_behind(number));
        let is_public = |addr: &IpAddr| crate::map::is_domestic(*addr);
        let behind = behind.flat_map(Plan::addrs).filter(is_public);
        Some(Attached {
            place: plan.place,
            customer: plan.role == Role::Router,
            addrs: plan.addrs().into_iter().chain(behind).collect(),
        })
    });
    Routes::new(attached.collect())
}

fn ip(batch: &str) -> anyhow::Result<()> {
    system("ip", &["-batch", "-"], batch)
}
