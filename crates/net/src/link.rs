//! The links that this device is on: networks whose other hosts it reaches without a router.
//!
//! Only those over which a neighbour may be: up, able to carry multicast, and neither the loopback
//! nor a line to one other end, such as a VPN or a mobile provider. Asked of the system each time;
//! nothing is sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use busel_proto::lan::is_local;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

/// Links that are used at most, each with one address of a kind.
const MAX: usize = 32;

/// One address of this device on a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    /// The interface's name.
    pub(crate) name: String,
    /// Its own address there. IPv6 only if it is the link's own.
    pub(crate) addr: IpAddr,
    /// How many bits of it are the network's.
    bits: u32,
    /// The interface's number, for IPv6.
    pub(crate) scope: u32,
}

impl Link {
    /// Those there are now. None if the system does not say.
    pub(crate) fn all() -> Vec<Self> {
        let Ok(found) = getifaddrs() else { return Vec::new() };
        let mut links: Vec<Self> = found.filter_map(|one| of(&one)).collect();
        links.sort();
        links.dedup();
        links.truncate(MAX);
        links
    }

    /// One of an IPv4 network of 256 addresses, for tests.
    #[cfg(test)]
    pub(crate) fn fake(own: &str) -> Self {
        let addr = own.parse().expect("an address");
        Self { name: "eth0".into(), addr, bits: 24, scope: 0 }
    }

    /// Whether a host with this address is on the link.
    pub(crate) fn has(&self, other: IpAddr, scope: u32) -> bool {
        match (self.addr, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                u32::from(own) & mask == u32::from(other) & mask
            }
            (IpAddr::V6(_), IpAddr::V6(other)) => {
                other.is_unicast_link_local() && scope == self.scope
            }
            _ => false,
        }
    }
}

fn of(found: &InterfaceAddress) -> Option<Link> {
    let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_MULTICAST;
    let unwanted = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
    if !found.flags.contains(wanted) || found.flags.intersects(unwanted) {
        return None;
    }
    let (address, name) = (found.address.as_ref()?, found.interface_name.clone());
    if let Some(v4) = address.as_sockaddr_in() {
        let mask = found.netmask.as_ref()?.as_sockaddr_in()?.ip();
        let bits = u32::from(mask).leading_ones();
        // A network of one is a line to one other end, whatever it calls itself.
        let addr: Ipv4Addr = v4.ip();
        return (bits < 31).then_some(Link { name, addr: addr.into(), bits, scope: 0 });
    }
    let v6 = address.as_sockaddr_in6()?;
    let addr: Ipv6Addr = v6.ip();
    is_local(addr.into()).then_some(Link {
        name,
        addr: addr.into(),
        bits: 64,
        scope: v6.scope_id(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_its_own_hosts_only() {
        let link = Link::fake("192.168.1.10");
        assert!(link.has("192.168.1.77".parse().unwrap(), 0));
        for other in ["192.168.2.77", "198.51.100.1", "fe80::1"] {
            assert!(!link.has(other.parse().unwrap(), 0), "{other}");
        }
        let own: IpAddr = "fe80::9".parse().unwrap();
        let link = Link { name: "eth0".into(), addr: own, bits: 64, scope: 2 };
        assert!(link.has("fe80::1".parse().unwrap(), 2));
        assert!(!link.has("fe80::1".parse().unwrap(), 3), "the same number on another link");
        assert!(!link.has("2001:db8::1".parse().unwrap(), 2));
    }

    #[test]
    fn the_loopback_is_none() {
        assert!(Link::all().iter().all(|link| !link.addr.is_loopback()));
    }
}
