//! Who signs in the benchmark's world, and how its nodes learn of each other.
//!
//! The keys are fixed and known to everybody: they are worth nothing outside one run.

use anyhow::{Context, Result};
use busel_injector::keys::{RootKey, Subkey, VALIDITY_SECS};
use busel_node::clock;
use busel_proto::cert::{SubkeyCert, TrustedRoot};
use busel_proto::invite::Invite;
use busel_proto::page::HostPattern;
use busel_proto::signed::Signed;
use busel_proto::sites::Site;
use ed25519_dalek::SigningKey;

/// The host whose pages may be shared.
pub(crate) const PUBLIC: &str = "public.example";
/// A host on no list.
pub(crate) const PRIVATE: &str = "private.example";

const ROOT: [u8; 32] = [1; 32];
const SIGNING: [u8; 32] = [2; 32];
const SEALING: [u8; 32] = [3; 32];

/// The injector's subkey, twice: as injectors take it, and to sign with.
pub(crate) fn subkey() -> (Subkey, SigningKey) {
    (Subkey::from_random(&SIGNING, SEALING), SigningKey::from_bytes(&SIGNING))
}

/// A certificate for it.
pub(crate) fn certificate() -> Result<Signed<SubkeyCert>> {
    let request = subkey().0.request();
    Ok(RootKey::from_random(&ROOT).certify(&request, clock::now(), VALIDITY_SECS)?)
}

/// The hosts it may sign for.
pub(crate) fn hosts() -> Result<Vec<HostPattern>> {
    Ok(vec![HostPattern::parse(PUBLIC)?])
}

/// What all readers joined: the root is trusted, the site is listed. It speaks plain HTTP, as the
/// proxies that Busel is compared with would have to cache it.
pub(crate) fn trust() -> Result<Invite> {
    let root = TrustedRoot {
        key: RootKey::from_random(&ROOT).public(),
        label: "Newsroom".into(),
        hosts: hosts()?,
    };
    let mut site = Site::new(HostPattern::parse(PUBLIC)?);
    site.https = false;
    Ok(Invite { roots: vec![root], sites: vec![site], ..Invite::default() })
}

/// One invite of several lines. If one of them brings a relay, the nodes of all keep to it and
/// can't be reached otherwise.
pub(crate) fn together(lines: &[&str]) -> Result<String> {
    let mut all = trust()?;
    for line in lines {
        let one = Invite::from_line(line).context("a child's invite")?;
        all.relays.extend(one.relays);
        all.peers.extend(one.peers);
        all.injectors.extend(one.injectors);
    }
    if !all.relays.is_empty() {
        for peer in &mut all.peers {
            peer.relay = Some(0);
            peer.addrs.clear();
        }
    }
    Ok(all.to_line())
}
