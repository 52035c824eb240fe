//! The country on paper: its places, the points where a censor may sit, and which addresses are
//! whose. It knows no hosts and no packets.
//!
//! ```text
//!   home-a ─┐                          ┌─ domestic servers
//!   home-a2 ┴ isp-a ─ (IspA) ─┐        │
//!                    dns-a    ├─ (Exchange) ─ (Border, Inbound) ═══ abroad: origins, injector, …
//!   home-b ── isp-b ─ (IspB) ─┘
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a host is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The first provider.
    IspA,
    /// The second provider.
    IspB,
    /// In the country, with neither provider: servers at the exchange point.
    Exchange,
    /// Outside of the country.
    Abroad,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::IspA, Self::IspB, Self::Exchange, Self::Abroad];

    /// Whether it is in the home country.
    pub fn is_domestic(self) -> bool {
        self != Self::Abroad
    }

    /// The point that all packets of a provider pass.
    pub(crate) fn point(self) -> Option<Point> {
        match self {
            Self::IspA => Some(Point::IspA),
            Self::IspB => Some(Point::IspB),
            Self::Exchange | Self::Abroad => None,
        }
    }

    /// The IPv6 address of the host that has this IPv4 address here.
    pub(crate) fn v6(self, v4: Ipv4Addr) -> Ipv6Addr {
        let net = match self {
            Self::IspA => 0x1001,
            Self::IspB => 0x1002,
            Self::Exchange => 0x1100,
            Self::Abroad => 0x2000,
        };
        let [a, b, c, d] = v4.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Ipv6Addr::new(0x2001, 2, 0, net, 0, 0, high, low)
    }
}

/// Where a censor may sit. A packet passes the points of its way in the order in which it meets
/// them: from a home abroad `IspA`, `Border`, `Inbound`; from one provider to the other `IspA`,
/// `Exchange`, `IspB`; from a home to its provider's resolver only `IspA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Point {
    /// All that the first provider carries.
    IspA,
    /// All that the second provider carries.
    IspB,
    /// All between providers and domestic servers.
    Exchange,
    /// All between the country and abroad.
    Border,
    /// At the border, but only for flows that were opened from abroad.
    Inbound,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::IspA, Self::IspB, Self::Exchange, Self::Border, Self::Inbound];

    /// Its name in the names of captures.
    pub fn name(self) -> &'static str {
        match self {
            Self::IspA => "isp-a",
            Self::IspB => "isp-b",
            Self::Exchange => "exchange",
            Self::Border => "border",
            Self::Inbound => "inbound",
        }
    }
}

/// Whether an address is of the home country: 198.18.0.0/16 or 2001:2:0:1000::/52.
pub fn is_domestic(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.octets()[..2] == [198, 18],
        IpAddr::V6(addr) => {
            let [a, b, c, d, ..] = addr.segments();
            [a, b, c, d & 0xf000] == [0x2001, 2, 0, 0x1000]
        }
    }
}

/// The private network behind a router's NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lan {
    number: u8,
}

impl Lan {
    /// That of the n-th router, from one on.
    pub(crate) fn of(router: u8) -> Self {
        Self { number: router }
    }

    /// The private IPv4 address of its n-th host; the router is the first.
    pub(crate) fn v4(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, self.number, host)
    }

    /// The card address of the router.
    pub(crate) fn mac(self) -> String {
        format!("02:62:75:73:65:{:02x}", self.number)
    }

    /// The global IPv6 address of its n-th host.
    pub(crate) fn v6(self, host: u8) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 2, 0, 0x1a00 + u16::from(self.number), 0, 0, 0, u16::from(host))
    }

    /// The local IPv6 address of its n-th host.
    pub(crate) fn ula(self, host: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0xb, 0, u16::from(self.number), 0, 0, 0, u16::from(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_home_from_abroad() {
        let at = Ipv4Addr::new(198, 18, 1, 53);
        assert!(is_domestic(IpAddr::V4(at)));
        assert!(is_domestic(IpAddr::V6(Place::IspA.v6(at))));
        assert!(is_domestic(IpAddr::V6(Lan::of(2).v6(10))));
        let far = Ipv4Addr::new(198, 19, 10, 10);
        assert!(!is_domestic(IpAddr::V4(far)));
        assert!(!is_domestic(IpAddr::V6(Place::Abroad.v6(far))));
    }
}
