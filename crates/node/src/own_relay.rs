//! The relay of an open node: whoever can be reached forwards for those who can't, behind a web site
//! as any relay, and paid for as all that the node gives.
//!
//! Its ticket is in the invites that this node makes, and the node keeps to it itself, so that it is
//! reached there. No card and no stranger names it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use busel_net::relay::{Identity, Meter, RelayConfig, RelayServer};
use busel_proto::cbor;
use busel_proto::invite::RelayTicket;
use busel_proto::page::HostName;
use busel_store::Store;
use minicbor::{Decode, Encode};

use crate::config::Config;
use crate::giving::OwnGiving;
use crate::node::StartError;

/// The name of a setting in the store.
const KEPT: &str = "relay";
/// The longest that is kept: a certificate and a key.
const MAX_KEPT: usize = 16 * 1024;

/// A relay that runs beside a node.
#[derive(Debug)]
pub(crate) struct OwnRelay {
    ticket: RelayTicket,
    /// The same as this device reaches it, whatever its router makes of its public address.
    near: RelayTicket,
    server: Mutex<Option<RelayServer>>,
}

/// What is kept, so that invites stay good.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Kept {
    #[n(0)]
    name: String,
    #[n(1)]
    cert: String,
    #[n(2)]
    key: String,
    #[cbor(n(3), with = "minicbor::bytes")]
    secret: [u8; 16],
}

impl OwnRelay {
    /// Starts it, if the configuration says so.
    pub(crate) async fn start(
        config: &Config,
        store: &Store,
        giving: &Arc<OwnGiving>,
    ) -> Result<Option<Self>, StartError> {
        let name = config.relay_name.as_deref().and_then(|name| HostName::parse(name).ok());
        let Some((listen, name)) = config.relay_addr.zip(name) else { return Ok(None) };
        let kept = kept(store, &name)?;
        let meter: Arc<dyn Meter> = giving.clone();
        let relay = RelayConfig {
            listen,
            public: config.relay_public.clone(),
            identity: Identity { name, cert: kept.cert, key: kept.key },
            secret: kept.secret,
            also: Vec::new(),
            site: config.relay_site.clone(),
            site_proxy: None,
            bytes_per_second: None,
        };
        let server = RelayServer::start_under(relay, Some(meter)).await?;
        let ticket = server.ticket().clone();
        let near = RelayTicket { addr: near(server.addr()).to_string(), ..ticket.clone() };
        Ok(Some(Self { ticket, near, server: Mutex::new(Some(server)) }))
    }

    /// What invites say of it.
    pub(crate) fn ticket(&self) -> &RelayTicket {
        &self.ticket
    }

    /// How this device reaches it.
    pub(crate) fn near(&self) -> &RelayTicket {
        &self.near
    }

    pub(crate) async fn stop(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            server.stop().await;
        }
    }
}

/// Where this device reaches what listens there.
fn near(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if !ip.is_unspecified() => listen,
        IpAddr::V4(_) | IpAddr::V6(_) => (Ipv4Addr::LOCALHOST, listen.port()).into(),
    }
}

/// Certificate, key and secret: made at the first start. With another name there is another certificate.
fn kept(store: &Store, name: &HostName) -> Result<Kept, StartError> {
    let bytes = store.setting(KEPT)?;
    let kept: Option<Kept> = bytes.and_then(|bytes| cbor::from_slice(&bytes, MAX_KEPT).ok());
    let secret = match kept {
        Some(kept) if kept.name == name.as_str() => return Ok(kept),
        Some(kept) => kept.secret,
        None => rand::random(),
    };
    let made = Identity::generate(name)?;
    let kept = Kept { name: name.to_string(), cert: made.cert, key: made.key, secret };
    store.set(KEPT, &cbor::to_vec(&kept))?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reaches_its_own_relay_where_it_listens() {
        for (listen, expected) in [
            ("192.0.2.1:443", "192.0.2.1:443"),
            ("0.0.0.0:443", "127.0.0.1:443"),
            ("[::]:443", "127.0.0.1:443"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(near(listen.parse().unwrap()).to_string(), expected);
        }
    }
}
