//! The NATs of homes and carriers, as rules of nftables: all mask IPv4, and differ in whom they let in
//! afterwards and in whether one port within is one port without. IPv6 is not masked; nobody is let in
//! unasked by it.

use std::time::Duration;

/// How long a port stays open that was sent from.
const OPEN: Duration = Duration::from_secs(3600);
/// Ports that are open at once.
const MAX_OPEN: u32 = 4096;

/// How a router treats UDP. TCP goes out from behind each of them, and none is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Once a port was sent from, anybody may send to it (full cone).
    Cone,
    /// Only who was sent to may send back, from any of its ports.
    Restricted,
    /// Only the address and port that was sent to may send back; the own port stays the same for all
    /// receivers. What Linux does unasked.
    PortRestricted,
    /// As the last one, and the own port is another for each receiver. Most carriers' NATs.
    Symmetric,
}

impl Nat {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Cone, Self::Restricted, Self::PortRestricted, Self::Symmetric];

    /// The rules of a router whose way out is this device and whose LAN is the device `lan`.
    pub(super) fn rules(self, out: &str) -> String {
        let (kept, within, without) = match self {
            Self::Cone => ("inet_service", "udp sport", "udp dport"),
            Self::Restricted => {
                ("ipv4_addr . inet_service", "ip daddr . udp sport", "ip saddr . udp dport")
            }
            Self::PortRestricted | Self::Symmetric => ("", "", ""),
        };
        let random = if self == Self::Symmetric { "fully-random" } else { "" };
        let (map, before, note) = match kept {
            "" => Default::default(),
            _ => (
                format!(
                    "map open {{ type {kept} : ipv4_addr; flags dynamic,timeout; timeout {}s; \
                     size {MAX_OPEN}; }}\n",
                    OPEN.as_secs()
                ),
                format!(
                    "chain before {{ type nat hook prerouting priority dstnat;\n\
                       iifname {out} dnat to {without} map @open\n\
                     }}\n"
                ),
                format!("oifname {out} update @open {{ {within} : ip saddr }}\n"),
            ),
        };
        format!(
            "table ip nat {{\n\
               {map}{before}\
               chain after {{ type nat hook postrouting priority srcnat;\n\
                 {note}oifname {out} masquerade {random}\n\
               }}\n\
             }}\n\
             table inet guard {{\n\
               chain own {{ type filter hook input priority filter;\n\
                 iifname {out} meta l4proto {{ tcp, udp }} ct state new drop\n\
               }}\n\
               chain through {{ type filter hook forward priority filter; policy drop;\n\
                 iifname lan accept\n\
                 ct state established,related accept\n\
                 ct status dnat accept\n\
               }}\n\
             }}\n"
        )
    }
}
