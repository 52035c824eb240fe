//! Our relay, as `busel relay` runs it, and iroh's own, as `iroh-relay` runs it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use busel_net::relay::{Identity, RelayConfig, RelayServer};
use busel_proto::invite::Invite;
use busel_proto::page::HostName;
use iroh_relay::server::{self, CertConfig, Server, ServerConfig, TlsConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Doer, Ready};

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Starts ours; it runs until the process ends.
pub(crate) async fn start() -> Result<(Ready, Doer)> {
    let relay = RelayServer::start(RelayConfig {
        listen: LOOPBACK,
        public: None,
        identity: identity()?,
        secret: rand::random(),
        site: None,
        site_proxy: None,
        also: Vec::new(),
        bytes_per_second: None,
    })
    .await?;
    let invite = Invite { relays: vec![relay.ticket().clone()], ..Invite::default() };
    std::mem::forget(relay);
    Ok((Ready { invite: invite.to_line(), ..Ready::default() }, Doer::Server))
}

/// Starts iroh's, with TLS and no limits.
pub(crate) async fn stock() -> Result<(Ready, Doer)> {
    let identity = identity()?;
    let chain = CertificateDer::pem_slice_iter(identity.cert.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let tls = rustls::ServerConfig::builder_with_provider(iroh_relay::tls::default_provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>()?, key)?;
    let mut relay = server::RelayConfig::new(LOOPBACK);
    relay.tls = Some(TlsConfig::new(LOOPBACK, CertConfig::Manual { server_config: tls }));
    let mut config = ServerConfig::default();
    config.relay = Some(relay);
    let server = Server::spawn(config).await?;
    let stock = server.https_addr().context("it has no TLS")?;
    std::mem::forget(server);
    Ok((Ready { stock: Some(stock), ..Ready::default() }, Doer::Server))
}

fn identity() -> Result<Identity> {
    Ok(Identity::generate(&HostName::parse("www.example.org")?)?)
}
