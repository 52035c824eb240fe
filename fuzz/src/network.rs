//! Networks that an operator names, and which addresses are public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use busel_proto::network::{NetRange, Reach, is_public};

/// A network has one form and contains its base; an address is judged alike in every form.
pub fn net_range(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    address(data);
    let Ok(net) = text.parse::<NetRange>() else { return };
    let shown = net.to_string();
    assert_eq!(shown.parse().as_ref(), Ok(&net), "what is shown is read back");
    let (base, bits) = shown.split_once('/').expect("a network is shown with its bits");
    let base: IpAddr = base.parse().expect("a network is shown with its base");
    let bits: u32 = bits.parse().expect("bits are a number");
    assert!(net.contains(base));
    let reach = Reach { allowed: vec![net] };
    assert!(reach.allows(base));
    let flipped = |at: u32| match base {
        IpAddr::V4(ip) => IpAddr::from(Ipv4Addr::from(u32::from(ip) ^ (1 << (31 - at)))),
        IpAddr::V6(ip) => IpAddr::from(Ipv6Addr::from(u128::from(ip) ^ (1 << (127 - at)))),
    };
    for at in 0..if base.is_ipv4() { 32 } else { 128 } {
        assert_eq!(net.contains(flipped(at)), at >= bits, "bit {at} of {shown}");
    }
}

fn address(data: &[u8]) {
    let Some(four) = data.first_chunk::<4>() else { return };
    let ip = Ipv4Addr::from(*four);
    let public = is_public(ip.into());
    assert_eq!(is_public(ip.to_ipv6_mapped().into()), public);
    let [a, b, c, d] = *four;
    let (hi, lo) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    assert_eq!(is_public(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, hi, lo).into()), public);
    assert_eq!(is_public(Ipv6Addr::new(0x2002, hi, lo, 0, 0, 0, 0, 1).into()), public);
    let special = ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_multicast();
    assert!(!public || !special, "{ip} is not public");
    if let Some(sixteen) = data.first_chunk::<16>() {
        let ip = Ipv6Addr::from(*sixteen);
        let special = ip.is_loopback() || ip.is_multicast() || ip.is_unspecified();
        let local = ip.is_unique_local() || ip.is_unicast_link_local();
        assert!(!is_public(ip.into()) || !(special || local), "{ip} is not public");
    }
}
