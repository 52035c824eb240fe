//! The wires of a node, and where others reach it by the veil.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use busel_net::dial::Dialer;
use busel_net::port_map::PortMap;
use busel_net::wire::Wire;
use busel_net::wire::plain::Plain;
use busel_net::wire::relay::Relay;
use busel_net::wire::veil::{Listen, Veil};
use busel_proto::invite::{Invite, RelayTicket, VeilTicket};
use busel_proto::network::is_public;
use busel_proto::punch::Punches;
use busel_proto::veil::VeilSecret;
use busel_store::Store;
use tracing::debug;

use crate::config::{Config, Exposure};
use crate::node::StartError;

/// Names of settings in the store.
const SECRET: &str = "veil-secret";
const PORT: &str = "veil-port";
const HOMES: &str = "relay-guards";

/// The wires: by relay and veiled unless its owner wants one of them not, or all must go through a
/// proxy; plain only if asked for.
pub(crate) struct Wires {
    pub(crate) relay: Arc<Relay>,
    veil: Option<Arc<Veil>>,
    listen: Option<Listen>,
    pub(crate) all: Vec<Arc<dyn Wire>>,
}

impl Wires {
    pub(crate) async fn start(
        config: &Config,
        dialer: &Dialer,
        invites: &[Invite],
        store: &Store,
    ) -> Result<Self, StartError> {
        let relays: Vec<RelayTicket> = invites.iter().flat_map(|i| i.relays.clone()).collect();
        let relay = Arc::new(Relay::start(dialer.clone(), &relays).await?);
        if config.exposure == Exposure::Quiet {
            relay.keep_to_few(store.setting(HOMES)?.as_deref());
            keep_homes(&relay, store);
        }
        let dials = config.veil && !dialer.is_upstream();
        let listen = listen(config, dials, store)?;
        let veil = (dials || listen.is_some()).then(|| Arc::new(Veil::new(listen)));
        let mut all: Vec<Arc<dyn Wire>> = Vec::new();
        if config.relay {
            all.push(relay.clone());
        }
        all.extend(veil.clone().map(|veil| veil as Arc<dyn Wire>));
        if let Some(listen) = config.plain_wire {
            all.push(Arc::new(Plain::new(listen)));
        }
        Ok(Self { relay, veil, listen, all })
    }

    /// How an open node is there behind the veil, once the endpoint is bound. A router is asked for a way
    /// in if that is needed and wanted.
    pub(crate) fn own_veil(&self, config: &Config, store: &Store) -> Result<OwnVeil, StartError> {
        let Some((wire, listen)) = self.veil.clone().zip(self.listen) else {
            return Ok(OwnVeil::default());
        };
        let bound = wire.listens();
        let port = bound.map_or(0, |bound| bound.port());
        if config.veil_addr.is_none() {
            store.set(PORT, &port.to_be_bytes())?;
        }
        let is_told = !config.veil_public.is_empty();
        let bound_here = bound.filter(|bound| !bound.ip().is_unspecified());
        let public = if is_told { config.veil_public.clone() } else { Vec::from_iter(bound_here) };
        let needs_router = bound.is_some_and(|bound| is_behind(&bound)) && !is_told;
        let wanted = config.maps_port() && needs_router;
        let map = NonZeroU16::new(port).filter(|_| wanted).map(PortMap::start);
        let secret = Some(listen.secret);
        Ok(OwnVeil { wire: Some(wire), secret, public, map, punches: Mutex::default() })
    }
}

/// Keeps what is new of the relays to which a quiet node keeps. Waits for the disk.
pub(crate) fn keep_homes(relay: &Relay, store: &Store) {
    if let Some(Err(error)) = relay.news().map(|bytes| store.set(HOMES, &bytes)) {
        debug!(%error, "which relays were chosen was not kept");
    }
}

/// How an open node is there behind the veil; a quiet one is not.
#[derive(Debug, Default)]
pub(crate) struct OwnVeil {
    wire: Option<Arc<Veil>>,
    secret: Option<VeilSecret>,
    public: Vec<SocketAddr>,
    map: Option<PortMap>,
    punches: Mutex<Punches>,
}

impl OwnVeil {
    /// Where others reach it, and what opens a session to it; `None` if nobody does without its help.
    pub(crate) fn ticket(&self) -> Option<VeilTicket> {
        // A router behind another one maps what is no way in.
        let mapped = self.map.as_ref().and_then(PortMap::address);
        let mapped = mapped.filter(|mapped| is_public(mapped.ip()));
        let addrs = mapped.map_or_else(|| self.public.clone(), |mapped| vec![mapped]);
        if addrs.is_empty() { None } else { self.at(&addrs) }
    }

    /// What opens a session to it there.
    pub(crate) fn at(&self, addrs: &[SocketAddr]) -> Option<VeilTicket> {
        let addrs = addrs.iter().map(ToString::to_string).collect();
        Some(VeilTicket { addrs, secret: self.secret? })
    }

    /// The wire, if others may come by it.
    pub(crate) fn wire(&self) -> Option<&Arc<Veil>> {
        self.wire.as_ref()
    }

    pub(crate) fn punches(&self) -> MutexGuard<'_, Punches> {
        self.punches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device is on another network.
    pub(crate) fn moved(&self) {
        self.punches().moved();
        self.map.iter().for_each(PortMap::moved);
    }
}

/// Whether a router has to let others in to this address.
fn is_behind(bound: &SocketAddr) -> bool {
    match bound.ip() {
        std::net::IpAddr::V4(ip) => ip.is_unspecified() || ip.is_private(),
        std::net::IpAddr::V6(_) => false,
    }
}

/// Where an open node listens for the veil wire: where its owner says, or at a port by chance, which it
/// keeps. Its secret is made at the first start and kept.
fn listen(config: &Config, dials: bool, store: &Store) -> Result<Option<Listen>, StartError> {
    let addr = match config.veil_addr {
        Some(addr) => addr,
        None if config.exposure == Exposure::Open && dials => {
            let kept = store.setting(PORT)?.and_then(|bytes| bytes.try_into().ok());
            let addr =
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, kept.map_or(0, u16::from_be_bytes)));
            if UdpSocket::bind(addr).is_ok() { addr } else { (Ipv4Addr::UNSPECIFIED, 0).into() }
        }
        None => return Ok(None),
    };
    let kept = store.setting(SECRET)?.and_then(|bytes| bytes.try_into().ok());
    let secret = match kept {
        Some(secret) => VeilSecret(secret),
        None => {
            let new = VeilSecret(rand::random());
            store.set(SECRET, &new.0)?;
            new
        }
    };
    Ok(Some(Listen { addr, secret }))
}
