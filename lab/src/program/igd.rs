//! A real port mapper on a router, as many homes have: miniupnpd, which speaks PCP, NAT-PMP and UPnP. It
//! refuses to map ports of addresses that are nowhere in the internet, as the lab's other ones are.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::world::{Host, Running};

const PATIENCE: Duration = Duration::from_secs(30);
/// Where it writes its rules: what it maps is let in by the router's own ones.
const TABLE: &str = "table inet upnp {\n\
    chain forward { type filter hook forward priority 10; policy accept; jump mapped; }\n\
    chain mapped { }\n\
    chain before { type nat hook prerouting priority -90; jump mapped_before; }\n\
    chain mapped_before { }\n\
    chain after { type nat hook postrouting priority 90; jump mapped_after; }\n\
    chain mapped_after { }\n\
}\n";

/// A running port mapper; it ends when this is dropped.
pub struct PortMapper {
    _running: Running,
}

impl PortMapper {
    /// Starts it on a router.
    pub fn start(router: &Host) -> anyhow::Result<Self> {
        let dir = router.dir().to_owned();
        fs::write(dir.join("upnp.nft"), TABLE)?;
        let rules = dir.join("upnp.nft");
        let set = router.enter(move || Command::new("nft").arg("-f").arg(rules).status());
        ensure!(set.context("nft")?.success(), "the port mapper's chains can't be made");
        let file = dir.join("upnp.conf");
        let lease = dir.join("upnp.leases");
        let config = format!(
            "ext_ifname=wan\n\
             listening_ip=lan\n\
             http_port=0\n\
             enable_natpmp=yes\n\
             enable_upnp=yes\n\
             secure_mode=yes\n\
             system_uptime=yes\n\
             lease_file={}\n\
             uuid=00000000-0000-0000-0000-000000000001\n\
             upnp_table_name=upnp\n\
             upnp_nat_table_name=upnp\n\
             upnp_forward_chain=mapped\n\
             upnp_nat_chain=mapped_before\n\
             upnp_nat_postrouting_chain=mapped_after\n\
             allow 1024-65535 0.0.0.0/0 1024-65535\n\
             deny 0-65535 0.0.0.0/0 0-65535\n",
            lease.display()
        );
        fs::write(&file, config)?;
        let pid = dir.join("upnp.pid");
        let launch = router.command("/usr/sbin/miniupnpd").args(["-d", "-f"]).arg(&file);
        let mut running = launch.arg("-P").arg(&pid).spawn()?;
        running.says("HTTP listening on port", PATIENCE)?;
        Ok(Self { _running: running })
    }
}
