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

use super::drawing::{Drawing, FIRST_SEAT, LAST_SEAT, Plan, Role};
use super::nat::Nat;
use super::{Host, World, host, system};
use crate::map::Lan;
use crate::middlebox::{Attached, Middlebox, Parts, Routes, Shared};
use crate::sandbox::OWN;

/// The device of each host that leads to the world.
const UPLINK: &str = "wan";
/// The device of each host in a LAN that leads to its router.
const HOME: &str = "eth0";
/// As long as a TUN device's queue may be, so that it is not the bottleneck.
const TUN_QUEUE: u32 = 2000;

pub(super) fn start(drawing: Drawing) -> anyhow::Result<World> {
    static WORLDS: AtomicU32 = AtomicU32::new(0);
    let dir = PathBuf::from(format!("{OWN}/world-{}", WORLDS.fetch_add(1, Ordering::Relaxed)));
    let shared = Arc::new(Shared::new(drawing.hosts.len()));
    let began = Instant::now();
    let (hosts, devices) = hosts(&drawing, &dir, &shared)?;
    for (number, plan) in drawing.hosts.iter().enumerate() {
        let Some(router) = plan.router() else { continue };
        connect(&hosts[router], &hosts[number])
            .and_then(|()| match plan.role {
                Role::Inner { nat, lan, .. } => inner(&hosts[router], &hosts[number], nat, lan),
                Role::Server | Role::Router { .. } | Role::Home { .. } => Ok(()),
            })
            .with_context(|| format!("the LAN of {}", plan.name))?;
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
            addrs: drawing.addrs(plan),
            dir: dir.join(&plan.name),
            resolver: drawing.resolvers[plan.place as usize],
            number,
            lan: plan.role.lan(),
        };
        let seat = match plan.role {
            Role::Home { router, number } | Role::Inner { router, number, .. } => {
                Some(host::Seat { router: Host::clone(&hosts[router]), number })
            }
            Role::Server | Role::Router { .. } => None,
        };
        hosts.push(Host::start(spec, seat, Arc::clone(shared))?);
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
    settle()?;
    if plan.router().is_some() {
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
    if let Role::Router { nat, lan } = plan.role {
        router(lan, nat, UPLINK)?;
    }
    Ok(Some(device))
}

/// Addresses are there at once, and not looked for at others first: a browser that starts within that second gives up
/// what it loads, since its network has changed.
fn settle() -> anyhow::Result<()> {
    for devices in ["all", "default"] {
        let setting = format!("/proc/sys/net/ipv6/conf/{devices}/accept_dad");
        std::fs::write(&setting, "0").context(setting)?;
    }
    Ok(())
}

/// A bridge for the LAN, and a NAT as homes have it. A bridge without a card address of its own would
/// take another one whenever a home leaves, and those that stay would speak to the old one.
fn router(lan: Lan, nat: Nat, out: &str) -> anyhow::Result<()> {
    let (v4, v6, ula, mac) = (lan.v4(1), lan.v6(1), lan.ula(1), lan.mac());
    ip(&format!(
        "link add lan address {mac} type bridge mcast_snooping 0\n\
         address add {v4}/24 dev lan\n\
         address add {v6}/64 dev lan nodad\n\
         address add {ula}/64 dev lan nodad\n\
         link set lan up\n"
    ))?;
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{family}"), "1").context(family)?;
    }
    system("nft", &["-f", "-"], &nat.rules(out))
}

/// Makes a host behind a router one itself; the IPv6 addresses of its LAN are routed to it.
fn inner(outer: &Host, host: &Host, nat: Nat, lan: Lan) -> anyhow::Result<()> {
    let (net, via) = (lan.v6(0), host.v6());
    outer.enter(move || ip(&format!("route add {net}/64 via {via}\n")))?;
    host.enter(move || router(lan, nat, HOME))
}

/// Plugs a home into its router's bridge.
fn connect(router: &Host, home: &Host) -> anyhow::Result<()> {
    let lan = router.lan().context("it is no router")?;
    let number = home.seat().context("it is behind no router")?;
    let (plug, namespace) = (router_port(number), home.namespace());
    router.enter(move || {
        ip(&format!(
            "link add {plug} type veth peer name {HOME} netns {namespace}\n\
             link set {plug} master lan up\n"
        ))
    })?;
    let (v4, v6, ula) = (lan.v4(number), lan.v6(number), lan.ula(number));
    let (gate4, gate6) = (lan.v4(1), lan.v6(1));
    home.enter(move || {
        ip(&format!(
            "address add {v4}/24 dev {HOME}\n\
             address add {v6}/64 dev {HOME} nodad\n\
             address add {ula}/64 dev {HOME} nodad\n\
             link set {HOME} up\n\
             route add default via {gate4}\n\
             route add ::/0 via {gate6}\n"
        ))
    })
}

/// Pulls a home's cable and plugs it in behind another router.
pub(super) fn move_home(home: &Host, router: &Host) -> anyhow::Result<()> {
    let number = router.free_seat().context("no place is left in that LAN")?;
    let Some(left) = home.sit(host::Seat { router: router.clone(), number }) else {
        anyhow::bail!("{} is behind no router", home.name());
    };
    let plug = router_port(left.number);
    left.router.enter(move || ip(&format!("link del {plug}\n")))?;
    connect(router, home)
}

/// The router's end of the cable to a home.
pub(super) fn router_port(number: u8) -> String {
    format!("port{number}")
}

/// All ways of the drawing: what is behind a router and has a public address is reached through it,
/// wherever in its LAN it may come to sit.
fn routes(drawing: &Drawing) -> Routes {
    let numbered = drawing.hosts.iter().enumerate();
    let attached = numbered.map(|(number, plan)| {
        if plan.router().is_some() {
            return None;
        }
        let routers = std::iter::once(number).chain(drawing.routers_behind(number));
        let lans = routers.filter_map(|router| drawing.hosts[router].role.lan());
        let seats = lans.flat_map(|lan| (FIRST_SEAT..=LAST_SEAT).map(move |n| lan.v6(n)));
        Some(Attached {
            place: plan.place,
            customer: matches!(plan.role, Role::Router { .. }),
            addrs: drawing.addrs(plan).into_iter().chain(seats.map(IpAddr::V6)).collect(),
        })
    });
    Routes::new(attached.collect())
}

fn ip(batch: &str) -> anyhow::Result<()> {
    system("ip", &["-batch", "-"], batch)
}
